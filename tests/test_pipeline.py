"""The spine on a tiny random model: results, resuming, the same again for the same seed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from interpreter.texts import Texts, load_texts
from synth.budget import Spent
from synth.job import Settings
from synth.library import Library
from synth.prompt import Prompt
from synth.proposers import Draft
from synth.results import RunResults, run_results
from tests.runs import tiny_run

pytestmark = pytest.mark.usefixtures("tagger")

SETTINGS = Settings(heads=((0, 1), (1, 2), (1, 3)), budget=16, seed=3, max_tokens=32)
TEXTS = Texts("few", load_texts("stories").documents[:8])

ANSWERS = (
    "6 first + 3 back(1) + 1 noun",
    "3 first + 3 back(1) + 1 noun + 3 first",
    "previous token",
    "5 near(content, 4) + 5 score(2.0 noun - 0.5 distance(any))",
    "first",
    "7 first + 4 back(",
    "when stop: self; 2 same_word + 1 near(any, 8)",
    'word("the")',
)


class FixedProposer:
    """Gives the same answers to every prompt, in an order that the seed turns."""

    name = "fixed"

    def __init__(self, killed_at: int | None = None) -> None:
        self.calls = 0
        self.prompts: list[Prompt] = []
        self._killed_at = killed_at

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        self.calls += 1
        self.prompts.append(prompt)
        if self.calls == self._killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        turned = [ANSWERS[(i + seed) % len(ANSWERS)] for i in range(count)]
        return [Draft(text, not text.endswith("("), 10, 0.0) for text in turned]


def synthesized(path: Path, proposer: FixedProposer) -> RunResults:
    with Library.open(path, create=True) as library:
        run = tiny_run(proposer, TEXTS, library, SETTINGS, path.parent / "patterns")
        return run_results(library, run)


def test_end_to_end_and_again(tmp_path: Path) -> None:
    proposer = FixedProposer()
    results = synthesized(tmp_path / "a.sqlite", proposer)
    assert [(h.layer, h.head) for h in results.heads] == [*SETTINGS.heads]
    for head in results.heads:
        low, high = head.iou_ci95
        assert low <= head.iou <= high
        # 4 trivial, 16 written, the fitted start, what was grown, and its last fit.
        assert head.proposed >= 4 + 16 + 2
        # One of the eight answers, twice, for every head.
        assert head.rejected == 2
    assert results.reject_codes == {"unknown_name": 6}
    assert results.spent == Spent(tokens=480, evaluations=42)
    assert results.stopped_by is None
    assert proposer.calls == 3 * 2
    # Three heads, each with and without what is wrong with its best program so far.
    assert len({prompt.sha256 for prompt in proposer.prompts}) == 6
    told = ["That scores" in prompt.messages[-1][1] for prompt in proposer.prompts]
    assert told == [False, True] * 3

    again = FixedProposer()
    assert synthesized(tmp_path / "a.sqlite", again) == results
    assert again.calls == 0
    assert synthesized(tmp_path / "b.sqlite", FixedProposer()) == results


def test_chosen_programs_beat_or_meet_the_trivial_ones_where_they_were_chosen(
    tmp_path: Path,
) -> None:
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        run = tiny_run(FixedProposer(), TEXTS, library, SETTINGS, tmp_path / "patterns")
        for choice in library.choices():
            trivial = [
                b.iou
                for b in library.baselines(run.id, choice.layer, choice.head)
                if b.split == "select"
            ]
            assert choice.select_iou >= max(trivial) - 0.005


@pytest.mark.parametrize("killed_at", [1, 4, 6])
def test_a_killed_run_goes_on_and_ends_in_the_same(tmp_path: Path, killed_at: int) -> None:
    whole = synthesized(tmp_path / "whole.sqlite", FixedProposer())
    path = tmp_path / "killed.sqlite"
    code = (
        "from pathlib import Path; from tests.test_pipeline import FixedProposer, synthesized; "
        f"synthesized(Path({str(path)!r}), FixedProposer({killed_at}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    rest = FixedProposer()
    assert synthesized(path, rest) == whole
    assert rest.calls == 6 - (killed_at - 1)
