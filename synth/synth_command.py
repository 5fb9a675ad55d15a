"""`headscript synth`: writes, fits and keeps programs for the heads of a model."""

import json
from dataclasses import asdict

import click


@click.command(
    epilog="Example: headscript synth --model smollm2-135m --texts stories "
    "--library heads.sqlite --heads L4H4,L16H0"
)
@click.option("--model", default="smollm2-135m", show_default=True, help="Name, hub id or folder.")
@click.option("--texts", default="stories", show_default=True, help="Texts: see `score --help`.")
@click.option(
    "--library",
    "path",
    metavar="PLACE",
    default="headscript.sqlite",
    show_default=True,
    help="The library, a file or the URL of a server; made if it is missing, continued if not.",
)
@click.option("--heads", default="all", show_default=True, help="all, or L3H5,L4H0-8.")
@click.option("--proposer", help="The model that writes programs.  [default: smollm2-135m]")
@click.option(
    "--budget",
    type=click.IntRange(0),
    default=16,
    show_default=True,
    help="Answers of the language model per head.",
)
@click.option("--seed", type=click.IntRange(0, 1_000_000), default=0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(2), default=96, show_default=True)
@click.option("--show-prompt", metavar="L5H4", help="Print what the model sees for a head; stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def synth(
    model: str,
    texts: str,
    path: str,
    heads: str,
    proposer: str | None,
    budget: int,
    seed: int,
    max_tokens: int,
    show_prompt: str | None,
    as_json: bool,
) -> None:
    """Find the best program for each head of a model, and keep it in a library.

    A language model, held to the grammar, writes candidates from a summary of the head; their
    constants are fitted on the train documents, the best is chosen on the select documents, and
    its score is told for the test documents.  A run that was cut off goes on when the same
    command is given again.

    \b
    JSON: {"model", "library", "run", "heads": [{"layer", "head", "program", "terms", "iou",
    "iou_ci95", "iou_no_sink", "jsd", "output_error", "best_trivial", "best_trivial_iou",
    "proposed", "rejected", "duplicates", "stage"}], "total": {"proposed", "rejected",
    "duplicates"}, "reject_codes": {code: number}}
    """
    from interpreter.capture import check_texts
    from interpreter.models import load_model
    from interpreter.texts import load_texts
    from synth.heads import check_heads, parse_heads
    from synth.library import Library
    from synth.library_store import check_place
    from synth.pipeline import Settings, synthesize
    from synth.proposers import OutlinesProposer
    from synth.results import run_results
    from synth.tables import print_results

    # What is soon checked comes first, and the library is made when nothing is left to refuse.
    check_heads(show_prompt or heads)
    loaded_texts = load_texts(texts)
    loaded_texts.split()
    if show_prompt is None:
        check_place(path)
    loaded = load_model(model)
    chosen = tuple(parse_heads(show_prompt or heads, loaded.layers, loaded.heads))
    check_texts(loaded, loaded_texts, max_tokens)
    settings = Settings(heads=chosen, budget=budget, seed=seed, max_tokens=max_tokens)
    if show_prompt is not None:
        from synth.prompt import prompt_for

        click.echo(prompt_for(loaded, loaded_texts, chosen, max_tokens).text())
        return
    writer = OutlinesProposer(proposer or "smollm2-135m")
    with Library.open(path, create=True) as library:
        run = synthesize(loaded, loaded_texts, writer, library, settings)
        results = run_results(library, run)
    if as_json:
        click.echo(json.dumps(asdict(results) | {"library": library.path}, indent=2))
    else:
        print_results(results)
