"""How close a predicted pattern is to the real one.

Patterns, `real` and `predicted`, are [..., query, key] float32 with rows that sum to 1 (0 on
padding).
"""

import torch
from torch import Tensor

METRIC_VERSION = 1
"""Part of the key of every stored score; raised when a formula changes."""


def iou(real: Tensor, predicted: Tensor) -> Tensor:
    """[...]: sum of minima over sum of maxima of the whole matrix (arXiv 2606.19317, eq. 2).

    1 where both are 0 everywhere: there was nothing to find.
    """
    overlap = torch.minimum(real, predicted).sum((-2, -1))
    total = real.sum((-2, -1)) + predicted.sum((-2, -1))
    return torch.where(total > 0, overlap / (total - overlap), 1.0)


HEADS_AT_ONCE = 32
"""As many matrices of 96 tokens as stay in a core's cache."""


def iou_with_each(real: Tensor, predicted: Tensor) -> Tensor:
    """[text, head]: IoU of one prediction [text, query, key] with every head of `real`.

    `real` is [text, head, query, key]; rows of both sum to 1, or to 0 on padding, so that the
    sum of maxima is twice the rows less the sum of minima.
    """
    texts, heads, n, _ = real.shape
    overlap = torch.empty(texts, heads, device=real.device)
    buffer = torch.empty(min(HEADS_AT_ONCE, heads), n, n, device=real.device)
    for text in range(texts):
        for start in range(0, heads, HEADS_AT_ONCE):
            some = real[text, start : start + HEADS_AT_ONCE]
            lower = torch.minimum(some, predicted[text], out=buffer[: len(some)])
            torch.sum(lower, (-2, -1), out=overlap[text, start : start + HEADS_AT_ONCE])
    rows = predicted.sum((-2, -1))[:, None]
    return overlap / (2 * rows - overlap)


def without_sink(matrix: Tensor) -> Tensor:
    """[..., n - 1, n - 1]: first row and column left out, the rows' rest scaled to sum to 1.

    A row that gave everything to the first token becomes 0: it misses all that is left.
    """
    rest = matrix[..., 1:, 1:]
    total = rest.sum(-1, keepdim=True)
    return torch.where(total > 1e-6, rest / total.clamp_min(1e-6), 0.0)


def iou_no_sink(real: Tensor, predicted: Tensor) -> Tensor:
    """[...]: IoU of what is left without the first row and column; rows as `without_sink`."""
    return iou(without_sink(real), without_sink(predicted))


def jsd(real: Tensor, predicted: Tensor, lengths: Tensor) -> Tensor:
    """[...]: mean over rows of the square root of the Jensen-Shannon divergence, 0 to 1 (base 2).

    `lengths`, the number of real tokens of each text, broadcasts to [...].
    """
    middle = (real + predicted) / 2

    def relative_entropy(p: Tensor) -> Tensor:
        terms = p * (p.clamp_min(1e-12) / middle.clamp_min(1e-12)).log2()
        return terms.sum(-1)

    divergence = (relative_entropy(real) + relative_entropy(predicted)) / 2
    return divergence.clamp(0, 1).sqrt().sum(-1) / lengths


def output_error(real: Tensor, predicted: Tensor, values: Tensor) -> Tensor:
    """[...]: |(predicted - real) V W_O|^2 / |real V W_O|^2, over all rows.

    `values` is [..., key, head size], turned as by `projected_values`.
    """
    wrong = ((predicted - real) @ values).square().sum((-2, -1))
    return wrong / (real @ values).square().sum((-2, -1))
