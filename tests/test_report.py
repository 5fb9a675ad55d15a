"""The report page: what it holds, what it lets no stranger do, and what it reads of a library."""

import base64
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from grammar.canonical import content_hash
from grammar.errors import InputError
from interpreter.statistics import bootstrap_ci95
from synth.library import Library, Proposal
from synth.library_export import export
from synth.packing import all_causal, pack
from synth.report import render_report
from synth.report_command import report
from synth.report_data import report_data
from synth.report_entries import Example, Proposed, ReportData, TrivialScore
from tests.report_samples import HOSTILE, TOKENS, full_library, hostile


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """The page's data of a library with 2 layers of 9 heads, all but L0H1."""
    path = tmp_path_factory.mktemp("report") / "made.sqlite"
    full_library(path, 2, 9)
    with Library.open(path) as library:
        return report_data(library, None)


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


# ---- the page


def test_the_page_stands_alone(made: ReportData) -> None:
    page = render_report(made)
    outline = Outline(page)
    assert page.lstrip().startswith("<!doctype html>")
    assert {"grid", "panel", "search", "measures", "legend", "table"} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert len(outline.scripts) == 2
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert set(re.findall(r"https?://[^\s\"']+", page)) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_the_table_shows_every_program_without_a_script(made: ReportData) -> None:
    page = render_report(made)
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    assert body.count("<tr") == 17
    assert '<a href="#L1H2">L1H2</a>' in body
    assert "when newline: self; " in body


def test_entries_are_ordered_and_texts_stand_once(made: ReportData) -> None:
    payload = embedded(render_report(replace(made, entries=made.entries[::-1])))
    assert [e["name"] for e in payload["entries"]] == [e.name for e in made.entries]
    assert len(payload["texts"]) == 3


def unpacked(packed: str, n: int, causal: bool) -> list[bytes]:
    """The matrices in a head's text, as the page's script takes them out."""
    raw = zlib.decompress(base64.b64decode(packed))
    matrices = []
    while raw:
        rows = []
        for query in range(n):
            width = query + 1 if causal else n
            rows.append(raw[:width].ljust(n, b"\0"))
            raw = raw[width:]
        matrices.append(b"".join(rows))
    return matrices


@pytest.mark.parametrize("causal", [True, False])
def test_matrices_come_through_whole(causal: bool) -> None:
    n = 7
    drawn = np.random.default_rng(0).integers(1, 256, (4, n, n)).astype(np.uint8)
    matrices = [(np.tril(m) if causal else m).tobytes() for m in drawn]
    tokens = list("abcdefg")
    examples = [Example("a", tokens, *matrices[:2]), Example("b", tokens, *matrices[2:])]
    assert all_causal(examples) is causal
    assert unpacked(pack(examples, causal), n, causal) == matrices


def test_the_page_holds_the_matrices_of_the_library(made: ReportData) -> None:
    payload = embedded(render_report(made))
    found = unpacked(payload["entries"][3]["packed"], len(TOKENS), payload["causal"])
    examples = made.entries[3].examples
    assert found == [matrix for e in examples for matrix in (e.real, e.predicted)]


def test_nothing_from_outside_becomes_html(made: ReportData) -> None:
    page = render_report(hostile(made))
    tame = Outline(render_report(made))
    outline = Outline(page)
    assert outline.tags == tame.tags
    assert outline.handlers == []
    assert outline.scripts[1] == tame.scripts[1]
    assert not set("<>&") & set(outline.scripts[0])
    entries = embedded(page)["entries"]
    assert {e["program"] for e in entries} == {text.replace("\ud800", "?") for text in HOSTILE}
    page.encode()


def test_a_full_model_stays_under_five_megabytes(made: ReportData) -> None:
    assert len(TOKENS) == 48
    places = [(layer, head) for layer in range(30) for head in range(9)]
    entries = [
        replace(entry, layer=layer, head=head)
        for (layer, head), entry in zip(places, cycle(made.entries), strict=False)
    ]
    page = render_report(replace(made, layers=30, heads=9, entries=entries))
    assert len(page.encode()) < 5_000_000


def test_the_same_data_give_the_same_page(made: ReportData) -> None:
    assert render_report(made) == render_report(made)


def test_a_report_of_nothing_says_so(made: ReportData) -> None:
    page = render_report(replace(made, entries=[]))
    assert "No head has a program yet" in page
    assert Outline(page).scripts == []


def test_scores_that_are_no_numbers_are_shown_as_missing(made: ReportData) -> None:
    nan = float("nan")
    odd = replace(
        made.entries[0],
        iou=nan,
        iou_ci=(nan, nan),
        output_error=float("inf"),
        baseline=TrivialScore("first", nan, (nan, nan)),
    )
    (shown,) = embedded(render_report(replace(made, entries=[odd])))["entries"]
    assert (shown["iou"], shown["iou_ci"], shown["output_error"]) == (None, [None, None], None)
    assert shown["baseline"]["iou"] is None


def test_damage_is_shown_where_there_is_any(made: ReportData) -> None:
    assert ">Damage<" not in render_report(made)
    entries = [replace(e, damage=0.01 * e.head) for e in made.entries]
    assert ">Damage<" in render_report(replace(made, entries=entries))


def test_data_that_contradict_themselves_are_refused(made: ReportData) -> None:
    entry = made.entries[0]
    with pytest.raises(ValueError, match="no head L7H0"):
        replace(made, entries=[replace(entry, layer=7)])
    with pytest.raises(ValueError, match="two entries"):
        replace(made, entries=[entry, entry])
    with pytest.raises(ValueError, match="no tokens"):
        Example("story", [], b"", b"")
    with pytest.raises(ValueError, match="2 tokens need 4 bytes"):
        Example("story", ["a", "b"], b"\x00" * 4, b"\x00" * 3)


# ---- what is read of a library


def test_a_head_is_read_with_all_that_the_library_knows(made: ReportData) -> None:
    entry = next(e for e in made.entries if e.name == "L1H4")
    assert [t.program for t in entry.trivial] == ["any", "back(1)", "first", "self"]
    assert entry.baseline.program == "first"
    assert entry.baseline.iou_ci[0] < entry.baseline.iou < entry.baseline.iou_ci[1]
    assert entry.iou_ci[0] < entry.iou < entry.iou_ci[1]
    assert len(entry.iou_per_document) == 15
    assert entry.category == "sink"
    chosen, parent = entry.lineage
    assert (chosen.program, chosen.stage, chosen.place) == (entry.program, "fit", "L1H4")
    assert (parent.program, parent.stage) == ("3 first + 2 back(1)", "language model")
    assert (parent.tokens, parent.seconds, parent.prompt_sha256) == (23, 4.1, "ab" * 32)
    assert entry.proposed == Proposed(7, 5, 1, {"syntax": 1})
    assert {c.program for c in entry.candidates if not c.trivial} == {
        entry.program,
        "3 first + 2 back(1)",
    }
    assert [c.terms for c in entry.candidates] == sorted(c.terms for c in entry.candidates)
    assert [len(e.tokens) for e in entry.examples] == [48, 48, 48]


def test_programs_that_differ_in_numbers_alone_have_one_shape(made: ReportData) -> None:
    shapes = {e.name: e.shape for e in made.entries}
    programs = {e.name: e.program for e in made.entries}
    assert programs["L0H4"] != programs["L1H1"]
    assert shapes["L0H4"] == shapes["L1H1"] != shapes["L0H5"]


def test_a_parent_from_elsewhere_is_told_as_such(tmp_path: Path) -> None:
    full_library(tmp_path / "made.sqlite", 1, 1)
    with Library.open(tmp_path / "made.sqlite") as library:
        run = library.runs()[0]
        (choice,) = library.choices()
        library.add_programs(["5 first + 2 self"])
        text, parents = "2 first + 1 self", [content_hash("5 first + 2 self")]
        grown = Proposal(raw=text, text=text, proposer="grow", seed=0, parents=parents)
        library.record_batch(run, 0, 0, "grow", 0, [grown])
        library.set_choice(replace(choice, text=text))
        (score,) = library.scores(split="test")
        library.record_scores([replace(score, program_hash=content_hash(text))])
        (entry,) = report_data(library, None).entries
    assert [(s.program, s.proposed) for s in entry.lineage] == [
        ("2 first + 1 self", True),
        ("5 first + 2 self", False),
    ]


def test_an_empty_library_is_told_plainly(tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite"
    with Library.open(path, create=True):
        pass
    result = CliRunner().invoke(report, ["--library", str(path), "-o", str(tmp_path / "x.html")])
    assert isinstance(result.exception, InputError)
    assert "no chosen programs to show; `headscript synth` finds some" in str(result.exception)
    assert not (tmp_path / "x.html").exists()


def test_an_export_of_choices_alone_makes_a_page(tmp_path: Path) -> None:
    """Such are the libraries that go to others: without proposals, and without matrices."""
    full_library(tmp_path / "made.sqlite", 2, 2)
    with Library.open(tmp_path / "made.sqlite") as library:
        whole = report_data(library, None)
        export(library, tmp_path / "small.jsonl", chosen=True)
    with Library.open(tmp_path / "small.jsonl") as library:
        small = report_data(library, None)
    for known, left in zip(whole.entries, small.entries, strict=True):
        assert (left.proposed, left.examples) == (None, [])
        assert (left.program, left.iou_ci, left.baseline) == (
            known.program,
            known.iou_ci,
            known.baseline,
        )
    assert "report --texts" in render_report(small)


def test_a_library_without_baselines_makes_a_page(made: ReportData) -> None:
    assert "Best trivial program" in render_report(made)
    bare = [replace(e, baseline=None, trivial=[]) for e in made.entries]
    assert "Best trivial program" not in render_report(replace(made, entries=bare))


def test_other_choices_are_told_with_what_is_known_of_them(tmp_path: Path) -> None:
    full_library(tmp_path / "made.sqlite", 1, 1)
    with Library.open(tmp_path / "made.sqlite") as library:
        (choice,) = library.choices()
        library.add_programs(["2 first + 1 self"])
        tuned = replace(choice, choice="tuned", text="2 first + 1 self", select_iou=0.4)
        library.set_choice(tuned)
        ((before,),) = (e.others for e in report_data(library, None).entries)
        (score,) = library.scores(split="test")
        own = replace(score, program_hash=tuned.program_hash, damage=0.25)
        library.record_scores([own])
        (entry,) = report_data(library, None).entries
    assert (before.choice, before.program, before.terms) == ("tuned", "2 first + 1 self", 2)
    assert (before.select_iou, before.iou, before.damage) == (0.4, None, None)
    assert [(o.iou, o.damage) for o in entry.others] == [(score.iou, 0.25)]


def test_every_score_has_its_interval(tmp_path: Path) -> None:
    full_library(tmp_path / "made.sqlite", 1, 1)
    with Library.open(tmp_path / "made.sqlite") as library:
        (score,) = library.scores(split="test")
        values = [0.1 + 0.01 * i for i in range(score.documents)]
        told = replace(
            score,
            iou_no_sink_per_document=values,
            jsd_per_document=values,
            output_error_per_document=[2 * v for v in values],
            damage=0.125,
        )
        library.record_scores([told])
        data = report_data(library, None)
    (entry,) = data.entries
    assert entry.damage == 0.125
    assert entry.iou_no_sink_ci == entry.jsd_ci == bootstrap_ci95(values)
    assert entry.output_error_ci == bootstrap_ci95([2 * v for v in values])
    low, high = bootstrap_ci95(values)
    assert f"<small>{low:.2f}–{high:.2f}</small>" in render_report(data)


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    path, page = tmp_path / "made.sqlite", tmp_path / "page.html"
    full_library(path, 1, 3)
    result = CliRunner().invoke(report, ["--library", str(path), "-o", str(page)])
    assert result.exit_code == 0
    assert "page.html: 0.1 MB" in result.output
    assert list(islice(Outline(page.read_text()).ids, 1)) == ["theme"]
    assert [p.name for p in tmp_path.glob("*.part")] == []


def test_a_page_is_whole_or_not_there(tmp_path: Path) -> None:
    """The disk is full: as the kernel says it, by the device that always is."""
    path, page = tmp_path / "made.sqlite", tmp_path / "page.html"
    full_library(path, 1, 1)
    (tmp_path / "page.html.part").symlink_to("/dev/full")
    result = CliRunner().invoke(report, ["--library", str(path), "-o", str(page)])
    assert isinstance(result.exception, InputError)
    assert "No space left on device" in str(result.exception)
    assert [p.name for p in tmp_path.glob("page*")] == []
