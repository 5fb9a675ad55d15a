"""Progress on stderr for everything that takes longer than two seconds."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class RateColumn(ProgressColumn):
    """How many are done in a second, or how many seconds one takes."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:,.1f}/s" if speed >= 1 else f"{1 / speed:,.1f} s each")


def progress_bar() -> Progress:
    """A rich progress display on stderr with count, rate, elapsed and remaining time.

    What is printed meanwhile appears above it, and still goes to stdout where that is a file.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),
    )


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """A spinner on stderr, in place of all that transformers writes there.

    It draws the progress bar of a GGUF whatever its verbosity.
    """
    with Console(file=sys.stderr).status(text), redirect_stderr(io.StringIO()):
        yield
