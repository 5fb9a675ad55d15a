"""Memory that is freed stays with the process, for the next matrix of the same size."""

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT = 2**25
"""Bytes of one block; the most that mallopt(3) takes."""
KEPT = 2**28
"""Bytes of all blocks together."""


@cache
def keep_freed_memory() -> None:
    """Has glibc keep freed blocks, where it is glibc: else each is new pages, which cost more time
    than what is computed on them (see `experiments.worst_case`)."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)
