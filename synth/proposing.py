"""Asks a proposer for programs, head by head and batch by batch, and stores what it says.

The first batch for a head is asked for with a description of the head alone; after that every
second one tells, besides, what is wrong with the best program so far.  A proposer that answers
several prompts at once is asked about all heads, batch by batch.  A batch that is lost is stored as
such and costs no other; a run that was cut off goes on after its last whole batch.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from grammar import limits as language
from grammar.canonical import canonical_text
from grammar.errors import InputError
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES
from grammar.rejection import Rejection, located, printable
from interpreter.capture import Captured, Head
from interpreter.cost import program_cost
from interpreter.evaluate import Evaluator
from interpreter.progress import progress_bar
from synth.budget import BATCH, STAGE, Limits, batches, spent
from synth.heads import head_name
from synth.library import Choice, Library, Proposal, Run
from synth.prompt import OTHERS, Attempt, Prompt, PromptWriter
from synth.proposers import Concurrent, Draft, Proposer, failure, most_dollars
from synth.summary import TRIVIAL

if TYPE_CHECKING:
    from synth.job import Settings

GAIN = 0.02
"""IoU over the best trivial program that makes a head's program an example for other heads."""

FAILURES = 3
"""Batches lost in a row after which the proposer is given up."""


class Rounds:
    """The batches of one run for one shard of heads; no example passes from one to another."""

    def __init__(
        self,
        run: Run,
        patterns: Captured,
        proposer: Proposer,
        library: Library,
        settings: "Settings",
    ) -> None:
        self._run = run
        self._patterns = patterns
        self._proposer = proposer
        self._library = library
        self._settings = settings
        earlier = [c for c in library.choices() if c.run_id < run.id]
        self._writer = prompt_writer(patterns, earlier)
        # A limit is looked at before every batch, so that there one at a time is asked for.
        unlimited = settings.limits == Limits()
        self._concurrent = proposer if unlimited and isinstance(proposer, Concurrent) else None
        self._scored: dict[Head, dict[str, Attempt]] = {head: {} for head in settings.heads}
        self._lost = 0

    def run(self) -> None:
        """Asks for all batches that are missing, while the budget lasts."""
        missing = self._missing()
        with progress_bar() as bar:
            total = len(self._settings.heads) * len(batches(self._settings.budget))
            shown = f"Programs by {self._proposer.name[:40]}"
            task = bar.add_task(
                shown, total=total, completed=total - sum(map(len, missing.values()))
            )
            for batch, heads in self._turns(missing) if any(missing.values()) else ():
                prompts = [self._prompt(head, batch) for head in heads]
                count = min(BATCH, self._settings.budget - batch * BATCH)
                full = self._full(prompts[0], count)
                if full is not None:
                    bar.console.print(f"No more programs are asked for: {': '.join(full)}")
                    return
                asked = self._asked(prompts, heads, batch, count)
                for head, proposals in zip(heads, asked, strict=True):
                    self._library.record_batch(self._run, *head, STAGE, batch, proposals)
                    bar.advance(task)
                self._check_lost(heads[-1], asked[-1])

    def _turns(self, missing: dict[Head, list[int]]) -> Iterator[tuple[int, list[Head]]]:
        """Batches, each with the heads that it is asked for at once; the next when it is stored."""
        if self._concurrent is None:
            for head, of_head in missing.items():
                yield from ((batch, [head]) for batch in of_head)
                self._pass_on(head)
            return
        for batch in batches(self._settings.budget):
            if heads := [head for head, of_head in missing.items() if batch in of_head]:
                yield batch, heads
            for head in missing:
                self._pass_on(head)

    def _missing(self) -> dict[Head, list[int]]:
        found = {}
        for layer, head in self._settings.heads:
            trivial = [
                Proposal(raw=text, text=text, proposer="trivial", seed=self._settings.seed)
                for text in TRIVIAL
            ]
            self._library.record_batch(self._run, layer, head, "trivial", 0, trivial)
            found[layer, head] = [
                batch
                for batch in batches(self._settings.budget)
                if not self._library.batch_done(self._run, layer, head, STAGE, batch)
            ]
        return found

    def _attempts(self, head: Head) -> list[Attempt]:
        """What was proposed for a head, with its scores, each computed once.

        A program is of the first proposer that wrote it, also where it is a trivial one.
        """
        known = self._scored[head]
        written: dict[str, str] = {}
        for p in self._library.proposals(self._run, *head):
            if p.text and p.stage in ("trivial", STAGE):
                first = written.get(p.text, "trivial")
                written[p.text] = p.proposer if first == "trivial" else first
        new = {text: by for text, by in written.items() if text not in known}
        for attempt in self._writer.attempts(self._patterns.head(head), new):
            known[attempt.text] = attempt
        return [replace(known[text], proposer=by) for text, by in written.items()]

    def _prompt(self, head: Head, batch: int) -> Prompt:
        pattern = self._patterns.head(head)
        return self._writer.prompt(pattern, self._attempts(head), feedback=batch % 2 == 1)

    def _full(self, prompt: Prompt, count: int) -> tuple[str, str] | None:
        proposals = self._library.proposals(self._run, stage=STAGE)
        most = most_dollars(self._proposer, prompt, count)
        return spent(proposals).over(self._settings.limits, most)

    def _asked(
        self, prompts: list[Prompt], heads: list[Head], batch: int, count: int
    ) -> list[list[Proposal]]:
        """What is proposed for each of the heads."""
        seeds = [_seed(self._settings.seed, *head, batch) for head in heads]
        started = time.monotonic()
        answers = self._answers(prompts, count, seeds)
        took = (time.monotonic() - started) / len(prompts)
        found = []
        for prompt, seed, answer in zip(prompts, seeds, answers, strict=True):
            if isinstance(answer, Exception):
                most = most_dollars(self._proposer, prompt, count)
                drafts = [Draft("", False, 0, took, most, failure=failure(answer))]
            else:
                drafts = answer
            found.append([_proposal(d, self._proposer.name, prompt.sha256, seed) for d in drafts])
        # Heads that are asked about together are lost together: once.
        all_lost = all(isinstance(answer, Exception) for answer in answers)
        self._lost = self._lost + 1 if all_lost else 0
        return found

    def _answers(
        self, prompts: list[Prompt], count: int, seeds: list[int]
    ) -> list[list[Draft] | Exception]:
        try:
            if self._concurrent is not None:
                return self._concurrent.propose_many(prompts, count)
            return [self._proposer.propose(prompts[0], count, seeds[0])]
        except InputError:
            raise
        except Exception as error:  # whatever a model dies of costs its own batches
            return [error] * len(prompts)

    def _check_lost(self, head: Head, last: list[Proposal]) -> None:
        if self._lost == FAILURES:
            raise InputError(
                f"{self._proposer.name} failed {FAILURES} times in a row, last for "
                f"{head_name(*head)}: {last[0].message}; the same command goes on from here"
            )

    def _pass_on(self, head: Head) -> None:
        """Makes the best program of a head an example for the next heads."""
        attempts = self._attempts(head)
        trivial = max(a.iou for a in attempts if a.text in TRIVIAL)
        best = max(attempts, key=lambda a: (a.iou, a.text))
        if best.iou >= trivial + GAIN:
            self._writer.add_example(best.text)


def prompt_writer(patterns: Captured, earlier: Iterable[Choice]) -> PromptWriter:
    """Writes prompts on these texts; the best of earlier choices are among its examples."""
    writer = PromptWriter(Evaluator(patterns.facts()), patterns.tokens)
    for text in _usable(patterns, earlier)[-OTHERS:]:
        writer.add_example(text)
    return writer


def _usable(patterns: Captured, earlier: Iterable[Choice]) -> list[str]:
    """The chosen programs, the best last, that can be run on these texts and say something."""
    tokens = max(map(len, patterns.tokens))
    usable = []
    good = sorted(earlier, key=lambda c: (c.select_iou, c.text))
    for text in dict.fromkeys(choice.text for choice in good):
        tree = parse_or_raise(text)
        ahead = any(n.op in PRIMITIVES and PRIMITIVES[n.op].looks_ahead for n in tree.walk())
        cheap = program_cost(tree, tokens) <= language.MAX_EVALUATION_COST
        if cheap and text not in TRIVIAL and not (ahead and patterns.causal):
            usable.append(text)
    return usable


def _seed(seed: int, layer: int, head: int, batch: int) -> int:
    """A seed of its own for each batch, so that a resumed run writes what it would have written."""
    return ((seed * 1_000 + layer) * 1_000 + head) * 1_000 + batch


def _up_to_last_part(cut_off: str) -> str | Rejection:
    """The canonical program that an answer is when what follows its last whole part is lost."""
    kept = cut_off
    while " + " in kept:
        kept = kept.rpartition(" + ")[0]
        text = canonical_text(kept)
        if not isinstance(text, Rejection):
            return text
    return located("incomplete", "cut off at the length limit", cut_off, len(cut_off))


def _proposal(draft: Draft, proposer: str, prompt_sha256: str, seed: int) -> Proposal:
    text = canonical_text(draft.text)
    if draft.failure:
        text = Rejection("failed", printable(draft.failure), 1, 1)
    elif not draft.finished:
        text = _up_to_last_part(draft.text)
    rejected = text if isinstance(text, Rejection) else None
    return Proposal(
        raw=draft.text,
        text=None if isinstance(text, Rejection) else text,
        code=rejected.code if rejected else None,
        message=rejected.message if rejected else None,
        line=rejected.line if rejected else None,
        column=rejected.column if rejected else None,
        proposer=draft.author or proposer,
        prompt_sha256=prompt_sha256,
        seed=seed,
        parents=list(draft.parents),
        tokens=draft.tokens,
        seconds=draft.seconds,
        dollars=draft.dollars,
    )
