"""Which program is chosen for a head, and which ones are kept beside it."""

from hypothesis import given
from hypothesis import strategies as st

from grammar.parser import parse_or_raise
from synth.choosing import TOLERANCE, front, smallest_good

SCORED = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 20)), min_size=1, max_size=30)


def test_the_smallest_of_the_nearly_best_is_chosen() -> None:
    programs = [parse_or_raise(t) for t in ("2 first + 1 self", "first", "self", "any")]
    best = 0.6
    assert smallest_good(programs, [best, best - TOLERANCE / 2, 0.1, 0.2]) == 1
    assert smallest_good(programs, [best, best - 2 * TOLERANCE, 0.1, 0.2]) == 0
    assert smallest_good(programs, [0.1, 0.5, 0.5, 0.5]) == 3


@given(SCORED)
def test_the_front_is_what_no_other_program_reaches(scored: list[tuple[int, int]]) -> None:
    sizes, ious = [size for size, _ in scored], [float(iou) for _, iou in scored]
    found = front(sizes, ious)
    assert [sizes[i] for i in found] == sorted({sizes[i] for i in found})
    reached = [(sizes[i], ious[i]) for i in found]
    for size, iou in zip(sizes, ious, strict=True):
        better = [r for r in reached if r[0] <= size and r[1] >= iou]
        assert better
        dominated = any(s <= size and r >= iou and (s, r) != (size, iou) for s, r in scored)
        assert ((size, iou) in reached) is not dominated
