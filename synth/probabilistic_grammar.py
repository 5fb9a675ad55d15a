"""Programs at random: the grammar with a weight for every choice, as given or as learned.

A program is a sequence of choices, each in a context ("how many parts", "which class", "which
distance for near").  Sampling makes them with the weights of their context; learning counts them
in given programs and adds the counts to the weights, as HySynth (Barke et al., NeurIPS 2024,
arXiv 2405.15880) does with the answers of a language model.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import cast

from grammar import limits
from grammar.primitives import PRIMITIVES, Kind, Parameter, primitives
from grammar.tree import Node

Choice = str | int
Weights = dict[str, dict[Choice, float]]
"""context -> choice -> weight; a context's weights need not sum to 1."""

SHOWN_WORDS = 40
"""Words of the texts that `word("...")` is drawn from, the most frequent."""

NUMBERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
LOGITS = (-30, -20, -10, -5, 5, 10, 15, 20, 30, 50)
OPERATORS: dict[Choice, float] = {"atom": 80, "not": 5, "and": 8, "or": 5, "after": 1, "before": 1}
"""Of predicates on one token; `query` stands in those on a pair alone."""


def prior(*, causal: bool, words: Sequence[str]) -> Weights:
    """Weights that prefer short programs and give every primitive a chance."""
    classes: dict[Choice, float] = {
        p.name: 1.0
        for p in primitives(Kind.TOKEN_CLASS)
        if words or not any(parameter.is_word for parameter in p.parameters)
    }
    shown = [p.name for p in PRIMITIVES.values() if not (causal and p.looks_ahead)]
    relations: dict[Choice, float] = {
        p.name: 1.0 for p in primitives(Kind.RELATION) if p.name in shown
    }
    selections: dict[Choice, float] = {
        p.name: 1.0 for p in primitives(Kind.SELECTION) if p.name in shown
    }
    weights: Weights = {
        "guards": {0: 17, 1: 3},
        "parts": {1: 2, 2: 4, 3: 3, 4: 1},
        "weight": dict.fromkeys(range(1, 10), 1),
        "term": {"selection": 19, "score": 1},
        "logits": {1: 1, 2: 3, 3: 2},
        "tenths": dict.fromkeys(LOGITS, 1),
        "selection": {"predicate": 0.5 * sum(selections.values()), **selections},
        "predicate": OPERATORS | {"query": 1},
        "guard": OPERATORS | {},
        "predicate atom": {**classes, **relations},
        "guard atom": classes,
        "word": {word: 1 / rank for rank, word in enumerate(words[:SHOWN_WORDS], 1)},
    }
    for name in shown:
        if Parameter.NUMBER in PRIMITIVES[name].parameters:
            weights[f"{name} number"] = {number: 1 / number**0.5 for number in NUMBERS}
    return weights


def learned(weights: Weights, programs: Iterable[Node], trust: float) -> Weights:
    """The weights with the programs' choices added.

    `trust` is the weight of a choice that every one of the times in its context was made, as a
    multiple of all the weight that its context had before.
    """
    counts: dict[str, Counter[Choice]] = {}
    for program in programs:
        for context, choice in choices(program):
            counts.setdefault(context, Counter())[choice] += 1
    result = dict(weights)
    for context, counted in counts.items():
        before = weights.get(context, {})
        scale = trust * (sum(before.values()) or 1) / counted.total()
        result[context] = {
            choice: before.get(choice, 0) + scale * counted[choice]
            for choice in [*before, *(c for c in counted if c not in before)]
        }
    return result


def choices(node: Node) -> Iterator[tuple[str, Choice]]:
    """Every (context, choice) of a program, the whole first."""
    match node.op:
        case "program":
            yield "guards", len(node.children) - 1
            for child in node.children:
                yield from choices(child)
        case "when":
            yield from _predicate_choices("guard", node.children[0])
            yield from choices(node.children[1])
        case "mixture":
            yield "parts", len(node.children)
            for part in node.children:
                yield "weight", cast(int, part.args[0])
                yield from _term_choices(part.children[0])


def _term_choices(term: Node) -> Iterator[tuple[str, Choice]]:
    yield "term", "score" if term.op == "score" else "selection"
    if term.op != "score":
        yield from _selection_choices(term)
        return
    yield "logits", len(term.children)
    for logit in term.children:
        yield "tenths", cast(int, logit.args[0])
        yield from _selection_choices(logit.children[0])


def _selection_choices(selection: Node) -> Iterator[tuple[str, Choice]]:
    primitive = PRIMITIVES.get(selection.op)
    if primitive is None or primitive.kind is not Kind.SELECTION:
        yield "selection", "predicate"
        yield from _predicate_choices("predicate", selection)
        return
    yield "selection", selection.op
    yield from _argument_choices("predicate", selection)


def _predicate_choices(context: str, predicate: Node) -> Iterator[tuple[str, Choice]]:
    if predicate.op == "query":
        yield context, predicate.op
        yield from _predicate_choices("guard", predicate.children[0])
        return
    if predicate.op in OPERATORS:
        yield context, predicate.op
        for child in predicate.children:
            yield from _predicate_choices(context, child)
        return
    yield context, "atom"
    yield f"{context} atom", predicate.op
    yield from _argument_choices(context, predicate)


def _argument_choices(context: str, node: Node) -> Iterator[tuple[str, Choice]]:
    for argument in node.args:
        if isinstance(argument, Node):
            yield from _predicate_choices(context, argument)
        elif isinstance(argument, str):
            yield "word", argument
        else:
            yield f"{node.op} number", argument


class Sampler:
    """Draws programs, and pieces of them, with given weights."""

    def __init__(self, weights: Weights, random: Random) -> None:
        self._weights = weights
        self._random = random

    def _chosen(self, context: str, among: Iterable[Choice] | None = None) -> Choice:
        weights = self._weights[context]
        options = list(weights if among is None else among)
        return self._random.choices(options, [weights[option] for option in options])[0]

    def _number(self, context: str) -> int:
        return cast(int, self._chosen(context))

    def program(self) -> Node:
        """A whole program; with its parts as the grammar bounds them."""
        guards = min(self._number("guards"), limits.MAX_GUARDS)
        rules = [Node("when", self.predicate("guard"), self.mixture()) for _ in range(guards)]
        return Node("program", *rules, self.mixture())

    def mixture(self) -> Node:
        """One to MAX_PARTS weighted parts."""
        return Node("mixture", *(self.part() for _ in range(self._number("parts"))))

    def part(self) -> Node:
        """A weighted selection or score."""
        return Node("part", self._number("weight"), self.term())

    def term(self) -> Node:
        """A selection, or a score of several."""
        if self._chosen("term") == "selection":
            return self.selection()
        count = self._number("logits")
        return Node("score", *(self.logit() for _ in range(count)))

    def logit(self) -> Node:
        """A selection with its logit, as a part of a score."""
        return Node("logit", self._number("tenths"), self.selection())

    def selection(self) -> Node:
        """A predicate standing alone, or a selection with its arguments."""
        name = str(self._chosen("selection"))
        if name == "predicate":
            return self.predicate("predicate")
        return self._primitive(name, "predicate", limits.MAX_NESTING)

    def predicate(self, context: str, depth: int = limits.MAX_NESTING) -> Node:
        """A predicate on keys, or with the context "guard" on queries."""
        op = str(self._chosen(context, None if depth else ("atom", "not")))
        if op in ("and", "or"):
            # Operands of a joint are plain, so that no nesting goes beyond the grammar's.
            return Node(op, self._operand(context), self._operand(context))
        if op == "query":
            return Node(op, self.predicate("guard", depth - 1))
        if op in ("after", "before"):
            return Node(op, self.predicate(context, depth - 1))
        atom = self.atom(context)
        return Node("not", atom) if op == "not" else atom

    def _operand(self, context: str) -> Node:
        op = self._chosen(context, ("atom", "not"))
        atom = self.atom(context)
        return Node("not", atom) if op == "not" else atom

    def atom(self, context: str) -> Node:
        """A primitive of the context: a class or relation, or for a guard a class."""
        return self._primitive(str(self._chosen(f"{context} atom")), context, 0)

    def _primitive(self, name: str, context: str, depth: int) -> Node:
        arguments: list[Node | str | int] = []
        for parameter in PRIMITIVES[name].parameters:
            if parameter is Parameter.NUMBER:
                arguments.append(self._number(f"{name} number"))
            elif parameter.is_word:
                arguments.append(parameter.compared(str(self._chosen("word"))))
            else:
                arguments.append(self.predicate(context, depth))
        return Node(name, *arguments)
