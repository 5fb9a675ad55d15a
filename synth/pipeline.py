"""From a model and texts to the best program per head: the six steps, in order.

Every step's results are stored as soon as they are there, so that a run that is cut off at any
moment goes on where it was.
"""

from dataclasses import asdict, dataclass

from torch import Tensor

from grammar.canonical import canonical_text, content_hash
from grammar.parser import parse_or_raise
from grammar.printer import to_text
from grammar.rejection import Rejection, located
from grammar.tree import Node
from interpreter.capture import Captured, Head, capture
from interpreter.evaluate import Evaluator
from interpreter.models import LoadedModel
from interpreter.progress import progress_bar
from interpreter.scores import METRIC_VERSION
from interpreter.texts import Texts
from synth.fitting import Fitter
from synth.growing import SCREENED_TEXTS, Grower, pool_of
from synth.library import Library, Proposal, Run, run_key
from synth.prompt import EXAMPLES, PromptWriter
from synth.proposers import Draft, Proposer
from synth.ranking import keep_best
from synth.structure import structure

TRIVIAL = ("first", "any", "back(1)", "self")
"""The programs that need no synthesis: first token, uniform, previous, self."""

FITTED = 8
"""Programs per head whose constants are fitted, best on the training texts first."""

BATCH = 8
"""Answers of the language model that are asked for, and stored, at a time."""


@dataclass(frozen=True)
class Settings:
    """What determines the results of a run, beside model, texts and proposer."""

    heads: tuple[Head, ...]
    budget: int
    """Answers of the language model per head."""
    seed: int
    max_tokens: int


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
    """The trivial programs, then the language model's, batch by batch, for every head."""
    writer = PromptWriter(evaluator, patterns.tokens)
    batches = -(-settings.budget // BATCH)
    with progress_bar() as bar:
        task = bar.add_task(
            f"Programs by {proposer.name[:40]}", total=len(settings.heads) * batches
        )
        for layer, head in settings.heads:
            if not library.batch_done(run, layer, head, "trivial", 0):
                trivial = [
                    Proposal(raw=text, text=text, proposer="trivial", seed=settings.seed)
                    for text in TRIVIAL
                ]
                library.record_batch(run, layer, head, "trivial", 0, trivial)
            prompt = writer.prompt(patterns.head((layer, head)))
            for batch in range(batches):
                if not library.batch_done(run, layer, head, "language model", batch):
                    seed = _seed(settings.seed, layer, head, batch)
                    count = min(BATCH, settings.budget - batch * BATCH)
                    drafts = proposer.propose(prompt, count, seed)
                    proposals = [_proposal(d, proposer.name, prompt.sha256, seed) for d in drafts]
                    library.record_batch(run, layer, head, "language model", batch, proposals)
                bar.advance(task)


def _seed(seed: int, layer: int, head: int, batch: int) -> int:
    """A seed of its own for each batch, so that a resumed run writes what it would have written."""
    return ((seed * 1_000 + layer) * 1_000 + head) * 1_000 + batch


def _proposal(draft: Draft, proposer: str, prompt_sha256: str, seed: int) -> Proposal:
    text = canonical_text(draft.text)
    if not draft.finished:
        text = located("incomplete", "cut off at the length limit", draft.text, len(draft.text))
    rejected = text if isinstance(text, Rejection) else None
    return Proposal(
        raw=draft.text,
        text=None if isinstance(text, Rejection) else text,
        code=rejected.code if rejected else None,
        message=rejected.message if rejected else None,
        line=rejected.line if rejected else None,
        column=rejected.column if rejected else None,
        proposer=proposer,
        prompt_sha256=prompt_sha256,
        seed=seed,
        tokens=draft.tokens,
        seconds=draft.seconds,
    )


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
