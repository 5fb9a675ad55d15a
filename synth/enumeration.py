"""The proposer `enumeration`: all programs of one part, and the best so far made longer.

Every second draft is the next program of one part, from the smallest on; the others add to the
best program so far the part that is best alone, then the second best, and so on.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest

from grammar import limits
from grammar.canonical import canonical
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES, Kind, Parameter, primitives
from grammar.printer import to_text
from grammar.tree import Node
from synth.prompt import Prompt
from synth.proposers import Draft

NUMBERS = (1, 2, 4, 8, 16, 32)
SHOWN_WORDS = 8
GREEDY_SHARE = 30
"""The weight, of 100, that the new part of a longer program gets."""


def terms(*, causal: bool, words: Sequence[str]) -> list[Node]:
    """Every selection of one predicate of one primitive, the smallest first."""
    plain = [
        node
        for kind in (Kind.TOKEN_CLASS, Kind.RELATION)
        for primitive in primitives(kind)
        if not (causal and primitive.looks_ahead)
        for node in _filled(primitive.name, [], words)
    ]
    shifted = [Node(op, node) for op in ("after", "before") for node in plain]
    selections = [
        node
        for primitive in primitives(Kind.SELECTION)
        if not (causal and primitive.looks_ahead)
        for node in _filled(primitive.name, plain, words)
    ]
    return sorted([*plain, *selections, *shifted], key=lambda node: node.size)


def _filled(name: str, predicates: Sequence[Node], words: Sequence[str]) -> list[Node]:
    """The primitive with every choice of arguments."""
    found: list[list[Node | str | int]] = [[]]
    for parameter in PRIMITIVES[name].parameters:
        options: Sequence[Node | str | int] = predicates
        if parameter is Parameter.NUMBER:
            options = NUMBERS
        elif parameter.is_word:
            options = list(dict.fromkeys(parameter.compared(w) for w in words[:SHOWN_WORDS]))
        found = [[*arguments, option] for option in options for arguments in found]
    return [Node(name, *arguments) for arguments in found]


def _alone(term: Node) -> Node:
    return Node("program", Node("mixture", Node("part", 1, term)))


class EnumerationProposer:
    """Knows no chance: a seed makes no difference."""

    name = "enumeration"

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """The next `count` programs that were not tried."""
        started = time.monotonic()
        known = {attempt.text for attempt in prompt.tried}
        singles = map(_alone, terms(causal=prompt.causal, words=prompt.words))
        drafts: list[Draft] = []
        for program in chain.from_iterable(zip_longest(_longer(prompt), singles)):
            if len(drafts) == count:
                break
            text = "" if program is None else to_text(canonical(program))
            if text and text not in known:
                known.add(text)
                drafts.append(Draft(text, True, 0, time.monotonic() - started))
                started = time.monotonic()
        return drafts


def _longer(prompt: Prompt) -> Iterator[Node]:
    """The best program so far, and then the second best, each with one part more."""
    tried = [parse_or_raise(attempt.text) for attempt in prompt.tried]
    mixtures = [program.children[0] for program in tried if len(program.children) == 1]
    parts = [m.children[0].children[0] for m in mixtures if len(m.children) == 1]
    for mixture in mixtures:
        if len(mixture.children) < limits.MAX_PARTS:
            total = sum(int(str(part.args[0])) for part in mixture.children)
            weight = max(1, round(total * GREEDY_SHARE / (100 - GREEDY_SHARE)))
            for part in parts:
                yield Node(
                    "program",
                    Node(
                        "mixture",
                        *_weighted(mixture, 2 if total == 1 else 1),
                        Node("part", min(weight, limits.MAX_NUMBER), part),
                    ),
                )


def _weighted(mixture: Node, factor: int) -> list[Node]:
    """The parts of a mixture, each `factor` times as heavy."""
    return [
        Node("part", factor * int(str(part.args[0])), part.children[0]) for part in mixture.children
    ]
