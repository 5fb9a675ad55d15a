"""`headscript library`: read what a library knows, without running a model."""

import json
from collections.abc import Iterable
from itertools import groupby
from typing import get_args

import click
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
    head_option,
    json_option,
    layer_option,
    library_option,
    model_option,
    table_of,
    terminal,
)
from synth.library_questions_command import (
    compress_command,
    diff_command,
    search_command,
    stats_command,
)
from synth.library_show_command import show_command
from synth.library_view import ListedHead, listed_heads
from synth.mentions import mentions

__all__ = ["library", "library_option"]


NARROW = 72
"""Columns of a terminal below which a table leaves some of its own out."""


@click.group(epilog="Example: headscript library show L4H4 --library heads.sqlite")
def library() -> None:
    """Read, search, export and join libraries of programs."""


for command in (
    *(show_command, search_command, diff_command, stats_command, compress_command),
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
    "output_error", "damage" (these five null for "select"), "terms", "category", "proposer" (null
    where unknown), "program_hash", "program", "sentence" (the program in English)}]}
    """
    with Library.open(path) as opened:
        every = heads = listed_heads(opened, model, layer, head)
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
        kinds = ", ".join(sorted({h.choice for h in every})) or "none"
        click.echo(f"None of {len(every)} choices matches (--choice: {kinds}).")
    console = terminal()
    for (name, revision), group in groupby(heads, key=lambda h: (h.model, h.model_revision)):
        table = _heads_table(group, wide, console.width < NARROW)
        console.print(
            f"{printable(name)}, revision {printable(revision[:12])}: {table.row_count} choices"
        )
        console.print(table)


def _heads_table(heads: Iterable[ListedHead], wide: bool, narrow: bool) -> Table:
    """A row for each head; a narrow terminal gets the columns that matter most."""
    more = () if narrow else ("on", "terms", "category")
    right = ("IoU", "on", "terms")
    table = table_of("head", "choice", "IoU", *more, "program", right=right, wide="program")
    for h in heads:
        # The text, not the column, is kept from wrapping: only a column that wraps gives way.
        program = Text(
            printable(h.program), no_wrap=not wide, overflow=None if wide else "ellipsis"
        )
        values = () if narrow else (h.split, h.terms, h.category)
        row = cells(head_name(h.layer, h.head), h.choice, f"{h.iou:.3f}", *values)
        table.add_row(*row, program)
    return table
