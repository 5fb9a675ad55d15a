"""From a model and texts to the best program per head: the six steps, in order.

Every step's results are stored as soon as they are there, so that a run that is cut off at any
moment goes on where it was.
"""

from dataclasses import asdict, dataclass, field

from torch import Tensor

from grammar.canonical import content_hash
from grammar.parser import parse_or_raise
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.capture import Captured, Head, capture
from interpreter.evaluate import Evaluator
from interpreter.models import LoadedModel
from interpreter.progress import progress_bar
from interpreter.scores import METRIC_VERSION
from interpreter.texts import Texts
from synth.budget import Limits
from synth.fitting import Fitter, structure
from synth.growing import SCREENED_TEXTS, Grower, pool_of
from synth.library import Library, Proposal, Run, run_key
from synth.prompt import EXAMPLES
from synth.proposers import Proposer
from synth.proposing import Rounds
from synth.ranking import keep_best
from synth.summary import TRIVIAL as TRIVIAL

FITTED = 8
"""Programs per head whose constants are fitted, best on the training texts first."""


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
    run = _start(loaded, texts, proposer, library, settings)
    if run.finished:
        return run
    split = texts.split()
    patterns = {  # 1. capture
        name: capture(loaded, part, settings.heads, settings.max_tokens)
        for name, part in split.items()
    }
    train = Evaluator(patterns["train"].facts())
    propose(run, patterns["train"], train, proposer, library, settings)  # 2. propose, 3. execute
    refine(run, patterns["train"], train, library, settings)  # 4. refine
    keep_best(run, patterns, library)  # 5. keep
    library.finish_run(run)
    return run  # 6. prove it: the scores of `keep_best` are of texts that no step has seen


def _start(
    loaded: LoadedModel, texts: Texts, proposer: Proposer, library: Library, settings: Settings
) -> Run:
    about: dict[str, object] = asdict(settings) | {
        "proposer": proposer.name,
        "layers": loaded.layers,
        "model_heads": loaded.heads,
        "texts": texts.name,
        "documents": len(texts.documents),
    }
    key = run_key(model=loaded.revision, texts=texts.sha256, metric=METRIC_VERSION, settings=about)
    return library.start_run(
        key=key,
        model=loaded.name,
        model_revision=loaded.revision,
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


def refine(
    run: Run, patterns: Captured, evaluator: Evaluator, library: Library, settings: Settings
) -> None:
    """Every program is tried on every head; the best are fitted, the best of those grown.

    The prompt's worked examples are tried too: what a head gains from them is not the model's.
    """
    fitter = Fitter(evaluator)
    library.add_programs(EXAMPLES)
    written = [p.text for p in library.proposals(run) if p.stage in ("trivial", "language model")]
    texts = {*EXAMPLES, *(text for text in written if text is not None)}
    programs = [parse_or_raise(text) for text in sorted(texts)]
    screening = Evaluator(patterns.first(SCREENED_TEXTS).facts())
    grower = Grower(fitter, screening, pool_of(programs))
    with progress_bar() as bar:
        task = bar.add_task("Fitting and growing", total=len(settings.heads))
        for layer, head in settings.heads:
            target = patterns.head((layer, head))
            if not library.batch_done(run, layer, head, "fit", 0):
                best = _best_structures(fitter, programs, target)
                fitted = [_refined(fitter.fit(p, target), p, "fit", settings.seed) for p in best]
                library.record_batch(run, layer, head, "fit", 0, fitted)
            if not library.batch_done(run, layer, head, "grow", 0):
                fits = {p.text for p in library.proposals(run, layer, head, "fit") if p.text}
                start = _ranked(fitter, [parse_or_raise(t) for t in sorted(fits)], target)[0]
                grown = grower.grow(start, target)
                found = [_refined(p, start, "grow", settings.seed) for p in grown]
                library.record_batch(run, layer, head, "grow", 0, found)
            bar.advance(task)


def _ranked(fitter: Fitter, programs: list[Node], target: Tensor) -> list[Node]:
    scores = {program: fitter.score(program, target) for program in programs}
    return sorted(scores, key=lambda p: (-scores[p], to_text(p)))


def _best_structures(fitter: Fitter, programs: list[Node], target: Tensor) -> list[Node]:
    """The best programs that differ in more than the constants, which are fitted anyway."""
    found: dict[Node, Node] = {}
    for program in _ranked(fitter, programs, target):
        found.setdefault(structure(program), program)
    return list(found.values())[:FITTED]


def _refined(node: Node, parent: Node, by: str, seed: int) -> Proposal:
    text = to_text(node)
    return Proposal(
        raw=text, text=text, proposer=by, seed=seed, parents=[content_hash(to_text(parent))]
    )
