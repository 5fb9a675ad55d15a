"""What the language model is told about a head: where its weight goes, in the language's words.

Measured on the training documents alone.  The same function describes a real head and the
pattern of a program, so that the prompt's worked examples are true by construction.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from grammar.parser import parse_or_raise
from grammar.primitives import Kind, primitives
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.scores import iou

TRIVIAL = ("first", "any", "back(1)", "self")
"""The programs that need no synthesis: first token, uniform, previous, self."""

POSITIONS = ("first", "self", "back(1)", "back(2)", "back(3)")
RELATIONS = (
    "after(same_token)",
    "same_token and not self",
    "same_word and not self",
    "same_sentence",
    "same_piece and not self",
    "governor",
    "dependent",
)
DISTANCES = ((1, 3), (4, 15), (16, 10_000))
SHOWN_CLASSES = 4
SHOWN_WORDS = 2
SHOWN_PAIRS = 4
STRONGEST = 0.025
"""The share of all weights, largest first, from which token pairs are shown."""


def _node(text: str) -> Node:
    return parse_or_raise(text).children[-1].children[0].children[0]


@dataclass(frozen=True)
class Summary:
    """Shares of a head's weight, averaged over queries: all fields are fractions of 1.

    `distances` speak of the weight that is not on the first token; `classes`, `words` and `pairs`
    of what is neither there nor explained by the best trivial program; `lift` is the share
    divided by what an even spread over the visible keys would give.
    """

    positions: dict[str, float]
    trivial: str
    """The best trivial program."""
    trivial_iou: float
    classes: dict[str, tuple[float, float]]
    """name -> (share, lift), the most telling first."""
    distances: dict[str, float]
    words: dict[str, tuple[float, float]]
    """word -> (share, part of that share on the word's first occurrence)."""
    pairs: list[tuple[str, str]]
    """(query, key) of the strongest weights, the most frequent first."""

    def text(self) -> str:
        """The lines that the prompt shows."""
        lines = [
            "weight: " + ", ".join(f"{n} {s:.0%}" for n, s in self.positions.items() if s >= 0.02)
        ]
        lines.append("distance: " + ", ".join(f"{n} {s:.0%}" for n, s in self.distances.items()))
        lines.append(
            f"beyond {self.trivial} ({self.trivial_iou:.2f}): {classes_text(self.classes)}"
        )
        if self.words:
            shown = (
                f'word("{w}") {s:.0%}, its first {first:.0%}'
                for w, (s, first) in self.words.items()
            )
            lines.append("words: " + "; ".join(shown))
        if self.pairs:
            lines.append("pairs: " + ", ".join(f"{q} > {k}" for q, k in self.pairs))
        return "\n".join(lines)


def classes_text(classes: dict[str, tuple[float, float]]) -> str:
    """`noun 40% (x2.1), newline 7% (x5.0)`: shares with their lifts."""
    return ", ".join(f"{n} {s:.0%} (x{lift:.1f})" for n, (s, lift) in classes.items())


class Summarizer:
    """Describes patterns on one set of texts; what all heads share is computed once."""

    def __init__(self, evaluator: Evaluator, tokens: Sequence[Sequence[Token]]) -> None:
        self._facts = evaluator.facts
        self._tokens = tokens
        self._queries = sum(map(len, tokens))
        self._positions = {p: evaluator.weights(_node(p)) for p in POSITIONS}
        classes = [
            p.name for p in primitives(Kind.TOKEN_CLASS) if not p.parameters and p.name != "any"
        ]
        self._classes = {p: evaluator.weights(_node(p)) for p in (*classes, *RELATIONS)}
        self._trivial = {p: evaluator.matrices(parse_or_raise(p)) for p in TRIVIAL}
        visible = self._facts.visible.float()
        self._even = visible / visible.sum(-1, keepdim=True).clamp_min(1)
        offset = self._facts.position[:, None] - self._facts.position[None, :]
        self._distances = {
            f"{low}-{high}" if high < 1000 else f"{low}+": (
                (offset.abs() >= low) & (offset.abs() <= high)
            )
            for low, high in DISTANCES
        }

    def summary(self, attention: Tensor) -> Summary:
        """The summary of a pattern [text, query, key] on these texts."""
        ious = {p: float(iou(attention, m).mean()) for p, m in self._trivial.items()}
        trivial = max(ious, key=ious.__getitem__)
        off_sink = _without_first(attention)
        rest = _without_first((attention - self._trivial[trivial]).clamp_min(0))
        mass = float(rest.sum().clamp_min(1e-9))
        off_mass = float(off_sink.sum().clamp_min(1e-9))
        return Summary(
            positions={
                n: float((attention * w).sum()) / self._queries for n, w in self._positions.items()
            },
            trivial=trivial,
            trivial_iou=ious[trivial],
            classes=self.classes(rest),
            distances={
                n: float((off_sink * w).sum()) / off_mass for n, w in self._distances.items()
            },
            words=self._words(rest, mass),
            pairs=self._pairs(rest),
        )

    def classes(self, weight: Tensor) -> dict[str, tuple[float, float]]:
        """The classes and relations that tell most about some weight [text, query, key]."""
        mass = float(weight.sum().clamp_min(1e-9))
        even = _without_first(self._even)
        even_mass = float(even.sum())
        found = {}
        for name, members in self._classes.items():
            share = float((weight * members).sum()) / mass
            lift = share / max(float((even * members).sum()) / even_mass, 1e-9)
            if share >= 0.03 and lift > 1.05:
                found[name] = (share, lift)
        telling = sorted(found, key=lambda n: found[n][0] * math.log(found[n][1]), reverse=True)
        return {name: found[name] for name in telling[:SHOWN_CLASSES]}

    def _words(self, rest: Tensor, mass: float) -> dict[str, tuple[float, float]]:
        columns = rest.sum(1)
        shares: Counter[str] = Counter()
        firsts: Counter[str] = Counter()
        for tokens, column in zip(self._tokens, columns.tolist(), strict=True):
            seen: set[str] = set()
            for token, weight in zip(tokens, column, strict=False):
                if token.word:
                    shares[token.word] += weight
                    if token.word not in seen:
                        firsts[token.word] += weight
                    seen.add(token.word)
        return {
            word: (share / mass, firsts[word] / share)
            for word, share in shares.most_common(SHOWN_WORDS)
            if share / mass >= 0.03 and '"' not in word
        }

    def _pairs(self, rest: Tensor) -> list[tuple[str, str]]:
        flat = rest.flatten()
        count = max(1, int(STRONGEST * int(self._facts.visible.sum())))
        found: Counter[tuple[str, str]] = Counter()
        # Rounded, and the earlier first: how a sum was rounded must not decide between equals.
        top = flat.round(decimals=3).sort(descending=True, stable=True)
        width = rest.shape[-1]
        for weight, index in zip(
            top.values[:count].tolist(), top.indices[:count].tolist(), strict=True
        ):
            text, place = divmod(index, width * width)
            query, key = divmod(place, width)
            if weight > 0:
                tokens = self._tokens[text]
                found[shown(tokens[query]), shown(tokens[key])] += 1
        return [pair for pair, _ in found.most_common(SHOWN_PAIRS)]


def _without_first(weight: Tensor) -> Tensor:
    """The weight that is not on the first token."""
    rest = weight.clone()
    rest[:, :, 0] = 0
    return rest


def shown(token: Token) -> str:
    """A token as the prompt writes it."""
    return (token.text or "<special>").replace("\n", "\\n")
