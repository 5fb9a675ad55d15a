"""Refines what was proposed, head by head: fit the best, grow the best of those, reshape, fit."""

from collections.abc import Sequence

import torch
from torch import Tensor

from grammar.canonical import content_hash
from grammar.parser import parse_or_raise
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.capture import Captured
from interpreter.evaluate import Evaluator
from interpreter.progress import progress_bar
from synth import vocabulary
from synth.fitting import Fitter
from synth.growing import STEPS, Grower
from synth.library import Library, Proposal, Run
from synth.prompt import EXAMPLES
from synth.ranking import Scorer
from synth.reshaping import Reshaper
from synth.structure import structure

START = "score(-1.0 distance(any) + 1.0 first)"
"""A sink and a fade: what most heads have in common, and so what most programs grow from."""

GROWING_TEXTS = 24
"""Training texts on which programs grow; their constants are fitted on all of them at last."""

RANKING_TEXTS = 10
"""The first of those, on which the many ways to reshape a program are ranked."""

FITTED = 3
"""Programs per head whose constants are fitted before the best of them grows."""


def refine(run: Run, patterns: Captured, library: Library, seed: int) -> None:
    """Every program is tried on every head; the best are fitted, the best of those grown.

    The prompt's worked examples are tried too: what a head gains from them is not the model's.
    """
    library.add_programs((*EXAMPLES, START))
    written = [p.text for p in library.proposals(run) if p.stage in ("trivial", "language model")]
    texts = sorted({*EXAMPLES, START, *(text for text in written if text is not None)})
    programs = [parse_or_raise(text) for text in texts]
    growing = patterns.first(GROWING_TEXTS)
    fitter = Fitter(Evaluator(patterns.facts()))
    quick = Fitter(Evaluator(growing.facts()))
    grower = vocabulary_grower(quick, growing, programs)
    reshaper = vocabulary_reshaper(quick, growing)
    ious = _ious(Scorer(growing), texts)
    with progress_bar() as bar:
        task = bar.add_task("Fitting, growing and reshaping", total=len(patterns.heads))
        for index, (layer, head) in enumerate(patterns.heads):
            if not library.batch_done(run, layer, head, "grow", 0):
                target = growing.attention[:, index]
                best = _best_structures(programs, ious[:, index].tolist())
                fitted = {p: quick.fit_constants(p, target, STEPS) for p in best}
                parent = max(fitted, key=lambda p: quick.score(fitted[p], target))
                grown = [fitted[parent], *grower.grow(fitted[parent], target)]
                grown += reshaper.reshape(grown[-1], target)
                final = fitter.fit(grown[-1], patterns.attention[:, index])
                found = [_refined(p, parent, seed) for p in (*grown, final)]
                library.record_batch(run, layer, head, "grow", 0, found)
            bar.advance(task)


def vocabulary_grower(fitter: Fitter, patterns: Captured, programs: Sequence[Node]) -> Grower:
    """A grower over the whole vocabulary and all that the programs say."""
    tokens, causal = patterns.tokens, patterns.causal
    selections = {
        *vocabulary.selections(tokens, causal=causal),
        *vocabulary.scores(tokens, causal=causal),
        *vocabulary.said(programs, vocabulary.FEW_WAYS),
    }
    return Grower.over(
        fitter,
        sorted(selections, key=to_text),
        vocabulary.logits(tokens, causal=causal),
        vocabulary.guards(tokens),
    )


def vocabulary_reshaper(fitter: Fitter, growing: Captured) -> Reshaper:
    """A reshaper that knows the vocabulary; `growing` are the texts of the fitter."""
    ranking = growing.first(RANKING_TEXTS)
    predicates = vocabulary.joinable(growing.tokens)
    return Reshaper(fitter, ranking.facts(), predicates, vocabulary.plain_classes())


def _ious(scorer: Scorer, texts: Sequence[str]) -> Tensor:
    """[program, head] float32: mean IoU over the texts."""
    with progress_bar() as bar:
        what = "Trying every program on every head"
        tried = bar.track(scorer.ious(texts), total=len(texts), description=what)
        return torch.stack([ious.mean(0) for ious in tried])


def _best_structures(programs: Sequence[Node], ious: Sequence[float]) -> list[Node]:
    """The best programs that differ in more than the constants, which are fitted anyway.

    `START` is always among them: before its constants are fitted it does not show what it can.
    """
    found = {structure(start): start for start in [parse_or_raise(START)]}
    ranked = sorted(zip(ious, programs, strict=True), key=lambda pair: (-pair[0], to_text(pair[1])))
    for _, program in ranked:
        found.setdefault(structure(program), program)
    return list(found.values())[:FITTED]


def _refined(node: Node, parent: Node, seed: int) -> Proposal:
    text = to_text(node)
    return Proposal(
        raw=text, text=text, proposer="grow", seed=seed, parents=[content_hash(to_text(parent))]
    )
