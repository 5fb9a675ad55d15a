"""The proposer `learned`: a grammar learned from another proposer's answers, which then draws.

The other proposer, a language model as a rule, is asked once for each head.  Its answers set the
weights of a probabilistic grammar, and every later batch is drawn from that: as HySynth (Barke et
al., arXiv 2405.15880) has a model's few answers guide a search that needs no model.
"""

from dataclasses import replace
from random import Random

from grammar.parser import parse_or_raise
from synth.probabilistic_grammar import Sampler, learned, prior
from synth.prompt import Prompt
from synth.proposers import Draft, Proposer, distinct

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

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """The teacher's drafts where none was tried yet; else drawn, none that was tried."""
        teacher = self._teacher.name
        answers = [attempt.text for attempt in prompt.tried if attempt.proposer == teacher]
        if not answers:
            drafts = self._teacher.propose(prompt, count, seed)
            return [replace(draft, author=teacher) for draft in drafts]
        weights = learned(
            prior(causal=prompt.causal, words=prompt.words), map(parse_or_raise, answers), TRUST
        )
        sampler = Sampler(weights, Random(seed))
        return distinct(lambda: (sampler.program(), ()), prompt, count)
