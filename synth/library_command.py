"""`headscript library`: read what a library knows, without running a model."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from typing import Any, get_args

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grammar.rejection import printable
from interpreter.progress import progress_bar
from synth.categories import Category
from synth.heads import head_name
from synth.library import Library
from synth.library_exchange_command import (
    export_command,
    import_command,
    merge_command,
    verify_command,
)
from synth.library_options import (
    cells,
    decimal,
    head_option,
    json_option,
    layer_option,
    library_option,
    model_option,
    terminal,
)
from synth.library_questions_command import (
    compress_command,
    diff_command,
    search_command,
    stats_command,
)
from synth.library_view import ListedHead, ShownProgram, listed_heads, shown_programs
from synth.mentions import mentions

__all__ = ["library", "library_option"]


@click.group(epilog="Example: headscript library show L4H4 --library heads.sqlite")
def library() -> None:
    """Read, search, export and join libraries of programs."""


for command in (
    *(search_command, diff_command, stats_command, compress_command),
    *(export_command, import_command, merge_command, verify_command),
):
    library.add_command(command)


@library.command("list", epilog="Example: headscript library list --sort iou --layer 5")
@library_option
@model_option
@layer_option
@head_option
@click.option("--choice", help="Only this choice of each head, as iou or tuned.")
@click.option("--uses", metavar="PART", help="Only programs that hold this, as for `search`.")
@click.option("--text", help="Only programs whose text holds this.")
@click.option("--category", type=click.Choice(get_args(Category)), help="Only this category.")
@click.option("--proposer", help="Only programs first brought in by this proposer.")
@click.option("--min-iou", type=float, default=0.0, help="Only from this IoU on.")
@click.option("--max-iou", type=float, default=1.0, help="Only up to this IoU.")
@click.option("--max-terms", type=click.IntRange(1), help="Only programs of at most this size.")
@click.option(
    "--sort",
    type=click.Choice(["head", "iou"]),
    default="head",
    show_default=True,
    help="The order: by layer and head, or best first.",
)
@click.option("--wide", is_flag=True, help="Show programs whole, on several lines if need be.")
@json_option
def list_command(
    path: str,
    model: str | None,
    layer: int | None,
    head: int | None,
    choice: str | None,
    uses: str | None,
    text: str | None,
    category: str | None,
    proposer: str | None,
    min_iou: float,
    max_iou: float,
    max_terms: int | None,
    sort: str,
    wide: bool,
    as_json: bool,
) -> None:
    """List the program chosen for each head, and how well it predicts that head.

    \b
    JSON: {"heads": [{"model", "model_revision", "layer", "head", "choice", "iou",
    "split" ("test", or "select" where no test was scored), "documents", "iou_no_sink", "jsd",
    "output_error" (these four null for "select"), "terms", "category", "proposer" (null where
    unknown), "program_hash", "program", "sentence" (the program in English)}]}
    """
    with Library.open(path) as opened:
        heads = listed_heads(opened, model, layer, head)
    holds = mentions(uses) if uses else None
    heads = [
        h
        for h in heads
        if (holds is None or holds(h.tree))
        and (choice is None or choice == h.choice)
        and (text is None or text in h.program)
        and (category is None or category == h.category)
        and (proposer is None or proposer == h.proposer)
        and min_iou <= h.iou <= max_iou
        and (max_terms is None or h.terms <= max_terms)
    ]
    if sort == "iou":
        heads.sort(key=lambda h: (h.model, h.model_revision, -h.iou))
    if as_json:
        with progress_bar() as bar:
            told = [h.told() for h in bar.track(heads, description="Sentences")]
        click.echo(json.dumps({"heads": told}, indent=2))
        return
    if not heads:
        click.echo("No head has a program here.")
    console = terminal()
    for (name, revision), group in groupby(heads, key=lambda h: (h.model, h.model_revision)):
        table = _heads_table(group, wide)
        console.print(
            f"{printable(name)}, revision {printable(revision[:12])}: {table.row_count} choices"
        )
        console.print(table)


@library.command("show", epilog="Example: headscript library show L5H4 --model smollm2-135m")
@click.argument("name", metavar="L5H4|HASH")
@library_option
@model_option
@json_option
def show_command(name: str, path: str, model: str | None, as_json: bool) -> None:
    """Show the program of a head, or the program with a hash: meaning, rules, scores, origin.

    \b
    JSON: {"programs": [{"program_hash", "program", "sentence" (the program in English),
    "rules", "terms", "first_seen",
    "scores": [{"model", "model_revision", "layer", "head", "texts_sha256", "split",
    "metric_version", "documents", "iou", "iou_per_document", "iou_no_sink", "jsd",
    "output_error", "best_trivial", "program_hash"}],
    "origins": [{"run_id", "layer", "head", "stage", "batch", "proposer", "seed",
    "prompt_sha256", "parents", "tokens", "seconds", "raw"}],
    "repeats", "chosen_by": [{"name", "model", "model_revision", "layer", "head",
    "choice", "select_iou", "run_id"}]}]}
    """
    with Library.open(path) as opened:
        programs = shown_programs(opened, name, model)
    if as_json:
        click.echo(json.dumps({"programs": [asdict(p) for p in programs]}, indent=2))
        return
    console = terminal()
    for program in programs:
        _print_program(console, program)


def _heads_table(heads: Iterable[ListedHead], wide: bool) -> Table:
    table = Table(box=box.SIMPLE)
    for title in ("head", "choice"):
        table.add_column(title, no_wrap=True)
    for title in ("IoU", "on", "terms"):
        table.add_column(title, no_wrap=True, justify="right")
    table.add_column("category", no_wrap=True)
    table.add_column("program", overflow="fold")
    for h in heads:
        # The text, not the column, is kept from wrapping: only a column that wraps gives way.
        program = Text(
            printable(h.program), no_wrap=not wide, overflow=None if wide else "ellipsis"
        )
        place = head_name(h.layer, h.head)
        row = cells(place, h.choice, f"{h.iou:.3f}", h.split, h.terms, h.category)
        table.add_row(*row, program)
    return table


def _print_program(console: Console, shown: ShownProgram) -> None:
    def line(text: str) -> None:
        console.print(printable(text), soft_wrap=True)

    line(f"Program {shown.program_hash}, {shown.terms} terms, first seen {shown.first_seen}")
    for rule in shown.rules:
        line(f"    {rule}")
    line(shown.sentence)
    if shown.scores:
        console.print(_scores_table(shown.scores))
    for origin in shown.origins:
        place = head_name(origin["layer"], origin["head"])
        prompt = origin["prompt_sha256"] or "none"
        parents = ", ".join(origin["parents"]) or "none"
        line(f"Proposed for {place} by {origin['proposer']}, stage {origin['stage']}")
        line(f"    seed {origin['seed']}, batch {origin['batch']}, {origin['seconds']:.2f} s")
        line(f"    prompt SHA-256 {prompt}; parents {parents}")
    if shown.repeats:
        line(f"Proposed again {shown.repeats} times")
    chosen: dict[tuple[str, str], list[str]] = {}
    for choice in shown.chosen_by:
        chosen.setdefault((choice["model"], choice["choice"]), []).append(choice["name"])
    for (model, by), names in chosen.items():
        line(f"Chosen for {', '.join(names)} of {model} by {by}")
    console.print()


def _scores_table(scores: Iterable[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("head", no_wrap=True)
    table.add_column("model", overflow="fold")
    table.add_column("on", no_wrap=True)
    for title in ("documents", "IoU", "best trivial", "IoU, no sink", "JSD", "output error"):
        table.add_column(title, justify="right")
    for s in scores:
        values = (s[k] for k in ("iou", "best_trivial", "iou_no_sink", "jsd", "output_error"))
        place = head_name(s["layer"], s["head"])
        shown = (place, s["model"], s["split"], s["documents"], *map(decimal, values))
        table.add_row(*cells(*shown))
    return table
