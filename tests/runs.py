"""Runs on a tiny random model, as `headscript synth` does them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from interpreter.engine import Engine, InProcess
from interpreter.texts import Texts
from synth.heads import head_name
from synth.job import Job, Makers, Settings, new_job
from synth.library import Library, Run
from synth.pipeline import synthesize
from synth.proposers import Proposer
from tests.tiny_models import tiny


def tiny_job(
    proposer: Callable[[], Proposer], texts: Texts, settings: Settings, folder: Path, engine: Engine
) -> Job:
    makers = Makers(partial(tiny, "llama"), proposer)
    heads = ",".join(head_name(*head) for head in settings.heads)
    return new_job(makers, heads, texts, settings, folder, engine)


def tiny_run(
    proposer: Proposer, texts: Texts, library: Library, settings: Settings, folder: Path
) -> Run:
    """In this process; patterns are kept in the folder meanwhile."""
    engine = InProcess()
    job = tiny_job(lambda: proposer, texts, settings, folder, engine)
    return synthesize(job, texts, library, engine)
