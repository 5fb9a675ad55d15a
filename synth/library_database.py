"""A database under a library: its transactions, its rows with their types checked, its schema."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, RowMapping, Select

from grammar.canonical import content_hash
from grammar.errors import InputError
from synth.library_rows import Row

AnyRow = TypeVar("AnyRow", bound=Row)

NEWER = "was written by a newer HeadScript: read it with that one"


class NoLibraryError(InputError):
    """Nothing is there, and nothing was to be created."""


@dataclass(frozen=True)
class Database:
    """An engine, the name that messages give it, and its failures in plain words.

    Transactions of the engine take the write lock at once if the execution option `write` is set.
    """

    name: str
    engine: Engine
    failures: Callable[[], AbstractContextManager[None]]

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that sees one state of the library."""
        return self._transaction(self.engine)

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that keeps other writers out, and leaves all or nothing."""
        return self._transaction(self.engine.execution_options(write=True))

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        with self.failures(), engine.begin() as connection:
            yield connection

    def read(
        self, connection: Connection, row_type: type[AnyRow], statement: Select[Any]
    ) -> list[AnyRow]:
        """The selected rows as `row_type`; InputError where they are not what a library writes."""
        try:
            return [_row(row_type, row) for row in connection.execute(statement).mappings()]
        # From the types of a row, and from JSON columns that hold no JSON.
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{self.name} was changed by something else, restore it from a copy: "
                f"{row_type.__name__}: {error}"
            ) from error


def _row(row_type: type[AnyRow], found: RowMapping) -> AnyRow:
    """Raises ValueError for wrong types and for a program that is not the one its hash names."""
    row = row_type(**{field.name: found[field.name] for field in fields(row_type)})
    if "text" in found:
        text, stored = found["text"], found["program_hash"]
        if stored != (None if text is None else content_hash(text)):
            raise ValueError(f"the text of program {stored!r:.40} is not the one that it names")
    return row


def scripts() -> ScriptDirectory:
    """The migrations, in their order."""
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "synth:migrations")
    return config


def migrate(database: Database) -> None:
    """Brings the tables to the newest schema; InputError where theirs is newer."""
    known = scripts()
    with database.engine.begin() as connection:
        found = MigrationContext.configure(connection).get_current_heads()
    if found == (known.get_current_head(),):
        return
    if not {script.revision for script in known.walk_revisions()}.issuperset(found):
        raise InputError(f"{database.name} {NEWER}")
    with database.writing() as connection:
        # If another process migrated meanwhile, this finds nothing left to do.
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
