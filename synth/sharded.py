"""The six steps of `synth.pipeline` as tasks over shards of texts and of heads.

A task captures some texts into a file, or takes some heads one step further on a copy of the
library in memory; what is new in the copy is merged into the one library, by content hash.  Tasks
can be done anywhere and twice, so that nothing is lost with a worker.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from grammar.canonical import content_hash
from interpreter.capture import Captured, Head, captured, check_texts
from interpreter.engine import HEADS, TEXTS, Engine, Shard, shards
from interpreter.evaluate import Evaluator
from interpreter.fetch import cache_folder
from interpreter.models import LoadedModel, ModelShape
from interpreter.progress import progress_bar
from interpreter.stored_patterns import joined, read_patterns, save_patterns
from interpreter.texts import Texts
from synth.heads import parse_heads
from synth.library import Library, Run
from synth.library_records import Record
from synth.pipeline import Settings, propose, start_run
from synth.prompt import EXAMPLES
from synth.proposers import Proposer, make_proposer
from synth.ranking import keep_best
from synth.refining import START, refine
from synth.scoring import known_model

READ = ("program", "run", "batch", "choice")
"""The kinds of records that a task reads."""


@dataclass(frozen=True)
class Job:
    """What every task knows.  `model` and `proposer` are made where they are needed."""

    model: Callable[[], LoadedModel]
    proposer: Callable[[], Proposer]
    settings: Settings
    folder: Path
    """Where the patterns are kept; every worker must see it."""

    @classmethod
    def named(cls, model: str, proposer: str, settings: Settings, folder: Path | None) -> "Job":
        """With the model and the proposer of these names, each made once in every process."""
        return cls(
            partial(known_model, model),
            partial(_known_proposer, proposer),
            settings,
            folder or cache_folder() / "patterns",
        )


Step = Callable[[Job, Run, dict[str, Captured], Library], None]


@cache
def _known_proposer(name: str) -> Proposer:
    return make_proposer(name)


def synthesize_sharded(job: Job, heads: str, texts: Texts, library: Library, engine: Engine) -> Run:
    """As `synth.pipeline.synthesize`, and with the same results; `heads` as on the command line."""
    split = texts.split()
    ((shape, proposer),) = engine.map(
        partial(_examined, job), [Shard(texts.name, 0, texts.documents)]
    )
    chosen = tuple(parse_heads(heads, shape.layers, shape.heads))
    job = replace(job, settings=replace(job.settings, heads=chosen))
    run = start_run(shape, texts, proposer, library, job.settings)
    if run.finished:
        return run
    folder = job.folder / run.key
    folder.mkdir(parents=True, exist_ok=True)
    job = replace(job, folder=folder)
    files = {name: _capture(job, name, part, engine) for name, part in split.items()}  # 1. capture
    train = {"train": files["train"]}
    _step(job, run, _propose, "Programs of heads", train, library, engine)  # 2. propose, 3. execute
    library.add_programs((*EXAMPLES, START))
    _step(job, run, _refine, "Fitting, growing and reshaping", train, library, engine)  # 4. refine
    _step(job, run, _keep, "Ranking", files, library, engine)  # 5. keep
    library.finish_run(run)
    shutil.rmtree(folder)
    return run


def _examined(job: Job, shard: Shard[str]) -> tuple[ModelShape, str]:
    """The model, and the name of the proposer; InputError where the texts cannot be read."""
    loaded = job.model()
    check_texts(loaded, Texts(shard.name, shard.items), job.settings.max_tokens)
    return loaded.shape, job.proposer().name


def _capture(job: Job, name: str, texts: Texts, engine: Engine) -> list[Path]:
    parts = shards(f"{name} texts", texts.documents, TEXTS)
    with progress_bar() as bar:
        done = engine.map(partial(_captured, job, name), parts)
        return list(bar.track(done, len(parts), description=f"Attention on {name} texts"))


def _captured(job: Job, name: str, shard: Shard[str]) -> Path:
    path = job.folder / f"{name}-{shard.start:06}.safetensors"
    if not path.exists():
        texts = Texts(shard.name, shard.items)
        found = captured(job.model(), texts, job.settings.heads, job.settings.max_tokens)
        save_patterns(found, path)
    return path


def _step(
    job: Job,
    run: Run,
    step: Step,
    title: str,
    files: Mapping[str, Sequence[Path]],
    library: Library,
    engine: Engine,
) -> None:
    sent = [record for record in library.records() if record["kind"] in READ]
    parts = shards("heads", job.settings.heads, HEADS)
    with progress_bar() as bar:
        done = engine.map(partial(_stepped, job, run.key, step, files, sent), parts)
        for new in bar.track(done, len(parts), description=title):
            known = {program.program_hash for program in library.programs()}
            library.add((title, record) for record in _relabelled(new, known))


def _stepped(
    job: Job,
    key: str,
    step: Step,
    files: Mapping[str, Sequence[Path]],
    sent: Sequence[Record],
    shard: Shard[Head],
) -> list[Record]:
    """What a step adds to a copy of the library for some heads."""
    patterns = {
        name: joined([read_patterns(path, shard.items) for path in paths])
        for name, paths in files.items()
    }
    settings = replace(job.settings, heads=shard.items)
    with Library.in_memory(shard.name) as copy:
        copy.add(("sent", record) for record in sent)
        (run,) = (run for run in copy.runs() if run.key == key)
        step(replace(job, settings=settings), run, patterns, copy)
        before = set(map(json.dumps, sent))
        return [record for record in copy.records() if json.dumps(record) not in before]


def _propose(job: Job, run: Run, patterns: dict[str, Captured], library: Library) -> None:
    train = patterns["train"]
    propose(run, train, Evaluator(train.facts()), job.proposer(), library, job.settings)


def _refine(job: Job, run: Run, patterns: dict[str, Captured], library: Library) -> None:
    refine(run, patterns["train"], library, job.settings.seed)


def _keep(job: Job, run: Run, patterns: dict[str, Captured], library: Library) -> None:
    keep_best(run, patterns, library)


def _relabelled(new: Sequence[Record], known: set[str]) -> Iterable[Record]:
    """The records, with every proposal a duplicate whose program is known from another shard."""

    def relabelled(proposal: Record) -> Record:
        duplicate = "text" in proposal and content_hash(proposal["text"]) in known
        return proposal | {"status": "duplicate"} if duplicate else proposal

    for record in new:
        if record["kind"] == "batch":
            record = record | {"proposals": [relabelled(p) for p in record["proposals"]]}
        yield record
