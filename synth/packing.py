"""Attention matrices in a page: half of a causal one, deflated, as base64 text.

Nothing is lost.  The page's script (`attention.js`) unpacks them with DecompressionStream.
"""

import base64
import zlib
from collections.abc import Sequence

import numpy as np

from synth.report_entries import Example


def all_causal(examples: Sequence[Example]) -> bool:
    """Whether no weight of any example falls on a later token."""
    return not any(
        np.triu(_square(matrix, len(example.tokens)), 1).any()
        for example in examples
        for matrix in (example.real, example.predicted)
    )


def pack(examples: Sequence[Example], causal: bool) -> str:
    """All matrices of one head: for each example the real one, then the predicted one.

    Of a causal matrix the lower triangle with its diagonal, row by row; else all of it.
    """
    parts = []
    for example in examples:
        n = len(example.tokens)
        kept = np.tri(n, dtype=bool) if causal else np.ones((n, n), dtype=bool)
        parts += [_square(m, n)[kept].tobytes() for m in (example.real, example.predicted)]
    return base64.b64encode(zlib.compress(b"".join(parts), 9)).decode("ascii")


def _square(matrix: bytes, n: int) -> np.ndarray:
    return np.frombuffer(matrix, np.uint8).reshape(n, n)
