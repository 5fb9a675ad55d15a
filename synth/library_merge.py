"""Libraries checked whole, and added to one another."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from synth.library import Library
from synth.library_database import Database
from synth.library_file import open_memory
from synth.library_jsonl import read_export
from synth.library_records import Added, Record, add_records, records
from synth.library_store import open_database

Watched = Callable[[Iterator[tuple[str, Record]]], Iterable[tuple[str, Record]]]


def checked_copy(place: str | Path, watched: Watched = iter) -> tuple[Database, Added]:
    """A copy in memory of the library at `place`, every record of it checked, and its counts.

    `watched` sees the records pass, for a progress bar.

    Raises InputError for the first fault: a wrong type, a hash that is not that of the text, a
    program that is none or not canonical, a score that cannot be true, a name of what is not there.
    """
    copy = open_memory(str(place))
    return copy, add_records(copy, watched(_numbered(place)))


def _numbered(place: str | Path) -> Iterator[tuple[str, Record]]:
    """Records with their places: the line of an exported file, else what the record names."""
    if str(place).endswith(".jsonl"):
        yield from read_export(Path(place))
        return
    database = open_database(place)
    for record in records(database):
        named = (record.get("program_hash"), record.get("key"), record.get("run"))
        yield f"{database.name}, {next(filter(None, named), 'a choice')}", record
    database.engine.dispose()


def merge(
    path: str | Path,
    others: Sequence[str | Path],
    *,
    create: bool = False,
    watched: Watched = iter,
) -> Added:
    """Adds the other libraries to the one at `path`, all or nothing, after they were checked."""
    copies = [checked_copy(other, watched)[0] for other in others]
    with Library.open(path, create) as library:
        return library.add((copy.name, record) for copy in copies for record in records(copy))
