"""The claims about the language: its ceiling, what each primitive is worth, what is still wrong."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from experiments import ablation, ceiling, residual, stages, subject
from experiments.results import read
from grammar.parser import parse_or_raise
from grammar.printer import to_text
from interpreter.texts import load_texts
from synth import growing, reshaping
from synth.library import Library
from synth.refining import START
from synth.vocabulary import term
from tests.exact_heads import doing
from tests.library_samples import choose_all
from tests.tiny_models import tiny


def test_free_weights_find_a_program_again(tagger) -> None:
    heads = ["when newline: self; 2 back(1) + 1 self", "score(2.0 noun - 1.0 distance(any))"]
    documents = load_texts("stories", 16).documents
    train, test = (doing(heads, some, tagger) for some in (documents[:8], documents[8:]))
    some = ("first", "self", "back(1)", "back(2)", "noun", "distance(any)", "stop", "near(any, 8)")
    terms = [term(text) for text in some]
    packed = ceiling.pack(train, terms)
    weights = ceiling.fit([packed], slice(0, 2), penalty=1e-4, epochs=150)
    held_out = ceiling.pack(test, terms)
    with torch.no_grad():
        found = ceiling.predicted_iou(weights, held_out, held_out.target).mean(1)
        even = ceiling.Weights.even(2, len(terms))
        before = ceiling.predicted_iou(even, held_out, held_out.target).mean(1)
    assert found.min() > 0.8
    assert (found > before + 0.3).all()


def test_what_a_head_consists_of_is_missed(tagger) -> None:
    documents = load_texts("stories", 8).documents
    train, test = (
        doing(["2 same_token + 1 back(3)"], some, tagger) for some in (documents[:4], documents[4:])
    )
    texts = ("first", "back(3)", "same_token", "same_pos", "near(noun, 8)", "pronoun", "number")
    terms = [term(text) for text in texts]
    packed, held_out = ([ceiling.pack(some, terms)] for some in (train, test))
    found = ablation.worth(packed, held_out, terms, epochs=100)
    assert found["mean_iou"] > 0.9
    losses = {row["primitive"]: row["loss"] for row in found["primitives"]}
    assert losses.keys() == {name for text in texts for name in re.findall("[a-z_]+", text)}
    assert losses["same_token"] > losses["back"] > 0.1
    assert max(abs(losses[name]) for name in ("same_pos", "near", "noun")) < 0.05
    assert found["together"]["primitives"] == ["number", "pronoun"]
    assert abs(found["together"]["loss"]) < 0.05


def test_what_was_tried_is_not_what_fits_best_later(tagger, monkeypatch) -> None:
    """The row of what was tried is of the best program as it was written."""
    monkeypatch.setattr(growing, "MAX_TERMS", 0)
    monkeypatch.setattr(reshaping, "MOST_STEPS", 0)
    texts = load_texts("stories", 6)
    head = "score(3.0 first - 0.2 distance(any) + 1.0 noun)"
    patterns = {part: doing([head], of.documents, tagger) for part, of in texts.split().items()}
    programs = subject.Programs({(0, 0): head}, [head], Counter())
    about = subject.Subject(tiny("llama"), Path("none"), programs, texts, patterns)
    found = {row["stage"]: row["mean_iou"] for row in stages.measured(about)}
    written = stages.Stages(about)
    tried = dict(zip(map(to_text, written.trees), written.tried((0, 0)), strict=True))
    best, start = (
        float(written.ious("test", (0, 0), parse_or_raise(text)).mean())
        for text in (max(tried, key=tried.__getitem__), START)
    )
    assert found["tried"] == pytest.approx(best)
    assert start < best < found["constants fitted"]
    assert found["or any of the library"] == pytest.approx(1)


def test_a_cause_is_what_the_program_lacks(tagger) -> None:
    patterns = doing(["1 first + 1 comma", "comma"], load_texts("stories", 4).documents, tagger)
    lacking, right = residual.mistakes(patterns, {(0, 0): "first", (0, 1): "comma"}, pairs=2)
    assert max(lacking["causes"], key=lacking["causes"].__getitem__) in ("comma", "punctuation")
    assert lacking["causes"]["comma"] == pytest.approx(0.5)
    assert {key for _, key, _ in lacking["missed"]} == {","}
    assert right["iou"] == pytest.approx(1)
    assert right["missed"] == []


@pytest.mark.parametrize("claim", [ceiling, residual, ablation, stages])
def test_a_claim_is_written_and_shown(claim, tmp_path: Path, tagger, monkeypatch) -> None:
    monkeypatch.setattr(subject, "load_model", lambda _: tiny("llama"))
    place = tmp_path / "tiny.sqlite"
    with Library.open(place, create=True) as library:
        choose_all(library, ("first", "2 first + 1 back(1)", "comma"))
    name = claim.__name__.rpartition(".")[2]
    words = ["--library", str(place), "--output", str(tmp_path), "--max-tokens", "24"]
    words += ["--every", "3", "--limit", "8"]
    words += ["--epochs", "2"] if claim in (ceiling, ablation) else []
    words += ["--other-texts", "code"] if claim is ceiling else []
    words += ["--json", str(tmp_path / "heads.json")] if claim is residual else []
    CliRunner().invoke(claim.main, words, catch_exceptions=False)
    (record,) = read(name, tmp_path)
    assert record["name"] == name
    for block in claim.BLOCKS.values():
        assert "tiny-llama" in block([record])
    if claim is stages:
        found = record["results"]["stages"]
        means = [row["mean_iou"] for row in found]
        gains = [row["gain"] for row in found[1:]]
        assert means[0] + sum(gains) == pytest.approx(means[-1], abs=1e-4)
    if claim is residual:
        heads = json.loads((tmp_path / "heads.json").read_text(encoding="utf-8"))["heads"]
        assert len(heads) == record["results"]["heads"]
