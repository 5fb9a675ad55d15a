"""The proposer `sampling`: programs drawn from the grammar, whatever the head."""

from random import Random

from synth.probabilistic_grammar import Sampler, prior
from synth.prompt import Prompt
from synth.proposers import Draft, distinct


class SamplingProposer:
    """Draws with the prior weights of the probabilistic grammar."""

    name = "sampling"

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """`count` programs, none of them twice, and none that was tried before."""
        sampler = Sampler(prior(causal=prompt.causal, words=prompt.words), Random(seed))
        return distinct(lambda: (sampler.program(), ()), prompt, count)
