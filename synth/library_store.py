"""Transactions on a library file, and its rows in and out with their types checked."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Select,
    Table,
    delete,
    insert,
    select,
)

from grammar.canonical import content_hash
from grammar.errors import InputError
from synth.library_file import failures, open_engine
from synth.library_rows import Row

AnyRow = TypeVar("AnyRow", bound=Row)


def where(table: Table, **wanted: object) -> list[ColumnElement[bool]]:
    """The conditions on those columns for which a value is given."""
    return [table.c[name] == value for name, value in wanted.items() if value is not None]


def exists(connection: Connection, table: Table, **wanted: object) -> bool:
    """Whether the table has a row with these values."""
    return connection.execute(select(table).where(*where(table, **wanted))).first() is not None


def _row(row_type: type[AnyRow], found: RowMapping) -> AnyRow:
    """Raises ValueError for wrong types and for a program that is not the one its hash names."""
    row = row_type(**{field.name: found[field.name] for field in fields(row_type)})
    if "text" in found:
        text, stored = found["text"], found["program_hash"]
        if stored != (None if text is None else content_hash(text)):
            raise ValueError(f"the text of program {stored!r:.40} is not the one that it names")
    return row


class Store:
    """An open file.  A context manager; every method raises InputError for a broken file."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path = path
        self._engine = engine
        self._writer = engine.execution_options(write=True)

    @classmethod
    def open(cls, path: str | Path, create: bool = False) -> Self:
        """The library in the file at `path`, made if it is missing and `create` is set.

        Raises InputError if the file is missing, is no library, is damaged or is too new.
        """
        return cls(Path(path), open_engine(Path(path), create))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        self._engine.dispose()

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._transaction(self._engine)

    def _writing(self) -> AbstractContextManager[Connection]:
        return self._transaction(self._writer)

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        with failures(self.path), engine.begin() as connection:
            yield connection

    def _read(self, row_type: type[AnyRow], statement: Select[Any]) -> list[AnyRow]:
        """The selected rows as `row_type`; InputError where they are not what a library writes."""
        try:
            with self._reading() as connection:
                found = connection.execute(statement).mappings().all()
            return [_row(row_type, row) for row in found]
        # From the types above, and from JSON columns that hold no JSON.
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{self.path} was changed by something else, restore it from a copy: "
                f"{row_type.__name__}: {error}"
            ) from error

    def _replace(self, table: Table, rows: Iterable[Row]) -> None:
        """Writes rows; one that has the primary key of an older row takes its place."""
        with self._writing() as connection:
            for row in rows:
                values = {column.name: getattr(row, column.name) for column in table.c}
                keys = [column == values[column.name] for column in table.primary_key]
                connection.execute(delete(table).where(*keys))
                connection.execute(insert(table).values(values))
