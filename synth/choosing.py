"""Which program stands for a head, and which ones are worth knowing beside it."""

from collections.abc import Sequence

from grammar.printer import to_text
from grammar.tree import Node
from synth.library_view import terms

TOLERANCE = 0.002
"""The smallest program within this IoU of the best one is chosen."""


def smallest_good(programs: Sequence[Node], ious: Sequence[float]) -> int:
    """The index of the smallest program within `TOLERANCE` of the best."""
    best = max(ious)
    near = [i for i, iou in enumerate(ious) if iou >= best - TOLERANCE]
    return min(
        near,
        key=lambda i: (terms(programs[i]), programs[i].size, -ious[i], to_text(programs[i])),
    )


def front(sizes: Sequence[int], ious: Sequence[float]) -> list[int]:
    """The indices of the Pareto front: no other program of at most its size has its IoU."""
    found: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: (sizes[i], -ious[i])):
        if not found or ious[i] > ious[found[-1]]:
            found.append(i)
    return found
