"""The proposer `learned`: a grammar learned from another proposer's answers, which then draws.

The other proposer, a language model as a rule, is asked for each head until it has written a
program: once, mostly.  Its answers set the weights of a probabilistic grammar, and every later
batch is drawn from that: as HySynth (Barke et al., arXiv 2405.15880) has a model's few answers
guide a search that needs no model.
"""

from dataclasses import replace
from random import Random

from grammar.parser import parse_or_raise
from synth.probabilistic_grammar import Sampler, learned, prior
from synth.prompt import Prompt
from synth.proposers import Draft, Proposer, distinct, most_dollars

TRUST = 2.0
"""How far the answers outweigh the prior: two parts in three of every choice that they made."""


class LearnedProposer:
    """Asks `teacher` first, and then draws from what its answers taught."""

    def __init__(self, teacher: Proposer) -> None:
        self._teacher = teacher

    @property
    def name(self) -> str:
        """learned:TEACHER."""
        return f"learned:{self._teacher.name}"

    def _answers(self, prompt: Prompt) -> list[str]:
        name = self._teacher.name
        return [attempt.text for attempt in prompt.tried if attempt.proposer == name]

    def most_dollars(self, prompt: Prompt, count: int) -> float:
        """What the teacher's drafts can cost; what is drawn costs nothing."""
        return 0.0 if self._answers(prompt) else most_dollars(self._teacher, prompt, count)

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """The teacher's drafts where none was tried yet; else drawn, none that was tried."""
        answers = self._answers(prompt)
        if not answers:
            drafts = self._teacher.propose(prompt, count, seed)
            return [replace(draft, author=self._teacher.name) for draft in drafts]
        weights = learned(
            prior(causal=prompt.causal, words=prompt.words), map(parse_or_raise, answers), TRUST
        )
        sampler = Sampler(weights, Random(seed))
        return distinct(lambda: (sampler.program(), ()), prompt, count)
