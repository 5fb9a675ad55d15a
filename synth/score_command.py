"""`headscript score`: how well a library's programs predict their heads on some texts."""

import json
from typing import Any

import click

from synth.engine_options import engine_options, opened_engine
from synth.library_command import library_option
from synth.tables import print_scores


@click.command(
    epilog="Example: headscript score --library heads.sqlite --model smollm2-135m --texts my.jsonl"
)
@library_option
@click.option("--model", default="smollm2-135m", show_default=True, help="Name, hub id or folder.")
@click.option(
    "--texts",
    default="stories",
    show_default=True,
    help="`stories` (the project's own), a .jsonl file with a `text` field, a .txt file with "
    "documents separated by <|endoftext|>, or a hub data set, NAME or NAME:SPLIT:COLUMN.",
)
@click.option("--max-tokens", type=click.IntRange(2), default=96, show_default=True)
@click.option("--choice", default="iou", show_default=True, help="Which choice of each head.")
@click.option(
    "--damage",
    is_flag=True,
    help="Also measure what the model loses when each head alone is replaced (minutes).",
)
@click.option("--keep", is_flag=True, help="Store the scores in the library.")
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(
    path: str,
    model: str,
    texts: str,
    max_tokens: int,
    choice: str,
    damage: bool,
    keep: bool,
    engine: str,
    ray_address: str | None,
    as_json: bool,
) -> None:
    """Score each head's chosen program on texts, beside the trivial programs and baselines.

    Of the texts that the library was made from only the test documents are used, all documents
    of any other.  The mean over heads comes with a 95% bootstrap interval over documents.  The
    best trivial program of each head is chosen on these very documents, in its favour.
    Damage is the divergence of the model's predictions from its own, in nats a token, on the first
    four of the documents.

    \b
    JSON: {"model", "texts": {"documents", "tokens", "sha256"}, "heads": [{"layer", "head",
    "program", "iou", "iou_no_sink", "jsd", "output_error", "damage" (null without --damage)}],
    "mean_iou", "mean_iou_ci95", "mean_iou_no_sink", "baselines": {name: mean IoU, "best_trivial":
    ...}, "distinct_programs", "rejected"}
    """
    from synth.scoring import Wanted, score_library

    wanted = Wanted(path, model, texts, choice, max_tokens, damage, keep)
    with opened_engine(engine, ray_address) as opened:
        result: dict[str, Any] = score_library(wanted, opened)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        print_scores(result)
