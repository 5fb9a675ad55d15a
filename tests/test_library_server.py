"""A library on a real PostgreSQL server, which the test starts; by name: pytest -m slow.

It needs Debian's package postgresql.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from grammar.errors import InputError
from synth.library import Counts, Library
from synth.library_merge import checked_copy, merge
from tests.library_samples import (
    REJECTED,
    SMALL,
    baseline,
    chosen,
    example,
    full_library,
    score,
    start,
    written,
)
from tests.test_library import WRITER

pytestmark = pytest.mark.slow


def programs() -> Path | None:
    """The folder of the server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of our own on a socket in a folder; its URL without a database."""
    folder = programs()
    if folder is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    home = tmp_path_factory.mktemp("pg")
    for place in (home, *home.parents[:2]):
        place.chmod(0o755)
    data = home / "data"
    data.mkdir()
    if user:
        shutil.chown(home, user)
        shutil.chown(data, user)

    def call(*arguments: str) -> None:
        subprocess.run(arguments, check=True, user=user, cwd=home, stdout=subprocess.DEVNULL)

    call(str(folder / "initdb"), "-D", str(data), "-U", "test", "--auth=trust", "-E", "UTF8")
    options = f"-c listen_addresses='' -k {home} -F"
    control = (str(folder / "pg_ctl"), "-D", str(data), "-w")
    call(*control, "-l", str(home / "log"), "-o", options, "start")
    try:
        yield f"postgresql://test@/{{}}?host={home}"
    finally:
        call(*control, "-m", "immediate", "stop")


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """An empty database."""
    name = f"d{abs(hash(request.node.name))}"
    engine = create_engine(
        server.format("postgres").replace("postgresql:", "postgresql+psycopg:"),
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.format(name)


def fill(place: str | Path) -> None:
    with Library.open(place, create=True) as library:
        run = start(library)
        library.record_batch(run, 5, 4, "fit", 0, [written(SMALL), written("self"), REJECTED])
        library.record_scores([score(SMALL), score(SMALL, iou=0.5)])
        library.set_choice(chosen(run, "self"))
        library.set_choice(chosen(run, SMALL))
        library.record_baselines([baseline(run)])
        library.record_examples([example(SMALL)])
        library.finish_run(run)


def test_it_holds_what_a_file_holds(url: str, tmp_path: Path) -> None:
    fill(url)
    full_library(tmp_path / "l.sqlite")
    merge(url, [tmp_path / "l.sqlite"])
    merge(tmp_path / "back.sqlite", [url], create=True)
    with Library.open(url) as there, Library.open(tmp_path / "back.sqlite") as here:
        assert list(there.lines()) == list(here.lines())
        assert there.choices(None, None) == here.choices(None, None)
        assert there.models() == here.models()
        assert there.path.startswith("postgresql://")
    assert checked_copy(url)[1].added["program"] == 3


def test_two_writers(url: str) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(layer), "20"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
            cwd=Path(__file__).parents[1],
            stdout=subprocess.DEVNULL,
        )
        for layer in (0, 1)
    ]
    assert [process.wait() for process in writers] == [0, 0]
    with Library.open(url) as library:
        (run,) = library.runs()
        total = library.counts(run).total
    assert (total.accepted, total.duplicates, total.rejected) == (21, 59, 800)


def test_a_killed_writer_leaves_whole_batches(url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url, "0", "100000"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 5:
                process.kill()
                break
    with Library.open(url) as library:
        total = library.counts(start(library)).total
        assert total.proposed % 22 == 0
        assert total.proposed >= 6 * 22


def test_what_is_wrong_is_told(url: str, server: str) -> None:
    with pytest.raises(InputError, match="holds no library"):
        Library.open(url)
    with pytest.raises(InputError, match='"none" does not exist'):
        Library.open(server.format("none"))
    with pytest.raises(InputError, match="cannot be reached"):
        Library.open("postgresql://test:secret@/x?host=/nowhere", create=True)
    fill(url)
    with Library.open(url) as library:
        run = start(library)
        with pytest.raises(InputError, match="cannot hold a value"):
            library.set_choice(replace(chosen(run), model="a\0b"))
        assert len(library.choices(choice=None)) == 1
        assert library.counts(run).total == Counts(accepted=2, rejected=1, codes={"syntax": 1})


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("mysql://x/y", "is no server for a library"),
        ("postgresql+asyncpg://x/y", "is no server for a library"),
        ("sqlite:///x.sqlite", "is no server for a library"),
        ("://", "not a URL"),
    ],
)
def test_other_urls(place: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Library.open(place, create=True)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(InputError) as caught:
        Library.open("postgresql://test:secret@127.0.0.1:1/x", create=True)
    assert "secret" not in str(caught.value)
    assert "cannot be reached" in str(caught.value)
