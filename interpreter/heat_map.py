"""An attention matrix for the terminal: rows look, columns are looked at."""

from collections.abc import Iterator, Sequence
from math import sqrt

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from grammar.rejection import printable

CELL = 2
LABEL = 12
TALLEST_HEADING = 8
DARK, LIGHT = (38, 30, 64), (255, 196, 84)
"""Red, green and blue of the smallest weight above 0 and of weight 1."""


def print_heat_map(
    console: Console, matrix: Sequence[Sequence[float]], tokens: Sequence[str], *, causal: bool
) -> None:
    """Prints an n × n matrix of weights from 0 to 1, n tokens beside and above it.

    Shades of colour, or digits where the terminal shows no colour.  Columns that do not fit the
    width follow in further blocks.
    """
    colour = console.color_system is not None and not console.no_color
    for line in _lines(matrix, tokens, causal, colour, console.width):
        console.print(line, soft_wrap=True)


def _lines(
    matrix: Sequence[Sequence[float]],
    tokens: Sequence[str],
    causal: bool,
    colour: bool,
    width: int,
) -> Iterator[Text]:
    labels = [printable(token.strip(" ") or token) for token in tokens]
    numbers = len(str(len(tokens) - 1))
    gutter = numbers + LABEL + 1
    fitting = max(1, (width - gutter) // CELL)
    yield Text("Rows: the token that looks (query).  Columns: the tokens it looks at (keys).")
    yield _shade_legend() if colour else Text("Digits: tenths of the weight, rounded down; · is 0.")
    for begin in range(0, len(tokens), fitting):
        block = range(begin, min(begin + fitting, len(tokens)))
        yield Text()
        if fitting < len(tokens):
            yield Text(f"Keys {block[0]} to {block[-1]} of {len(tokens)}:")
        for line in _headings([labels[j] for j in block]):
            yield Text(" " * gutter + line, style="bold")
        # Of a causal model's queries those before the block see nothing of it.
        for i in range(begin if causal else 0, len(tokens)):
            row = Text(f"{i:>{numbers}} {set_cell_size(labels[i], LABEL)}")
            for j in block:
                if j <= i or not causal:
                    row.append_text(_cell(matrix[i][j], colour))
            yield row


def _headings(labels: Sequence[str]) -> Iterator[str]:
    """Labels written downwards, one above each column, ending on the same line."""
    columns = []
    for label in labels:
        letters = [letter for letter in label if cell_len(letter)]
        if len(letters) > TALLEST_HEADING:
            letters[TALLEST_HEADING - 1 :] = "…"
        columns.append(letters)
    height = max(map(len, columns))
    for line in range(height):
        above = [height - len(letters) for letters in columns]
        yield "".join(
            _right(letters[line - a] if line >= a else "")
            for letters, a in zip(columns, above, strict=True)
        )


def _cell(weight: float, colour: bool) -> Text:
    if not colour:
        tenths = int(round(weight, 6) * 10)
        return Text(_right(str(min(tenths, 9)) if weight > 0 else "·"))
    return Text(" " * CELL, style=_shade(weight) if weight > 0 else "")


def _right(letter: str) -> str:
    """The letter at the right edge of a cell; a Chinese one fills it."""
    return " " * (CELL - cell_len(letter)) + letter


def _shade(weight: float) -> str:
    share = sqrt(min(weight, 1.0))
    red, green, blue = (round(d + share * (b - d)) for d, b in zip(DARK, LIGHT, strict=True))
    return f"on rgb({red},{green},{blue})"


def _shade_legend() -> Text:
    legend = Text("Shades: the square root of the weight, from 0 ")
    for step in range(1, 17):
        legend.append(" ", style=_shade((step / 16) ** 2))
    return legend.append(" to 1")
