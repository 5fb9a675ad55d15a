"""Refines what was proposed, head by head: fits and grows the best few, goes on with the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from grammar.canonical import content_hash
from grammar.parser import parse_or_raise
from grammar.printer import to_text
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter.capture import Captured, Head
from interpreter.engine import Engine
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts, on_first
from interpreter.progress import progress_bar
from interpreter.stored_patterns import PatternFile
from synth import vocabulary
from synth.fitting import Fitter
from synth.growing import STEPS, Grower
from synth.job import Job
from synth.library import Library, Proposal, Run
from synth.prompt import EXAMPLES
from synth.reshaping import Reshaper
from synth.scorer import mean_ious
from synth.structure import structure

START = "score(-1.0 distance(any) + 1.0 first)"
"""A sink and a fade: what most heads have in common, and so what most programs grow from."""

GROWING_TEXTS = 24
"""Training texts on which programs grow; their constants are fitted on all of them at last."""

RANKING_TEXTS = 10
"""The first of those, on which the many ways to reshape a program are ranked."""

TIMES_AGAIN = 2
CUT_BACK = 7
"""Terms that a program keeps when it is grown again: what came first is not what is best."""
WORTH = 0.0005
"""IoU on the growing texts that the programs of another time must add."""

FITTED = 3
"""Programs per head that are fitted and grown: which grows best does not show before."""


@dataclass(frozen=True)
class Tried:
    """What every program that was written for any head is worth to each head."""

    programs: tuple[str, ...]
    best: Mapping[Head, tuple[str, ...]]
    """Of each head the programs that are fitted and grown."""


def try_all(
    run: Run,
    heads: Sequence[Head],
    files: Sequence[PatternFile],
    library: Library,
    engine: Engine,
) -> Tried:
    """Every program is tried on every head, on the growing texts.

    The prompt's worked examples are tried too: what a head gains from them is not the model's.
    """
    library.add_programs((*EXAMPLES, START))
    written = [p.text for p in library.proposals(run) if p.stage in ("trivial", "language model")]
    texts = sorted({*EXAMPLES, START, *(text for text in written if text is not None)})
    programs = [parse_or_raise(text) for text in texts]
    growing = [file for file in files if file.start < GROWING_TEXTS]
    ious = mean_ious(texts, growing, engine, "Trying every program on every head").T.tolist()
    best = {h: best_structures(programs, of_head) for h, of_head in zip(heads, ious, strict=True)}
    return Tried(tuple(texts), best)


def refine(tried: Tried, job: Job, run: Run, patterns: Captured, library: Library) -> None:
    """One program is grown and reshaped for each of the job's heads; `patterns` are on train."""
    missing = [h for h in job.settings.heads if not library.batch_done(run, *h, "grow", 0)]
    with progress_bar() as bar:
        task = bar.add_task("Fitting, growing and reshaping", total=len(missing))
        for head in missing:
            tokens = tuple(map(tuple, patterns.tokens))
            refiner = known_refiner(tokens, patterns.causal, tried.programs)
            found = refiner.refined(tried.best[head], patterns.head(head))
            seed = job.settings.seed
            refined = [_refined(program, parent, seed) for program, parent in found.programs]
            library.record_batch(run, *head, "grow", 0, refined)
            bar.advance(task)


@dataclass(frozen=True)
class Path:
    """How a program came to be of a given one."""

    parent: Node
    fitted: Node
    """The parent with fitted constants."""
    grown: list[Node]
    reshaped: list[Node]
    """The program after each step of growing, then of reshaping."""

    @property
    def programs(self) -> list[Node]:
        """Every step, the first one first."""
        return [self.fitted, *self.grown, *self.reshaped]


@dataclass(frozen=True)
class Refinement:
    """How one head's program came to be."""

    paths: list[Path]
    """From each given program, first from the one that was best once its constants were fitted."""
    best: Path
    """The one that ends in the best program."""
    again: list[Node]
    """That program after each time that it was cut back, grown and reshaped again."""
    last: Node
    """With constants fitted on all texts, and without parts that earn nothing."""

    @property
    def programs(self) -> list[tuple[Node, Node]]:
        """Every program on the way, each with the given one that it came of."""
        on_paths = [(program, path.parent) for path in self.paths for program in path.programs]
        return [*on_paths, *((program, self.best.parent) for program in (*self.again, self.last))]


class Refiner:
    """Refines programs on some training texts; what it holds serves every head."""

    def __init__(
        self, tokens: Sequence[Sequence[Token]], causal: bool, programs: Sequence[str]
    ) -> None:
        """`programs` say what programs may be grown from, beside the vocabulary."""
        growing = tokens[:GROWING_TEXTS]
        self._fitter = Fitter(Evaluator(make_facts(tokens, causal=causal)))
        self.quick = Fitter(Evaluator(make_facts(growing, causal=causal)))
        said = [parse_or_raise(text) for text in programs]
        self._grower = vocabulary_grower(self.quick, growing, said)
        self._reshaper = vocabulary_reshaper(self.quick, growing)

    def refined(self, best: Sequence[str], target: Tensor) -> Refinement:
        """Fits, grows and reshapes each of the programs, and goes on with what became the best.

        `target` is [text, query, key] float32 on all the texts.
        """
        few = on_first(target, self.quick.evaluator.facts)
        starts = [parse_or_raise(text) for text in best]
        fitted = {start: self.quick.fit_constants(start, few, STEPS) for start in starts}
        starts.sort(key=lambda start: -self.quick.score(fitted[start], few))
        paths = [self._path(start, fitted[start], few) for start in starts]
        ended = max(paths, key=lambda path: self.quick.score(path.programs[-1], few))
        again = self._again(ended.programs[-1], few)
        last = [*ended.programs, *again][-1]
        return Refinement(paths, ended, again, self._fitter.fit(last, target))

    def _path(self, parent: Node, fitted: Node, target: Tensor) -> Path:
        grown = self._grower.grow(fitted, target)
        reshaped = self._reshaper.reshape([fitted, *grown][-1], target)
        return Path(parent, fitted, grown, reshaped)

    def _again(self, program: Node, target: Tensor) -> list[Node]:
        """Better programs, each from the one before: cut back, grown and reshaped again."""
        found: list[Node] = []
        best = self.quick.score(program, target)
        while len(found) < TIMES_AGAIN:
            small = self.quick.shrunk(program, target, CUT_BACK)
            grown = [small, *self._grower.grow(small, target)][-1]
            reshaped = [grown, *self._reshaper.reshape(grown, target)][-1]
            score = self.quick.score(reshaped, target)
            if score < best + WORTH:
                break
            program, best = reshaped, score
            found.append(program)
        return found


@lru_cache(maxsize=1)
def known_refiner(
    tokens: tuple[tuple[Token, ...], ...], causal: bool, programs: tuple[str, ...]
) -> Refiner:
    """Made once in each process, for all shards of a run."""
    return Refiner(tokens, causal, programs)


def vocabulary_grower(
    fitter: Fitter, tokens: Sequence[Sequence[Token]], programs: Sequence[Node]
) -> Grower:
    """A grower over the whole vocabulary and all that the programs say, on the fitter's texts."""
    causal = fitter.evaluator.facts.causal
    selections = {
        *vocabulary.selections(tokens, causal=causal),
        *vocabulary.scores(tokens, causal=causal),
        *vocabulary.said(programs, vocabulary.FEW_WAYS),
    }
    return Grower.over(
        fitter,
        sorted(selections, key=to_text),
        vocabulary.logits(tokens, causal=causal),
        vocabulary.guards(),
    )


def vocabulary_reshaper(fitter: Fitter, tokens: Sequence[Sequence[Token]]) -> Reshaper:
    """A reshaper that knows the vocabulary, on the fitter's texts."""
    ranking = make_facts(tokens[:RANKING_TEXTS], causal=fitter.evaluator.facts.causal)
    return Reshaper(fitter, ranking, vocabulary.joinable(tokens), vocabulary.plain_classes())


def best_structures(programs: Sequence[Node], ious: Sequence[float]) -> tuple[str, ...]:
    """The best programs that differ in more than the constants, which are fitted anyway.

    `START` is always among them: before its constants are fitted it does not show what it can.
    """
    found = {structure(start): start for start in [parse_or_raise(START)]}
    ranked = sorted(zip(ious, programs, strict=True), key=lambda pair: (-pair[0], to_text(pair[1])))
    for _, program in ranked:
        found.setdefault(structure(program), program)
    return tuple(map(to_text, list(found.values())[:FITTED]))


def _refined(node: Node, parent: Node, seed: int) -> Proposal:
    text = to_text(node)
    return Proposal(
        raw=text, text=text, proposer="grow", seed=seed, parents=[content_hash(to_text(parent))]
    )
