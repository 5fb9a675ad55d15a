"""`headscript library list` and `show`: what they print, as a table and as JSON."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from grammar.canonical import content_hash
from grammar.errors import InputError
from synth.library import Library
from synth.library_command import library as library_command
from tests.library_samples import (
    LARGE,
    SMALL,
    baseline,
    chosen,
    example,
    score,
    small_library,
    start,
    written,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    small_library(tmp_path / "l.sqlite")
    return tmp_path / "l.sqlite"


def run_command(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        library_command, [*arguments, "--library", str(path)], catch_exceptions=False
    )


def test_list(path: Path) -> None:
    listed = run_command(path, "list").output
    assert "L5H3" in listed
    assert "0.500" in listed
    assert LARGE not in listed
    wide = run_command(path, "list", "--wide").output
    assert "don't" in wide
    heads = json.loads(run_command(path, "list", "--sort", "iou", "--json").stdout)["heads"]
    assert [(h["head"], h["iou"], h["split"], h["terms"]) for h in heads] == [
        (3, 0.7, "select", 1),
        (4, 0.5, "test", 4),
    ]
    only = json.loads(run_command(path, "list", "--head", "4", "--json").stdout)["heads"]
    assert [h["program"] for h in only] == [LARGE]
    assert only[0]["sentence"].startswith("On nouns: mostly the first token; otherwise “don't”s.")
    with pytest.raises(InputError, match="only for small"):
        run_command(path, "list", "--model", "large")


def test_show_tells_intervals_and_damage(path: Path) -> None:
    assert "0.400–0.600" in run_command(path, "show", "L5H4").stdout
    assert "damage" not in run_command(path, "show", "L5H4").stdout
    with Library.open(path) as library:
        (score,) = library.scores()
        library.record_scores([replace(score, damage=0.0012, jsd_per_document=[0.2, 0.3])])
    shown = run_command(path, "show", "L5H4").stdout
    assert "0.200–0.300" in shown
    assert "0.0012" in shown


def test_show_tells_what_a_program_cost(path: Path) -> None:
    with Library.open(path) as library:
        dear = replace(written("2 first + 1 self"), tokens=31, seconds=2.5, dollars=0.0125)
        library.record_batch(start(library), 5, 4, "language model", 0, [dear])
    shown = run_command(path, "show", content_hash("2 first + 1 self")).stdout
    assert "batch 0, 2.50 s, 31 tokens, 0.0125 dollars\n" in shown


def test_a_pattern_is_drawn(path: Path) -> None:
    with pytest.raises(InputError, match="holds no attention of L5H4"):
        run_command(path, "show", "L5H4", "--pattern")
    with Library.open(path) as library:
        library.record_examples([example()])
    drawn = run_command(path, "show", "L5H4", "--pattern").stdout
    assert "L5H4 on test document 1, really:" in drawn
    assert "L5H4 on test document 1, predicted:" in drawn
    assert "0 A            9\n1 cat          3 6\n" in drawn


def test_a_choice_alone(path: Path) -> None:
    with Library.open(path) as library:
        (large,) = library.choices(head=4)
        library.set_choice(replace(large, choice="tuned", text=SMALL))
    heads = json.loads(run_command(path, "list", "--choice", "tuned", "--json").stdout)["heads"]
    assert [(h["choice"], h["program"]) for h in heads] == [("tuned", SMALL)]
    found = json.loads(run_command(path, "search", "first", "--choice", "tuned", "--json").stdout)
    assert [p["program"] for p in found["programs"]] == [SMALL]


def test_show(path: Path) -> None:
    shown = run_command(path, "show", "L5H4").output
    assert '    when noun: 3 first + 1 word("don\'t")\n' in shown
    assert "0.300" in shown
    assert "\nOn nouns: mostly the first token; otherwise “don't”s. Elsewhere: " in shown
    (program,) = json.loads(run_command(path, "show", "L5H4", "--json").stdout)["programs"]
    assert program["sentence"] in shown
    assert program["scores"][0]["best_trivial"] == 0.3
    assert program["origins"][0]["stage"] == "fit"
    assert [c["name"] for c in program["chosen_by"]] == ["L5H4"]
    assert json.loads(run_command(path, "show", program["program_hash"], "--json").stdout) == {
        "programs": [program],
        "front": [],
    }
    for name in ("L9H9", "0123456789abcdef", "L5", "\x1b[31m"):
        with pytest.raises(InputError, match="has no program"):
            run_command(path, "show", name)


def test_what_size_buys(path: Path) -> None:
    between, beaten, other = "2 first + 1 self", "2 first + 1 noun", "2 first + 1 comma"
    longer = "score(2.0 noun + 1.5 verb + 1.0 stop + 0.5 comma)"
    select = {between: 0.6, beaten: 0.4, longer: 0.701}
    with Library.open(path) as library:
        run = start(library)
        library.add_programs([*select, other])
        library.record_scores(
            replace(score(text), split="select", iou=iou) for text, iou in select.items()
        )
        # Of other texts, and of the test documents.
        library.record_scores(
            [
                replace(score(other), split="select", iou=0.9, texts_sha256="t2"),
                replace(score(other), iou=0.9),
            ]
        )
        library.record_baselines([replace(baseline(run), name="first", split="select", iou=0.5)])
    front = json.loads(run_command(path, "show", "L5H4", "--json").stdout)["front"]
    expected = [(SMALL, 1, 0.5, False), (between, 2, 0.6, False), (longer, 4, 0.701, False)]
    # The chosen one is near the best, with fewer parts.
    expected.append((LARGE, 4, 0.7, True))
    assert [(f["program"], f["terms"], f["iou"], f["chosen"]) for f in front] == expected
    assert {f["model_revision"] for f in front} == {"r1"}
    assert [f["program_hash"] for f in front] == [content_hash(text) for text, *_ in expected]
    shown = run_command(path, "show", "L5H4").stdout.partition("What size buys for L5H4")[2]
    assert shown.index("0.600") < shown.index(between) < shown.index("chosen")
    assert beaten not in shown


def test_a_head_of_two_models_needs_a_name(path: Path) -> None:
    with Library.open(path) as library:
        library.set_choice(replace(chosen(start(library)), model="large"))
    with pytest.raises(InputError, match="--model"):
        run_command(path, "show", "L5H4")
    assert "by iou" in run_command(path, "show", "L5H4", "--model", "large").output


def test_strangers_text_reaches_no_terminal_raw(path: Path) -> None:
    with Library.open(path) as library:
        run = start(library)
        evil = "\x1b[2J[red]:smile:\u202e\n"
        library.set_choice(replace(chosen(run), model=evil, choice=evil))
        proposal = replace(written("back(9)"), proposer=evil)
        library.record_batch(run, 5, 4, "fit", 1, [proposal])
    output = run_command(path, "list").output
    output += run_command(path, "show", content_hash(LARGE)).output
    output += run_command(path, "show", content_hash("back(9)")).output
    assert "[red]:smile:" in output
    assert not {"\x1b", "\u202e"}.intersection(output)


def test_a_program_that_is_not_one(path: Path) -> None:
    with Library.open(path) as library:
        library.add_programs(["os.system('x')"])
        library.set_choice(chosen(start(library), "os.system('x')"))
    with pytest.raises(InputError, match="holds program") as caught:
        run_command(path, "list")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "heads"),
    [
        ([], [3, 4]),
        (["--uses", "word"], [4]),
        (["--uses", "first"], [3, 4]),
        (["--uses", 'word("don\'t")'], [4]),
        (["--text", "2.5 noun"], [4]),
        (["--category", "sink"], [3]),
        (["--proposer", "hand"], [3, 4]),
        (["--proposer", "other"], []),
        (["--min-iou", "0.6"], [3]),
        (["--max-iou", "0.6"], [4]),
        (["--max-terms", "1"], [3]),
        (["--layer", "4"], []),
    ],
)
def test_filters(path: Path, options: list[str], heads: list[int]) -> None:
    listed = json.loads(run_command(path, "list", *options, "--json").stdout)["heads"]
    assert [h["head"] for h in listed] == heads


def test_wrong_filters(path: Path) -> None:
    with pytest.raises(InputError, match="is no primitive"):
        run_command(path, "list", "--uses", "frist")
    assert run_command(path, "list", "--category", "none").exit_code == 2
