"""The SQLite file under a library: recognised, opened, migrated; its failures in plain words."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from grammar.errors import InputError
from synth.library_database import Database, NoLibraryError, migrate
from synth.schema import metadata

APPLICATION_ID = 0x48445343
"""Marks an SQLite file as a library ("HDSC")."""

MAX_VALUE_BYTES = 16_000_000
"""SQLite refuses to hold or read a value larger than this."""

BUSY_SECONDS = 30
"""How long one writer waits for another."""

FAILURES = {
    sqlite3.SQLITE_NOTADB: "is not a HeadScript library: name another file with --library",
    sqlite3.SQLITE_CORRUPT: "is damaged or cut off: restore it from a copy",
    sqlite3.SQLITE_READONLY: "is read-only: make it writable, or work on a copy",
    sqlite3.SQLITE_BUSY: "is in use by another process: try again when that is done",
    sqlite3.SQLITE_LOCKED: "is in use by another process: try again when that is done",
    sqlite3.SQLITE_FULL: "cannot grow, the disk is full: free some space; what it holds is safe",
    sqlite3.SQLITE_IOERR: "cannot be read or written: check the disk",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that its folder exists and is writable",
    sqlite3.SQLITE_TOOBIG: "holds a value that is too large: restore it from a copy",
    sqlite3.SQLITE_ERROR: "lacks what a HeadScript library holds: restore it from a copy",
}


@contextmanager
def failures(path: str | Path) -> Iterator[None]:
    """Turns what SQLite says about the file into an InputError; mistakes of ours pass through."""
    try:
        yield
    except (sqlite3.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        # The driver gives no code where a text is not UTF-8.
        undecodable = type(cause) is sqlite3.OperationalError
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT if undecodable else 0)
        # The kind of failure is in the low byte, its detail above.
        if code & 0xFF not in FAILURES:
            raise
        raise InputError(f"{path} {FAILURES[code & 0xFF]} ({str(cause)!r:.200})") from error
    except UnicodeDecodeError as error:
        # The driver cannot tell what SQLite says where that quotes a schema that is not UTF-8.
        raise InputError(f"{path} {FAILURES[sqlite3.SQLITE_CORRUPT]}") from error


def check_file(path: Path) -> None:
    """InputError where no library could be opened or made at `path`; makes none."""
    if os.path.exists(path):
        open_file(path, create=True).engine.dispose()
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} {FAILURES[sqlite3.SQLITE_CANTOPEN]}")


def open_file(path: Path, create: bool) -> Database:
    """The library in the file at `path`, migrated to the newest schema.

    Raises NoLibraryError if there is none at `path` and none is to be created.
    """
    # Unlike Path's methods, these raise nothing for a folder that may not be searched.
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder: name a library file with --library")
    if not os.path.exists(path) and not create:
        raise NoLibraryError(
            f"{path} does not exist: name a library with --library, or make one: `headscript synth`"
        )
    database = Database(str(path), _engine(str(path.absolute())), partial(failures, path))
    with failures(path):
        _recognise(path, create)
        migrate(database)
    return database


def open_memory(name: str) -> Database:
    """An empty library in memory, which messages call `name`."""
    engine = _engine(":memory:")
    metadata.create_all(engine)
    return Database(name, engine, partial(failures, name))


def _recognise(path: Path, create: bool) -> None:
    """Checks that the file is a library, or marks an empty one as such.  Changes no other file."""
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        kinds = {kind for (kind,) in connection.execute("SELECT DISTINCT type FROM sqlite_master")}
        if create and not mark and not kinds:
            # Write-ahead logging: killed at any moment, the file stays whole.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        elif mark != APPLICATION_ID or not kinds <= {"table", "index"}:
            # A library has no views or triggers: they would run a stranger's SQL.
            raise InputError(f"{path} {FAILURES[sqlite3.SQLITE_NOTADB]}")


def _engine(database: str) -> Engine:
    in_memory = database == ":memory:"
    engine = create_engine(
        URL.create("sqlite", database=database),
        # What is in memory is gone with its one connection.
        poolclass=StaticPool if in_memory else None,
        # NaN is not JSON.
        json_serializer=partial(json.dumps, allow_nan=False),
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver begins no transaction of its own; `begin` below does.
        connection.isolation_level = None
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
