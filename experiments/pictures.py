"""How pictures are begun and saved; matplotlib is an extra, imported when one is drawn."""

from pathlib import Path
from typing import Any


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure in inches, and its axes as [row][column]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Any, path: Path) -> None:
    """Saves a PNG that is the same for the same content."""
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
