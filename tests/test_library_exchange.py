"""Libraries as files: what is exported comes back; what is not whole or not true is refused."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import event

from grammar.canonical import content_hash
from grammar.errors import InputError
from synth.library import Library
from synth.library_command import library as library_command
from synth.library_merge import checked_copy, merge
from tests.library_samples import (
    LARGE,
    SMALL,
    chosen,
    full_library,
    score,
    small_library,
    start,
    written,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    full_library(tmp_path / "l.sqlite")
    return tmp_path / "l.sqlite"


@pytest.fixture
def exported(path: Path) -> Path:
    run_command("export", "-o", str(path.with_suffix(".jsonl")), "--library", str(path))
    return path.with_suffix(".jsonl")


def run_command(*arguments: str) -> Result:
    return CliRunner().invoke(library_command, arguments, catch_exceptions=False)


def told(*arguments: str) -> Any:
    return json.loads(run_command(*arguments, "--json").stdout)


def lines_of(path: Path) -> list[str]:
    with Library.open(path) as library:
        return list(library.lines())


# JSON lines


def test_the_choices_alone(path: Path) -> None:
    """A reader of the small export sees the same choices and scores."""
    output = path.with_name("chosen.jsonl")
    run_command("export", "--chosen", "-o", str(output), "--library", str(path))
    kinds = [json.loads(line)["kind"] for line in output.read_text().splitlines()]
    assert {"program", "run", "score", "choice", "baseline"} == set(kinds) - {"library", "end"}
    assert told("verify", "--library", str(output))["records"]["choice"] == kinds.count("choice")
    with Library.open(path) as whole, Library.open(output) as small:
        assert small.choices(choice=None) == whole.choices(choice=None)


def test_an_export_comes_back(path: Path, exported: Path) -> None:
    other = path.with_name("other.sqlite")
    added = told("import", str(exported), "--library", str(other))
    kinds = {"program": 2, "run": 1, "batch": 1, "score": 1}
    assert added == {"added": kinds | {"choice": 2, "baseline": 1, "example": 1}, "kept": {}}
    assert lines_of(other) == lines_of(path) == exported.read_text().splitlines(keepends=True)
    again = told("import", str(exported), "--library", str(other))
    assert again == {"added": {}, "kept": added["added"]}
    assert lines_of(other) == lines_of(path)


def test_the_order_is_the_contents(tmp_path: Path) -> None:
    """Libraries that were filled in another order export the same lines."""
    texts = [f"back({k})" for k in range(1, 9)]
    for name, order in (("a", texts), ("b", texts[::-1])):
        with Library.open(tmp_path / name, create=True) as library:
            run = start(library)
            for text in order:
                library.add_programs([text])
                library.record_scores([score(text)])
                library.set_choice(replace(chosen(run, text), layer=texts.index(text)))
    first, second = (
        [
            {k: v for k, v in json.loads(line).items() if k not in ("first_seen", "started")}
            for line in lines_of(tmp_path / n)
        ]
        for n in ("a", "b")
    )
    assert first == second


def test_an_export_is_a_library(path: Path, exported: Path) -> None:
    for command in (["list"], ["show", "L5H4"], ["verify"]):
        here = told(*command, "--library", str(path))
        assert here == told(*command, "--library", str(exported))
    with Library.open(exported) as library:
        with pytest.raises(InputError, match=r"l\.jsonl is read-only"):
            library.add_programs(["self"])
        assert len(library.programs()) == 2
    with pytest.raises(InputError, match="`headscript library import` makes a library"):
        Library.open(exported, create=True)


def record(number: int, change: Callable[[dict[str, Any]], object]) -> Callable[[list[str]], None]:
    """Changes the record in one line of an export."""

    def apply(lines: list[str]) -> None:
        found = json.loads(lines[number])
        change(found)
        lines[number] = json.dumps(found)

    return apply


# The lines of the exported file: header, two programs, run, batch, score, two choices, baseline,
# example, end.
PROGRAM, RUN, BATCH, SCORE, CHOICE, BASELINE, EXAMPLE = 1, 3, 4, 5, 7, 8, 9
FAULTS: dict[str, tuple[Callable[[list[str]], object], str]] = {
    "a line too few": (lambda x: x.pop(SCORE), ":10: 8 records stand above it, not 9"),
    "cut off at a line": (lambda x: x.pop(), "is cut off after line 10"),
    "cut off in a line": (lambda x: x.__setitem__(10, x[10][:9]), ":11: not JSON as a library"),
    "nothing": (lambda x: x.clear(), "is cut off after line 0"),
    "more after the end": (lambda x: x.append(x[1]), ":12: it goes on after its end"),
    "no header": (lambda x: x.pop(0), ":1: not a HeadScript library"),
    "a newer one": (record(0, lambda r: r.update(schema="9999")), "newer HeadScript"),
    "an empty line": (lambda x: x.insert(2, ""), ":3: not JSON"),
    "a list": (lambda x: x.__setitem__(2, "[]"), ":3: not a JSON object"),
    "a deep tree": (lambda x: x.__setitem__(2, "[" * 100_000), ":3: not JSON"),
    "a huge number": (lambda x: x.__setitem__(2, "9" * 5000), ":3: not JSON"),
    "NaN": (lambda x: x.__setitem__(5, x[5].replace('"iou": 0.5', '"iou": NaN')), ":6: not JSON"),
    "a key twice": (lambda x: x.__setitem__(1, x[1][:-1] + ', "kind": "run"}'), ":2: not JSON"),
    "a lone surrogate": (record(RUN, lambda r: r.update(model="\ud800")), ":4: not JSON"),
    "an unknown kind": (record(PROGRAM, lambda r: r.update(kind="table")), ":2: 'table': no such"),
    "a kind that is none": (record(PROGRAM, lambda r: r.update(kind=[])), ":2: []: no such"),
    "another hash": (record(PROGRAM, lambda r: r.update(program_hash="0" * 16)), ":2: 'program': "),
    "no hash": (record(PROGRAM, lambda r: r.pop("program_hash")), "program_hash is None"),
    "another text": (record(PROGRAM, lambda r: r.update(text="self")), ":2: 'program': "),
    "a huge text": (record(PROGRAM, lambda r: r.update(text="x" * 9999)), "text has 9999"),
    "a text of another type": (record(PROGRAM, lambda r: r.update(text=["x"])), "text is ['x']"),
    "an unknown field": (record(SCORE, lambda r: r.update(extra=1)), "it has no field 'extra'"),
    "a missing field": (record(SCORE, lambda r: r.pop("iou")), "it lacks ['iou'"),
    "a type": (record(SCORE, lambda r: r.update(layer="5")), "layer is '5'"),
    "a boolean": (record(SCORE, lambda r: r.update(layer=True)), "layer is True"),
    "a wrong mean": (record(SCORE, lambda r: r.update(iou=0.6)), ":6: 'score': iou is 0.6, but"),
    "a score over 1": (record(SCORE, lambda r: r.update(jsd=1.5)), "jsd is 1.5"),
    "a layer below 0": (record(CHOICE, lambda r: r.update(layer=-1)), "layer is -1"),
    "no such program": (record(SCORE, lambda r: r.update(program_hash="0" * 16)), "stands above"),
    "a choice of none": (record(CHOICE, lambda r: r.update(text="back(9)")), "stands above it"),
    "no such run": (record(CHOICE, lambda r: r.update(run="x")), ":8: 'choice': no run 'x' stands"),
    "a run that is a list": (record(CHOICE, lambda r: r.update(run=[1])), "no run [1] stands"),
    "no proposals": (record(BATCH, lambda r: r.pop("proposals")), "proposals is not a list"),
    "a proposal": (record(BATCH, lambda r: r["proposals"].append(3)), "proposal 4 is none"),
    "a place": (record(BATCH, lambda r: r["proposals"][0].update(layer=1)), "proposal 1 is none"),
    "a parent": (record(BATCH, lambda r: r["proposals"][0].update(parents=["x"])), "a parent is"),
    "a status": (record(BATCH, lambda r: r["proposals"][0].update(status="rejected")), "with the"),
    "a mean": (
        record(SCORE, lambda r: r.update(jsd_per_document=[0.1, 0.2])),
        "jsd is 0.25, but the mean of its documents is 0.15",
    ),
    "a document": (
        record(SCORE, lambda r: r.update(jsd_per_document=[0.25])),
        "2 documents with 1 values of jsd",
    ),
    "damage": (record(SCORE, lambda r: r.update(damage=-0.1)), "damage is -0.1, below 0"),
    "a date": (record(RUN, lambda r: r.update(started="yesterday")), "'yesterday'"),
    "a setting": (record(RUN, lambda r: r.update(settings=[])), "settings is []"),
    "no base64": (record(EXAMPLE, lambda r: r.update(real="?")), ":10: 'example': "),
    "no image": (record(EXAMPLE, lambda r: r.update(real=7)), "not text in base64"),
    "a small image": (record(EXAMPLE, lambda r: r.update(real="AA==")), "do not fit its tokens"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(path: Path, exported: Path, name: str) -> None:
    """One line says where; the library that was to take the records stays as it was."""
    change, message = FAULTS[name]
    lines = exported.read_text().splitlines()
    change(lines)
    exported.write_text("".join(f"{line}\n" for line in lines))
    target, before = path.with_name("target.sqlite"), lines_of(path)
    small_library(target)
    old = lines_of(target)
    for library in (target, path.with_name("new.sqlite")):
        with pytest.raises(InputError) as caught:
            run_command("import", str(exported), "--library", str(library))
        assert message in str(caught.value)
        assert str(caught.value).startswith(str(exported))
        assert "\n" not in str(caught.value)
    assert not path.with_name("new.sqlite").exists()
    assert (lines_of(target), lines_of(path)) == (old, before)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("__import__('os')", "not a program"),
        ("30 first + 20 first", "not in canonical form"),
        ("near(" * 300, "not a program"),
        ("'; DROP TABLE programs; --", "not a program"),
        ("<script>alert(1)</script>", "not a program"),
    ],
)
def test_programs_that_are_none(path: Path, exported: Path, text: str, reason: str) -> None:
    lines = exported.read_text().splitlines()
    record(PROGRAM, lambda r: r.update(text=text, program_hash=content_hash(text)))(lines)
    exported.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=f"jsonl:2: 'program': {reason}"):
        run_command("import", str(exported), "--library", str(path))


def test_a_long_line(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synth.library_jsonl.MAX_LINE_BYTES", 200)
    with pytest.raises(InputError, match="the line has over 200 bytes"):
        checked_copy(exported)


def test_names_are_values(path: Path) -> None:
    evil = "'; DROP TABLE runs; --\"\0\x1b[2J<b>"
    with Library.open(path) as library:
        run = start(library)
        library.set_choice(replace(chosen(run), model=evil, model_revision=evil, choice=evil))
    other = path.with_name("other.sqlite")
    merge(other, [path], create=True)
    assert lines_of(other) == lines_of(path)
    assert not {"\x1b", "\0"} & set("".join(lines_of(path)))


# Merge


def test_merge_keeps_what_is_there(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    small_library(other)
    with Library.open(other) as library:
        run = start(library, seed=1)
        library.record_batch(run, 5, 4, "fit", 0, [written("self"), written(SMALL)])
        library.record_scores([score(iou=0.9), replace(score("self"), metric_version=2)])
        library.set_choice(replace(chosen(run, "self"), select_iou=0.9))
        library.set_choice(replace(chosen(run, "self", head=3), select_iou=0.1))
    before = lines_of(path)
    with pytest.raises(InputError, match="the mean of its documents"):
        merge(path, [other])
    assert lines_of(path) == before
    with Library.open(other) as library:
        library.record_scores([replace(score(), iou_per_document=[0.3, 0.7])])
    added = told("merge", str(other), "--library", str(path))
    assert added["added"] == {"program": 1, "run": 1, "batch": 1, "score": 1, "choice": 1}
    assert added["kept"] == {"program": 2, "run": 1, "batch": 1, "score": 1, "choice": 1} | {
        "baseline": 1
    }
    with Library.open(path) as library:
        assert library.scores(program_hash=content_hash(LARGE)) == [score()]
        better, kept = library.choices(head=4)[0], library.choices(head=3)[0]
        assert (better.text, better.select_iou, kept.text) == ("self", 0.9, SMALL)
        assert better.run_id == library.runs()[1].id


def test_choices_on_other_texts_are_not_compared(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with Library.open(other, create=True) as library:
        run = library.start_run(
            key="k", model="small", model_revision="r1", texts_sha256="t2", settings={}
        )
        library.add_programs(["self"])
        library.set_choice(replace(chosen(run, "self"), select_iou=1.0))
    merge(path, [other])
    with Library.open(path) as library:
        assert library.choices(head=4)[0].text == LARGE


def test_merge_is_all_or_nothing(path: Path, exported: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.sqlite", tmp_path / "bad.jsonl"
    with Library.open(good, create=True) as library:
        library.add_programs(["self"])
    bad.write_text(exported.read_text()[:-10])
    before = lines_of(path)
    with pytest.raises(InputError, match=r"bad\.jsonl"):
        run_command("merge", str(good), str(bad), "--library", str(path))
    assert lines_of(path) == before


# Verify


def test_verify(path: Path) -> None:
    assert told("verify", "--library", str(path))["records"]["program"] == 2
    with Library.open(path) as library:
        library.add_programs(["os.system('x')"])
    with pytest.raises(InputError, match=r"l\.sqlite, [0-9a-f]{16}: 'program': not a program"):
        run_command("verify", "--library", str(path))
    assert run_command("verify", "--model", "x").exit_code == 2


# Other formats


def test_csv(path: Path) -> None:
    output = path.with_suffix(".csv")
    run_command("export", "-o", str(output), "--library", str(path))
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    heads = told("list", "--library", str(path))["heads"]
    assert [(r["head"], r["program"], r["sentence"]) for r in rows] == [
        (str(h["head"]), h["program"], h["sentence"]) for h in heads
    ]


@pytest.mark.parametrize("name", ["x.txt", "x", "class.py", "a-b.py", "none/x.csv"])
def test_files_that_cannot_be_written(path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        run_command("export", "-o", str(path.with_name("d") / name), "--library", str(path))
    assert not path.with_name("d").exists()


def test_a_full_disk(path: Path) -> None:
    """The export that is there stays until the new one is whole."""
    output = path.with_suffix(".jsonl")
    output.write_text("old")
    output.with_name("l.jsonl.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"l\.jsonl cannot be written: No space left"):
        run_command("export", "-o", str(output), "--library", str(path))
    assert output.read_text() == "old"


# Several at once, and a disk that fills


MERGER = """
import sys
from synth.library_merge import merge
for other in sys.argv[2:]:
    merge(sys.argv[1], [other], create=True)
"""


def test_two_merge_at_once(tmp_path: Path) -> None:
    """Each of two processes adds its libraries; nothing is lost or doubled."""
    parts = []
    for number in range(6):
        with Library.open(tmp_path / f"{number}.sqlite", create=True) as library:
            run = start(library, seed=number % 3)
            library.record_batch(run, 0, number, "fit", 0, [written(f"back({number + 1})")] * 5)
            library.set_choice(chosen(run, f"back({number + 1})", head=number))
        parts.append(str(tmp_path / f"{number}.sqlite"))
    merged = tmp_path / "merged.sqlite"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MERGER, str(merged), *order],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
            cwd=Path(__file__).parents[1],
        )
        for order in (parts[:4], parts[:1:-1])
    ]
    assert [process.wait() for process in processes] == [0, 0]
    _, counts = checked_copy(merged)
    assert counts.added == {"program": 6, "run": 3, "batch": 6, "choice": 6}


def test_a_disk_that_fills(path: Path) -> None:
    """SQLite is told that the file may not grow: what there was stays."""
    before = lines_of(path)
    with Library.open(path) as library:
        engine = library._database.engine
        event.listen(engine, "begin", lambda c: c.exec_driver_sql("PRAGMA max_page_count = 1"))
        with pytest.raises(InputError, match=r"l\.sqlite cannot grow, the disk is full"):
            library.add_programs(
                [f"{k} first + {n} self" for k in range(1, 99) for n in (3, 5)] * 9
            )
    assert lines_of(path) == before
    assert checked_copy(path)[1].added["program"] == 2
