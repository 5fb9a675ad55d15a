"""A library on a PostgreSQL server, named by its URL; its failures in plain words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError

from grammar.errors import InputError
from synth.library_database import Database, NoLibraryError, migrate

LOCK = 0x48445343
"""The advisory lock that writers take ("HDSC"): one writes at a time, as in a file."""

BUSY_SECONDS = 30
"""How long one writer waits for another."""

FAILURES = {
    None: "cannot be reached: check that the server runs and the URL is right",
    "08": "cannot be reached: check that the server runs and the URL is right",
    "22": "cannot hold a value: an SQLite file may",
    "25": "is read-only: ask its administrator for the right to write",
    "42501": "refuses the user: ask its administrator for the right to use it",
    "42": "lacks what a HeadScript library holds: restore it from a copy",
    "53": "has no room left: ask its administrator; what it holds is safe",
    "55": "is in use by another process: try again when that is done",
    "57": "was shut down: try again when it runs; what it holds is safe",
}
"""By SQLSTATE or its class; None is what the driver says without the server."""


@contextmanager
def failures(name: str) -> Iterator[None]:
    """Turns what the server says into an InputError; mistakes of ours pass through."""
    try:
        yield
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state is None and isinstance(error, DataError):
            state = "22"  # The driver refuses some values without asking the server.
        known = state if state in FAILURES else state and state[:2]
        if known not in FAILURES:
            raise
        said = " ".join(str(error.orig).split())
        raise InputError(f"{name} {FAILURES[known]} ({said!r:.200})") from error


def open_server(text: str, create: bool) -> Database:
    """The library in the database at this URL, migrated to the newest schema.

    Raises InputError if it cannot be reached, and NoLibraryError if it holds none and none is to
    be created.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise InputError("--library: not a URL; write postgresql://user@host/database") from error
    if url.drivername != "postgresql":
        raise InputError(
            f"--library: {url.drivername!r:.40} is no server for a library; "
            "write postgresql://user@host/database"
        )
    name = url.render_as_string(hide_password=True)
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            # NaN is not JSON.
            json_serializer=partial(json.dumps, allow_nan=False),
        )
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name} needs a driver: `pip install -c constraints.txt -e '.[server]'`"
        ) from error
    _take_turns(engine)
    database = Database(name, engine, partial(failures, name))
    with failures(name):
        if not create and not inspect(engine).has_table("alembic_version"):
            raise NoLibraryError(f"{name} holds no library: make one with `headscript synth`")
        migrate(database)
    return database


def _take_turns(engine: Engine) -> None:
    """Writers come one by one, and a reader sees one state of the library."""

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("write"):
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        else:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
