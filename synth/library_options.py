"""What the commands on libraries share: their options, and how a table meets the terminal."""

import click
from rich import box
from rich.console import Console
from rich.table import Table

from grammar.rejection import printable

library_option = click.option(
    "--library",
    "path",
    default="headscript.sqlite",
    show_default=True,
    metavar="PLACE",
    help="The library: an SQLite file, an exported .jsonl, or postgresql://user@host/database.",
)
model_option = click.option("--model", help="Only this model, by the name it has in the library.")
layer_option = click.option("--layer", type=click.IntRange(0, 9999), help="Only this layer.")
head_option = click.option(
    "--head", type=click.IntRange(0, 9999), help="Only this head of each layer."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def terminal() -> Console:
    """Fits the terminal's width; no colour where NO_COLOR is set or stdout is no terminal."""
    # Programs and names are a stranger's: no markup and no emoji codes are read out of them.
    return Console(markup=False, emoji=False, highlight=False)


def table_of(*titles: str, right: tuple[str, ...] = (), wide: str = "") -> Table:
    """An empty table; the columns in `right` hold numbers, and `wide` gives way to the others."""
    table = Table(box=box.SIMPLE)
    for title in titles:
        if title == wide:
            table.add_column(title, overflow="fold")
        else:
            table.add_column(title, no_wrap=True, justify="right" if title in right else "left")
    return table


def cells(*values: object) -> list[str]:
    """The values as a table shows them, – for none."""
    return ["–" if value is None else printable(str(value)) for value in values]


def decimal(value: float | None) -> str | None:
    """Three digits after the point."""
    return None if value is None else f"{value:.3f}"
