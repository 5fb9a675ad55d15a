"""Scores against plain loops, and their limits."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from interpreter.scores import iou, iou_no_sink, jsd, output_error, without_sink
from interpreter.statistics import bootstrap_ci95, bootstrap_ratio_ci95


@st.composite
def patterns(draw: st.DrawFn, size: int) -> torch.Tensor:
    numbers = st.lists(st.integers(0, 9), min_size=size, max_size=size)
    rows = [draw(numbers.filter(any)) for _ in range(size)]
    matrix = torch.tensor(rows, dtype=torch.float32)
    return matrix / matrix.sum(-1, keepdim=True)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    size = draw(st.integers(2, 5))
    return draw(patterns(size)), draw(patterns(size))


@given(pairs())
def test_iou_is_the_sum_of_minima_over_the_sum_of_maxima(
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    real, predicted = pair
    cells = list(zip(real.flatten().tolist(), predicted.flatten().tolist(), strict=True))
    expected = sum(min(c) for c in cells) / sum(max(c) for c in cells)
    assert math.isclose(iou(real, predicted), expected, rel_tol=1e-5)
    distance = float((real - predicted).abs().sum())
    rows = len(real)
    assert math.isclose(expected, (rows - distance / 2) / (rows + distance / 2), rel_tol=1e-5)


@given(pairs())
def test_jsd_is_the_mean_root_divergence_of_rows(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    real, predicted = pair
    roots = []
    for p, q in zip(real.tolist(), predicted.tolist(), strict=True):
        divergence = 0.0
        for a, b in zip(p, q, strict=True):
            for x in (a, b):
                divergence += x / 2 * math.log2(x / ((a + b) / 2)) if x else 0.0
        roots.append(math.sqrt(max(divergence, 0.0)))
    found = jsd(real, predicted, torch.tensor(len(real)))
    assert math.isclose(found, sum(roots) / len(roots), abs_tol=1e-3)


def test_perfect_and_disjoint() -> None:
    one, other = torch.eye(4), torch.eye(4).roll(1, 1)
    n = torch.tensor(4)
    assert iou(one, one) == 1
    assert iou(one, other) == 0
    assert jsd(one, one, n) == 0
    assert jsd(one, other, n) == 1
    assert output_error(one, one, torch.randn(4, 3)) == 0


def test_sink_is_left_out() -> None:
    real = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0.8, 0.1, 0.1]])
    sink = torch.tensor([[1.0, 0, 0]] * 3)
    assert iou(real, sink) > 0.8
    assert iou_no_sink(real, sink) == 0
    torch.testing.assert_close(without_sink(real), torch.tensor([[1.0, 0], [0.5, 0.5]]))


def test_nothing_beside_the_sink_is_nothing_missed() -> None:
    sink = torch.tensor([[1.0, 0], [1.0, 0]])
    other = torch.tensor([[1.0, 0], [0.5, 0.5]])
    found = iou_no_sink(torch.stack([sink, sink, other]), torch.stack([sink, other, sink]))
    assert found.tolist() == [1, 0, 0]


def test_bootstrap_of_a_ratio_weighs_documents_by_their_size() -> None:
    low, high = bootstrap_ratio_ci95([10.0, 1.0, 2.0], [100, 1, 2])
    assert low < 13 / 103 < high
    assert low == 0.1
    assert high == 1.0
    assert bootstrap_ratio_ci95([1.0, 3.0], [1, 1]) == bootstrap_ci95([1.0, 3.0])


def test_bootstrap_interval_holds_the_mean_and_shrinks() -> None:
    few, many = [0.1, 0.9] * 4, [0.1, 0.9] * 100
    low, high = bootstrap_ci95(few)
    assert low < 0.5 < high
    narrow_low, narrow_high = bootstrap_ci95(many)
    assert narrow_high - narrow_low < (high - low) / 2
    assert bootstrap_ci95(few) == bootstrap_ci95(few)
    assert bootstrap_ci95([0.3]) == (0.3, 0.3)
