"""Selections: a weight for every key.  See `grammar.declaration`."""

import math
from typing import TYPE_CHECKING

from grammar.declaration import Kind, Parameter, Primitive, offset

if TYPE_CHECKING:
    from torch import Tensor

    from grammar.token_facts import TensorFacts as Facts


def _kth(members: list[int], k: int) -> dict[int, float]:
    return {members[k - 1]: 1.0} if len(members) >= k else {}


def _rank_from_start(members: "Tensor") -> "Tensor":
    """[batch, 1 or query, key] float32: 1 for the first member of each row, 2 for the next, ..."""
    # Whole numbers are exact in float32 up to 2 ** 24, and int64 sums take four times as long.
    return members.float().cumsum_(-1)


def _kth_from_start(members: "Tensor", k: int) -> "Tensor":
    """[batch, 1 or query, key] float32: 1 at the k-th member of each row."""
    return (members & (_rank_from_start(members) == k)).float()


def _kth_in_view(facts: "Facts", members: "Tensor", k: int) -> "Tensor":
    """[batch, query, key] float32: 1 at the k-th member from the end of what the query sees."""
    counts = _rank_from_start(members)
    return (members & (counts == facts.at_key(counts, facts.newest) + (1 - k))).float()


def _count_before(facts: "Facts", members: "Tensor", counts: "Tensor") -> "Tensor":
    """[batch, query, 1] float32: how many members stand before the query."""
    return facts.at_key(counts, facts.query) - facts.at_key(members, facts.query).float()


def _kth_before(facts: "Facts", members: "Tensor", k: int) -> "Tensor":
    """[batch, query, key] float32: 1 at the k-th member from the query backwards."""
    counts = _rank_from_start(members)
    return (members & (counts == _count_before(facts, members, counts) + (1 - k))).float()


def _halved_before(facts: "Facts", members: "Tensor", half_life: int) -> "Tensor":
    """[batch, query, key] float32: 1 at the last member before the query, then halving."""
    counts = _rank_from_start(members)
    others = _count_before(facts, members, counts) - counts
    chosen = members & (others >= 0)
    # Clamped: a power that overflows would make NaN of the keys that are left out.
    return _halving(others.clamp_min_(0), half_life).mul_(chosen)


def _later(facts: "Facts", members: "Tensor") -> "Tensor":
    return members & (offset(facts) < 0)


# Weights stop halving here, so that nothing selected ever underflows to nothing.
MOST_HALVINGS = 60


def _halved(steps: int, half_life: int) -> float:
    return math.pow(2.0, -min(steps / half_life, MOST_HALVINGS))


def _halving(steps: "Tensor", half_life: int) -> "Tensor":
    """The same on tensors: float32, 2 ** -(steps / half_life)."""
    return (steps.float() / half_life).clamp_max_(MOST_HALVINGS).neg_().exp2_()


def _recent_scalar(i: int, members: list[int]) -> list[int]:
    return [j for j in reversed(members) if j < i]


PICK = (Parameter.PREDICATE, Parameter.NUMBER)

SELECTIONS = (
    Primitive(
        "first",
        Kind.SELECTION,
        "the k-th P of the text; `first` alone is the first token",
        "the {th} {one}",
        "first(noun, 2)",
        scalar=lambda i, members, k: _kth(members, k),
        tensor=lambda facts, members, k: _kth_from_start(members, k),
        parameters=PICK,
        defaults=("any", 1),
        cost=5,
    ),
    Primitive(
        "last",
        Kind.SELECTION,
        "the k-th P from the end of what the query sees, itself included",
        "the {nth}last {one} in view",
        "last(stop)",
        scalar=lambda i, members, k: _kth(members[::-1], k),
        tensor=_kth_in_view,
        parameters=PICK,
        defaults=(1,),
        cost=5,
    ),
    Primitive(
        "recent",
        Kind.SELECTION,
        "the k-th most recent P before the query",
        "the {nth}latest {one} before the query",
        "recent(noun)",
        scalar=lambda i, members, k: _kth(_recent_scalar(i, members), k),
        tensor=_kth_before,
        parameters=PICK,
        defaults=(1,),
        cost=5,
    ),
    Primitive(
        "next",
        Kind.SELECTION,
        "the k-th P after the query (never visible in a causal model)",
        "the {nth}next {one}",
        "next(stop)",
        scalar=lambda i, members, k: _kth([j for j in members if j > i], k),
        tensor=lambda facts, members, k: _kth_from_start(_later(facts, members), k),
        parameters=PICK,
        defaults=(1,),
        cost=8,
        looks_ahead=True,
    ),
    Primitive(
        "near",
        Kind.SELECTION,
        "every P, the weight halving with every k tokens of distance from the query",
        "nearby {many}, fading by half every {every}",
        "near(noun, 8)",
        scalar=lambda i, members, k: {j: _halved(abs(i - j), k) for j in members},
        tensor=lambda facts, members, k: members * _halving(offset(facts).abs_(), k),
        parameters=PICK,
        cost=8,
    ),
    Primitive(
        "newest",
        Kind.SELECTION,
        "every P before the query, the weight halving with every k of them, latest first",
        "the latest {many} before the query, fading by half {each}",
        "newest(noun, 2)",
        scalar=lambda i, members, k: {
            j: _halved(rank, k) for rank, j in enumerate(_recent_scalar(i, members))
        },
        tensor=_halved_before,
        parameters=PICK,
        cost=11,
    ),
    Primitive(
        "earliest",
        Kind.SELECTION,
        "every P, the weight halving with every k of them, first of the text first",
        "the earliest {many}, fading by half {each}",
        "earliest(noun, 2)",
        scalar=lambda i, members, k: {j: _halved(rank, k) for rank, j in enumerate(members)},
        tensor=lambda facts, members, k: members * _halving(_rank_from_start(members) - 1, k),
        parameters=PICK,
        cost=8,
    ),
    Primitive(
        "distance",
        Kind.SELECTION,
        "every P, weighing log2(1 + distance): for scores, where a negative logit fades it",
        "far {many}",
        "distance(any)",
        scalar=lambda i, members: {j: math.log2(1 + abs(i - j)) for j in members},
        tensor=lambda facts, members: members * offset(facts).abs_().add_(1).float().log2_(),
        parameters=(Parameter.PREDICATE,),
        cost=6,
    ),
)
