"""`headscript report`: one self-contained HTML page about a library."""

from pathlib import Path

import click

from synth.library import Library
from synth.library_command import library_option
from synth.report import render_report
from synth.report_data import report_data
from synth.whole_file import write_whole


@click.command(epilog="Example: headscript report --library heads.sqlite -o heads.html")
@library_option
@click.option("--model", help="The model to show, where the library holds several.")
@click.option(
    "--texts",
    help="Show patterns on the first three of these texts (the model is run), in place of those "
    "that the library holds: `stories`, a .jsonl or .txt file.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="headscript.html",
    show_default=True,
    help="The page to write.",
)
def report(path: str, model: str | None, texts: str | None, output: Path) -> None:
    """Write a page with the head grid and, for each head, its program and real attention.

    \b
    The page is one file that opens from disk and loads nothing.  PAGE#L5H4 opens head 4 of layer 5.
    A library of choices alone, as `library export --chosen` writes it, holds no attention to look
    at: --texts shows some.
    """
    with Library.open(path) as library:
        data = report_data(library, model)
    if texts is not None:
        from synth.report_examples import with_examples

        data = with_examples(data, texts)
    page = render_report(data)
    write_whole(output, [page])
    click.echo(f"{output}: {len(page.encode()) / 1e6:.1f} MB")
