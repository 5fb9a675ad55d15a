"""What a library holds, as Python objects whose types are checked when they are made.

A library file may come from a stranger, so nothing in a row is believed: a value of another type
is a `ValueError` here, and becomes an `InputError` where the row was read.
"""

from dataclasses import dataclass, field
from sys import float_info
from types import UnionType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from grammar.canonical import content_hash
from grammar.limits import MAX_PROGRAM_CHARACTERS

Split = Literal["train", "select", "test"]
Status = Literal["accepted", "duplicate", "rejected"]
HeadKey = tuple[int, int]
"""(layer, head)."""

TITLES = {
    "iou": "IoU",
    "iou_no_sink": "IoU without the first token",
    "jsd": "JSD",
    "output_error": "output error",
}
"""The scores that each document has its own value of, and what a reader is told they are."""

BEST_TRIVIAL = "best_trivial"
"""The name of the baseline that is the best trivial program of a head."""


def _fits(value: object, hint: Any) -> bool:
    """Whether `value` is of the type `hint`: a float finite, an int of 64 bits, a bool neither."""
    if get_origin(hint) is UnionType:
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is list:
        (item,) = get_args(hint)
        return isinstance(value, list) and all(_fits(v, item) for v in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict)
    if hint is float:
        return _fits(value, int) or (isinstance(value, float) and abs(value) <= float_info.max)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, hint)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of some table.

    Raises ValueError when a field is not of its declared type or a program's text is too long.
    """

    _types: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls)
        cls._types = {name: hint for name, hint in hints.items() if name != "_types"}

    def __post_init__(self) -> None:
        for name, hint in self._types.items():
            value = getattr(self, name)
            if not _fits(value, hint):
                expected = hint.__name__ if isinstance(hint, type) else hint
                raise ValueError(f"{name} is {value!r:.60}, not {expected}")
            if name == "text" and value is not None and len(value) > MAX_PROGRAM_CHARACTERS:
                raise ValueError(f"text has {len(value)} characters, over {MAX_PROGRAM_CHARACTERS}")


@dataclass(frozen=True, kw_only=True)
class Program(Row):
    """A program: its canonical text and when the library first saw it (UTC, ISO 8601)."""

    text: str
    first_seen: str

    @property
    def program_hash(self) -> str:
        return content_hash(self.text)


@dataclass(frozen=True, kw_only=True)
class Run(Row):
    """One synthesis run.  `key` stands for everything that determines its results."""

    id: int
    key: str
    model: str
    model_revision: str
    texts_sha256: str
    settings: dict[str, Any]
    headscript_version: str
    started: str
    finished: str | None


@dataclass(frozen=True, kw_only=True)
class Batch(Row):
    """The place of proposals that were recorded together."""

    run_id: int
    layer: int
    head: int
    stage: str
    batch: int


@dataclass(frozen=True, kw_only=True)
class Proposal(Row):
    """One attempt at a program: `text` is its canonical text, None where it was rejected."""

    raw: str
    """As the proposer wrote it."""
    text: str | None
    code: str | None = None
    """Why it was rejected: code, message and, counted from 1, line and column."""
    message: str | None = None
    line: int | None = None
    column: int | None = None
    proposer: str
    prompt_sha256: str | None = None
    seed: int
    parents: list[str] = field(default_factory=list)
    """Hashes of the programs that it was made from."""
    tokens: int | None = None
    """Tokens that the proposer generated."""
    seconds: float = 0.0
    dollars: float = 0.0
    """What was paid for it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.text is None) == (self.code is None):
            raise ValueError("a proposal has a text, or a code that says why it was rejected")

    @property
    def program_hash(self) -> str | None:
        return None if self.text is None else content_hash(self.text)


@dataclass(frozen=True, kw_only=True)
class StoredProposal(Proposal):
    """A proposal in its place in a run.  A duplicate's program was in the library before."""

    run_id: int
    layer: int
    head: int
    stage: str
    batch: int
    status: Status

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.status == "rejected") == (self.code is None):
            raise ValueError(f"a proposal is {self.status} with the code {self.code!r:.40}")


@dataclass(frozen=True, kw_only=True)
class Score(Row):
    """How well a program predicts one head on one split of some texts (means over documents).

    `damage` is what the model loses when the program replaces this head alone, in nats a token on
    the first documents of the split: see `synth.ordering.damages`.
    """

    program_hash: str
    model: str
    model_revision: str
    layer: int
    head: int
    texts_sha256: str
    split: Split
    metric_version: int
    documents: int
    iou: float
    iou_per_document: list[float]
    iou_no_sink: float | None = None
    jsd: float | None = None
    output_error: float | None = None
    iou_no_sink_per_document: list[float] | None = None
    jsd_per_document: list[float] | None = None
    output_error_per_document: list[float] | None = None
    damage: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, values in self.per_document().items():
            if not 1 <= self.documents == len(values):
                raise ValueError(f"{self.documents} documents with {len(values)} values of {name}")

    def per_document(self) -> dict[str, list[float]]:
        """The values of the documents, of each score that has them: their mean is the score."""
        found = {name: getattr(self, f"{name}_per_document") for name in TITLES}
        return {name: values for name, values in found.items() if values is not None}


@dataclass(frozen=True, kw_only=True)
class Choice(Row):
    """The program that stands for a head: best by `choice`, with its IoU on the select split."""

    model: str
    model_revision: str
    layer: int
    head: int
    choice: str = "iou"
    text: str
    run_id: int
    select_iou: float

    @property
    def program_hash(self) -> str:
        return content_hash(self.text)


@dataclass(frozen=True, kw_only=True)
class Baseline(Row):
    """What a program that needs no synthesis scores on a head."""

    run_id: int
    layer: int
    head: int
    name: str
    split: Split
    iou: float
    iou_per_document: list[float]


@dataclass(frozen=True, kw_only=True)
class StoredExample(Row):
    """One text of n tokens with a head's attention, real and predicted by a program.

    Each matrix is n * n bytes, row-major, row = query, column = key, byte = round(255 * weight).
    """

    program_hash: str
    model: str
    model_revision: str
    layer: int
    head: int
    document: str
    tokens: list[str]
    real: bytes
    predicted: bytes

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.real) == len(self.predicted) == len(self.tokens) ** 2:
            raise ValueError(f"the matrices of {self.document!r:.40} do not fit its tokens")


@dataclass(frozen=True, kw_only=True)
class ChosenModel(Row):
    """A model that the library has choices for, and for how many of its heads."""

    model: str
    model_revision: str
    heads: int


@dataclass(frozen=True, kw_only=True)
class Counts(Row):
    """What became of proposals.  `codes` counts the rejected by reason."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def proposed(self) -> int:
        return self.accepted + self.duplicates + self.rejected

    def __add__(self, other: "Counts") -> "Counts":
        codes = [*self.codes, *(code for code in other.codes if code not in self.codes)]
        return Counts(
            accepted=self.accepted + other.accepted,
            duplicates=self.duplicates + other.duplicates,
            rejected=self.rejected + other.rejected,
            codes={code: self.codes.get(code, 0) + other.codes.get(code, 0) for code in codes},
        )


@dataclass(frozen=True, kw_only=True)
class Tally(Row):
    """How many proposals of one head came to the same end."""

    layer: int
    head: int
    status: Status
    code: str | None
    number: int

    @property
    def counts(self) -> Counts:
        match self.status:
            case "accepted":
                return Counts(accepted=self.number)
            case "duplicate":
                return Counts(duplicates=self.number)
            case "rejected":
                return Counts(rejected=self.number, codes={str(self.code): self.number})


@dataclass(frozen=True, kw_only=True)
class RunCounts(Row):
    """The counts of one run."""

    heads: dict[HeadKey, Counts]

    @property
    def total(self) -> Counts:
        return sum(self.heads.values(), Counts())
