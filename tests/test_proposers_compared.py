"""Proposers are compared at equal numbers of programs, and a run that was cut off goes on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from experiments import arms, proposers_compared
from experiments.proposers_compared import compared, curve_counts
from experiments.render import CLAIMS
from experiments.results import read
from experiments.written import Written
from synth.library import StoredProposal
from synth.prompt import EXAMPLES, Prompt
from synth.proposers import Draft, Proposer, make_proposer
from tests.tiny_models import tiny

ANSWERS = (
    *("frist", "first", EXAMPLES[0], "2 self + 1 first", "2 self + 1 first"),
    *("near(any, 4)", "near(any, 8)", "back(2)"),
)
WORDS = (
    *("--model", "tiny-llama", "--every", "4", "--limit", "8", "--max-tokens", "24"),
    *("--evaluations", "4", "--refine", "1", "--proposer", "writer"),
)


class Writer:
    """Answers like a language model: with errors, copies and repetitions among the programs."""

    name = "writer:model@1"

    def __init__(self) -> None:
        self.asked = 0

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        self.asked += 1
        again = any(attempt.proposer == self.name for attempt in prompt.tried)
        return [Draft(text, True, 9, 0.5) for text in ANSWERS[4 * again :][:count]]


@pytest.fixture
def writer(tagger, monkeypatch) -> Writer:
    pytest.importorskip("matplotlib")
    made = Writer()

    def make(spec: str) -> Proposer:
        return made if spec == "writer" else make_proposer(spec)

    monkeypatch.setattr(arms, "make_proposer", make)
    monkeypatch.setattr(proposers_compared, "load_model", lambda _: tiny("llama"))
    return made


def run_into(folder: Path) -> dict[str, Any]:
    words = [*WORDS, "--kept", str(folder / "kept.sqlite"), "--output", str(folder)]
    CliRunner().invoke(proposers_compared.main, words, catch_exceptions=False)
    (record,) = read("proposers_compared", folder)
    return record


def test_all_are_compared_at_the_same_numbers(writer: Writer, tmp_path: Path) -> None:
    record = run_into(tmp_path)
    results = record["results"]
    found = {arm["name"]: arm for arm in results["arms"]}
    assert list(found) == [
        *("trivial library", "plain start", "worked examples"),
        *("sampling", "enumeration", "mutation"),
        *("writer", "writer, no feedback", "writer, learned grammar, mutation"),
    ]
    assert (results["heads"], results["evaluations"]) == (2, [1, 2, 4])
    for name in ("worked examples", "sampling", "enumeration", "mutation", "writer"):
        assert found[name]["programs"] == 8, name
    counts = found["writer"]
    # Of each head seven answers, the last of which is the fourth new program.
    assert counts["rejected"] == {"unknown_name": 2}
    # What is built on it had its answers too; without feedback it was asked twice for the same.
    assert record["rejected"] == {"unknown_name": 8}
    assert (counts["duplicates"], counts["worked_examples"]) == (4, 2)
    assert counts["answers"] == 14
    assert len({at["mean_iou"] for at in found["trivial library"]["curve"]}) == 1
    assert found["sampling"]["over_sampling"]["gain"] == 0
    assert all(arm["refined"]["end"]["mean_iou"] > 0 for arm in results["arms"])
    assert (tmp_path / "proposers_compared-tiny-llama.png").exists()
    for block in CLAIMS["proposers_compared"].values():
        shown = block([record])
        assert len({line.count("|") for line in shown.splitlines()}) == 1
        assert "tiny-llama, writer, learned grammar, mutation" in shown


def test_a_run_goes_on_from_what_was_kept(writer: Writer, tmp_path: Path) -> None:
    first = run_into(tmp_path)
    asked = writer.asked
    assert run_into(tmp_path) == first
    assert writer.asked == asked


@pytest.mark.parametrize("spec", ["api:m@http://h/v1", "learned:api:m@http://h/v1"])
def test_no_money_is_spent_without_a_limit(spec: str) -> None:
    result = CliRunner().invoke(proposers_compared.main, ["--proposer", spec])
    assert result.exit_code == 2
    assert f"{spec} may cost money" in result.stderr


def test_what_is_built_on_a_paid_model_has_its_estimate() -> None:
    class Paid(Writer):
        def most_dollars(self, prompt: Prompt, count: int) -> float:
            return count + len(prompt.messages) / 100

    turns = [("user", "?"), ("assistant", "self"), ("user", "That scores 0.1.")]
    prompt = Prompt(tuple(turns), told=2)
    assert arms.Combined(Paid()).most_dollars(prompt, 7) == 4.03
    assert arms.Untold(Paid()).most_dollars(prompt, 7) == 7.01
    assert arms.Combined(Writer()).most_dollars(prompt, 7) == 0


def test_answers_count_up_to_the_last_program_that_is_wanted() -> None:
    texts = (None, "first", "self + first", "back(2)", "back(2)", "any", "back(3)", "back(4)")
    answers = [
        StoredProposal(
            raw=text or "(",
            text=text,
            code=None if text else "syntax",
            proposer="writer",
            seed=0,
            run_id=1,
            layer=0,
            head=0,
            stage="language model",
            batch=0,
            status="accepted" if text else "rejected",
        )
        for text in texts
    ]
    found = Written.of(answers, 3)
    assert found.programs == ["self + first", "back(2)", "back(3)"]
    assert found.answers == answers[:7]
    assert Written.of(answers, 9).answers == answers


def test_gains_are_of_heads() -> None:
    ious = torch.tensor([[0.5, 0.7], [0.4, 0.4], [0.3, 0.3]])
    found = compared(ious, torch.tensor([[0.4, 0.4], [0.4, 0.4], [0.5, 0.3]]))
    assert found["gain"] == pytest.approx((0.2 + 0 - 0.1) / 3)
    assert (found["heads_better"], found["heads_worse"]) == (1, 1)
    low, high = found["ci95_over_heads"]
    assert low == pytest.approx(-0.1)
    assert high == pytest.approx(0.2)


def test_the_counts_of_a_curve() -> None:
    assert curve_counts(32) == [1, 2, 4, 8, 16, 32]
    assert curve_counts(20) == [1, 2, 4, 8, 16, 20]
    assert curve_counts(1) == [1]
