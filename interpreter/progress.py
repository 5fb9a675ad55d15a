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


_shown: list[Progress] = []
"""The display that is on the terminal now, if there is one."""


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress display on stderr while the context lasts; within another one, lines below it.

    What is printed meanwhile appears above it, and still goes to stdout where that is a file.
    """
    if _shown:
        (bar,) = _shown
        above = set(bar.task_ids)
        try:
            yield bar
        finally:
            for task in set(bar.task_ids) - above:
                bar.remove_task(task)
        return
    with new_display() as bar:
        _shown.append(bar)
        try:
            yield bar
        finally:
            _shown.pop()


def new_display() -> Progress:
    """A rich progress display with count, rate, elapsed and remaining time, not begun yet."""
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
