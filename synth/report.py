"""One self-contained HTML page that shows a model's heads with their programs.

Tokens, programs and names come from strangers: the template escapes them, the script writes them
as text alone, and the page's content policy runs no script but its own.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.resources import files
from statistics import fmean
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from synth.heads import head_name

MOST_HEADS = 20_000
"""A grid of more would be no model's, and no browser would draw it."""


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
class HeadEntry:
    """A head with its chosen program.

    Scores are means over documents: `iou` and `iou_no_sink` in 0..1, 1 is best; `jsd` in 0..1 and
    `output_error` >= 0, 0 is best.  `iou_ci` is a 95% interval.  `size` counts terms.
    A score that is not a number is shown as missing.
    """

    layer: int
    head: int
    program: str
    sentence: str
    iou: float
    iou_ci: tuple[float, float]
    iou_no_sink: float
    jsd: float
    output_error: float | None
    baseline_name: str
    baseline_iou: float
    proposer: str
    stage: str
    size: int
    proposals: int
    rejected: int
    duplicates: int
    examples: list[Example]


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
    entries: list[HeadEntry]

    def __post_init__(self) -> None:
        if self.layers * self.heads > MOST_HEADS:
            raise ValueError(f"{self.layers} layers of {self.heads} heads are too many to show")
        places = [(entry.layer, entry.head) for entry in self.entries]
        if len(set(places)) < len(places):
            raise ValueError("a head has two entries")
        for layer, head in places:
            if not (0 <= layer < self.layers and 0 <= head < self.heads):
                raise ValueError(f"{self.model} has no head {head_name(layer, head)}")


def render_report(data: ReportData) -> str:
    """The whole page as one string; it needs no other file and no network.

    Half surrogates, which UTF-8 cannot hold, become question marks.
    """
    style, script = _part("report.css"), _part("report.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    rows = sorted((_row(entry) for entry in data.entries), key=lambda r: (r["layer"], r["head"]))
    page = environment.from_string(_part("report.html")).render(
        data=data,
        rows=rows,
        mean_iou=_mean(row["iou"] for row in rows),
        mean_baseline=_mean(row["baseline_iou"] for row in rows),
        style=Markup(style),
        script=Markup(script),
        style_hash=_content_hash(style),
        script_hash=_content_hash(script),
        payload=_script_json(_payload(data, rows)),
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def _part(name: str) -> str:
    return files("synth.templates").joinpath(name).read_text(encoding="utf-8")


def _row(entry: HeadEntry) -> dict[str, Any]:
    """The entry as JSON values, NaN and infinity as None, with the head's name."""
    row = asdict(entry) | {"name": head_name(entry.layer, entry.head)}
    row["iou_ci"] = [_finite(end) for end in entry.iou_ci]
    return {
        key: _finite(value) if isinstance(value, float) else value for key, value in row.items()
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _payload(data: ReportData, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the script reads; each text stands once, however many heads show it."""
    texts: dict[tuple[str, tuple[str, ...]], int] = {}
    heads = []
    for row in rows:
        examples = [
            {
                "text": texts.setdefault((e["document"], tuple(e["tokens"])), len(texts)),
                "real": base64.b64encode(e["real"]).decode(),
                "predicted": base64.b64encode(e["predicted"]).decode(),
            }
            for e in row["examples"]
        ]
        heads.append(row | {"examples": examples})
    return {
        "layers": data.layers,
        "heads": data.heads,
        "texts": [{"document": document, "tokens": tokens} for document, tokens in texts],
        "entries": heads,
    }


def _script_json(value: Any) -> Markup:
    """JSON that cannot end its script block: no <, > or & stands in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _content_hash(text: str) -> str:
    """The hash by which a content security policy lets an inline block pass."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
