"""The report page: what it holds, what it lets no stranger do, and that it works in a browser."""

import base64
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synth.report import Example, HeadEntry, ReportData, render_report

STORY = (
    "Once upon a time there was a little fox named Pip .\n Every morning Pip ran to the river . "
    '"Good morning , fish !" he said . One day the river was quiet , and the fox sat down '
    "beside it and began to wait ."
)
TOKENS = re.findall(r"^\w+|\n| ?[\w]+| ?[^\w\s]+", STORY)[:48]
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "\"'><img src=x onerror=alert(1)>",
    "]]>&lt;\u2028",
    "\ud800",
]
PROGRAMS = [
    ("first", "Looks at the first token."),
    ("62 first + 20 back(1) + 18 near(noun, 8)", ""),
    (
        "when newline: self; 60 first + 40 score(2.0 noun + 1.5 same_sentence)",
        "A line break looks at itself; any other token at the first token and at nouns nearby.",
    ),
    (
        'when digit or sentence_start: 80 first + 20 self; when after(word("the")): back(1); '
        '45 first + 30 first(word("the")) + 15 near(content, 4) + 10 same_token',
        "",
    ),
]


def pattern(sink: float, fade: float, seed: int) -> bytes:
    """A causal matrix over TOKENS: a sink, a fade by distance and some noise."""
    n = len(TOKENS)
    distance = np.subtract.outer(np.arange(n), np.arange(n))
    noise = np.random.default_rng(seed).gamma(0.3, size=(n, n))
    weights = np.where(distance >= 0, np.exp(-distance / fade) * (0.2 + noise), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    weights *= 1 - sink
    weights[:, 0] += sink
    return np.round(255 * weights).astype(np.uint8).tobytes()


def entry(layer: int, head: int) -> HeadEntry:
    """A made-up head whose numbers differ from those of its neighbours."""
    number = 9 * layer + head
    program, sentence = PROGRAMS[number % len(PROGRAMS)]
    iou = 0.25 + 0.7 * ((number * 37) % 100) / 100
    sink = ((number * 61) % 90) / 100
    examples = [
        Example(
            f"story-{i}",
            TOKENS,
            pattern(sink, 3 + head, number + i),
            pattern(sink * 0.9, 3 + head, number + i + 1000),
        )
        for i in range(2)
    ]
    return HeadEntry(
        layer,
        head,
        program,
        sentence,
        iou,
        (iou - 0.03, min(iou + 0.025, 1.0)),
        iou * 0.8,
        0.3,
        None if number % 17 == 3 else 1.2 - iou,
        "first",
        sink * 0.6,
        "SmolLM2-135M-Instruct",
        "fit",
        3,
        12,
        1,
        4,
        examples,
    )


def report(layers: int = 6, heads: int = 9) -> ReportData:
    """A report of every head but L0H1."""
    places = [(layer, head) for layer in range(layers) for head in range(heads)]
    return ReportData(
        "smollm2-135m",
        "b179c9523d0e",
        layers,
        heads,
        "60 documents, 5,760 tokens, sha256 0f3a9b21",
        0,
        "2025-01-31 12:00 UTC",
        "0.1.0",
        [entry(*place) for place in places if place != (0, 1)],
    )


def hostile_report() -> ReportData:
    """A report in which every text that comes from outside tries to become HTML."""
    data = report(2, len(HOSTILE))
    entries = [
        replace(
            e,
            program=HOSTILE[e.head],
            sentence=HOSTILE[e.head],
            baseline_name=HOSTILE[e.head],
            proposer=HOSTILE[e.head],
            stage=HOSTILE[e.head],
            examples=[
                replace(x, document=HOSTILE[e.head], tokens=(HOSTILE * len(TOKENS))[: len(TOKENS)])
                for x in e.examples
            ],
        )
        for e in data.entries
    ]
    everything = " ".join(HOSTILE)
    return replace(
        data,
        model=everything,
        revision=everything,
        texts=everything,
        created=everything,
        version=everything,
        entries=entries,
    )


class Outline(HTMLParser):
    """The page's tags in order, its ids, and the text of each script block."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts:
            self.scripts[-1] += data


def embedded(page: str) -> Any:
    """The data block, as the page's script reads it."""
    return json.loads(Outline(page).scripts[0])


def test_the_page_stands_alone() -> None:
    page = render_report(report())
    outline = Outline(page)
    assert page.lstrip().startswith("<!doctype html>")
    assert {"grid", "panel", "search", "measures", "legend", "table"} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert len(outline.scripts) == 2
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_the_table_shows_every_program_without_a_script() -> None:
    page = render_report(report(2, 3))
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    assert body.count("<tr") == 5
    assert '<a href="#L1H2">L1H2</a>' in body
    assert "when newline: self; 60 first" in body


def test_entries_are_ordered_and_texts_stand_once() -> None:
    data = report(3, 4)
    payload = embedded(render_report(replace(data, entries=data.entries[::-1])))
    assert [e["name"] for e in payload["entries"]] == [f"L{e.layer}H{e.head}" for e in data.entries]
    assert len(payload["texts"]) == 2


def test_matrices_come_through() -> None:
    data = report(1, 3)
    payload = embedded(render_report(data))
    first = payload["entries"][0]["examples"][1]
    assert base64.b64decode(first["real"]) == data.entries[0].examples[1].real
    assert base64.b64decode(first["predicted"]) == data.entries[0].examples[1].predicted


def test_nothing_from_outside_becomes_html() -> None:
    page = render_report(hostile_report())
    tame = Outline(render_report(report(2, len(HOSTILE))))
    outline = Outline(page)
    assert outline.tags == tame.tags
    assert outline.handlers == []
    assert outline.scripts[1] == tame.scripts[1]
    assert not set("<>&") & set(outline.scripts[0])
    entries = embedded(page)["entries"]
    assert {e["program"] for e in entries} == {text.replace("\ud800", "?") for text in HOSTILE}
    page.encode()


def test_a_full_model_stays_under_five_megabytes() -> None:
    assert len(TOKENS) == 48
    page = render_report(report(30, 9))
    assert len(page.encode()) < 5_000_000


def test_the_same_data_give_the_same_page() -> None:
    assert render_report(report(2, 2)) == render_report(report(2, 2))


def test_a_report_of_nothing_says_so() -> None:
    page = render_report(replace(report(), entries=[]))
    assert "No head has a program yet" in page
    assert Outline(page).scripts == []


def test_scores_that_are_no_numbers_are_shown_as_missing() -> None:
    nan = float("nan")
    data = report(1, 1)
    odd = replace(entry(0, 0), iou=nan, iou_ci=(nan, nan), output_error=float("inf"))
    payload = embedded(render_report(replace(data, entries=[odd])))
    (shown,) = payload["entries"]
    assert (shown["iou"], shown["iou_ci"], shown["output_error"]) == (None, [None, None], None)


def test_data_that_contradict_themselves_are_refused() -> None:
    data = report(2, 2)
    with pytest.raises(ValueError, match="no head L7H0"):
        replace(data, entries=[entry(7, 0)])
    with pytest.raises(ValueError, match="two entries"):
        replace(data, entries=[entry(0, 0), entry(0, 0)])
    with pytest.raises(ValueError, match="no tokens"):
        Example("story", [], b"", b"")
    with pytest.raises(ValueError, match="2 tokens need 4 bytes"):
        Example("story", ["a", "b"], b"\x00" * 4, b"\x00" * 3)


# ---- in a real browser

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH")

# Uses the page as a reader would and writes what happened into the data-seen attribute.
READER = """
addEventListener("load", async () => {
  const pause = () => new Promise((done) => setTimeout(done, 50));
  const seen = {};
  const cell = (name) => document.querySelector(`#grid [data-head=${name}]`);
  const press = (key) => document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  cell("L1H2").click();
  await pause();
  seen.clicked = [location.hash, document.querySelector("#panel-title").textContent];
  cell("L1H2").focus();
  for (const key of ["ArrowDown", "ArrowRight", "ArrowRight", "Enter"]) press(key);
  await pause();
  seen.keys = [location.hash, document.activeElement.dataset.head];
  const canvas = document.querySelector(".maps canvas");
  const box = canvas.getBoundingClientRect();
  const count = canvas.width;
  canvas.dispatchEvent(new PointerEvent("pointermove", { bubbles: true,
    clientX: box.left + 0.5 * box.width / count, clientY: box.top + 4.5 * box.height / count }));
  seen.hovered = document.querySelector(".readout").textContent;
  const pixel = canvas.getContext("2d").getImageData(0, 4, 1, 1).data;
  const token = document.querySelector(".strip [data-at='4']");
  token.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  const colour = getComputedStyle(document.querySelector(".strip [data-at='0']")).backgroundColor;
  seen.agree = colour === `rgb(${[...pixel].slice(0, 3).join(", ")})`;
  document.querySelectorAll("#measures input")[2].click();
  seen.error = cell("L0H3").getAttribute("aria-label");
  cell("L0H1").click();
  await pause();
  seen.none = document.querySelector("#panel").textContent;
  const search = document.querySelector("#search");
  search.value = "NEWLINE";
  search.dispatchEvent(new Event("input"));
  seen.rows = document.querySelectorAll("#table tbody tr:not([hidden])").length;
  seen.dim = document.querySelectorAll("#grid td.dim").length;
  seen.matches = document.querySelector("#matches").textContent;
  document.documentElement.dataset.seen = JSON.stringify(seen);
});
"""


class RootAttributes(HTMLParser):
    """The attributes of the html element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str | None] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "html":
            self.found = dict(attrs)


def browse(page: str, folder: Path, fragment: str = "") -> str:
    """The page as Chromium holds it once the script has run."""
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}"),
            *("--virtual-time-budget=5000", "--dump-dom", file.as_uri() + fragment),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=os.environ | {"HOME": str(folder)},
    )
    return done.stdout


def told_to_be_read(page: str) -> str:
    """The page with READER in it; the content policy, which would stop it, is taken out."""
    page = re.sub(r"<meta http-equiv.*\n", "", page)
    return page.replace("</body>", f"<script>{READER}</script></body>")


@needs_chromium
def test_a_deep_link_opens_the_head(tmp_path: Path) -> None:
    page = browse(render_report(report()), tmp_path, "#L5H4")
    attributes = RootAttributes(page).found
    assert attributes["data-ready"] == "yes"
    assert "data-error" not in attributes
    assert (
        '<section id="panel" class="panel" aria-labelledby="panel-title" data-head="L5H4">' in page
    )
    assert page.count("<canvas") == 3


@needs_chromium
def test_a_reader_can_click_type_point_and_search(tmp_path: Path) -> None:
    page = browse(told_to_be_read(render_report(report())), tmp_path)
    attributes = RootAttributes(page).found
    assert "data-error" not in attributes
    seen = json.loads(attributes["data-seen"] or "")
    assert seen["clicked"] == ["#L1H2", "L1H2 layer 1, head 2"]
    assert seen["keys"] == ["#L2H4", "L2H4"]
    assert re.fullmatch(r"there → Once: real 0\.\d\d, predicted 0\.\d\d", seen["hovered"])
    assert seen["agree"]
    assert seen["error"] == "L0H3, Output error: not scored"
    assert "no program" in seen["none"]
    assert (seen["rows"], seen["dim"]) == (13, 41)
    assert seen["matches"] == "13 of 53 programs match."


@needs_chromium
def test_hostile_text_stays_text_in_the_browser(tmp_path: Path) -> None:
    page = browse(render_report(hostile_report()), tmp_path, "#L1H2")
    attributes = RootAttributes(page).found
    assert attributes["data-ready"] == "yes"
    assert "data-error" not in attributes
    assert "<img" not in page
    assert page.count("<script") == 2


@needs_chromium
def test_the_content_policy_stops_any_other_script(tmp_path: Path) -> None:
    intruder = "<script>document.documentElement.dataset.intruder = 'here'</script></body>"
    page = browse(render_report(report(2, 2)).replace("</body>", intruder), tmp_path)
    attributes = RootAttributes(page).found
    assert attributes["data-ready"] == "yes"
    assert "data-intruder" not in attributes


@needs_chromium
def test_a_page_of_a_thousand_heads_opens(tmp_path: Path) -> None:
    small = [replace(e, examples=[]) for e in report(40, 25).entries]
    page = browse(render_report(replace(report(40, 25), entries=small)), tmp_path, "#L39H24")
    assert RootAttributes(page).found["data-ready"] == "yes"
    assert 'data-head="L39H24"' in page
