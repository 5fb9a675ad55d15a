"""What `headscript bench` measures is there, and belongs together."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from experiments.bench_command import bench, evaluation, library_programs, scoring, sizes_text
from grammar.canonical import canonical
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from synth.outlines_proposer import OutlinesProposer
from tests.tiny_models import tiny, tokenizer, writer


def test_measures(tagger) -> None:
    tokens = read_tokens(load_texts("stories").documents[:2], tokenizer(), tagger, 24)
    programs = library_programs(6, tokens)
    assert len(set(programs)) == 6
    assert [canonical(program) for program in programs] == programs
    assert library_programs(6, tokens) == programs
    speed = evaluation(programs, tokens)
    assert speed["evaluate_speedup"] > 1
    rates = scoring(programs[:2], tokens)
    assert rates["scores_per_second"] > 0
    assert 0 < rates["scoring_share_of_limit"] < 2


def test_the_command_measures_what_it_says(
    tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = OutlinesProposer(writer(tmp_path))
    monkeypatch.setattr("synth.outlines_proposer.OutlinesProposer", lambda _: small)
    monkeypatch.setattr("interpreter.models.load_model", lambda _: tiny("llama"))
    result = CliRunner().invoke(bench, ["--quick", "--json"], catch_exceptions=False)
    found = json.loads(result.stdout)
    assert "Measuring writing" in result.stderr
    for name in [*found, *found["sizes"]]:
        assert f'"{name}"' in str(bench.help)
    assert found["sizes"]["answer_tokens"] == small.longest == 24
    assert found["sizes"]["masks"] > 1000
    assert found["mask_us_p50"] <= found["mask_us_p99"]
    assert 0 < found["grammar_share_of_generation"] < 1
    assert found["capture_texts_per_second"] > 0
    assert sizes_text(found["sizes"]).startswith("300 programs, 16 texts, 96 tokens")
