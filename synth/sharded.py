"""A run of `synth.pipeline` cut into tasks over shards of texts and of heads.

A task captures some texts into a file, or takes some heads one step further.  In this process it
works on the library itself.  Elsewhere it works on a copy in memory, and what is new in the copy is
merged into the one library, by content hash: tasks can be done anywhere and twice, so that nothing
is lost with a worker.
"""

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path

from grammar.canonical import content_hash
from grammar.errors import InputError
from interpreter.capture import Captured, Head, captured
from interpreter.engine import HEADS, TEXTS, Engine, Shard, shards, tracked
from interpreter.stored_patterns import PatternFile, joined, read_patterns, save_patterns
from interpreter.texts import Texts
from synth.job import Job
from synth.library import Library, Run, run_key
from synth.library_records import Record

READ = ("program", "run", "batch", "choice")
"""The kinds of records that a task reads."""

Step = Callable[[Job, Run, Captured, Library], None]
"""Takes the heads of a job, whose patterns on some texts are given, one step further."""

Files = Sequence[PatternFile]
"""All heads' patterns on some texts."""


@dataclass(frozen=True)
class Work:
    """A run, and where it is done."""

    job: Job
    run: Run
    library: Library
    engine: Engine
    folder: Path
    """Of the patterns; they are reused when the run was cut off and goes on."""


def pattern_folder(job: Job, run: Run, library: Library) -> Path:
    """The run's own folder of patterns, made where it is missing; InputError where it cannot be."""
    path = job.folder / run_key(library=str(Path(library.path).absolute()), run=run.key)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be made: {error}; name another folder") from error
    return path


def capture_files(work: Work, name: str, texts: Texts) -> Files:
    """The patterns of the job's heads on the texts, captured where a file is missing."""
    parts = shards(f"{name} texts", texts.documents, TEXTS)
    capture = partial(_captured, work.job, work.folder, name)
    paths = list(tracked(work.engine, capture, parts, f"Attention on {name} texts"))
    return [Shard(p.name, p.start, (path,)) for p, path in zip(parts, paths, strict=True)]


def _captured(job: Job, folder: Path, name: str, shard: Shard[str]) -> Path:
    path = folder / f"{name}-{shard.start:06}.safetensors"
    if not path.exists():
        texts = Texts(shard.name, shard.items)
        found = captured(job.makers.model(), texts, job.settings.heads, job.settings.max_tokens)
        save_patterns(found, path)
    return path


def only_finite(work: Work, files: Mapping[str, Files]) -> Work:
    """The work without the heads that hold NaN on some text, of which no program can tell anything.

    They go from the files too.  InputError where no head is left.
    """
    every = [file for of_part in files.values() for file in of_part]
    found = tracked(work.engine, _finite_heads, every, "Looking for NaN")
    known = reduce(operator.and_, map(set, found))
    settings = work.job.settings
    heads = tuple(head for head in settings.heads if head in known)
    if not heads:
        raise InputError(f"{work.job.shape.name}: the attention of no head is finite")
    if heads == settings.heads:
        return work
    for _ in tracked(work.engine, partial(_narrowed, heads), every, "Leaving heads out"):
        pass
    return replace(work, job=replace(work.job, settings=replace(settings, heads=heads)))


def _finite_heads(file: PatternFile) -> tuple[Head, ...]:
    (path,) = file.items
    return read_patterns(path).finite_heads()


def _narrowed(heads: Sequence[Head], file: PatternFile) -> None:
    (path,) = file.items
    save_patterns(read_patterns(path, heads), path)


def over_heads(work: Work, step: Step, title: str, files: Files) -> None:
    """Does a step for all heads of the job, shard by shard, on the texts of the files."""
    parts = shards("heads", work.job.settings.heads, HEADS)
    if work.engine.in_process:
        here = partial(_stepped, work.job, work.run, step, files, work.library)
        for _ in tracked(work.engine, here, parts, title):
            pass
        return
    sent = [record for record in work.library.records() if record["kind"] in READ]
    there = partial(_stepped_on_copy, work.job, work.run.key, step, files, sent)
    for new in tracked(work.engine, there, parts, title):
        known = {program.program_hash for program in work.library.programs()}
        work.library.add((title, record) for record in _relabelled(new, known))


def _stepped(
    job: Job, run: Run, step: Step, files: Files, library: Library, shard: Shard[Head]
) -> None:
    patterns = joined([read_patterns(path, shard.items) for file in files for path in file.items])
    settings = replace(job.settings, heads=shard.items)
    step(replace(job, settings=settings), run, patterns, library)


def _stepped_on_copy(
    job: Job, key: str, step: Step, files: Files, sent: Sequence[Record], shard: Shard[Head]
) -> list[Record]:
    """What a step adds to a copy of the library."""
    with Library.in_memory(shard.name) as copy:
        copy.add(("sent", record) for record in sent)
        (run,) = (run for run in copy.runs() if run.key == key)
        _stepped(job, run, step, files, copy, shard)
        before = set(map(json.dumps, sent))
        return [record for record in copy.records() if json.dumps(record) not in before]


def _relabelled(new: Sequence[Record], known: set[str]) -> Iterable[Record]:
    """The records, with every proposal a duplicate whose program is known from another shard."""

    def relabelled(proposal: Record) -> Record:
        duplicate = "text" in proposal and content_hash(proposal["text"]) in known
        return proposal | {"status": "duplicate"} if duplicate else proposal

    for record in new:
        if record["kind"] == "batch":
            record = record | {"proposals": [relabelled(p) for p in record["proposals"]]}
        yield record
