"""What determines a run of `synth.pipeline`, and what every task of it knows."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

from interpreter.capture import Head, check_texts
from interpreter.engine import Engine, Shard
from interpreter.models import LoadedModel, ModelShape
from interpreter.texts import Texts
from synth.budget import Limits
from synth.heads import parse_heads
from synth.proposers import FREE, Prices, Proposer, make_proposer
from synth.scoring import known_model


@dataclass(frozen=True)
class Settings:
    """What determines the results of a run, beside model, texts and proposer."""

    heads: tuple[Head, ...]
    budget: int
    """Answers of the language model per head."""
    seed: int
    max_tokens: int
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Makers:
    """How the model and the proposer of a run are made, where a task needs them."""

    model: Callable[[], LoadedModel]
    proposer: Callable[[], Proposer]

    @classmethod
    def named(cls, model: str, proposer: str, prices: Prices = FREE) -> "Makers":
        """Those of these names, each made once in every process."""
        return cls(partial(known_model, model), partial(_known_proposer, proposer, prices))


@cache
def _known_proposer(name: str, prices: Prices) -> Proposer:
    return make_proposer(name, prices)


@dataclass(frozen=True)
class Job:
    """A run that can begin."""

    makers: Makers
    shape: ModelShape
    proposer: str
    """The name that its programs are stored with."""
    settings: Settings
    folder: Path
    """Where the patterns are kept while it goes on; every worker must see it."""


def new_job(
    makers: Makers, heads: str, texts: Texts, settings: Settings, folder: Path, engine: Engine
) -> Job:
    """The job, with `heads` as on the command line, once all is looked at that could be refused.

    InputError where model, proposer or heads cannot be had, or the texts cannot be read.
    """
    whole = Shard(texts.name, 0, texts.documents)
    ((shape, proposer),) = engine.map(partial(_examined, makers, settings.max_tokens), [whole])
    chosen = tuple(parse_heads(heads, shape.layers, shape.heads))
    return Job(makers, shape, proposer, replace(settings, heads=chosen), folder)


def _examined(makers: Makers, max_tokens: int, shard: Shard[str]) -> tuple[ModelShape, str]:
    loaded = makers.model()
    check_texts(loaded, Texts(shard.name, shard.items), max_tokens)
    return loaded.shape, makers.proposer().name
