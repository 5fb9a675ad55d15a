"""Opening a library, wherever it is, and what all its methods do with the database."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, insert, select

from grammar.errors import InputError
from synth.library_database import AnyRow, Database, NoLibraryError
from synth.library_file import check_file, open_file, open_memory
from synth.library_jsonl import open_export
from synth.library_rows import Row
from synth.library_server import open_server

IMPORT = "is an export, which is only read: `headscript library import` makes a library of it"


def where(table: Table, **wanted: object) -> list[ColumnElement[bool]]:
    """The conditions on those columns for which a value is given."""
    return [table.c[name] == value for name, value in wanted.items() if value is not None]


def exists(connection: Connection, table: Table, **wanted: object) -> bool:
    """Whether the table has a row with these values."""
    return connection.execute(select(table).where(*where(table, **wanted))).first() is not None


def open_database(place: str | Path, create: bool = False) -> Database:
    """The library at `place`: an SQLite file, an exported .jsonl, or the URL of a server.

    Raises InputError if it is missing and not to be created, is no library, is damaged, or is
    too new.
    """
    if "://" in str(place):
        return open_server(str(place), create)
    if str(place).endswith(".jsonl"):
        if create:
            refuse_export(place)
        return open_export(Path(place))
    return open_file(Path(place), create)


def refuse_export(place: str | Path) -> None:
    """InputError where `place` is an export, for what writes into libraries."""
    if str(place).endswith(".jsonl"):
        raise InputError(f"{place} {IMPORT}")


def check_place(place: str | Path) -> None:
    """InputError where no library could be opened or made at `place`; makes no file."""
    if "://" in str(place) or str(place).endswith(".jsonl"):
        open_database(place, create=True).engine.dispose()
    else:
        check_file(Path(place))


class Store:
    """An open library.  A context manager; every method raises InputError for a broken one."""

    def __init__(self, place: str | Path, create: bool = False) -> None:
        self._database: Database = open_database(place, create)
        self.path = self._database.name

    @classmethod
    def open(cls, place: str | Path, create: bool = False) -> Self:
        """The library at `place`, made if it is missing and `create` is set.

        `place` and the errors are those of `open_database`.
        """
        return cls(place, create)

    @classmethod
    def open_or_empty(cls, place: str | Path) -> Self:
        """The library at `place`, or an empty one in memory where there is none."""
        try:
            return cls(place)
        except NoLibraryError:
            return cls.in_memory(str(place))

    @classmethod
    def in_memory(cls, name: str) -> Self:
        """An empty library that is gone when it is closed; messages call it `name`."""
        made = cls.__new__(cls)
        made._database, made.path = open_memory(name), name
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the database."""
        self._database.engine.dispose()

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._database.reading()

    def _writing(self) -> AbstractContextManager[Connection]:
        return self._database.writing()

    def _read(self, row_type: type[AnyRow], statement: Select[Any]) -> list[AnyRow]:
        """The selected rows as `row_type`; InputError where they are not what a library writes."""
        with self._reading() as connection:
            return self._database.read(connection, row_type, statement)

    def _replace(self, table: Table, rows: Iterable[Row]) -> None:
        """Writes rows; one that has the primary key of an older row takes its place."""
        with self._writing() as connection:
            for row in rows:
                values = {column.name: getattr(row, column.name) for column in table.c}
                keys = [column == values[column.name] for column in table.primary_key]
                connection.execute(delete(table).where(*keys))
                connection.execute(insert(table).values(values))
