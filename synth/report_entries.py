"""What the report page shows of a model and its heads, as plain values."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from synth.candidates import Candidate
from synth.heads import head_name

MOST_HEADS = 20_000
"""A grid of more would be no model's, and no browser would draw it."""

Interval = tuple[float, float]
"""A 95% interval over documents."""


@dataclass(frozen=True)
class Example:
    """One text of n >= 1 tokens with the attention of a head, real and predicted.

    Each matrix is n*n bytes, row-major, row = query, column = key, byte = round(255 * weight).
    """

    document: str
    tokens: list[str]
    real: bytes
    predicted: bytes

    def __post_init__(self) -> None:
        if not self.tokens:
            raise ValueError(f"{self.document}: no tokens")
        size = len(self.tokens) ** 2
        if len(self.real) != size or len(self.predicted) != size:
            raise ValueError(f"{self.document}: {len(self.tokens)} tokens need {size} bytes")


@dataclass(frozen=True)
class TrivialScore:
    """The mean IoU of a program that needs no synthesis, on the documents of the entry."""

    program: str
    iou: float
    iou_ci: Interval


@dataclass(frozen=True)
class Step:
    """How a program came to be; `proposed` is False where the run holds no proposal of it."""

    program: str
    proposed: bool = True
    by: str = ""
    stage: str = ""
    place: str = ""
    """The head for which it was proposed."""
    batch: int = 0
    seed: int = 0
    prompt_sha256: str | None = None
    tokens: int | None = None
    seconds: float = 0.0
    raw: str = ""


@dataclass(frozen=True)
class RunFacts:
    """The synthesis run that chose a head's program."""

    id: int
    started: str
    finished: str | None
    seed: int
    proposer: str
    texts: str
    version: str


@dataclass(frozen=True)
class OtherChoice:
    """A program that another measure chose for the head, with what the library has of its scores.

    `select_iou` is on the select documents, the others are on test documents.
    """

    choice: str
    program: str
    terms: int
    select_iou: float
    iou: float | None
    output_error: float | None
    damage: float | None


@dataclass(frozen=True)
class Proposed:
    """What became of the proposals for a head."""

    number: int
    duplicates: int
    rejected: int
    codes: dict[str, int]


@dataclass(frozen=True)
class HeadEntry:
    """A head with its chosen program.

    Scores are means over test documents: `iou` and `iou_no_sink` in 0..1, 1 is best; `jsd` in 0..1
    and `output_error` >= 0, 0 is best; `damage` in nats a token.  A score that is not a number is
    shown as missing, and so is what the library does not hold: an export of the choices alone has
    no proposals and no examples.
    """

    layer: int
    head: int
    program: str
    program_hash: str
    sentence: str
    shape: str
    """The program with all constants alike: heads that share it differ in weights alone."""
    terms: int
    category: str
    iou: float
    iou_ci: Interval
    iou_per_document: list[float]
    iou_no_sink: float | None
    iou_no_sink_ci: Interval | None
    iou_no_sink_per_document: list[float] | None
    jsd: float | None
    jsd_ci: Interval | None
    output_error: float | None
    output_error_ci: Interval | None
    damage: float | None
    select_iou: float
    baseline: TrivialScore | None
    """The best trivial program, as chosen on the select documents."""
    trivial: list[TrivialScore]
    candidates: list[Candidate]
    lineage: list[Step]
    """The chosen program, then what it was made from."""
    first_seen: str
    run: RunFacts
    proposed: Proposed | None
    others: list[OtherChoice]
    examples: list[Example]

    @property
    def name(self) -> str:
        return head_name(self.layer, self.head)


@dataclass(frozen=True)
class ReportData:
    """What the page shows: a model of `layers` x `heads` heads, some or all of them explained."""

    model: str
    revision: str
    layers: int
    heads: int
    texts: str
    seed: int
    created: str
    version: str
    tolerance: float
    """The smallest program within this IoU of the best one was chosen."""
    entries: list[HeadEntry]
    categories: list[str]
    """In the order in which they are listed."""

    def __post_init__(self) -> None:
        if self.layers * self.heads > MOST_HEADS:
            raise ValueError(f"{self.layers} layers of {self.heads} heads are too many to show")
        places = [(entry.layer, entry.head) for entry in self.entries]
        if len(set(places)) < len(places):
            raise ValueError("a head has two entries")
        for layer, head in places:
            if not (0 <= layer < self.layers and 0 <= head < self.heads):
                raise ValueError(f"{self.model} has no head {head_name(layer, head)}")


def finite(value: float | None) -> float | None:
    """The value, None where it is not a number."""
    return value if value is not None and math.isfinite(value) else None


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
