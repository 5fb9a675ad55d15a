"""A library as a stream of records: what is exported, imported, merged and verified.

A record is a JSON object for one thing that is written whole.  Its `kind` comes first, its fields
are those of the row (`synth.library_rows`), None left out.  A run is named by its key, as its
number differs between libraries; a batch holds its proposals.
"""

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar, get_args, get_type_hints

from sqlalchemy import Connection, Table, insert, select, update

from grammar.canonical import content_hash
from grammar.errors import InputError
from synth import schema
from synth.library_checks import check
from synth.library_database import AnyRow, Database
from synth.library_rows import (
    Baseline,
    Batch,
    Choice,
    Program,
    Row,
    Run,
    Score,
    StoredExample,
    StoredProposal,
)

Record = dict[str, Any]
Found = TypeVar("Found")

TABLES = {
    "program": schema.programs,
    "run": schema.runs,
    "batch": schema.batches,
    "score": schema.scores,
    "choice": schema.choices,
    "baseline": schema.baselines,
    "example": schema.examples,
}
"""The kinds of records in the order in which they are written: what is named stands above."""

IN_A_RUN = ("batch", "choice", "baseline")
OF_A_PROGRAM = ("score", "choice", "example")
PLACE = ("run_id", "layer", "head", "stage", "batch")


def records(database: Database) -> Iterator[Record]:
    """Everything that one state of the library holds, in an order that only the content decides.

    Raises InputError where a row is not what a library writes, or names what is not there.
    """
    programs = schema.programs
    named = select(programs.c.hash.label("program_hash"), programs.c.text, programs.c.first_seen)
    proposed = select(schema.proposals, programs.c.text).outerjoin(programs)
    chosen = select(schema.choices, programs.c.text).outerjoin(programs)
    with database.reading() as connection:

        def rows(row_type: type[AnyRow], statement: Any, *keys: str) -> list[AnyRow]:
            return sorted(database.read(connection, row_type, statement), key=attrgetter(*keys))

        def there(found: Found | None, what: str) -> Found:
            if found is None:
                raise InputError(f"{database.name} lacks a {what}: restore it from a copy")
            return found

        for program in rows(Program, named, "text"):
            yield {"kind": "program", "program_hash": program.program_hash} | _told(program)
        runs = rows(Run, select(schema.runs), "started", "key")
        keys = {run.id: run.key for run in runs}
        for run in runs:
            yield {"kind": "run"} | _told(run, "id")
        in_order = proposed.order_by(schema.proposals.c.id)
        proposals = {
            place: list(found)
            for place, found in groupby(
                rows(StoredProposal, in_order, *PLACE), key=attrgetter(*PLACE)
            )
        }
        batches = rows(Batch, select(schema.batches), *PLACE)
        for batch in sorted(batches, key=lambda b: keys.get(b.run_id, "")):
            yield {
                "kind": "batch",
                "run": there(keys.get(batch.run_id), "run"),
                **_told(batch, "run_id"),
                "proposals": [
                    _told(proposal, *PLACE)
                    for proposal in proposals.pop(attrgetter(*PLACE)(batch), [])
                ],
            }
        there(None if proposals else proposals, "batch of proposals")
        head = ("model", "model_revision", "layer", "head")
        of_score = (*head, "texts_sha256", "split", "program_hash", "metric_version")
        for score in rows(Score, select(schema.scores), *of_score):
            yield {"kind": "score"} | _told(score)
        for choice in rows(Choice, chosen, *head, "choice"):
            key = there(keys.get(choice.run_id), "run")
            yield {"kind": "choice", **_told(choice, "run_id"), "run": key}
        baselines = rows(Baseline, select(schema.baselines), "layer", "head", "name", "split")
        for baseline in sorted(baselines, key=lambda b: keys.get(b.run_id, "")):
            key = there(keys.get(baseline.run_id), "run")
            yield {"kind": "baseline", "run": key, **_told(baseline, "run_id")}
        of_example = (*head, "program_hash", "document")
        for example in rows(StoredExample, select(schema.examples), *of_example):
            images = {
                "real": b64encode(example.real).decode(),
                "predicted": b64encode(example.predicted).decode(),
            }
            yield {"kind": "example"} | _told(example) | images


def of_choices(everything: Iterable[Record]) -> list[Record]:
    """Of a library's records the choices, their programs, scores and runs, and test baselines.

    Without the proposals that led there and the matrices: small enough for git.
    """
    found = list(everything)
    choices = [record for record in found if record["kind"] == "choice"]
    hashes = {content_hash(choice["text"]) for choice in choices}
    chosen = {(*_head(choice), content_hash(choice["text"])) for choice in choices}
    runs = {choice["run"] for choice in choices}
    wanted: dict[str, Callable[[Record], bool]] = {
        "program": lambda r: r["program_hash"] in hashes,
        "run": lambda r: r["key"] in runs,
        "score": lambda r: (*_head(r), r["program_hash"]) in chosen,
        "choice": lambda r: True,
        "baseline": lambda r: r["run"] in runs and r["split"] == "test",
    }
    return [r for r in found if r["kind"] in wanted and wanted[r["kind"]](r)]


def _head(record: Record) -> tuple[object, ...]:
    return tuple(record[name] for name in ("model", "model_revision", "layer", "head"))


def _told(row: Row, *left_out: str) -> Record:
    told = {field.name: getattr(row, field.name) for field in fields(row)}
    return {name: v for name, v in told.items() if v is not None and name not in left_out}


@dataclass(frozen=True)
class Added:
    """How many records of each kind were new, and how many the library had before."""

    added: dict[str, int]
    kept: dict[str, int]


def add_records(
    database: Database, found: Iterable[tuple[str, Record]], *, checked: bool = True
) -> Added:
    """Writes records, each with the place that errors name, all or none of them.

    What the library has stays: a program, run, batch, score, baseline or example with the same
    key; of two choices for a head, made on the same texts, the one with the higher IoU on the
    select split, and the one that is there otherwise.  `checked` runs `synth.library_checks`.
    Raises InputError for the first record that a library would not have written.
    """
    with database.writing() as connection:
        loader = _Loader(connection, checked)
        for place, record in found:
            try:
                loader.add(dict(record))
            except (ValueError, InputError) as error:
                kind = record.get("kind")
                raise InputError(f"{place}: {kind!r:.40}: {error}") from error
    return Added(dict(loader.added), dict(loader.kept))


class _Loader:
    """Writes records in one transaction; knows the keys of everything that is there."""

    def __init__(self, connection: Connection, checked: bool) -> None:
        self.added: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self._connection = connection
        self._checked = checked
        self._known = {
            kind: {tuple(row) for row in connection.execute(select(*table.primary_key))}
            for kind, table in TABLES.items()
        }
        runs = schema.runs.c
        self._runs: dict[str, tuple[int, str]] = {}
        self._lengths: dict[tuple[str, str], object] = {}
        """Tokens of a document, by model revision and texts; see `synth.lengths`."""
        tokens = runs.settings["max_tokens"].as_integer()
        columns = (runs.key, runs.id, runs.model_revision, runs.texts_sha256, tokens)
        for key, number, revision, texts, length in connection.execute(select(*columns)):
            self._runs[key] = (number, texts)
            if length is not None:
                self._lengths[revision, texts] = length

    def add(self, record: Record) -> None:
        kind = record.pop("kind", None)
        if not isinstance(kind, str) or kind not in TABLES:
            raise ValueError(f"no such kind; one of {', '.join(TABLES)}")
        if kind in IN_A_RUN:
            record["run_id"] = self._run_id(record)
        match kind:
            case "program":
                self._program(record)
            case "run":
                self._run(record)
            case "batch":
                self._batch(record)
            case "choice":
                self._choice(record)
            case "score":
                self._put("score", self._made(Score, record))
            case "baseline":
                self._put("baseline", self._made(Baseline, record))
            case "example":
                images = {name: _decoded(record, name) for name in ("real", "predicted")}
                self._put("example", self._made(StoredExample, record | images))

    def _made(self, row_type: type[AnyRow], values: Record) -> AnyRow:
        hints = get_type_hints(row_type)
        known = {field.name for field in fields(row_type)}
        optional = {name for name in known if type(None) in get_args(hints[name])}
        if unknown := values.keys() - known:
            raise ValueError(f"it has no field {min(unknown)!r:.40}")
        values = dict.fromkeys(optional) | values
        try:
            row = row_type(**values)
        except TypeError as error:
            raise ValueError(f"it lacks {sorted(known - values.keys())}") from error
        if self._checked:
            check(row)
        return row

    def _put(self, kind: str, row: Row) -> None:
        """Inserts a row unless its key is there; ValueError where its program is not."""
        table = TABLES[kind]
        values = {c.name: getattr(row, c.name) for c in table.c if c.name not in ("id", "hash")}
        if kind in OF_A_PROGRAM:
            self._there(values["program_hash"])
        key = tuple(values[column.name] for column in table.primary_key)
        if self._new(kind, key):
            self._connection.execute(insert(table).values(values))

    def _new(self, kind: str, key: tuple[Any, ...]) -> bool:
        new = key not in self._known[kind]
        (self.added if new else self.kept)[kind] += 1
        self._known[kind].add(key)
        return new

    def _there(self, program_hash: str | None) -> None:
        if program_hash is not None and (program_hash,) not in self._known["program"]:
            raise ValueError(f"no program {program_hash!r:.40} stands above it")

    def _run_id(self, record: Record) -> int:
        key = record.pop("run", None)
        if not isinstance(key, str) or key not in self._runs:
            raise ValueError(f"no run {key!r:.80} stands above it")
        return self._runs[key][0]

    def _program(self, record: Record) -> None:
        stated = record.pop("program_hash", None)
        program = self._made(Program, record)
        if stated != program.program_hash:
            raise ValueError(f"program_hash is {stated!r:.40}, not {program.program_hash!r}")
        if self._new("program", (program.program_hash,)):
            values = {"hash": program.program_hash, **_told(program)}
            self._connection.execute(insert(schema.programs).values(values))

    def _run(self, record: Record) -> None:
        run = self._made(Run, {"finished": None, **record, "id": 0})
        if run.key in self._runs:
            self.kept["run"] += 1
            unfinished = update(schema.runs).where(
                schema.runs.c.key == run.key, schema.runs.c.finished.is_(None)
            )
            self._connection.execute(unfinished.values(finished=run.finished))
            return
        tokens = run.settings.get("max_tokens")
        known = self._lengths.get((run.model_revision, run.texts_sha256))
        if tokens and known and tokens != known:
            raise ValueError(
                f"it read documents of {tokens} tokens, another run the same ones of {known}: "
                "a library cannot tell their scores apart"
            )
        self._lengths[run.model_revision, run.texts_sha256] = tokens or known
        done = self._connection.execute(insert(schema.runs).values(_told(run, "id")))
        if done.inserted_primary_key:
            self._runs[run.key] = (int(done.inserted_primary_key[0]), run.texts_sha256)
        self.added["run"] += 1

    def _batch(self, record: Record) -> None:
        proposals = record.pop("proposals", None)
        if not isinstance(proposals, list):
            raise ValueError("proposals is not a list")
        place = _told(self._made(Batch, record))
        rows = []
        for number, proposal in enumerate(proposals, start=1):
            if not isinstance(proposal, dict) or proposal.keys() & place.keys():
                raise ValueError(f"proposal {number} is none")
            try:
                made = self._made(StoredProposal, proposal | place)
                self._there(made.program_hash)
            except ValueError as error:
                raise ValueError(f"proposal {number}: {error}") from error
            row = {field.name: getattr(made, field.name) for field in fields(made)}
            del row["text"]
            rows.append(row | {"program_hash": made.program_hash})
        if self._new("batch", tuple(place.values())):
            self._connection.execute(insert(schema.batches).values(place))
            if rows:
                self._connection.execute(insert(schema.proposals), rows)

    def _choice(self, record: Record) -> None:
        choice = self._made(Choice, record)
        table: Table = schema.choices
        same = [column == getattr(choice, column.name) for column in table.primary_key]
        held = self._connection.execute(
            select(table.c.select_iou, schema.runs.c.texts_sha256)
            .outerjoin(schema.runs)
            .where(*same)
        ).first()
        texts = dict(self._runs.values())[choice.run_id]
        if held and held.texts_sha256 == texts and choice.select_iou > held.select_iou:
            self._there(choice.program_hash)
            better = {name: getattr(choice, name) for name in ("program_hash", "run_id")}
            self._connection.execute(
                update(table).where(*same).values(select_iou=choice.select_iou, **better)
            )
            self.added["choice"] += 1
        else:
            self._put("choice", choice)


def _decoded(record: Record, name: str) -> bytes:
    value = record.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r:.60}, not text in base64")
    return b64decode(value, validate=True)
