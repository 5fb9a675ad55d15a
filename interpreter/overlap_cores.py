"""Sums of minima of many matrices with many others, compiled: the inner loop of scoring.

Only visible cells are looked at.  Cells go by in blocks that stay in a core's caches, and in tiles
of two predictions and four heads that stay in its registers.
"""

import time

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 1024
"""Cells that are summed at a time; the sums of blocks are added up."""

AT_ONCE = 32
"""Predictions that are packed before the heads go by."""

GROUP = 16
"""Predictions of which a block stays in a core's cache while all heads go by."""

PREDICTIONS, HEADS = 2, 4
"""Matrices of a tile."""

Array = NDArray[np.float32]
Indices = NDArray[np.int64]
REORDERED = {"reassoc", "nnan", "nsz"}
"""Sums may be taken in any order, so that eight go on at once; the order is always the same."""


class HeadsOnCores:
    """Heads on texts, packed once, beside which packed predictions go by."""

    at_once = AT_ONCE

    def __init__(self, real: Tensor, visible: Tensor) -> None:
        """`real` is [text, head, query, key] float32, `visible` [text, query, key] bool."""
        flat = visible.flatten(1)
        counts = flat.sum(1)
        self._counts = counts.numpy()
        self._at = np.zeros((len(flat), int(counts.max())), dtype=np.int64)
        for text, count in enumerate(counts.tolist()):
            self._at[text, :count] = flat[text].nonzero()[:, 0].numpy()
        self._heads = real.shape[1]
        self._packed = self._empty(-(-self._heads // HEADS) * HEADS)
        for head in range(self._heads):
            self._pack(real[:, head], self._packed, head)

    def table(self) -> Array:
        """Room for so many predictions as go by at once."""
        return self._empty(AT_ONCE)

    def put(self, matrices: Tensor, table: Array, place: int) -> None:
        """Packs a prediction, [text, query, key] float32, into a place of the table."""
        self._pack(matrices, table, place)

    def overlaps(self, table: Array, count: int) -> Tensor:
        """[prediction, text, head]: sums of minima of the first predictions of a table."""
        found = np.zeros((table.shape[1], *self._packed.shape[:2]), dtype=np.float32)
        _overlaps(table, count, self._packed, found)
        return torch.from_numpy(found)[:count, :, : self._heads]

    def _empty(self, count: int) -> Array:
        texts, cells = self._at.shape
        return np.zeros((texts, count, cells), dtype=np.float32)

    def _pack(self, matrices: Tensor, table: Array, place: int) -> None:
        _pack(matrices.flatten(1).numpy(), self._at, self._counts, table, place)


@numba.njit(parallel=True, cache=True)
def _pack(matrices: Array, at: Indices, counts: Indices, table: Array, place: int) -> None:
    for text in numba.prange(len(matrices)):
        for cell in range(counts[text]):
            table[text, place, cell] = matrices[text, at[text, cell]]


@numba.njit(fastmath=REORDERED, inline="always")
def _tile(p: Array, r: Array, a: int, b: int, low: int, high: int, sums: Array) -> None:
    s00 = s01 = s02 = s03 = np.float32(0)
    s10 = s11 = s12 = s13 = np.float32(0)
    # Views that begin at the block, so that the compiler sees that no index is negative.
    x0s, x1s = p[a, low:high], p[a + 1, low:high]
    y0s, y1s, y2s, y3s = r[b, low:high], r[b + 1, low:high], r[b + 2, low:high], r[b + 3, low:high]
    for c in range(len(x0s)):
        x0, x1 = x0s[c], x1s[c]
        y0, y1, y2, y3 = y0s[c], y1s[c], y2s[c], y3s[c]
        s00 += min(x0, y0)
        s01 += min(x0, y1)
        s02 += min(x0, y2)
        s03 += min(x0, y3)
        s10 += min(x1, y0)
        s11 += min(x1, y1)
        s12 += min(x1, y2)
        s13 += min(x1, y3)
    sums[a, b] += s00
    sums[a, b + 1] += s01
    sums[a, b + 2] += s02
    sums[a, b + 3] += s03
    sums[a + 1, b] += s10
    sums[a + 1, b + 1] += s11
    sums[a + 1, b + 2] += s12
    sums[a + 1, b + 3] += s13


@numba.njit(fastmath=REORDERED, parallel=True, cache=True)
def _overlaps(predicted: Array, count: int, real: Array, result: Array) -> None:
    texts, _, cells = predicted.shape
    groups = -(-count // GROUP)
    for task in numba.prange(texts * groups):
        text, first = task // groups, GROUP * (task % groups)
        p, r, sums = predicted[text], real[text], result[:, text]
        for low in range(0, cells, BLOCK):
            high = min(low + BLOCK, cells)
            for b in range(0, len(r), HEADS):
                for a in range(first, min(first + GROUP, count), PREDICTIONS):
                    _tile(p, r, a, b, low, high, sums)


def overlap_limit(repeats: int = 200_000) -> float:
    """Minima added a second on all cores, of one tile that stays in each core's first cache."""
    workers = int(numba.get_num_threads())
    tile = np.ones((workers, PREDICTIONS, BLOCK // 2), dtype=np.float32)
    heads = np.ones((workers, HEADS, BLOCK // 2), dtype=np.float32)
    sums = np.zeros((workers, PREDICTIONS, HEADS), dtype=np.float32)
    _repeated(tile, heads, sums, 1)
    started = time.perf_counter()
    _repeated(tile, heads, sums, repeats)
    seconds = time.perf_counter() - started
    return workers * repeats * HEADS * PREDICTIONS * (BLOCK // 2) / seconds


@numba.njit(fastmath=REORDERED, parallel=True, cache=True)
def _repeated(predicted: Array, real: Array, sums: Array, repeats: int) -> None:
    for worker in numba.prange(len(real)):
        for _ in range(repeats):
            _tile(predicted[worker], real[worker], 0, 0, 0, real.shape[2], sums[worker])
