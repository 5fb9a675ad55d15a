"""From a model and texts to the best program per head: the six steps, in order.

Every step's results are stored as soon as they are there, so that a run that is cut off at any
moment goes on where it was.
"""

import shutil
from dataclasses import asdict
from functools import partial

from interpreter.capture import Captured
from interpreter.engine import Engine
from interpreter.scores import METRIC_VERSION
from interpreter.texts import Texts
from synth.job import Job
from synth.library import Library, Run, run_key
from synth.proposing import Rounds
from synth.ranking import keep_best
from synth.refining import refine, try_all
from synth.sharded import Work, capture_files, only_finite, over_heads, pattern_folder


def synthesize(job: Job, texts: Texts, library: Library, engine: Engine) -> Run:
    """Finds the best program for each head and keeps it in the library."""
    run = start_run(job, texts, library)
    if run.finished:
        return run
    work = Work(job, run, library, engine, pattern_folder(job, run, library))
    parts = texts.split()
    files = {name: capture_files(work, name, part) for name, part in parts.items()}  # 1. capture
    work = only_finite(work, files)
    heads = work.job.settings.heads
    over_heads(work, propose, "Programs of heads", files["train"])  # 2. propose, 3. execute
    tried = try_all(run, heads, files["train"], library, engine)
    over_heads(work, partial(refine, tried), "Refining heads", files["train"])  # 4. refine
    keep_best(run, heads, files, library, engine)  # 5. keep
    library.finish_run(run)
    shutil.rmtree(work.folder)
    return run  # 6. prove it: the scores of `keep_best` are of texts that no step has seen


def start_run(job: Job, texts: Texts, library: Library) -> Run:
    """The run that these determine, begun now or before."""
    model = job.shape
    about: dict[str, object] = asdict(job.settings) | {
        "proposer": job.proposer,
        "layers": model.layers,
        "model_heads": model.heads,
        "texts": texts.name,
        "documents": len(texts.documents),
    }
    key = run_key(model=model.revision, texts=texts.sha256, metric=METRIC_VERSION, settings=about)
    return library.start_run(
        key=key,
        model=model.name,
        model_revision=model.revision,
        texts_sha256=texts.sha256,
        settings=about,
    )


def propose(job: Job, run: Run, patterns: Captured, library: Library) -> None:
    """The trivial programs, then the proposer's, batch by batch, for the job's heads."""
    Rounds(run, patterns, job.makers.proposer(), library, job.settings).run()
