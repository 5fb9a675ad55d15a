"""IoU of any predictions with every head, compiled for the devices that have a kernel."""

import os
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any, Protocol

from torch import Tensor

from interpreter.overlap_cores import HeadsOnCores
from interpreter.scores import iou_with_each

COMPILED = os.environ.get("HEADSCRIPT_COMPILED", "1") != "0"
"""`HEADSCRIPT_COMPILED=0` leaves everything to torch."""


class Packed(Protocol):
    """Heads on texts that are packed once, and what predictions have in common with them."""

    at_once: int
    """Predictions that are packed before the heads go by."""

    def table(self) -> Any:
        """Room for so many predictions."""

    def put(self, matrices: Tensor, table: Any, place: int) -> None:
        """Packs a prediction, [text, query, key] float32, into a place of the table."""

    def overlaps(self, table: Any, count: int) -> Tensor:
        """[prediction, text, head]: sums of minima of the first predictions of a table."""


def packed(real: Tensor, visible: Tensor) -> Packed | None:
    """The heads as the compiled code of their device takes them; None where there is none."""
    if not COMPILED:
        return None
    if real.device.type == "cpu":
        return HeadsOnCores(real, visible)
    # Triton comes with the torch that has CUDA, but not on Windows.
    if real.device.type == "cuda" and find_spec("triton"):
        from interpreter.overlap_cuda import HeadsOnCuda

        return HeadsOnCuda(real, visible)
    return None


class HeadIoU:
    """IoU of any predictions with every head, on texts that are packed once."""

    def __init__(self, real: Tensor, visible: Tensor) -> None:
        """`real` is [text, head, query, key], `visible` [text, query, key] bool.

        Rows sum to 1, or to 0 on padding.
        """
        self._rows = visible.any(-1).sum(-1)
        self._heads: Packed | Tensor = packed(real, visible) or real

    def ious(self, predicted: Iterable[Tensor]) -> Iterator[Tensor]:
        """[text, head] float32 of each prediction, [text, query, key]."""
        heads = self._heads
        if isinstance(heads, Tensor):
            yield from (iou_with_each(heads, matrices) for matrices in predicted)
            return
        # One table for all: the memory of a new one costs more time than what is done in it.
        table, waiting = heads.table(), 0
        for matrices in predicted:
            heads.put(matrices, table, waiting)
            waiting += 1
            if waiting == heads.at_once:
                yield from self._ious(heads.overlaps(table, waiting))
                waiting = 0
        if waiting:
            yield from self._ious(heads.overlaps(table, waiting))

    def _ious(self, overlaps: Tensor) -> Tensor:
        """[prediction, text, head]: the sum of maxima is twice the rows less that of minima."""
        return overlaps / (2 * self._rows[:, None] - overlaps)
