"""Where the shards of a long computation run: one after the other in this process, or elsewhere.

A shard is texts or heads that are worked on together.  Shards are cut without regard to where they
run, so that results do not depend on it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from interpreter.progress import progress_bar

Item = TypeVar("Item")
Result = TypeVar("Result")

TEXTS = 8
"""Of a shard: as many as a model reads at once, so that no padding depends on the shards."""

HEADS = 8
"""Of a shard."""


@dataclass(frozen=True)
class Shard(Generic[Item]):
    """Consecutive items of a longer list; messages call it by its name."""

    name: str
    start: int
    items: tuple[Item, ...]


class Engine(Protocol):
    """A way to run the same work on many shards."""

    in_process: bool
    """Whether the work sees this process's memory, an open library among it."""

    def map(
        self, work: Callable[[Shard[Item]], Result], shards: Sequence[Shard[Item]]
    ) -> Iterator[Result]:
        """The result of each shard, in their order."""
        ...


class InProcess:
    """One shard after the other, here."""

    in_process = True

    def map(
        self, work: Callable[[Shard[Item]], Result], shards: Sequence[Shard[Item]]
    ) -> Iterator[Result]:
        """As each result is asked for."""
        return map(work, shards)


def tracked(
    engine: Engine,
    work: Callable[[Shard[Item]], Result],
    parts: Sequence[Shard[Item]],
    description: str,
) -> Iterator[Result]:
    """The result of each shard, in their order; a progress bar counts the items that are done."""
    with progress_bar() as bar:
        task = bar.add_task(description, total=sum(len(part.items) for part in parts))
        for part, result in zip(parts, engine.map(work, parts), strict=True):
            bar.advance(task, len(part.items))
            yield result


def shards(what: str, items: Sequence[Item], size: int) -> list[Shard[Item]]:
    """The items cut into shards of `size`, named `what` with their numbers from 1."""
    return [
        Shard(f"{what} {start + 1}-{min(start + size, len(items))}", start, tuple(part))
        for start in range(0, len(items), size)
        for part in [items[start : start + size]]
    ]
