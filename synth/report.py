"""One self-contained HTML page that shows a model's heads with their programs.

Tokens, programs and names come from strangers: the template escapes them, the script writes them
as text alone, and the page's content policy runs no script but its own.
"""

import base64
import hashlib
import json
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from interpreter.statistics import bootstrap_ci95
from synth.packing import all_causal, pack
from synth.report_entries import Example, HeadEntry, Interval, ReportData, finite, mean

SCRIPTS = (
    *("page.js", "colours.js", "program.js", "filter.js", "grid.js", "table.js", "scores.js"),
    *("attention.js", "mistakes.js", "front.js", "origin.js", "others.js", "head.js"),
    "start.js",
)
"""The parts of the page's one script, which share one block."""


def render_report(data: ReportData) -> str:
    """The whole page as one string; it needs no other file and no network.

    Half surrogates, which UTF-8 cannot hold, become question marks.
    """
    style = _part("report.css")
    script = '"use strict";\n{\n' + "".join(map(_part, SCRIPTS)) + "}\n"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    entries = sorted(data.entries, key=lambda entry: (entry.layer, entry.head))
    rows = [_row(entry) for entry in entries]
    page = environment.from_string(_part("report.html")).render(
        data=data,
        rows=rows,
        programs=len({entry.program for entry in entries}),
        mean_iou=mean(row["iou"] for row in rows),
        mean_iou_ci=_mean_interval([entry.iou_per_document for entry in entries]),
        mean_no_sink=mean(row["iou_no_sink"] for row in rows),
        mean_no_sink_ci=_mean_interval([e.iou_no_sink_per_document or [] for e in entries]),
        mean_baseline=mean(row["baseline"] and row["baseline"]["iou"] for row in rows),
        has_baselines=any(row["baseline"] for row in rows),
        has_damage=any(row["damage"] is not None for row in rows),
        style=Markup(style),
        script=Markup(script),
        style_hash=_content_hash(style),
        script_hash=_content_hash(script),
        payload=_script_json(_payload(data, entries, rows)),
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def _part(name: str) -> str:
    return files("synth.templates").joinpath(name).read_text(encoding="utf-8")


def _json_value(value: Any) -> Any:
    """The value with NaN and infinity as None."""
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value


def _row(entry: HeadEntry) -> dict[str, Any]:
    """The entry without its examples as JSON values, with the head's name."""
    row = {key: _json_value(value) for key, value in asdict(entry).items() if key != "examples"}
    return row | {"name": entry.name}


def _mean_interval(heads: list[list[float]]) -> Interval | None:
    """The interval over documents of the mean over heads; None where heads have unlike ones."""
    lengths = set(map(len, heads))
    if len(lengths) != 1 or lengths == {0}:
        return None
    return bootstrap_ci95(np.mean(heads, axis=0))


def _payload(
    data: ReportData, entries: list[HeadEntry], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the script reads; each text stands once, however many heads show it."""
    texts: dict[tuple[str, tuple[str, ...]], int] = {}
    causal = all_causal([example for entry in entries for example in entry.examples])

    def number(example: Example) -> int:
        return texts.setdefault((example.document, tuple(example.tokens)), len(texts))

    heads = [
        row | {"texts": [number(e) for e in entry.examples], "packed": pack(entry.examples, causal)}
        for entry, row in zip(entries, rows, strict=True)
    ]
    return {
        "layers": data.layers,
        "heads": data.heads,
        "causal": causal,
        "tolerance": data.tolerance,
        "categories": data.categories,
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
