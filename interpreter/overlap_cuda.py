"""Sums of minima of many matrices with many others on a CUDA device, in one Triton kernel.

As in a product of matrices a block of predictions meets a block of heads and the sums stay in
registers, so that what is read and written is little beside the minima and sums themselves.
"""

import time

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256
"""Cells that are summed at a time; the sums of blocks are added up."""

UNROLLED = 8
"""Cells whose values are on the way while others are summed."""

PREDICTIONS, HEADS, WARPS = 64, 64, 4
"""Matrices of a tile, and the warps that share it."""

AT_ONCE, TABLE_BYTES = 256, 2**32
"""Predictions that are packed before the heads go by: as many, or as take so much memory."""


class HeadsOnCuda:
    """Heads on texts, packed once, beside which packed predictions go by."""

    def __init__(self, real: Tensor, visible: Tensor) -> None:
        """`real` is [text, head, query, key] float32, `visible` [text, query, key] bool."""
        self._cells = visible.any(0).flatten().nonzero()[:, 0]
        self._heads = real.shape[1]
        shape = (len(real), _up(len(self._cells), BLOCK), _up(self._heads, HEADS))
        self._packed = real.new_zeros(shape)
        most = TABLE_BYTES // (shape[0] * shape[1] * real.element_size())
        self.at_once = max(PREDICTIONS, min(AT_ONCE, most // PREDICTIONS * PREDICTIONS))
        for text, matrices in enumerate(real):
            cells = matrices.flatten(1)[:, self._cells]
            self._packed[text, : len(self._cells), : self._heads] = cells.T

    def table(self) -> Tensor:
        """[prediction, text, cell] float32 for so many predictions as go by at once, 0."""
        texts, cells, _ = self._packed.shape
        return self._packed.new_zeros(self.at_once, texts, cells)

    def put(self, matrices: Tensor, table: Tensor, place: int) -> None:
        """Packs a prediction, [text, query, key] float32, into a place of the table."""
        table[place, :, : len(self._cells)] = matrices.flatten(1)[:, self._cells]

    def overlaps(self, table: Tensor, count: int) -> Tensor:
        """[prediction, text, head]: sums of minima of the first predictions of a table."""
        predicted = table[: _up(count, PREDICTIONS)].permute(1, 2, 0).contiguous()
        texts, cells, predictions = predicted.shape
        heads = self._packed.shape[2]
        found = predicted.new_zeros(texts, predictions, heads)
        grid = (predictions // PREDICTIONS, heads // HEADS, texts)
        # Triton starts kernels on the current device, whatever its arguments are on.
        with torch.cuda.device(predicted.device):
            _overlaps[grid](
                predicted,
                self._packed,
                found,
                cells,
                predictions,
                heads,
                BLOCK,
                UNROLLED,
                PREDICTIONS,
                HEADS,
                num_warps=WARPS,
            )
        return found[:, :count, : self._heads].transpose(0, 1)


def overlap_limit(device: torch.device | str, repeats: int = 4096) -> float:
    """Minima added a second on all multiprocessors, of tiles whose values stay in registers."""
    tiles = 64 * torch.cuda.get_device_properties(device).multi_processor_count
    values = torch.rand(PREDICTIONS + HEADS, device=device)
    found = values.new_empty(tiles, PREDICTIONS, HEADS)
    sizes = (repeats, UNROLLED, PREDICTIONS, HEADS)

    def run() -> float:
        with torch.cuda.device(device):
            torch.cuda.synchronize()
            started = time.perf_counter()
            _repeated[(tiles,)](values, found, *sizes, num_warps=WARPS)
            torch.cuda.synchronize()
            return time.perf_counter() - started

    run()  # compiles
    return float(found.numel() * repeats * UNROLLED / run())


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


@triton.jit  # type: ignore[untyped-decorator]
def _overlaps(  # type: ignore[no-untyped-def]
    predicted,
    real,
    result,
    cells,
    predictions,
    heads,
    block: tl.constexpr,
    unrolled: tl.constexpr,
    some_predictions: tl.constexpr,
    some_heads: tl.constexpr,
):
    text = tl.program_id(2).to(tl.int64)
    p = tl.arange(0, some_predictions)
    h = tl.arange(0, some_heads)
    first_p, first_h = tl.program_id(0) * some_predictions, tl.program_id(1) * some_heads
    x_at = predicted + text * cells * predictions + first_p
    y_at = real + text * cells * heads + first_h
    at = (text * predictions + first_p + p[:, None]) * heads + first_h + h[None, :]
    # Sums that begin with zeros from memory lie in registers as memory does, four side by side.
    total = tl.load(result + at)
    for _ in range(0, cells, block):
        # Short sums first: one long one would lose digits.
        part = total * 0
        for _ in range(0, block, unrolled):
            for k in tl.static_range(unrolled):
                x = tl.load(x_at + k * predictions + p)
                y = tl.load(y_at + k * heads + h)
                part += tl.minimum(x[:, None], y[None, :])
            x_at += unrolled * predictions
            y_at += unrolled * heads
        total += part
    tl.store(result + at, total)


@triton.jit  # type: ignore[untyped-decorator]
def _repeated(  # type: ignore[no-untyped-def]
    values,
    result,
    repeats,
    unrolled: tl.constexpr,
    some_predictions: tl.constexpr,
    some_heads: tl.constexpr,
):
    p = tl.arange(0, some_predictions)[:, None]
    h = tl.arange(0, some_heads)[None, :]
    x = tl.load(values + p)
    y = tl.load(values + some_predictions + h)
    total = tl.zeros((some_predictions, some_heads), tl.float32)
    for _ in range(repeats):
        for _ in tl.static_range(unrolled):
            # Each sum is held against x again, so that none can be left out.
            total = tl.minimum(total, x) + y
    at = tl.program_id(0) * some_predictions * some_heads + p * some_heads + h
    tl.store(result + at, total)
