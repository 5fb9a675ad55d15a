"""From a model and texts to the best program per head: the six steps, in order.

Every step's results are stored as soon as they are there, so that a run that is cut off at any
moment goes on where it was.
"""

from dataclasses import asdict, dataclass, field

from interpreter.capture import Captured, Head, capture
from interpreter.evaluate import Evaluator
from interpreter.models import LoadedModel, ModelShape
from interpreter.scores import METRIC_VERSION
from interpreter.texts import Texts
from synth.budget import Limits
from synth.library import Library, Run, run_key
from synth.proposers import Proposer
from synth.proposing import Rounds
from synth.ranking import keep_best
from synth.refining import refine
from synth.summary import TRIVIAL as TRIVIAL


@dataclass(frozen=True)
class Settings:
    """What determines the results of a run, beside model, texts and proposer."""

    heads: tuple[Head, ...]
    budget: int
    """Answers of the language model per head."""
    seed: int
    max_tokens: int
    limits: Limits = field(default_factory=Limits)


def synthesize(
    loaded: LoadedModel, texts: Texts, proposer: Proposer, library: Library, settings: Settings
) -> Run:
    """Finds the best program for each head and keeps it in the library."""
    run = start_run(loaded.shape, texts, proposer.name, library, settings)
    if run.finished:
        return run
    split = texts.split()
    patterns = {  # 1. capture
        name: capture(loaded, part, settings.heads, settings.max_tokens)
        for name, part in split.items()
    }
    train = Evaluator(patterns["train"].facts())
    propose(run, patterns["train"], train, proposer, library, settings)  # 2. propose, 3. execute
    refine(run, patterns["train"], library, settings.seed)  # 4. refine
    keep_best(run, patterns, library)  # 5. keep
    library.finish_run(run)
    return run  # 6. prove it: the scores of `keep_best` are of texts that no step has seen


def start_run(
    model: ModelShape, texts: Texts, proposer: str, library: Library, settings: Settings
) -> Run:
    """The run that these determine, begun now or before."""
    about: dict[str, object] = asdict(settings) | {
        "proposer": proposer,
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


def propose(
    run: Run,
    patterns: Captured,
    evaluator: Evaluator,
    proposer: Proposer,
    library: Library,
    settings: Settings,
) -> None:
    """The trivial programs, then the proposer's, batch by batch, for every head."""
    Rounds(run, patterns, evaluator, proposer, library, settings).run()
