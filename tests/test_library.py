"""The library: what goes in comes out; killed writers and crafted files do no harm."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from grammar.canonical import content_hash
from grammar.errors import InputError
from synth import schema
from synth.library import ChosenModel, Counts, Library
from synth.library_merge import merge
from tests.library_samples import (
    LARGE,
    REJECTED,
    SMALL,
    baseline,
    chosen,
    score,
    small_library,
    start,
    written,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    small_library(tmp_path / "l.sqlite")
    return tmp_path / "l.sqlite"


def read_all(library: Library) -> None:
    for run in library.runs():
        library.counts(run)
    library.programs(), library.proposals(), library.scores()
    library.choices(), library.models(), library.baselines()


def change(path: Path, *statements: str) -> None:
    """What a stranger may do to the file."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# What goes in comes out


def test_round_trip(path: Path) -> None:
    with Library.open(path) as library:
        (run,) = library.runs()
        first, second, third = library.proposals(run, 5, 4, "fit")
        assert (first.text, first.status, first.parents) == (
            SMALL,
            "accepted",
            [content_hash("self")],
        )
        assert (second.program_hash, second.batch) == (content_hash(LARGE), 0)
        assert (third.text, third.status, third.code, third.column) == (
            None,
            "rejected",
            "syntax",
            2,
        )
        assert [p.text for p in library.programs(content_hash(LARGE))] == [LARGE]
        assert library.scores(split="test", layer=5) == [score()]
        assert library.scores(split="train") == []
        assert library.choices("small") == [chosen(run, SMALL, head=3), chosen(run)]
        assert library.choices("small", "output_error") == []
        assert library.models() == [ChosenModel(model="small", model_revision="r1", heads=2)]
        assert library.baselines(run.id, 5, 4) == [baseline(run)]


def test_later_rows_replace_those_with_the_same_key(path: Path) -> None:
    with Library.open(path) as library:
        (run,) = library.runs()
        library.record_scores([score(iou=0.6), replace(score(iou=0.1), metric_version=2)])
        library.set_choice(chosen(run, SMALL))
        assert [s.iou for s in library.scores()] == [0.6, 0.1]
        assert [c.text for c in library.choices()] == [SMALL, SMALL]


def test_the_same_texts_of_another_length_are_refused(tmp_path: Path) -> None:
    about = {"model": "small", "model_revision": "r1", "texts_sha256": "t1"}
    place, other = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    for path, key, tokens in ((place, "one", 96), (other, "two", 64)):
        with Library.open(path, create=True) as library:
            library.start_run(key=key, settings={"max_tokens": tokens}, **about)
    with Library.open(place) as library:
        with pytest.raises(InputError, match=r"--max-tokens 64: .* of 96 tokens; give that, or"):
            library.start_run(key="two", settings={"max_tokens": 64, "texts": "t"}, **about)
        library.start_run(key="three", settings={"max_tokens": 96}, **about)
        library.start_run(
            key="four", settings={"max_tokens": 64}, **(about | {"texts_sha256": "t2"})
        )
    with pytest.raises(InputError, match="documents of 64 tokens, another run the same ones of 96"):
        merge(place, [other])


def test_a_program_that_the_library_holds_is_a_duplicate(path: Path) -> None:
    with Library.open(path) as library:
        run = start(library, seed=1)
        library.record_batch(
            run, 0, 0, "fit", 0, [written(SMALL), written("self"), written("self"), REJECTED]
        )
        library.record_batch(run, 0, 1, "fit", 0, [REJECTED])
        assert library.add_programs(["self", "back(1)"]) == 1
        counts = library.counts(run)
        assert counts.heads[0, 0] == Counts(
            accepted=1, duplicates=2, rejected=1, codes={"syntax": 1}
        )
        assert counts.total.codes == {"syntax": 2}
        assert counts.total.proposed == 5


def test_a_known_key_resumes_its_run(path: Path) -> None:
    with Library.open(path) as library:
        run = start(library)
        assert library.batch_done(run, 5, 4, "fit", 0)
        assert not library.batch_done(run, 5, 4, "fit", 1)
        assert not library.batch_done(start(library, seed=1), 5, 4, "fit", 0)
        library.record_batch(run, 5, 4, "fit", 0, [written("self")])
        assert len(library.proposals(run)) == 3, "a batch stays as it was first recorded"
        library.finish_run(run)
        finished = start(library)
        assert (finished.id, finished.finished is None) == (run.id, False)


def test_values_of_wrong_types_are_refused() -> None:
    for wrong in (float("nan"), "0.5", True, None):
        with pytest.raises(ValueError, match="iou is"):
            replace(score(), iou=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a text, or a code"):
        replace(REJECTED, code=None)


# Killed, and two at once

WRITER = """
import sys
from synth.library import Library
from tests.library_samples import REJECTED, start, written
layer = int(sys.argv[2])
with Library.open(sys.argv[1], create=True) as library:
    run = start(library)
    for batch in range(int(sys.argv[3])):
        proposals = [written(f"back({batch % 99 + 1})"), written("first"), *[REJECTED] * 20]
        library.record_batch(run, layer, 0, "fit", batch, proposals)
        print(batch, flush=True)
"""


def writer(path: Path, layer: int, batches: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(layer), str(batches)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("last", [0, 7, 20])
def test_a_killed_writer_leaves_whole_batches(tmp_path: Path, last: int) -> None:
    path = tmp_path / "l.sqlite"
    with writer(path, 0, 100_000) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == last:
                process.send_signal(signal.SIGKILL)
                break
    with Library.open(path) as library:
        run = start(library)
        stored = library.proposals(run)
        batches = max(p.batch for p in stored) + 1
        assert batches > last
        assert [p.batch for p in stored] == [b for b in range(batches) for _ in range(22)]
        assert library.batch_done(run, 0, 0, "fit", batches - 1)
        assert not library.batch_done(run, 0, 0, "fit", batches)
        library.record_batch(run, 0, 0, "fit", batches, [REJECTED])


def test_two_writers(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with writer(path, 0, 40) as one, writer(path, 1, 40) as two:
        one.communicate(), two.communicate()
    assert (one.returncode, two.returncode) == (0, 0)
    with Library.open(path) as library:
        (run,) = library.runs()
        total = library.counts(run).total
    assert (total.accepted, total.duplicates, total.rejected) == (41, 119, 1600)


# Files that are no library, and files that were changed


def test_migrations_lead_to_the_schema(path: Path) -> None:
    with create_engine(f"sqlite:///{path}").connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []


def refused(path: Path, create: bool = False) -> str:
    """The message with which opening and reading the file fails."""
    with pytest.raises(InputError) as caught, Library.open(path, create) as library:
        read_all(library)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_files_that_are_no_library(tmp_path: Path) -> None:
    missing, text, other = (tmp_path / name for name in ("missing", "text", "other"))
    text.write_text("a story\n" * 200)
    change(other, "CREATE TABLE notes (note)")
    before = other.read_bytes()
    assert "is a folder" in refused(tmp_path)
    assert "does not exist" in refused(missing)
    assert not missing.exists()
    assert "cannot be opened" in refused(missing / "l.sqlite", create=True)
    for create in (False, True):
        assert "is not a HeadScript library" in refused(text, create)
        assert "is not a HeadScript library" in refused(other, create)
    assert other.read_bytes() == before
    missing.touch()
    assert "is not a HeadScript library" in refused(missing)
    Library.open(missing, create=True).close()


@pytest.mark.parametrize("size", [50, 4096, 40_000])
def test_a_file_that_was_cut_off(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    assert refused(path)


def test_a_newer_library(path: Path) -> None:
    change(path, "UPDATE alembic_version SET version_num = '9999'")
    assert "newer HeadScript" in refused(path)


@contextmanager
def without_privileges() -> Iterator[None]:
    """As another user where we are root, who may write everywhere."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_read_only_library(path: Path) -> None:
    for folder in (path.parent, *path.parent.parents[:2]):
        folder.chmod(0o755)
    path.parent.chmod(0o777)
    path.chmod(0o444)
    with without_privileges(), Library.open(path) as library:
        read_all(library)
        with pytest.raises(InputError, match="is read-only"):
            library.add_programs(["self"])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE programs SET text = 'self'",
        "UPDATE programs SET text = x'00ff'",
        "UPDATE programs SET text = CAST(x'0a1bff' AS TEXT)",
        "UPDATE programs SET text = hex(zeroblob(10000))",
        "UPDATE programs SET text = hex(zeroblob(10000000))",
        "DELETE FROM programs",
        "UPDATE choices SET layer = 'five'",
        "UPDATE choices SET model = 7.5 || x'ff'",
        "UPDATE scores SET iou = 'high'",
        "UPDATE scores SET iou = 9e999",
        "UPDATE scores SET split = 'all'",
        "UPDATE scores SET iou_per_document = '[0.5'",
        "UPDATE scores SET iou_per_document = '[\"x\"]'",
        "UPDATE scores SET iou_per_document = '[1' || hex(zeroblob(200)) || ']'",
        "UPDATE scores SET iou_per_document = replace(hex(zeroblob(99999)), '0', '[')",
        "UPDATE proposals SET seconds = NULL",
        "UPDATE proposals SET status = 'accepted'",
        "UPDATE proposals SET parents = '{}'",
        "UPDATE runs SET settings = '1'",
        "DROP TABLE scores",
        "ALTER TABLE scores RENAME jsd TO other",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM programs; END",
    ],
)
def test_crafted_files(path: Path, statement: str) -> None:
    change(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '')",
    )
    change(path, statement)
    refused(path)
