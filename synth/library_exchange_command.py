"""`headscript library export`, `import`, `merge` and `verify`."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
from rich.progress import Progress

from grammar.errors import InputError
from interpreter.progress import progress_bar
from synth.library import Library
from synth.library_export import export
from synth.library_merge import Watched, checked_copy, merge
from synth.library_options import cells, json_option, library_option, table_of, terminal
from synth.library_records import TABLES, Added


@click.command(
    "export", epilog="Example: headscript library export -o heads.jsonl --library heads.sqlite"
)
@library_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file to write; its ending says what: .jsonl, .csv or .py.",
)
@click.option(
    "--chosen",
    is_flag=True,
    help="In a .jsonl file only the choices, their scores and baselines.",
)
@json_option
def export_command(path: str, output: Path, chosen: bool, as_json: bool) -> None:
    """Write a library into a file: all of it (.jsonl), or its choices (.csv, .py).

    A .jsonl file is a library that every command reads, with one record a line in an order that
    the content alone decides. A .csv file has a row for each choice. A .py file has a function
    for each chosen program, and needs numpy alone.

    \b
    JSON: {"output", "lines"}
    """
    with Library.open(path) as opened:
        lines = export(opened, output, chosen=chosen)
    if as_json:
        click.echo(json.dumps({"output": str(output), "lines": lines}))
    else:
        click.echo(f"{output}: {lines:,} lines")


@click.command(
    "import", epilog="Example: headscript library import heads.jsonl --library heads.sqlite"
)
@click.argument("file", type=click.Path(path_type=Path))
@library_option
@json_option
def import_command(file: Path, path: str, as_json: bool) -> None:
    """Add an exported .jsonl FILE to a library, which is made if it is missing.

    Everything is checked first: types, hashes, that programs are programs, that scores are the
    means of their documents. One fault, and the library stays as it was. What it has stays; see
    `headscript library merge`.

    \b
    JSON: {"added": {kind of record: number}, "kept": {kind: number}}
    """
    if file.suffix != ".jsonl":
        raise InputError(f"{file}: not a .jsonl file; `headscript library merge` takes libraries")
    with progress_bar() as bar:
        added = merge(path, [file], create=True, watched=_on(bar))
    _print_added(added, as_json)


@click.command(
    "merge", epilog="Example: headscript library merge other.sqlite --library heads.sqlite"
)
@click.argument("others", metavar="OTHER...", nargs=-1, required=True)
@library_option
@json_option
def merge_command(others: tuple[str, ...], path: str, as_json: bool) -> None:
    """Add other libraries to one: SQLite files, exported .jsonl files, servers.

    Programs are known by their content, scores by program, head, model revision, texts and metric
    version, runs by all that determines them. What the library has stays; of two choices for a
    head, made on the same texts, the one with the higher IoU on the select documents. Everything
    is checked; a library with a fault adds nothing.

    \b
    JSON: {"added": {kind of record: number}, "kept": {kind: number}}
    """
    with progress_bar() as bar:
        added = merge(path, others, watched=_on(bar))
    _print_added(added, as_json)


@click.command("verify", epilog="Example: headscript library verify --library heads.sqlite")
@library_option
@click.option(
    "--model", help="Recompute scores too, of this model: a name, hub id or folder. Needs --texts."
)
@click.option("--texts", help="The texts that the library was made from, as for `synth`.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="How many scores to recompute, spread over the heads.",
)
@json_option
def verify_command(
    path: str, model: str | None, texts: str | None, sample: int, as_json: bool
) -> None:
    """Check a whole library: types, hashes, canonical texts, means, that what is named is there.

    With --model and --texts the scores of a sample of programs are computed again and compared.
    Exit status 1 and one line for the first fault.

    \b
    JSON: {"records": {kind: number}, "recomputed": [{"program_hash", "layer", "head", "split",
    "stored" (IoU), "computed" (IoU)}]}
    """
    if (model is None) != (texts is None):
        raise click.UsageError("--model and --texts go together.")
    with progress_bar() as bar:
        _, counts = checked_copy(path, _on(bar))
    recomputed = []
    if model is not None and texts is not None:
        from synth.library_recompute import recompute

        recomputed = recompute(path, model, texts, sample)
    if as_json:
        found = {"records": counts.added, "recomputed": [asdict(r) for r in recomputed]}
        click.echo(json.dumps(found, indent=2))
        return
    table = table_of("kind", "records", right=("records",))
    for kind in TABLES:
        table.add_row(*cells(kind, f"{counts.added.get(kind, 0):,}"))
    terminal().print(table)
    if recomputed:
        click.echo(f"{len(recomputed)} scores computed again and found equal")
    click.echo("Everything holds.")


def _on(bar: Progress) -> Watched:
    return partial(bar.track, description="Checking", total=None)


def _print_added(added: Added, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(added), indent=2))
        return
    table = table_of("kind", "new", "there before", right=("new", "there before"))
    for kind in TABLES:
        table.add_row(
            *cells(kind, *(f"{part.get(kind, 0):,}" for part in (added.added, added.kept)))
        )
    terminal().print(table)
