"""Which heads to replace first: those whose programs are believed to hurt least.

An order is made from documents that no result is reported on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grammar.errors import InputError
from grammar.tree import Node
from interpreter.capture import Head, capture
from interpreter.evaluate import Evaluator
from interpreter.likelihood import batches, examples
from interpreter.models import LoadedModel, load_spacy
from interpreter.progress import progress_bar
from interpreter.resuming import recorded, resumed
from interpreter.rows import FactsOf
from interpreter.scores import output_error
from interpreter.substitution import substituted
from interpreter.texts import Texts

ORDER_DOCUMENTS = 4
ORDER_EXAMPLES = 32
"""At most so many inputs: a masked model has one for every token of a document."""

GREEDY_ROUNDS = 10


@dataclass(frozen=True)
class Judged:
    """What an order is made from: programs, and the documents to try them on."""

    loaded: LoadedModel
    trees: Mapping[Head, Node]
    ious: Mapping[Head, float]
    """On the select documents of the run that chose the programs."""
    texts: Texts
    max_tokens: int
    facts_of: FactsOf

    def first_texts(self) -> Texts:
        """The documents on which damage is measured."""
        return Texts(self.texts.name, self.texts.documents[:ORDER_DOCUMENTS])


def by_iou(judged: Judged) -> list[Head]:
    """Highest IoU first, as the library has it."""
    return sorted(judged.trees, key=lambda head: (-judged.ious[head], head))


def by_output_error(judged: Judged) -> list[Head]:
    """Lowest error in what the head writes to the residual stream first."""
    heads = list(judged.trees)
    patterns = capture(judged.loaded, judged.texts, heads, judged.max_tokens)
    evaluator = Evaluator(patterns.facts())
    errors = {
        head: float(
            output_error(
                patterns.head(head),
                evaluator.matrices(judged.trees[head]),
                patterns.values[:, heads.index(head)],
            ).mean()
        )
        for head in heads
    }
    return sorted(heads, key=lambda head: (errors[head], head))


def by_damage(judged: Judged) -> list[Head]:
    """Lowest damage first, of each head replaced alone: see `damages`."""
    damage = damages(judged)
    return sorted(damage, key=lambda head: (damage[head], head))


def greedily(judged: Judged) -> list[Head]:
    """Ten rounds: each time the tenth that hurts least with all earlier ones in place."""
    found = _Damage(judged)
    left, order = list(judged.trees), list[Head]()
    size = -(-len(left) // GREEDY_ROUNDS)
    with progress_bar() as bar:
        total = sum(range(len(left), 0, -size))
        task = bar.add_task("Damage of each head after the others", total=total)
        while left:
            damage = found.of(left, order, lambda: bar.advance(task))
            order += sorted(damage, key=lambda head: (damage[head], head))[:size]
            left = [head for head in left if head not in order]
    return order


ORDERS: dict[str, Callable[[Judged], list[Head]]] = {
    "damage": by_damage,
    "iou": by_iou,
    "output-error": by_output_error,
    "greedy": greedily,
}


def damages(judged: Judged) -> dict[Head, float]:
    """What replacing each head alone costs: the Kullback-Leibler divergence, in nats a token.

    It goes from the original model's prediction of a token to the changed one's, and is what
    log-perplexity rises by on texts that the model itself would write: steadier on few documents
    than the rise on these.
    """
    found = _Damage(judged)
    with progress_bar() as bar:
        task = bar.add_task("Damage of each head alone", total=len(judged.trees))
        return found.of(list(judged.trees), (), lambda: bar.advance(task))


class _Damage:
    """Measures on the first order documents what replaced heads cost."""

    def __init__(self, judged: Judged) -> None:
        self._model = judged.loaded.model
        chosen = examples(judged.loaded, judged.first_texts(), judged.max_tokens)
        step = -(-len(chosen) // ORDER_EXAMPLES)
        heads = len(judged.trees)
        self._batches = batches(judged.loaded, chosen[::step], heads)
        tagger = load_spacy()
        self._patterns: list[dict[Head, Tensor]] = []
        for batch in self._batches:
            rows = batch.rows(tagger, judged.facts_of)
            evaluator = Evaluator(rows.facts)
            self._patterns.append(
                {head: rows.placed(evaluator.matrices(t)) for head, t in judged.trees.items()}
            )

    def of(
        self, heads: Sequence[Head], before: Sequence[Head], done: Callable[[], None]
    ) -> dict[Head, float]:
        """Nats a token for each head, replaced beside those that are so before."""
        totals = dict.fromkeys(heads, 0.0)
        asked = 0
        for batch, patterns in zip(self._batches, self._patterns, strict=True):
            with torch.no_grad():
                original = torch.log_softmax(batch.logits(), -1)
                chances = original.exp()
                asked += len(original)
                earlier = {head: patterns[head] for head in before}
                with recorded(self._model) as outputs, substituted(self._model, earlier):
                    batch.logits()
                for head in heads:
                    # The layers before are not run again.
                    here = {h: given for h, given in earlier.items() if h[0] >= head[0]}
                    here[head] = patterns[head]
                    with substituted(self._model, here), resumed(self._model, outputs, head[0]):
                        changed = torch.log_softmax(batch.logits(), -1)
                    # In place: a matrix over the vocabulary is dearer than what is done with it.
                    lost = changed.neg_().add_(original)
                    totals[head] += float(torch.linalg.vecdot(chances, lost).sum())
                    if batch is self._batches[-1]:
                        done()
        return {head: total / asked for head, total in totals.items()}


def order_heads(name: str, judged: Judged) -> list[Head]:
    """The heads in the order of that name; InputError for an order that there is not."""
    if name not in ORDERS:
        raise InputError(f"no order {name!r:.20}: choose one of {', '.join(ORDERS)}")
    return ORDERS[name](judged)
