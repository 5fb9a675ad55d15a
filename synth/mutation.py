"""The proposer `mutation`: changes and crossings of the programs that fit the head best so far.

What fits includes the programs of other heads in the library, so that parts travel between heads.
"""

from collections.abc import Iterator
from random import Random
from typing import cast

from grammar import limits
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES, Kind
from grammar.tree import Node
from synth.probabilistic_grammar import Sampler, prior
from synth.prompt import Prompt
from synth.proposers import Draft, distinct
from synth.structure import mixture_of, with_mixture

Path = tuple[int, ...]

PARENTS = 12
"""The best programs so far, from which parents are drawn: the r-th with weight 1 / r."""


class MutationProposer:
    """Evolution with the prompt's attempts as its population."""

    name = "mutation"

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """`count` children, none of which was tried before."""
        random = Random(seed)
        sampler = Sampler(prior(causal=prompt.causal, words=prompt.words), random)
        texts = [attempt.text for attempt in prompt.tried[:PARENTS]]
        ranks = [1 / rank for rank in range(1, len(texts) + 1)]

        def child() -> tuple[Node, tuple[str, ...]]:
            text, other = random.choices(texts, ranks, k=2)
            program, mate = parse_or_raise(text), parse_or_raise(other)
            if random.random() < 0.4 and mate is not program:
                return crossed(program, mate, random), (text, other)
            return mutated(program, sampler, random), (text,)

        return distinct(child, prompt, count)


def crossed(program: Node, mate: Node, random: Random) -> Node:
    """The program with a part of its mate, or with the mate's as its last rule under its guards."""
    *guarded, last = program.children
    if guarded and random.random() < 0.3:
        return Node("program", *guarded, mate.children[-1])
    given = random.choice(mate.children[-1].children)
    parts = [*last.children, given]
    if len(parts) > limits.MAX_PARTS or random.random() < 0.3:
        parts.pop(random.randrange(len(last.children)))
    return Node("program", *guarded, Node("mixture", *parts))


def mutated(program: Node, sampler: Sampler, random: Random) -> Node:
    """The program with one thing changed: a part, a guard, a predicate, a number."""
    change = random.choice((_parts, _guards, _leaf, _leaf))
    return change(program, sampler, random)


def _parts(program: Node, sampler: Sampler, random: Random) -> Node:
    """A part added, replaced or dropped in one of the mixtures."""
    rules = list(program.children)
    place = random.randrange(len(rules))
    parts = list(mixture_of(rules[place]).children)
    at = random.randrange(len(parts))
    match random.choice(("add", "replace", "drop")):
        case "drop" if len(parts) > 1:
            parts.pop(at)
        case "add" if len(parts) < limits.MAX_PARTS:
            parts.append(sampler.part())
        case _:
            parts[at] = Node("part", parts[at].args[0], sampler.term())
    rules[place] = with_mixture(rules[place], Node("mixture", *parts))
    return Node("program", *rules)


def _guards(program: Node, sampler: Sampler, random: Random) -> Node:
    """A guarded rule dropped, or one added in front."""
    *guarded, last = program.children
    if guarded and (random.random() < 0.5 or len(guarded) == limits.MAX_GUARDS):
        guarded.pop(random.randrange(len(guarded)))
    else:
        guarded.insert(0, Node("when", sampler.predicate("guard"), sampler.mixture()))
    return Node("program", *guarded, last)


def _leaf(program: Node, sampler: Sampler, random: Random) -> Node:
    """One number moved by up to half of it, or one primitive replaced by another of its kind."""
    path, node, context = random.choice(list(_leaves(program, "predicate")))
    return _put(program, path, _changed(node, context, sampler, random))


def _leaves(node: Node, context: str, path: Path = ()) -> Iterator[tuple[Path, Node, str]]:
    """What can be changed: the places of arguments that lead there, the node, its context."""
    if node.op in PRIMITIVES or node.op in ("part", "logit"):
        yield path, node, context
    for place, argument in enumerate(node.args):
        if isinstance(argument, Node):
            inner = "guard" if node.op in ("when", "query") and place == 0 else context
            yield from _leaves(argument, inner, (*path, place))


def _put(node: Node, path: Path, new: Node) -> Node:
    if not path:
        return new
    arguments = list(node.args)
    arguments[path[0]] = _put(cast(Node, arguments[path[0]]), path[1:], new)
    return Node(node.op, *arguments)


def _changed(node: Node, context: str, sampler: Sampler, random: Random) -> Node:
    numbers = [i for i, argument in enumerate(node.args) if isinstance(argument, int)]
    if numbers and (node.op in ("part", "logit") or random.random() < 0.5):
        arguments = list(node.args)
        place = random.choice(numbers)
        value = cast(int, arguments[place])
        moved = value + random.choice((-1, 1)) * random.randint(1, max(1, abs(value) // 2))
        least = -limits.MAX_NUMBER if node.op == "logit" else 1
        arguments[place] = min(max(moved, least), limits.MAX_NUMBER)
        return Node(node.op, *arguments)
    if PRIMITIVES[node.op].kind is not Kind.SELECTION:
        return sampler.atom(context)
    fresh = sampler.selection()
    if fresh.op in PRIMITIVES and PRIMITIVES[fresh.op].kind is Kind.SELECTION:
        # Another way to pick from the same tokens.
        return Node(fresh.op, node.args[0], *fresh.args[1:])
    return fresh
