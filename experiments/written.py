"""What each proposer wrote for some heads, asked until so much of it was new; kept in a library."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grammar.parser import parse_or_raise
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.capture import Captured, Head
from interpreter.evaluate import Evaluator
from interpreter.models import LoadedModel
from interpreter.scores import iou
from interpreter.texts import Texts
from synth.budget import BATCH, STAGE
from synth.job import Job, Makers, Settings
from synth.library import Library, Proposal, Run, StoredProposal
from synth.pipeline import start_run
from synth.prompt import EXAMPLES
from synth.proposers import Proposer
from synth.proposing import Rounds
from synth.summary import TRIVIAL

MOST_ANSWERS = 2
"""Answers that are asked for at most, for each program that is to be evaluated."""


@dataclass(frozen=True)
class Setting:
    """What is alike for all proposers."""

    loaded: LoadedModel
    texts: Texts
    patterns: Mapping[str, Captured]
    """By the name of the part."""
    library: Library
    settings: Settings

    def run_of(self, proposer: str) -> Run:
        """Where in the library that proposer's programs are kept."""
        makers = Makers.named(self.loaded.name, proposer)
        job = Job(makers, self.loaded.shape, proposer, self.settings, Path())
        return start_run(job, self.texts, self.library)

    def ious(self, part: str, head: Head, texts: Sequence[str]) -> Tensor:
        """[program, text] on the documents of one part."""
        patterns = self.patterns[part]
        evaluator, target = Evaluator(patterns.facts()), patterns.head(head)
        return torch.stack([iou(target, evaluator.matrices(parse_or_raise(t))) for t in texts])

    def kept(self, run: Run, head: Head, stage: str, find: Callable[[], list[Node]]) -> list[str]:
        """What `find` gives, as texts; from the library where it was found before."""
        if not self.library.batch_done(run, *head, stage, 0):
            texts = map(to_text, find())
            found = [
                Proposal(raw=t, text=t, proposer=stage, seed=self.settings.seed) for t in texts
            ]
            self.library.record_batch(run, *head, stage, 0, found)
        return [p.text for p in self.library.proposals(run, *head, stage) if p.text]


@dataclass(frozen=True)
class Written:
    """What a proposer wrote for one head until it had written enough."""

    answers: list[StoredProposal]
    programs: list[str]
    """Those that were new for the head, in their order."""

    @classmethod
    def of(cls, answers: Sequence[StoredProposal], most: int) -> "Written":
        """The answers up to the one that brings the last of `most` programs."""
        programs: dict[str, None] = {}
        for count, answer in enumerate(answers, 1):
            if answer.text and answer.text not in TRIVIAL:
                programs.setdefault(answer.text)
            if len(programs) == most:
                return cls(list(answers[:count]), list(programs))
        return cls(list(answers), list(programs))


def written(setting: Setting, proposer: Proposer) -> dict[Head, Written]:
    """Of each head what this proposer wrote; it is asked again where too little of it was new."""
    settings, library = setting.settings, setting.library
    run = setting.run_of(proposer.name)
    found: dict[Head, Written] = {}
    lacking = settings.heads
    for budget in range(settings.budget, MOST_ANSWERS * settings.budget + BATCH, BATCH):
        asked = replace(settings, heads=lacking, budget=budget)
        Rounds(run, setting.patterns["train"], proposer, library, asked).run()
        before = dict(found)
        for head in lacking:
            answers = library.proposals(run, *head, STAGE)
            found[head] = Written.of(answers, settings.budget)
        lacking = tuple(
            head
            for head in lacking
            if len(found[head].programs) < settings.budget and found[head] != before.get(head)
        )
        if not lacking:
            break
    return found


def counts_of(by_head: Mapping[Head, Written]) -> dict[str, Any]:
    """What became of all answers, and what they took."""
    answers = [answer for head in by_head.values() for answer in head.answers]
    programs = [text for head in by_head.values() for text in head.programs]
    rejected = Counter(answer.code for answer in answers if answer.code)
    return {
        "answers": len(answers),
        "programs": len(programs),
        "rejected": dict(rejected),
        "duplicates": len(answers) - len(programs) - rejected.total(),
        "worked_examples": sum(text in EXAMPLES for text in programs),
        "tokens": sum(answer.tokens for answer in answers),
        "seconds": sum(answer.seconds for answer in answers),
    }
