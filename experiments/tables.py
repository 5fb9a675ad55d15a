"""Pieces of Markdown that the claims' blocks are made of."""

from collections.abc import Callable, Sequence
from typing import Any

Block = Callable[[Sequence[dict[str, Any]]], str]
"""Makes Markdown of the records of a claim, one for each model."""


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table: the first `left` columns to the left, the others to the right."""
    lines = [titles, ["---"] * left + ["---:"] * (len(titles) - left), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_interval(value: float, interval: Sequence[float], digits: int = 3) -> str:
    """A mean with its 95% interval."""
    low, high = interval
    return f"{value:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"
