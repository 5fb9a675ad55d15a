"""Curves agree with `headscript replace`; damage is correlated with scores; stories are written."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from experiments import replacement_travel, richness
from experiments.head_damage import correlations, head_damage, spearman, spearman_with_ci95
from experiments.replacement_curve import replacement_curve, rises
from experiments.results import read
from experiments.stories import shown, stories
from grammar.parser import parse_or_raise
from interpreter.command_line import main
from interpreter.models import load_model
from interpreter.replacement import replaced
from interpreter.texts import load_texts
from synth.faithfulness import Losses
from synth.library import Library
from tests.replacing import PROGRAMS, library_for, model_folder

pytestmark = pytest.mark.usefixtures("tagger")

STORIES = load_texts("stories").documents


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A model, a library with two choices of each head, and texts."""
    folder = tmp_path_factory.mktemp("curve")
    model = model_folder(folder / "llama")
    library = library_for(folder / "l.sqlite", model, PROGRAMS)
    library_for(library, model, dict.fromkeys(PROGRAMS, "self"), "tuned")
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in STORIES[:6]))
    return model, library, texts


def run(command: click.Command, place: tuple[Path, Path, Path], *more: str) -> dict[str, Any]:
    named = ["--library", str(place[1]), "--model", str(place[0])]
    result = CliRunner().invoke(command, [*named, *more], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(Path(result.stdout.splitlines()[-1]).read_text())["results"]
    return found


def test_curves_are_those_of_replace(place: tuple[Path, Path, Path], tmp_path: Path) -> None:
    short = ["--texts", str(place[2]), "--max-tokens", "20", "--fractions", "0.4,1"]
    found = run(replacement_curve, place, *short, "--output", str(tmp_path))
    series = {(s["programs"], s["order"]): s["curve"] for s in found["series"]}
    orders = ("damage", "output-error", "iou", "greedy")
    assert set(series) == {
        *((choice, order) for choice in ("tuned", "iou") for order in orders),
        *((name, "damage") for name in ("first token", "best trivial", "exchanged")),
    }
    # Two of the eight: each takes a run of the other command.
    for choice, order in (("tuned", "damage"), ("iou", "greedy")):
        words = ["replace", "--library", str(place[1]), "--model", str(place[0]), *short]
        words += ["--choice", choice, "--order", order, "--json"]
        expected = json.loads(CliRunner().invoke(main, words, catch_exceptions=False).stdout)
        assert found["tokens"] == expected["tokens"]
        for point, other in zip(series[choice, order], expected["curve"], strict=True):
            assert point["heads"] == other["heads"]
            assert point["perplexity"] == pytest.approx(other["perplexity"], rel=1e-4)
            assert point["ci95"] == pytest.approx(other["ci95"], rel=1e-3)
        # All heads at once: the first token is a control of `replace` too.
        control = expected["controls"]["first_token_increase_percent"]
        last = series["first token", "damage"][-1]
        assert last["increase_percent"] == pytest.approx(control, rel=1e-3)
    assert "| tuned | iou |" in rises([{"model": {"name": "m"}, "results": found}])


def test_a_curve_that_is_cut_off_keeps_its_orders(
    place: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.kept_orders.cache_folder", lambda: tmp_path / "cache")
    few = ["--texts", str(place[2]), "--max-tokens", "12", "--output", str(tmp_path)]
    few += ["--fractions", "0.4", "--orders", "damage", "--orders", "iou"]
    whole = run(replacement_curve, place, *few)
    assert not [*(tmp_path / "cache" / "orders").iterdir()]

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("experiments.replacement_curve.measured", cut_off)
        with pytest.raises(AssertionError):
            run(replacement_curve, place, *few)
    with monkeypatch.context() as patch:
        patch.setattr("experiments.stand_ins.order_heads", None)
        assert run(replacement_curve, place, *few) == whole


def test_pictures(place: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    few = ["--texts", str(place[2]), "--max-tokens", "12", "--output", str(tmp_path)]
    for command in (replacement_curve, head_damage):
        more = ["--limit", "2", "--choices", "iou"] if command is replacement_curve else []
        run(command, place, *few, *more)
    pictures = sorted(tmp_path.glob("*.png"))
    assert [picture.name.partition("-")[0] for picture in pictures] == [
        "head_damage",
        "replacement_curve",
    ]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_damage_of_each_head(place: tuple[Path, Path, Path], tmp_path: Path) -> None:
    short = ["--max-tokens", "20", "--output", str(tmp_path)]
    results = run(head_damage, place, "--texts", str(place[2]), *short)
    assert [of_choice["choice"] for of_choice in results["choices"]] == ["tuned", "iou"]
    found = results["choices"][1]
    assert [head["head"] for head in found["heads"]] == ["L0H0", "L0H1", "L0H2", "L1H0", "L1H3"]
    assert all(head["damage"] > 0 and 0 < head["iou"] < 1 for head in found["heads"])
    for score in ("iou", "output_error"):
        values = [head[score] for head in found["heads"]]
        damage = [head["damage"] for head in found["heads"]]
        expected = spearman_with_ci95(values, damage)
        assert found["spearman"][score]["rho"] == pytest.approx(expected["rho"])
    assert "| m, iou | 5 |" in correlations([{"model": {"name": "m"}, "results": results}])


def test_richer_programs(place: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Those of two parts and of four, without and with guards, beside those chosen by IoU."""
    words = ["--library", str(place[1]), "--model", str(place[0]), "--texts", str(place[2])]
    words += ["--parts", "2", "--parts", "4", "--fractions", "0.4,1", "--max-tokens", "20"]
    CliRunner().invoke(richness.main, [*words, "--output", str(tmp_path)], catch_exceptions=False)
    (record,) = read("richness", tmp_path)
    kinds = {kind["programs"]: kind for kind in record["results"]["kinds"]}
    sizes = ("up to 2 parts", "up to 4 parts")
    assert list(kinds) == [richness.BY_IOU, *sizes, *(f"{size}, guards" for size in sizes)]
    assert kinds[sizes[0]]["mean_terms"] < kinds[sizes[1]]["mean_terms"]
    assert kinds[sizes[1]]["mean_terms"] < kinds[f"{sizes[1]}, guards"]["mean_terms"]
    assert kinds[sizes[1]]["output_error"] < kinds[richness.BY_IOU]["output_error"]
    # The programs chosen by IoU, all in place, as the other command has it.
    test = load_texts(str(place[2])).split()["test"]
    trees = {head: parse_or_raise(text) for head, text in PROGRAMS.items()}
    loaded = load_model(str(place[0]))
    losses = Losses.measured(loaded, test, trees, list(trees), [len(trees)], 20, "prefix")
    few = Losses.measured(loaded, test, trees, list(trees), [1, 1], 12, "prefix")
    once = Losses.measured(loaded, test, trees, list(trees), [1], 12, "prefix")
    assert few.of("1") == once.of("1")
    at_all = kinds[richness.BY_IOU]["curve"][-1]
    expected = losses.of(str(len(trees)))
    assert at_all["perplexity"] == pytest.approx(expected["perplexity"], rel=1e-4)
    assert f"{sizes[1]}, guards" in richness.BLOCKS["kinds"]([record])


def test_other_texts_and_lengths(place: tuple[Path, Path, Path], tmp_path: Path) -> None:
    named = ["--library", str(place[1]), "--model", str(place[0]), "--output", str(tmp_path)]
    texts = ["--texts", str(place[2]), "--texts", "code", "--limit", "3"]
    words = [*named, *texts, "--tokens", "16", "--tokens", "40", "--fractions", "0.4,1"]
    CliRunner().invoke(replacement_travel.main, words, catch_exceptions=False)
    (record,) = read("replacement_travel", tmp_path)
    found = record["results"]["sources"]
    assert [(f["texts"], f["max_tokens"]) for f in found] == [
        *((place[2].name, length) for length in (16, 40)),
        *(("code", length) for length in (16, 40)),
    ]
    # Every token but the first of a document is predicted.
    assert all(f["tokens"] == f["documents"] * (f["max_tokens"] - 1) for f in found)
    # The same texts in the order and of the choice of the other command.
    same = ["--texts", str(place[2]), "--limit", "3", "--max-tokens", "16"]
    curve = run(replacement_curve, place, *same, "--output", str(tmp_path))
    series = {(s["programs"], s["order"]): s["curve"] for s in curve["series"]}
    at_16 = {point["fraction"]: point for point in series["tuned", "damage"]}
    assert at_16[1]["perplexity"] == pytest.approx(found[0]["curve"][-1]["perplexity"], rel=1e-4)
    assert f"| {record['model']['name']}, code | 40 | 3 |" in replacement_travel.rises([record])


def test_nothing_is_reported_on_that_was_worked_on(
    place: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    own, all_stories = load_texts(str(place[2])), load_texts("stories")
    library = tmp_path / "l.sqlite"
    with Library.open(library, create=True) as made:
        made.start_run(
            key="it", model="m", model_revision="r", texts_sha256=own.sha256, settings={}
        )
    (stories, mine), ordering = replacement_travel.sources_of(
        ["stories", str(place[2])], library, None, None
    )
    assert ordering.documents == all_stories.split()["select"].documents
    assert stories.documents == all_stories.split()["test"].documents
    assert mine.documents == own.split()["test"].documents
    (_, rest), ordering = replacement_travel.sources_of(
        [str(place[2]), "stories"], library, "stories", 20
    )
    assert len(rest.documents) == 20
    assert not set(rest.documents) & set(ordering.documents)


def test_rank_correlation() -> None:
    numbers = np.random.default_rng(1).normal(size=200)
    assert spearman(numbers, np.exp(numbers)) == pytest.approx(1)
    assert spearman(numbers, -(numbers**3)) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: worked out by hand.
    tied = spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4]))
    assert tied == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert spearman_with_ci95([1, 1], [1, 2]) == {"rho": None, "ci95": None}
    noisy = spearman_with_ci95(numbers.tolist(), (numbers + 1).tolist()[::-1])
    low, high = noisy["ci95"]
    assert low < noisy["rho"] < high
    assert 0.2 < high - low < 0.35


def test_stories_are_the_replaced_models_own(
    place: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    begin = "Once upon a time"
    more = ["--beginning", begin, "--tokens", "6", "--order", "iou", "--order-tokens", "20"]
    found = run(stories, place, *more, "--choice", "iou", "--output", str(tmp_path))
    assert [one["heads"] for one in found["stories"]] == [0, 1, 2, 5]
    loaded = load_model(str(place[0]))
    ids = loaded.tokenizer(begin, return_tensors="pt")["input_ids"]
    for one in found["stories"]:
        heads = dict(list(PROGRAMS.items())[: one["heads"]])
        grown = ids
        with torch.no_grad(), replaced(loaded, heads) if heads else nullcontext():
            for _ in range(6):
                logits = loaded.model(grown, use_cache=False).logits
                grown = torch.cat([grown, logits[:, -1:].argmax(-1)], 1)
        assert one["story"] == loaded.tokenizer.decode(grown[0, ids.shape[1] :])
    assert len({one["story"] for one in found["stories"]}) > 1
    text = shown([{"model": {"name": "m"}, "results": found}])
    assert "50% of its heads as programs (2):" in text
