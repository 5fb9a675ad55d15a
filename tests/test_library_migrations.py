"""Libraries of every older version open with all that they hold."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from grammar.canonical import content_hash
from synth.library import Library
from synth.library_database import scripts
from synth.library_file import APPLICATION_ID
from synth.library_merge import checked_copy

VERSIONS = sorted(script.revision for script in scripts().walk_revisions())
TEXT = "3 first + 1 back(1)"
HASH = content_hash(TEXT)
ROWS = (
    f"INSERT INTO programs VALUES ('{HASH}', '{TEXT}', '2026-01-01T00:00:00+00:00')",
    "INSERT INTO runs VALUES (1, 'k', 'small', 'r1', 't1', '{}', '0.1.0', "
    "'2026-01-01T00:00:00+00:00', NULL)",
    "INSERT INTO batches VALUES (1, 5, 4, 'fit', 0)",
    "INSERT INTO proposals (run_id, layer, head, stage, batch, raw, status, program_hash, proposer,"
    f" seed, parents, seconds) VALUES (1, 5, 4, 'fit', 0, '{TEXT}', 'accepted', '{HASH}', 'hand', "
    "3, '[]', 1.5)",
    "INSERT INTO scores (program_hash, model, model_revision, layer, head, texts_sha256, split, "
    "metric_version, documents, iou, iou_per_document, jsd) VALUES "
    f"('{HASH}', 'small', 'r1', 5, 4, 't1', 'test', 1, 2, 0.5, '[0.4, 0.6]', 0.25)",
    f"INSERT INTO choices VALUES ('small', 'r1', 5, 4, 'iou', '{HASH}', 1, 0.7)",
    "INSERT INTO baselines VALUES (1, 5, 4, 'first', 'test', 0.3, '[0.2, 0.4]')",
    f"INSERT INTO examples VALUES ('{HASH}', 'small', 'r1', 5, 4, 'a', '[\"x\"]', x'ff', x'ff')",
)
"""One row of every table, with the columns of the first version."""


def library_of_version(path: Path, version: str) -> None:
    """A library as that version of the schema left it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", "synth:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
        for row in ROWS:
            connection.exec_driver_sql(row)
    engine.dispose()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_library_opens_with_all_that_it_holds(tmp_path: Path, version: str) -> None:
    path = tmp_path / "old.sqlite"
    library_of_version(path, version)
    with Library.open(path) as library:
        (run,) = library.runs()
        (proposal,) = library.proposals(run)
        (score,) = library.scores()
        best = library.best("small", 5, 4)
        (baseline,) = library.baselines()
        (example,) = library.examples(HASH, "small", "r1", 5, 4)
        with library._reading() as connection:
            now = MigrationContext.configure(connection).get_current_revision()
    assert now == scripts().get_current_head() == VERSIONS[-1]
    assert (proposal.text, proposal.seconds, proposal.dollars) == (TEXT, 1.5, 0.0)
    assert (score.iou_per_document, score.jsd, score.jsd_per_document) == ([0.4, 0.6], 0.25, None)
    assert score.damage is None
    assert (best.text, best.score) == (TEXT, score)
    assert (baseline.iou, example.tokens, example.real) == (0.3, ["x"], b"\xff")
    _, found = checked_copy(path)
    assert found.added == dict.fromkeys(found.added, 1)
    assert len(found.added) == 7
