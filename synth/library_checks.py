"""What must hold of a row beyond its types before it is believed: see `check`."""

import re
from datetime import datetime
from statistics import fmean

from grammar.canonical import verified
from synth.library_rows import Baseline, Program, Proposal, Row, Score

MEAN_TOLERANCE = 1e-6
"""A stored mean may differ by this from the mean of its documents (float32 against float64)."""

HASH = re.compile("[0-9a-f]{16}")
FRACTIONS = ("iou", "iou_no_sink", "jsd", "select_iou")
TIMES = ("first_seen", "started", "finished")
COUNTED = (
    *("layer", "head", "batch", "metric_version", "tokens", "seconds", "dollars"),
    *("output_error", "damage"),
)


def check(row: Row) -> None:
    """Raises ValueError or InputError where the row cannot be true.

    A program is a program and in canonical form; scores lie from 0 to 1 and are the means of
    their documents; layers, counts and times are not negative; dates are dates; parents are hashes.
    """
    values = vars(row)
    for name in COUNTED:
        # An example's tokens are a list.
        if isinstance(number := values.get(name), int | float) and number < 0:
            raise ValueError(f"{name} is {number}, below 0")
    for name in FRACTIONS:
        if (number := values.get(name)) is not None and not -1e-6 <= number <= 1 + 1e-6:
            raise ValueError(f"{name} is {number}, not from 0 to 1")
    for name in TIMES:
        if (time := values.get(name)) is not None:
            datetime.fromisoformat(time)
    match row:
        case Program():
            verified(row.text)
        case Proposal():
            for parent in row.parents:
                if not HASH.fullmatch(parent):
                    raise ValueError(f"a parent is {parent!r:.40}, not 16 hexadecimal digits")
        case Score():
            for name, per_document in row.per_document().items():
                _check_mean(name, getattr(row, name), per_document)
        case Baseline():
            _check_mean("iou", row.iou, row.iou_per_document)


def _check_mean(name: str, stated: float | None, per_document: list[float]) -> None:
    if not per_document:
        raise ValueError(f"{name}_per_document is empty")
    mean = fmean(per_document)
    if stated is None or abs(mean - stated) > MEAN_TOLERANCE * max(1.0, mean):
        raise ValueError(f"{name} is {stated}, but the mean of its documents is {mean}")
