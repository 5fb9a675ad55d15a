"""The experiments on speed and size, small: their records belong together and can be shown."""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from experiments import accelerator, bench_command, cluster, growth, large_run, pruning, streaming
from experiments.results import read
from experiments.sources import long_texts
from grammar.errors import InputError
from grammar.printer import to_text
from interpreter.capture import Captured, captured
from interpreter.stored_patterns import read_patterns
from interpreter.texts import Texts, load_texts
from synth.scorer import Scorer
from tests.tiny_models import HEADS, LAYERS, tiny, tokenizer, writer

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
    texts = long_texts(tiny("llama"), "stories", 20, 24)
    found = streaming.streamed(tiny("llama"), texts, 24, 6, tmp_path, keep=True)
    assert (found["documents"], found["heads"], found["tokens"]) == (20, LAYERS * HEADS, 24)
    files = sorted(tmp_path.glob("attention*"))
    assert len(files) == 3
    assert found["bytes"] == found["bytes_at_once"] == sum(path.stat().st_size for path in files)
    whole = captured(tiny("llama"), texts, read_patterns(files[0]).heads, 24)
    parts = [read_patterns(path).attention for path in files]
    torch.testing.assert_close(torch.cat(parts), whole.attention)
    tokens = whole.tokens[:8]
    programs = [to_text(program) for program in bench_command.library_programs(6, tokens)]
    ious = torch.stack([of_one.mean(0) for of_one in Scorer(whole).ious(programs)])
    assert found["best_mean_iou"] == pytest.approx(float(ious.amax(0).mean()), abs=1e-6)
    assert [point["texts"] for point in found["memory"]] == [8, 20]
    assert found["loaded_mb"] <= found["memory"][0]["peak_mb"] <= found["memory"][1]["peak_mb"]


def test_a_stream_that_was_cut_off_goes_on(tmp_path: Path, tagger, monkeypatch) -> None:
    texts = long_texts(tiny("llama"), "stories", 20, 24)
    whole = streaming.streamed(tiny("llama"), texts, 24, 6, tmp_path / "whole", keep=False)
    assert whole["bytes_at_once"] < whole["bytes"]
    assert not [*(tmp_path / "whole").glob("attention*")]
    asked = []

    def stops(loaded: Any, some: Texts, heads: Any, tokens: int) -> Captured:
        asked.append(some.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return captured(loaded, some, heads, tokens)

    monkeypatch.setattr(streaming, "captured", stops)
    with pytest.raises(KeyboardInterrupt):
        streaming.streamed(tiny("llama"), texts, 24, 6, tmp_path / "cut", keep=False)
    found = streaming.streamed(tiny("llama"), texts, 24, 6, tmp_path / "cut", keep=False)
    assert asked == ["texts 1-8", "texts 9-16", "texts 17-20", "texts 17-20"]
    assert found["best_mean_iou"] == whole["best_mean_iou"]


def test_memory_is_told_by_parts_of_the_shards() -> None:
    peaks = [5, 7, 6, 7, 9, 9, 8, 8, 9, 9, 9, 9, 9, 9, 9, 10]
    measured = [{"lengths": [24] * 8, "peak_mb": peak} for peak in peaks]
    points = [(point["texts"], point["peak_mb"]) for point in streaming.memory(measured)]
    assert points == [(16, 7), (32, 7), (64, 9), (128, 10)]


def test_long_texts_are_long_and_differ() -> None:
    texts = long_texts(tiny("llama"), "code", 300, 64)
    assert len(set(texts.documents)) == 300
    assert all(len(ids) >= 64 for ids in tokenizer()(list(texts.documents))["input_ids"])
    with pytest.raises(InputError, match=r"stories gives \d+ texts of 64 tokens, not 9999"):
        long_texts(tiny("llama"), "stories", 9999, 64)


def test_bounds_leave_out_no_best_program(tagger) -> None:
    found = pruning.bounds(patterns(), 12)
    assert all(row["admissible"] for row in found["blocks"])
    left = [row["left"] for row in found["blocks"]]
    assert left == sorted(left)
    assert 1 / 12 <= left[0] <= left[-1] <= 1


def test_a_device_is_held_against_its_limits(tmp_path: Path, tagger, monkeypatch) -> None:
    """The whole claim, small, on the CPU; what its kernel and torch say must agree, or it fails."""
    monkeypatch.setattr(accelerator, "COPIED", 2**16)
    monkeypatch.setattr(accelerator, "TEXTS_AT_ONCE", 3)
    sizes = {"programs": 9, "texts": 4, "tokens": 24, "heads": 5}
    words = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    folder = writer(tmp_path / "model")
    arguments = ["--model", folder, *words, "--output", str(tmp_path)]
    CliRunner().invoke(accelerator.main, arguments, catch_exceptions=False)
    records = read("accelerator", tmp_path)
    found = records[0]["results"]
    assert found["min_adds"] == 9 * 4 * 5 * (24 * 25 // 2)
    assert found["evaluate_bytes"] == 9 * 4 * 24 * 24 * 4
    assert 0 < found["score_share_of_limit"] < 1
    assert "9 programs, 4 texts of 24 tokens, 5 heads" in accelerator.rates_block(records)


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
