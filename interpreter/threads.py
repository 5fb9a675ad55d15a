"""How many threads this process computes with."""

import numba
import torch


def use_threads(count: int) -> None:
    """Lets torch and compiled code compute with so many threads."""
    torch.set_num_threads(count)
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    numba.set_num_threads(min(count, most))
