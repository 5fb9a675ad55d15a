"""Rounds: what proposers are told and by whom what was written; the same again after a kill."""

import time
from dataclasses import asdict, replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from grammar.canonical import content_hash
from grammar.errors import InputError
from interpreter.capture import Captured, capture
from interpreter.texts import Texts, load_texts
from synth.budget import Limits, Spent
from synth.job import Settings
from synth.learned import LearnedProposer
from synth.library import Choice, Library, StoredProposal
from synth.prompt import Prompt
from synth.proposers import Draft, Proposer, ProposerFailedError, make_proposer
from synth.proposing import Rounds
from synth.results import RunResults, run_results
from synth.summary import TRIVIAL
from synth.tables import print_results
from tests.tiny_models import tiny

HEADS = ((0, 1), (1, 2), (1, 3))
TEXTS = Texts("few", load_texts("stories").documents[:3])


@pytest.fixture(scope="module")
def patterns(tagger: Any) -> Captured:
    return capture(tiny("llama"), TEXTS, HEADS, 24)


class Recorder:
    """Another proposer, whose prompts are kept."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer
        self.name = proposer.name
        self.prompts: list[Prompt] = []

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        self.prompts.append(prompt)
        return self._proposer.propose(prompt, count, seed)


class Dying:
    """Mutation that ends with these errors, one for each batch, and then with no more."""

    name = "dying"

    def __init__(self, *errors: Exception | None) -> None:
        self._errors = [*errors]

    def most_dollars(self, prompt: Prompt, count: int) -> float:
        return count / 100

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        error = self._errors.pop(0) if self._errors else None
        if error:
            time.sleep(0.02)
            raise error
        return make_proposer("mutation").propose(prompt, count, seed)


def asked(
    library: Library, patterns: Captured, proposer: Proposer, key: str = "k", budget: int = 20
) -> list[StoredProposal]:
    """What the proposer wrote in a run of its own."""
    run = library.start_run(
        key=key, model="tiny", model_revision="0", texts_sha256="0", settings={}
    )
    settings = Settings(heads=HEADS, budget=budget, seed=5, max_tokens=24)
    Rounds(run, patterns, proposer, library, settings).run()
    return [p for p in library.proposals(run) if p.stage == "language model"]


def written(proposals: list[StoredProposal]) -> list[str | None]:
    return [proposal.text for proposal in proposals]


@pytest.mark.parametrize(
    "name", ["sampling", "enumeration", "mutation", "learned:sampling", "learned:mutation"]
)
def test_proposers_without_a_model(tmp_path: Path, patterns: Captured, name: str) -> None:
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        proposals = asked(library, patterns, make_proposer(name))
        # Three heads, two batches of 8 and one of 4.
        assert [p.batch for p in proposals] == [*[0] * 8, *[1] * 8, *[2] * 4] * 3
        assert all(p.text for p in proposals)
        for head in HEADS:
            texts = [p.text for p in proposals if (p.layer, p.head) == head]
            assert len({*texts, *TRIVIAL}) == 24
        assert asked(library, patterns, make_proposer(name)) == proposals
    with Library.open(tmp_path / "b.sqlite", create=True) as library:
        assert written(asked(library, patterns, make_proposer(name))) == written(proposals)


class Teacher:
    """Writes what a language model may: trivial programs, errors, repetitions."""

    name = "teacher"

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        texts = ("first", "4 near(quote, 8) + 1 self", "frist", "self", "3 quote + 2 quote", "self")
        return [Draft(texts[i % len(texts)], True, 9, 0.0) for i in range(count)]


class Plain:
    """A teacher that writes a trivial program alone."""

    name = "plain"

    def __init__(self) -> None:
        self.asked = 0

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        self.asked += 1
        return [Draft("first", True, 9, 0.0)]


def test_a_teacher_is_asked_once_for_a_head(tmp_path: Path, patterns: Captured) -> None:
    teacher = Plain()
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        proposals = asked(library, patterns, LearnedProposer(teacher))
    assert teacher.asked == len(HEADS)
    assert [p.text for p in proposals if p.proposer == teacher.name] == ["first"] * len(HEADS)


class CutOff:
    """A proposer in a process that ends when it is asked for the batch of this number."""

    def __init__(self, proposer: Proposer, batch: int) -> None:
        self._proposer = proposer
        self.name = proposer.name
        self._left = batch

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return self._proposer.propose(prompt, count, seed)


@pytest.mark.parametrize("proposer", [make_proposer("mutation"), LearnedProposer(Teacher())])
def test_a_run_that_was_cut_off_goes_on_as_if_it_was_not(
    tmp_path: Path, patterns: Captured, proposer: Proposer
) -> None:
    def told(proposals: list[StoredProposal]) -> list[StoredProposal]:
        return [replace(p, seconds=0.0) for p in proposals]

    with Library.open(tmp_path / "whole.sqlite", create=True) as library:
        whole = told(asked(library, patterns, proposer))
    for batch in range(1, 9):
        with Library.open(tmp_path / f"{batch}.sqlite", create=True) as library:
            with pytest.raises(KeyboardInterrupt):
                asked(library, patterns, CutOff(proposer, batch))
            assert told(asked(library, patterns, proposer)) == whole


def test_who_wrote_what(tmp_path: Path, patterns: Captured) -> None:
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        proposals = asked(library, patterns, make_proposer("learned:mutation"))
    assert [p.proposer for p in proposals[:20]] == ["mutation"] * 8 + ["learned:mutation"] * 12
    hashes = {content_hash(text) for text in TRIVIAL}
    assert all(p.parents for p in proposals[:8])
    assert hashes & {parent for p in proposals[:8] for parent in p.parents}


def test_what_is_told(tmp_path: Path, patterns: Captured) -> None:
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        proposer = Recorder(make_proposer("mutation"))
        proposals = asked(library, patterns, proposer)
    for number, prompt in enumerate(proposer.prompts):
        head, batch = divmod(number, 3)
        before = [p.text for p in proposals if (p.layer, p.head) == HEADS[head] and p.batch < batch]
        assert {*before, *TRIVIAL} <= {attempt.text for attempt in prompt.tried}
        own = {a.text for a in prompt.tried if a.proposer == "mutation"}
        assert own == {*before} - {*TRIVIAL}
        told = prompt.messages[-1][1]
        assert told.startswith("That scores") == (batch == 1)
        if batch == 1:
            best = max((a for a in prompt.tried if a.proposer), key=lambda a: a.iou)
            assert prompt.messages[-2] == ("assistant", best.text)
            assert f"scores {best.iou:.2f}" in told


def test_programs_of_other_heads_are_examples(tmp_path: Path, patterns: Captured) -> None:
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        asked(library, patterns, make_proposer("sampling"), "before")
        (run,) = library.runs()
        for text in ("4 back(2) + 1 noun", "3 next(noun) + 1 self"):
            library.add_programs([text])
            for head, iou in ((1, 0.5), (2, 0.6)):
                choice = Choice(
                    model="other",
                    model_revision="0",
                    layer=0,
                    head=head if text[0] == "4" else head + 5,
                    text=text,
                    run_id=run.id,
                    select_iou=iou,
                )
                library.set_choice(choice)
        proposer = Recorder(make_proposer("sampling"))
        asked(library, patterns, proposer, "after")
    known = [{attempt.text for attempt in prompt.tried} for prompt in proposer.prompts]
    assert all("4 back(2) + 1 noun" in texts for texts in known)
    # What looks ahead says nothing about a causal model.
    assert not any("3 next(noun) + 1 self" in texts for texts in known)


def test_whatever_a_proposer_dies_of_costs_its_own_batch(
    tmp_path: Path, patterns: Captured
) -> None:
    unforeseen = RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB.")
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        proposer = Dying(None, unforeseen, MemoryError(), None, ProposerFailedError("hung up"))
        proposals = asked(library, patterns, proposer)
    lost = [p for p in proposals if p.code == "failed"]
    assert [(p.layer, p.head, p.batch) for p in lost] == [(0, 1, 1), (0, 1, 2), (1, 2, 1)]
    reasons = [p.message for p in lost]
    assert reasons == ["RuntimeError: CUDA out of memory.", "MemoryError", "hung up"]
    # What a lost batch may have cost counts as spent, and so does what it took.
    assert [p.dollars for p in lost] == [0.08, 0.04, 0.08]
    assert all(0.02 <= p.seconds < 10 for p in lost)
    assert len(proposals) - len(lost) == 8 + 12 + 20


def test_three_lost_in_a_row_end_the_run(tmp_path: Path, patterns: Captured) -> None:
    dead = [RuntimeError("engine dead")] * 3
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        with pytest.raises(InputError, match=r"3 times in a row.*L1H2: RuntimeError: engine dead"):
            asked(library, patterns, Dying(None, *dead))
        (run,) = library.runs()
        assert len(library.proposals(run, stage="language model")) == 8 + 3
        proposals = asked(library, patterns, Dying())
        assert [p.batch for p in proposals if p.code] == [1, 2, 0]


def test_what_all_batches_would_fail_of_ends_the_run(tmp_path: Path, patterns: Captured) -> None:
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        with pytest.raises(InputError, match="no such key"):
            asked(library, patterns, Dying(None, InputError("no such key")))
        (run,) = library.runs()
        assert len(library.proposals(run, stage="language model")) == 8


@pytest.mark.parametrize(
    ("limits", "most", "reason"),
    [
        (Limits(), 5, None),
        (Limits(tokens=100), 0, "tokens: 100 of 100"),
        (Limits(tokens=101, seconds=3, evaluations=6, dollars=2), 0.5, None),
        (Limits(seconds=2.5), 0, "seconds: 2.5 of 2.5"),
        (Limits(evaluations=5), 0, "evaluations: 5 of 5"),
        (Limits(dollars=2), 0.6, "dollars: 1.5000 of 2"),
        (Limits(tokens=100, dollars=1), inf, "tokens: 100 of 100"),
    ],
)
def test_limits(limits: Limits, most: float, reason: str | None) -> None:
    spent = Spent(tokens=100, seconds=2.5, evaluations=5, dollars=1.5)
    told = spent.over(limits, most)
    assert told is None if reason is None else ": ".join(told or ()).startswith(reason)


@pytest.mark.parametrize(
    ("limits", "stopped", "evaluations"),
    [
        (Limits(), None, 60),
        (Limits(evaluations=60, dollars=9), None, 60),
        (Limits(evaluations=9, dollars=9), "evaluations", 16),
        (Limits(dollars=0.07), "dollars", 0),
    ],
)
def test_what_was_spent_and_what_stopped_it(
    tmp_path: Path, patterns: Captured, limits: Limits, stopped: str | None, evaluations: int
) -> None:
    settings = Settings(heads=HEADS, budget=20, seed=5, max_tokens=24, limits=limits)
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        run = library.start_run(
            key="k", model="tiny", model_revision="0", texts_sha256="0", settings=asdict(settings)
        )
        Rounds(run, patterns, Dying(), library, settings).run()
        (stored,) = library.runs()
        results = run_results(library, stored)
    assert results.stopped_by == stopped
    assert results.spent.evaluations == evaluations


@pytest.mark.parametrize(
    ("spent", "stopped", "line"),
    [
        (Spent(), None, ""),
        (
            Spent(tokens=4800, evaluations=42),
            None,
            "spent: 4,800 tokens, 0.0 seconds, 42 evaluations, 0.0000 dollars",
        ),
        (
            Spent(9, 1.25, 8, 0.5),
            "dollars",
            "spent: 9 tokens, 1.2 seconds, 8 evaluations, 0.5000 dollars; "
            "stopped by the limit on dollars",
        ),
    ],
)
def test_what_was_spent_is_printed(
    capsys: pytest.CaptureFixture[str], spent: Spent, stopped: str | None, line: str
) -> None:
    total = {"proposed": 0, "duplicates": 0, "rejected": 0}
    print_results(RunResults("tiny", 1, 0, [], [], total, {}, spent, stopped))
    assert " ".join(capsys.readouterr().out.split()).endswith(line or "0 rejected")
