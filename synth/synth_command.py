"""`headscript synth`: writes, fits and keeps programs for the heads of a model."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from synth.engine_options import engine_options, opened_engine


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
@click.option(
    "--proposer",
    default="outlines:smollm2-135m",
    show_default=True,
    help="Who writes programs: see below.",
)
@click.option(
    "--budget",
    type=click.IntRange(0),
    default=16,
    show_default=True,
    help="Programs that are asked for per head.",
)
@click.option("--token-limit", type=click.IntRange(1), help="Tokens written, in the whole run.")
@click.option("--second-limit", type=click.FloatRange(0), help="Seconds spent on proposals.")
@click.option("--evaluation-limit", type=click.IntRange(1), help="Proposals that are scored.")
@click.option("--dollar-limit", type=click.FloatRange(0), help="Dollars paid for answers.")
@click.option(
    "--prices",
    type=(click.FloatRange(0), click.FloatRange(0)),
    metavar="READ WRITTEN",
    help="What a paid API asks, in dollars for a million tokens.",
)
@click.option("--seed", type=click.IntRange(0, 1_000_000), default=0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(2), default=96, show_default=True)
@engine_options
@click.option(
    "--patterns",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where captured attention is kept while the run goes on: a folder that all workers see; "
    "without it one in the cache.",
)
@click.option(
    "--show-prompt",
    metavar="L5H4",
    help="Print what the proposer's model is shown first about a head; ask and make nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def synth(
    model: str,
    texts: str,
    path: str,
    heads: str,
    proposer: str,
    budget: int,
    token_limit: int | None,
    second_limit: float | None,
    evaluation_limit: int | None,
    dollar_limit: float | None,
    prices: tuple[float, float] | None,
    seed: int,
    max_tokens: int,
    engine: str,
    ray_address: str | None,
    patterns: Path | None,
    show_prompt: str | None,
    as_json: bool,
) -> None:
    """Find the best program for each head of a model, and keep it in a library.

    A language model, held to the grammar, writes candidates from a summary of the head; their
    constants are fitted on the train documents, the best is chosen on the select documents, and
    its score is told for the test documents.  A run that was cut off goes on when the same
    command is given again.  When a limit is reached, nothing more is asked for, and the run goes
    on with what was written.  What the library holds already for the model stays where nothing
    better is found.

    \b
    Proposers:
    outlines:MODEL    a transformer held to the grammar, in this process; MODEL alone means it
    vllm:URL          a vLLM server, held to the grammar too, as http://127.0.0.1:8000
    vllm:MODEL        vLLM in this process
    api:MODEL@URL     an OpenAI-compatible API, as https://host/v1: told of its errors once;
                      its key is read from HEADSCRIPT_API_KEY; needs a limit on dollars or tokens
    sampling          programs drawn from the grammar
    enumeration       programs of one part, and the best so far made longer
    mutation          changes and crossings of the best programs so far
    learned:PROPOSER  drawn from a grammar learned from the answers of another proposer

    \b
    JSON: {"model", "library", "run", "documents", "heads": [{"layer", "head", "program", "terms",
    "iou", "iou_ci95", "iou_no_sink", "jsd", "output_error", "best_trivial", "best_trivial_iou",
    "proposed", "rejected", "duplicates", "stage", "proposer"}], "left_out" (heads whose attention
    holds NaN), "total": {"proposed", "rejected", "duplicates"}, "reject_codes": {code: number},
    "spent": {"tokens", "seconds", "evaluations", "dollars"}, "stopped_by": "tokens", "seconds",
    "evaluations", "dollars" or null}; stage and proposer are "another run" where that one found
    the program; spent is on proposals, and stopped_by is the limit that left no room for more
    """
    from interpreter.fetch import cache_folder
    from interpreter.texts import load_texts
    from synth.budget import Limits
    from synth.heads import check_heads
    from synth.job import Makers, Settings, new_job
    from synth.library import Library
    from synth.library_store import check_place
    from synth.pipeline import synthesize
    from synth.proposers import FREE, Prices, costs_money
    from synth.results import run_results
    from synth.tables import print_results

    # What is soon checked comes first, and the library is made when nothing is left to refuse.
    check_heads(show_prompt or heads)
    if show_prompt is not None:
        click.echo(_shown_prompt(model, show_prompt, texts, max_tokens, path, proposer))
        return
    paid = costs_money(proposer)
    limits = Limits(token_limit, second_limit, evaluation_limit, dollar_limit)
    if dollar_limit is not None and prices is None:
        raise click.UsageError("--dollar-limit needs --prices")
    if paid and dollar_limit is None and token_limit is None:
        raise click.UsageError("an API may cost money: give --dollar-limit or --token-limit")
    if engine == "ray" and limits != Limits():
        raise click.UsageError("limits are kept by one process: leave out --engine ray")
    loaded_texts = load_texts(texts)
    loaded_texts.split()
    settings = Settings(heads=(), budget=budget, seed=seed, max_tokens=max_tokens, limits=limits)
    check_place(path)
    makers = Makers.named(model, proposer, Prices(*prices) if prices else FREE)
    folder = patterns or cache_folder() / "patterns"
    with opened_engine(engine, ray_address) as where:
        job = new_job(makers, heads, loaded_texts, settings, folder, where)
        with Library.open(path, create=True) as library:
            results = run_results(library, synthesize(job, loaded_texts, library, where))
    if as_json:
        click.echo(json.dumps(asdict(results) | {"library": library.path}, indent=2))
    else:
        print_results(results)


def _shown_prompt(
    model: str, heads: str, texts: str, max_tokens: int, path: str, proposer: str
) -> str:
    """What the proposer's model is shown in a run that begins with the first of the heads."""
    from interpreter.capture import capture, check_texts
    from interpreter.texts import load_texts
    from synth.heads import parse_heads
    from synth.library import Library
    from synth.proposers import shown_to
    from synth.proposing import prompt_writer
    from synth.scoring import known_model

    shown = shown_to(proposer)
    documents = load_texts(texts)
    train = documents.split()["train"]
    with Library.open_or_empty(path) as library:
        earlier = library.choices()
    loaded = known_model(model)
    head, *_ = parse_heads(heads, loaded.layers, loaded.heads)
    check_texts(loaded, documents, max_tokens)
    patterns = capture(loaded, train, (head,), max_tokens)
    return shown(prompt_writer(patterns, earlier).prompt(patterns.head(head)))
