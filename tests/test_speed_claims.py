"""The experiments on speed and size, small: their records belong together and can be shown."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from experiments import cluster, growth, large_run, pruning, streaming
from experiments.results import read
from interpreter.capture import Captured, captured
from interpreter.stored_patterns import read_patterns
from interpreter.texts import Texts, load_texts
from tests.tiny_models import HEADS, LAYERS, tiny

BENCH = {
    "sizes": {"tokens": 96},
    "evaluate_us_per_program_text": 100.0,
    "scores_per_second": 4_000_000,
    "capture_texts_per_second": 4.0,
}
SIZES = {"programs": 1000, "heads": 100, "texts": 10, "tokens": 96}


def estimated(**changed: int) -> dict:
    sizes = {**SIZES, **changed}
    return large_run.estimate(BENCH, 2, parameters=1e9, node_cores=64, **sizes)


def test_an_estimate_follows_from_the_rates() -> None:
    found = estimated()
    assert found["scores"] == 1_000_000
    assert found["core_hours"]["scoring"] == pytest.approx(2 * 0.25 / 3600)
    assert found["core_hours"]["evaluation"] == pytest.approx(2 * 1.0 / 3600)
    assert found["attention_bytes"] == 100 * 10 * 96 * 96 * 4
    assert found["node_hours"] == pytest.approx(sum(found["core_hours"].values()) / 64)
    longer = estimated(tokens=192)["core_hours"]
    assert longer["scoring"] / found["core_hours"]["scoring"] == pytest.approx(4, rel=0.02)
    assert longer["capture"] / found["core_hours"]["capture"] == pytest.approx(2)
    more = estimated(heads=200)["core_hours"]
    assert more["scoring"] == pytest.approx(2 * found["core_hours"]["scoring"])
    assert more["evaluation"] == found["core_hours"]["evaluation"]


def test_the_exponent_of_a_power() -> None:
    assert growth.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_a_point_of_growth(tmp_path: Path, tagger, monkeypatch) -> None:
    monkeypatch.setattr("interpreter.models.load_model", lambda _: tiny("llama"))
    growth.texts_to(24, 2, tmp_path / "texts.json")
    sizes = {"programs": 5, "texts": 2, "tokens": 20, "heads": 3}
    point = growth.measured_alone(tmp_path / "texts.json", sizes)
    assert 0 < point["distinct_selections"] < point["selections"]
    assert point["evaluate_seconds"] > 0
    assert point["score_seconds"] > 0
    assert point["peak_memory_mb"] > 50


def patterns() -> Captured:
    heads = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
    texts = Texts("few", load_texts("stories").documents[:3])
    return captured(tiny("llama"), texts, heads, 24)


def test_what_streams_is_what_is_scored_in_memory(tmp_path: Path, tagger) -> None:
    texts = streaming.long_texts("stories", 10, 24)
    found = streaming.streamed(tiny("llama"), texts, 24, 6, tmp_path)
    assert (found["documents"], found["heads"], found["tokens"]) == (10, LAYERS * HEADS, 24)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 2
    assert found["bytes"] == sum(path.stat().st_size for path in files)
    whole = captured(tiny("llama"), texts, read_patterns(files[0]).heads, 24)
    parts = [read_patterns(path).attention for path in files]
    torch.testing.assert_close(torch.cat(parts), whole.attention)


def test_bounds_leave_out_no_best_program(tagger) -> None:
    found = pruning.bounds(patterns(), 12)
    assert all(row["admissible"] for row in found["blocks"])
    left = [row["left"] for row in found["blocks"]]
    assert left == sorted(left)
    assert 1 / 12 <= left[0] <= left[-1] <= 1


@pytest.mark.parametrize("claim", [cluster, growth, large_run, pruning, streaming])
def test_blocks_are_tables(claim) -> None:
    records = read(claim.__name__.rpartition(".")[2])
    for block in claim.BLOCKS.values():
        lines = [line for line in block(records).splitlines() if line.startswith("|")]
        assert len(lines) > 2
        assert len({line.count("|") for line in lines}) == 1


def test_a_large_run_is_written(tmp_path: Path) -> None:
    words = ["--texts", "10", "--output", str(tmp_path)]
    CliRunner().invoke(large_run.main, words, catch_exceptions=False)
    (record,) = read("large_run", tmp_path)
    assert record["command"] == "python -m experiments.large_run --texts 10"
    assert "10 texts of 96 tokens" in large_run.estimate_block([record])
