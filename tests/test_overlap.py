"""The compiled scores are those of torch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpreter import overlap, overlap_cores
from interpreter.overlap import HeadIoU
from interpreter.overlap_cores import overlap_limit
from interpreter.scores import iou, iou_with_each


def patterns(shape: tuple[int, ...], visible: torch.Tensor, seed: int) -> torch.Tensor:
    """Random rows that sum to 1, or to 0 where nothing is visible."""
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) ** 4 + 1e-3
    drawn = drawn * visible
    return drawn / drawn.sum(-1, keepdim=True).clamp_min(1e-9)


@settings(deadline=None)  # the first call compiles
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    heads=st.integers(1, 9),
    programs=st.integers(1, 35),
    causal=st.booleans(),
)
def test_compiled_and_plain_scores_agree(
    lengths: list[int], heads: int, programs: int, causal: bool
) -> None:
    n = max(lengths)
    real_tokens = torch.arange(n) < torch.tensor(lengths)[:, None]
    visible = real_tokens[:, :, None] & real_tokens[:, None, :]
    if causal:
        visible = visible.tril()
    real = patterns((len(lengths), heads, n, n), visible[:, None], 0)
    predicted = patterns((programs, len(lengths), n, n), visible, 1)
    found = torch.stack(list(HeadIoU(real, visible).ious(predicted)))
    assert found.shape == (programs, len(lengths), heads)
    plain = torch.stack([iou_with_each(real, matrices) for matrices in predicted])
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[0, 0, 0], iou(real[0, 0], predicted[0, 0]))


def test_what_is_not_compiled_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    visible = torch.ones(1, 8, 8, dtype=torch.bool).tril()
    real, predicted = patterns((1, 3, 8, 8), visible, 0), patterns((2, 1, 8, 8), visible, 1)
    compiled = torch.stack(list(HeadIoU(real, visible).ious(predicted)))
    monkeypatch.setattr(overlap, "COMPILED", False)
    monkeypatch.setattr(overlap_cores, "_overlaps", None)
    torch.testing.assert_close(torch.stack(list(HeadIoU(real, visible).ious(predicted))), compiled)


def test_the_limit_is_measured() -> None:
    assert overlap_limit(repeats=100) > 1e6
