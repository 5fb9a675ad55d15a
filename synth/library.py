"""The library of programs: what was proposed, what was kept, how it scored, which head it explains.

A batch of proposals is written in one transaction, so a run that is killed goes on after its last
whole batch.
"""

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from grammar.errors import InputError
from synth import schema
from synth.heads import head_name
from synth.lengths import check_length
from synth.library_jsonl import lines
from synth.library_notebook import BestProgram, library_html
from synth.library_records import Added, Record, add_records, records
from synth.library_rows import (
    Baseline,
    Choice,
    ChosenModel,
    Counts,
    HeadKey,
    Program,
    Proposal,
    Run,
    RunCounts,
    Score,
    Split,
    Status,
    StoredExample,
    StoredProposal,
    Tally,
)
from synth.library_store import Store, exists, where

__all__ = [
    "Baseline",
    "Choice",
    "ChosenModel",
    "Counts",
    "Library",
    "Program",
    "Proposal",
    "Run",
    "RunCounts",
    "Score",
    "StoredExample",
    "StoredProposal",
    "run_key",
]


def run_key(**determining: Any) -> str:
    """The key of a run: SHA-256 (hex) of everything that determines its results, as JSON."""
    return hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _add(connection: Connection, text: str) -> bool:
    """Adds a program unless the library holds it; whether it is new."""
    program = Program(text=text, first_seen=_now())
    if exists(connection, schema.programs, hash=program.program_hash):
        return False
    values = {"hash": program.program_hash, "text": text, "first_seen": program.first_seen}
    connection.execute(insert(schema.programs).values(values))
    return True


class Library(Store):
    """An open library.  A context manager; every method raises InputError for a broken file."""

    # Whole

    def lines(self, *, chosen: bool = False) -> Generator[str, None, None]:
        """The library, or its choices alone, as the lines of an export."""
        return lines(self._database, chosen=chosen)

    def records(self) -> Iterator[Record]:
        """Everything in it; see `synth.library_records`."""
        return records(self._database)

    def add(self, records: Iterable[tuple[str, Record]]) -> Added:
        """Adds records of other libraries, all or none; see `synth.library_records`."""
        return add_records(self._database, records, checked=False)

    # Runs

    def start_run(
        self,
        *,
        key: str,
        model: str,
        model_revision: str,
        texts_sha256: str,
        settings: Mapping[str, Any],
    ) -> Run:
        """The run with this key: the one that was begun before, or else a new one.

        InputError where other runs read the same texts up to another length.
        """
        tokens = settings.get("max_tokens")
        if isinstance(tokens, int):
            same = [run for run in self.runs() if run.model_revision == model_revision]
            check_length(same, settings.get("texts", "these texts"), texts_sha256, tokens)
        with self._writing() as connection:
            if not exists(connection, schema.runs, key=key):
                connection.execute(
                    insert(schema.runs).values(
                        key=key,
                        model=model,
                        model_revision=model_revision,
                        texts_sha256=texts_sha256,
                        settings=dict(settings),
                        headscript_version=version("headscript"),
                        started=_now(),
                    )
                )
        (run,) = self._read(Run, select(schema.runs).where(schema.runs.c.key == key))
        return run

    def finish_run(self, run: Run) -> None:
        """Notes the time at which `run` was first completed."""
        with self._writing() as connection:
            connection.execute(
                update(schema.runs)
                .where(schema.runs.c.id == run.id, schema.runs.c.finished.is_(None))
                .values(finished=_now())
            )

    def runs(self, run_id: int | None = None) -> list[Run]:
        """The runs, oldest first."""
        runs = schema.runs
        return self._read(Run, select(runs).where(*where(runs, id=run_id)).order_by(runs.c.id))

    # Proposals and programs

    def batch_done(self, run: Run, layer: int, head: int, stage: str, batch: int) -> bool:
        """Whether this batch was recorded, here or by another process."""
        place = {"run_id": run.id, "layer": layer, "head": head, "stage": stage, "batch": batch}
        with self._reading() as connection:
            return exists(connection, schema.batches, **place)

    def record_batch(
        self,
        run: Run,
        layer: int,
        head: int,
        stage: str,
        batch: int,
        proposals: Sequence[Proposal],
    ) -> None:
        """Stores a batch whole: its proposals, and the programs that are new among them.

        A batch that was recorded before stays as it is.
        """
        place = {"run_id": run.id, "layer": layer, "head": head, "stage": stage, "batch": batch}
        with self._writing() as connection:
            if exists(connection, schema.batches, **place):
                return
            connection.execute(insert(schema.batches).values(place))
            for proposal in proposals:
                status: Status = "rejected"
                if proposal.text is not None:
                    status = "accepted" if _add(connection, proposal.text) else "duplicate"
                row = asdict(proposal) | place
                row |= {"program_hash": proposal.program_hash, "status": status}
                del row["text"]
                connection.execute(insert(schema.proposals).values(row))

    def proposals(
        self,
        run: Run | None = None,
        layer: int | None = None,
        head: int | None = None,
        stage: str | None = None,
        program_hash: str | None = None,
    ) -> list[StoredProposal]:
        """The proposals that match, in the order in which they were recorded."""
        table = schema.proposals
        wanted = where(
            table,
            run_id=run and run.id,
            layer=layer,
            head=head,
            stage=stage,
            program_hash=program_hash,
        )
        statement = select(table, schema.programs.c.text).outerjoin(schema.programs)
        return self._read(StoredProposal, statement.where(*wanted).order_by(table.c.id))

    def add_programs(self, texts: Iterable[str]) -> int:
        """Adds programs by their canonical texts; the number of those that are new."""
        with self._writing() as connection:
            return sum([_add(connection, text) for text in texts])

    def programs(self, program_hash: str | None = None) -> list[Program]:
        """The programs, ordered by hash.  Their texts are a stranger's: parse before use."""
        table = schema.programs
        columns = select(table.c.hash.label("program_hash"), table.c.text, table.c.first_seen)
        wanted = where(table, hash=program_hash)
        return self._read(Program, columns.where(*wanted).order_by(table.c.hash))

    def counts(self, run: Run) -> RunCounts:
        """What became of the proposals of a run, by head."""
        table = schema.proposals
        keys = (table.c.layer, table.c.head, table.c.status, table.c.code)
        tallies = select(*keys, func.count().label("number")).where(table.c.run_id == run.id)
        heads: dict[HeadKey, Counts] = {}
        for tally in self._read(Tally, tallies.group_by(*keys).order_by(*keys)):
            place = (tally.layer, tally.head)
            heads[place] = heads.get(place, Counts()) + tally.counts
        return RunCounts(heads=heads)

    # Scores, choices, baselines

    def record_scores(self, scores: Iterable[Score]) -> None:
        """Stores scores of programs that the library holds; the same key again replaces."""
        self._replace(schema.scores, scores)

    def scores(
        self,
        *,
        program_hash: str | None = None,
        model: str | None = None,
        model_revision: str | None = None,
        layer: int | None = None,
        head: int | None = None,
        texts_sha256: str | None = None,
        split: Split | None = None,
        metric_version: int | None = None,
    ) -> list[Score]:
        """The scores that match, ordered by their key."""
        wanted = where(
            schema.scores,
            program_hash=program_hash,
            model=model,
            model_revision=model_revision,
            layer=layer,
            head=head,
            texts_sha256=texts_sha256,
            split=split,
            metric_version=metric_version,
        )
        statement = select(schema.scores).where(*wanted).order_by(*schema.scores.primary_key)
        return self._read(Score, statement)

    def set_choice(self, choice: Choice) -> None:
        """Makes a program that the library holds the choice for a head, in place of another."""
        self._replace(schema.choices, [choice])

    def choices(
        self,
        model: str | None = None,
        choice: str | None = "iou",
        layer: int | None = None,
        head: int | None = None,
        program_hash: str | None = None,
    ) -> list[Choice]:
        """The choices that match, ordered by model, layer and head; `choice=None` is every kind.

        Their texts are a stranger's: parse before use.
        """
        table = schema.choices
        wanted = where(
            table, model=model, choice=choice, layer=layer, head=head, program_hash=program_hash
        )
        statement = select(table, schema.programs.c.text).outerjoin(schema.programs)
        return self._read(Choice, statement.where(*wanted).order_by(*table.primary_key))

    def models(self) -> list[ChosenModel]:
        """The models that the library has choices for."""
        columns = (schema.choices.c.model, schema.choices.c.model_revision)
        heads = select(*columns, schema.choices.c.layer, schema.choices.c.head).distinct()
        chosen = heads.subquery()
        keys = (chosen.c.model, chosen.c.model_revision)
        statement = select(*keys, func.count().label("heads")).group_by(*keys).order_by(*keys)
        return self._read(ChosenModel, statement)

    def best(self, model: str, layer: int, head: int, choice: str = "iou") -> BestProgram:
        """The program that stands for a head; it shows itself in a notebook.

        Raises InputError where the library has none.
        """
        found = self.choices(model, choice, layer, head)
        if not found:
            raise InputError(
                f"{self.path} has no choice {choice!r:.40} for {head_name(layer, head)} of {model}"
            )
        chosen = found[-1]
        scores = self.scores(
            program_hash=chosen.program_hash, model=model, layer=layer, head=head, split="test"
        )
        return BestProgram(chosen, scores[-1] if scores else None)

    def _repr_html_(self) -> str:
        return library_html(self.path, self.models())

    def record_baselines(self, baselines: Iterable[Baseline]) -> None:
        """Stores baselines; the same run, head, name and split again replaces."""
        self._replace(schema.baselines, baselines)

    def baselines(
        self, run_id: int | None = None, layer: int | None = None, head: int | None = None
    ) -> list[Baseline]:
        """The baselines that match, ordered by run, head, name and split."""
        table = schema.baselines
        wanted = where(table, run_id=run_id, layer=layer, head=head)
        statement = select(table).where(*wanted).order_by(*table.primary_key)
        return self._read(Baseline, statement)

    def record_examples(self, examples: Iterable[StoredExample]) -> None:
        """Stores patterns to look at, of programs that the library holds."""
        self._replace(schema.examples, examples)

    def examples(
        self, program_hash: str, model: str, model_revision: str, layer: int, head: int
    ) -> list[StoredExample]:
        """The stored patterns of a program and a head, ordered by document."""
        table = schema.examples
        wanted = where(
            table,
            program_hash=program_hash,
            model=model,
            model_revision=model_revision,
            layer=layer,
            head=head,
        )
        statement = select(table).where(*wanted).order_by(*table.primary_key)
        return self._read(StoredExample, statement)
