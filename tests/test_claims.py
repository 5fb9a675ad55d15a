"""Every claim runs on a small model, writes its record, and its blocks can be drawn from it."""

import json
from importlib import import_module
from pathlib import Path
from subprocess import run

import pytest
import torch
from click.testing import CliRunner

from experiments import safety_and_speed, sameness, subject
from experiments.coverage import curve, fit_weights, greedy
from experiments.render import CLAIMS
from experiments.results import ROOT, read
from experiments.scoring import summary
from experiments.short_texts import by_long, fives, sentences
from experiments.sources import at_least, code_texts, question_texts, source_texts
from experiments.subject import runnable
from grammar.errors import InputError
from grammar.parser import parse_or_raise
from interpreter.texts import Texts
from synth.library import Library, Proposal
from tests.library_samples import choose, choose_all, start
from tests.tiny_models import HEADS, LAYERS, tiny

POOL = (
    *("first", "self", "back(1)", "2 first + 1 back(1)", "3 first + 1 stop", "1 self + 1 any"),
    *("near(any, 4)", "1 first(noun) + 2 first", "when noun: self; back(2)", "any"),
)
ABOUT_A_MODEL = ("fit", "grids", "three_heads", "coverage", "travel", "short_texts")
SMALL = ("--every", "3", "--limit", "8", "--model", "tiny-llama")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("claims") / "tiny.sqlite"
    with Library.open(path, create=True) as library:
        choose_all(library, POOL)
    return path


@pytest.fixture
def results(name: str, place: Path, tmp_path: Path, tagger, monkeypatch) -> dict:
    """The record that a claim writes."""
    module = import_module(f"experiments.{name}")
    monkeypatch.setattr(subject, "load_model", lambda _: tiny("llama"))
    words = [*SMALL, "--library", str(place), "--output", str(tmp_path)]
    if name == "travel":
        lengths = ("--tokens", "32", "--tokens", "96", "--tokens", "1000")
        words += ["--other-library", str(place), *lengths]
    else:
        words += ["--max-tokens", "24"]
    CliRunner().invoke(module.main, words, catch_exceptions=False)
    (record,) = read(name, tmp_path)
    assert (tmp_path / f"{name}-tiny-llama.png").exists() is (name != "short_texts")
    return record


@pytest.mark.parametrize("name", ABOUT_A_MODEL)
def test_a_claim_is_written_and_shown(name: str, results: dict) -> None:
    pytest.importorskip("matplotlib")
    assert results["name"] == name
    assert results["model"]["name"] == "tiny-llama"
    assert results["library"]["sha256"]
    assert results["texts"][0]["documents"] > 0
    for block in CLAIMS[name].values():
        shown = block([results, results])
        assert "tiny-llama" in shown
        rows = [line for line in shown.splitlines() if line.startswith("| ") and "`" not in line]
        assert len({line.count("|") for line in rows}) <= 1


@pytest.mark.parametrize("name", ["fit"])
def test_what_is_chosen_from_more_is_no_worse_where_it_was_chosen(name: str, results: dict) -> None:
    found = results["results"]
    assert set(found["with_sink"]) == {
        *("random_token", "random_column", "lower_diagonal", "first_token"),
        *("best_trivial", "own", "best_of_library"),
    }
    for of_kind in (*found["with_sink"].values(), *found["without_sink"].values()):
        low, high = of_kind["mean_ci95"]
        assert 0 <= low <= of_kind["mean"] <= high <= 1
    assert len(found["heads"]) == len(range(LAYERS * HEADS)[1::3])


@pytest.mark.parametrize("name", ["travel"])
def test_programs_are_tested_where_they_were_not_chosen(name: str, results: dict) -> None:
    stories, code = results["results"]["sources"]
    # 1,000 tokens are more than the model takes.
    assert [at["tokens"] for at in stories["lengths"]] == [32, 96]
    assert (stories["part"], code["part"]) == ("test", "all")
    pools = results["results"]["other_models"]["pools"]
    assert pools["tiny-llama"] == pools["own"]


def test_what_cannot_run_is_counted() -> None:
    kept, rejected = runnable(["self", "first", "first", "frist", "("], 96)
    assert kept == ["first", "self"]
    assert rejected.total() == 2
    assert rejected["unknown_name"] == 1
    dear = "1 newest(same_word, 9)"
    assert runnable([dear], 100_000)[1] == {"too_costly": 1}
    assert parse_or_raise(dear)


def test_a_summary() -> None:
    ious = torch.tensor([[0.1, 0.3], [0.4, 0.4], [0.8, 0.8], [0.9, 0.9]])
    found = summary(ious)
    assert found["mean"] == pytest.approx(0.575)
    assert found["median"] == pytest.approx(0.6)
    assert found["share_under_low"] == 0.25
    assert found["share_over_high"] == 0.5
    # One head alone varies, by 0.1 about its mean, and counts a quarter.
    assert found["mean_ci95"] == pytest.approx([0.55, 0.6])


def test_programs_are_taken_by_what_they_add() -> None:
    select = torch.tensor([[0.6, 0.6, 0.0], [0.7, 0.0, 0.0], [0.0, 0.0, 0.5], [0.6, 0.5, 0.0]])
    order = greedy(select)
    assert order == [0, 2, 1, 3]
    test = torch.stack([select, select / 2], dim=-1)
    by_count = curve(select, test, order)
    assert by_count.shape == (4, 2)
    assert by_count[:, 0].tolist() == pytest.approx([0.4, 1.7 / 3, 0.6, 0.6])
    assert torch.allclose(by_count[:, 1], by_count[:, 0] / 2)


def test_the_weights_of_a_mixture_are_found() -> None:
    torch.manual_seed(0)
    features = (3 * torch.randn(3, 400)).softmax(-1)
    target = 0.7 * features[0] + 0.3 * features[1]
    weights = fit_weights(features, target, torch.full((3,), 1 / 3))
    assert float(weights.sum()) == pytest.approx(1)
    assert weights.tolist() == pytest.approx([0.7, 0.3, 0.0], abs=0.1)
    overlap = torch.minimum(weights @ features, target).sum()
    alone = torch.minimum(features, target).sum(-1).amax()
    assert overlap > alone


def test_five_sentences_flatter() -> None:
    torch.manual_seed(0)
    ious = torch.rand(50, 40, 20)
    found = fives(ious, 30)
    # All programs are equally good, so what is chosen is worth no more elsewhere.
    assert found["same_five"]["mean_iou"] > 0.7
    assert found["other_sentences"]["mean_iou"] == pytest.approx(0.5, abs=0.02)
    same = by_long({"select": ious[:, :, :1], "test": ious[:, :, :1], "sentences": ious[:, :, 1:]})
    assert same["test"]["mean_iou"] > 0.95
    assert same["sentences"]["mean_iou"] == pytest.approx(0.5, abs=0.05)


def test_the_sentences_are_as_long_as_the_papers() -> None:
    documents = sentences().documents
    assert len(set(documents)) == 20
    lengths = [len(document.split()) for document in documents]
    assert (min(lengths), max(lengths)) == (12, 21)


def test_sources(tmp_path: Path) -> None:
    code = code_texts()
    assert len(code.documents) > 20
    assert all(document.startswith("class ") for document in code.documents)
    path = tmp_path / "asked.jsonl"
    path.write_text('{"question": "How many legs has a cat?", "choices": ["four", "six"]}\n' * 200)
    asked = source_texts(str(path))
    assert asked == question_texts(path)
    assert asked.name == "asked.jsonl"
    assert asked.documents[0].startswith("How many legs has a cat?\nfour\nsix\n\nHow many")
    path.write_text('{"question": "How\u2028so?", "choices": ["four", "six"]}\n\n' * 200)
    assert source_texts(str(path)).documents[0].startswith("How\u2028so?\nfour")
    path.write_text('{"question": "Why?", "choices": [1]}\n')
    with pytest.raises(InputError, match="line 1: `question` and each"):
        source_texts(str(path))
    path.write_text('{"question": "Why?"}\n')
    with pytest.raises(InputError, match="line 1: no list"):
        source_texts(str(path))


def test_short_documents_say_nothing_of_long_ones() -> None:
    texts = Texts("mine", ("one two " * 3, "one two three " * 30, "four five six " * 30))
    assert at_least(tiny("llama"), texts, 40, 9).documents == texts.documents[1:]
    assert at_least(tiny("llama"), texts, 40, 1).documents == texts.documents[1:2]


def test_safety_and_speed(tmp_path: Path, monkeypatch) -> None:
    bench = {"sizes": {"programs": 150}} | dict.fromkeys(safety_and_speed.SPEED, 1234.5)
    cost = {"program": "first", "tokens": 64, "seconds": 0.25, "peak_memory_mb": 7, "cost": 9}
    monkeypatch.setattr(safety_and_speed, "measure", lambda quick: bench)
    monkeypatch.setattr(safety_and_speed, "measured_alone", lambda text, tokens: cost)
    run = {"what": "random programs under both evaluators", "seconds": 1, "findings": []}
    counts = tmp_path / "fuzzing.json"
    counts.write_text(
        json.dumps({"1": run | {"evaluations": 1_000}, "2": run | {"evaluations": 200}})
    )
    found = safety_and_speed.fuzzing(counts)
    monkeypatch.setattr(safety_and_speed, "fuzzing", lambda: found)
    words = ["--quick", "--tokens", "64", "--output", str(tmp_path)]
    CliRunner().invoke(safety_and_speed.main, words, catch_exceptions=False)
    records = read("safety_and_speed", tmp_path)
    safety = safety_and_speed.safety_block(records)
    assert "random programs under both evaluators | 1,200 | 0" in safety
    assert "64 tokens: 0.2 s, and 7 MB" in safety
    assert "1,234.5" in safety_and_speed.speed_block(records)


def test_sameness_counts_both_kinds(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    texts = ("first", "2 first + 1 self", "when special: any; first", "first")
    proposals = [Proposal(raw=t, text=t, proposer="hand", seed=0) for t in texts]
    with Library.open(path, create=True) as library:
        run_ = start(library)
        library.record_batch(run_, 0, 0, "trivial", 0, proposals)
        choose(library, run_, (0, 0), "first")
        choose(library, run_, (0, 1), "2 first + 1 self")
    words = ["--library", str(path), "--output", str(tmp_path)]
    shown = CliRunner().invoke(sameness.sameness, words, catch_exceptions=False).stdout
    (one,) = read("sameness", tmp_path)[0]["results"]["libraries"]
    assert (one["proposals"], one["text_duplicates"], one["trivial_duplicates"]) == (4, 1, 1)
    # The probe batch holds no special token.
    assert (one["programs"], one["behaviour_duplicates"], one["behaviour_groups"]) == (3, 1, 1)
    assert (one["choices"], one["symbols_before"], one["symbols_after"]) == (2, 5, 5)
    assert "| small | 4 | 1 | 1 | 3 | 1 | 5 | 5 |" in shown
    assert "| small, iou | 2 | 1.5 | 1.5 | 2 |" in sameness.sizes(read("sameness", tmp_path))
    with Library.open(path) as library:
        path.with_suffix(".jsonl").write_text("".join(library.lines(chosen=True)))
    with pytest.raises(InputError, match="holds no proposals"):
        sameness.about(path.with_suffix(".jsonl"))


def test_make_runs_every_claim() -> None:
    replacing = ("replacement_curve", "replacement_travel", "head_damage", "richness", "stories")
    for target in ("experiments", "experiments-quick"):
        words = ["make", "-n", target, "QUESTIONS=q.jsonl"]
        done = run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        for name in (*ABOUT_A_MODEL, *replacing, "question_answering", "safety_and_speed"):
            assert f"experiments.{name} " in done.stdout, name
    assert "--output demo/quick" in done.stdout
    assert "experiments.proposers_compared " in done.stdout
