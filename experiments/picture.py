"""Draws real beside predicted attention for the heads of a library, as in the README.

python -m experiments.picture --library demo/headscript.sqlite -o docs/heads.png
"""

import textwrap
from pathlib import Path

import click
import numpy as np

from synth.heads import head_name
from synth.library import Library, StoredExample
from synth.results import test_score

TOKENS = 28


def matrix(content: bytes, tokens: int) -> np.ndarray:
    """[query, key] weights of a stored example's first tokens, 0 to 1."""
    size = round(len(content) ** 0.5)
    values = np.frombuffer(content, np.uint8).reshape(size, size) / 255
    return values[:tokens, :tokens]


@click.command()
@click.option("--library", "path", type=click.Path(path_type=Path), required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--heads", default=4, show_default=True, help="How many heads, best gain first.")
def picture(path: Path, output: Path, heads: int) -> None:
    """Draw real and predicted attention of some heads of a library."""
    from matplotlib import pyplot

    with Library.open(path) as library:
        rows = []
        for choice in library.choices():
            (run,) = library.runs(choice.run_id)
            score = test_score(library, run, choice)
            example = library.examples(
                choice.program_hash, choice.model, choice.model_revision, choice.layer, choice.head
            )[0]
            rows.append((choice, score.iou, example))
    # The sink alone makes a dull picture.
    rows = [row for row in rows if row[0].text != "first"][:heads]
    figure, axes = pyplot.subplots(2, len(rows), figsize=(3.1 * len(rows), 7.2), squeeze=False)
    for column, (choice, iou, example) in enumerate(rows):
        name = head_name(choice.layer, choice.head)
        title = f"{name}   IoU {iou:.2f}\n{textwrap.fill(choice.text, 42)}"
        axes[0][column].set_title(title, fontsize=7, loc="left", family="monospace")
        for row, content in enumerate((example.real, example.predicted)):
            _draw(axes[row][column], content, example, labels=column == 0)
    axes[0][0].set_ylabel("real: query token")
    axes[1][0].set_ylabel("predicted by the program")
    for axis in axes[1]:
        axis.set_xlabel("key token", fontsize=8)
    figure.tight_layout()
    figure.savefig(output, dpi=110)
    click.echo(output)


def _draw(axis, content: bytes, example: StoredExample, *, labels: bool) -> None:  # type: ignore[no-untyped-def]
    n = min(TOKENS, len(example.tokens))
    # Square root: small weights are seen too.
    axis.imshow(np.sqrt(matrix(content, n)), cmap="viridis", vmin=0, vmax=1)
    words = [token.replace("\n", "\\n") for token in example.tokens[:n]]
    axis.set_xticks(range(n), words, rotation=90, fontsize=5)
    axis.set_yticks(range(n), words if labels else [], fontsize=5)


if __name__ == "__main__":
    picture()
