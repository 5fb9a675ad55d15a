"""`headscript tune`: programs that can stand in their heads' places."""

import json
from typing import Any

import click

from synth.library_command import library_option


@click.command(
    epilog="Example: headscript tune --library heads.sqlite --model smollm2-135m --texts stories"
)
@library_option
@click.option("--model", default="smollm2-135m", show_default=True, help="Name, hub id or folder.")
@click.option("--texts", default="stories", show_default=True, help="Texts: see `score --help`.")
@click.option(
    "--documents",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    help="At most so many train documents are grown and tuned on.",
)
@click.option(
    "--parts",
    type=click.IntRange(1, 8),
    default=8,
    show_default=True,
    help="At most so many parts of a mixture.",
)
@click.option(
    "--guards/--no-guards",
    default=True,
    show_default=True,
    help="Whether kinds of query tokens may have a mixture of their own.",
)
@click.option(
    "--rounds",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="Rounds of tuning inside the model, 40 steps each.",
)
@click.option("--max-tokens", type=click.IntRange(2), default=96, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tune(
    path: str,
    model: str,
    texts: str,
    documents: int,
    parts: int,
    guards: bool,
    rounds: int,
    max_tokens: int,
    as_json: bool,
) -> None:
    """Make programs that hurt the model least when they replace its heads.

    For each head that the library has a program for, a program is grown from the library's own
    words so that it writes what the head writes (choice `output_error`).  Then all constants are
    tuned inside the model, against its predictions of the next token (choice `tuned`; not where a
    model predicts no tokens).  The programs chosen by IoU stay.  Train documents are worked on,
    select documents decide, test documents are left alone.  A run that was cut off goes on when
    the same command is given again.

    \b
    JSON: {"model", "library", "run", "heads", "output_error" (mean on eight select documents, on
    which of each head the better program was taken), "iou_output_error" (the same of the programs
    chosen by IoU), "divergences" (nats a token on these documents at shares 0.1, 0.25, 0.5 and 1,
    for each round; the first is before tuning), "kept_round"}
    """
    from interpreter.capture import check_texts
    from interpreter.models import load_model
    from interpreter.texts import load_texts
    from synth.faithful_run import TuneSettings, make_faithful
    from synth.library import Library
    from synth.library_store import refuse_export

    refuse_export(path)
    loaded_texts = load_texts(texts)
    loaded_texts.split()
    with Library.open(path) as library:
        loaded = load_model(model)
        check_texts(loaded, loaded_texts, max_tokens)
        settings = TuneSettings(documents, parts, guards, rounds, max_tokens)
        result: dict[str, Any] = make_faithful(loaded, loaded_texts, library, settings)
        place = str(library.path)
    if as_json:
        click.echo(json.dumps(result | {"library": place}, indent=2))
        return
    click.echo(
        f"{result['heads']} heads: output error {result['output_error']:.3f} "
        f"(programs chosen by IoU: {result['iou_output_error']:.3f}), on select documents"
    )
    for number, found in enumerate(result["divergences"]):
        kept = " (kept)" if number == result["kept_round"] else ""
        click.echo(f"round {number}: " + ", ".join(f"{d:.4f}" for d in found) + f" nats{kept}")
