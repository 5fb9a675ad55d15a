"""Who writes programs where proposers are compared, each under the name that the tables show."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from synth.learned import LearnedProposer
from synth.mutation import MutationProposer
from synth.prompt import EXAMPLES, Prompt
from synth.proposers import (
    WITHOUT_MODEL,
    Draft,
    Proposer,
    make_proposer,
    most_dollars,
    parse_proposer,
)
from synth.refining import START

Arms = Mapping[str, Callable[[], Proposer]]
"""By title what makes the proposer; a language model is loaded no sooner than it is needed."""

TRIVIAL, PLAIN_START, WORKED = "trivial library", "plain start", "worked examples"
SAMPLING = "sampling"


class Given:
    """Programs that are the same for every head, in their order."""

    def __init__(self, name: str, texts: Sequence[str]) -> None:
        self.name = name
        self._texts = texts

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """The next `count` of them."""
        written = {attempt.text for attempt in prompt.tried if attempt.proposer == self.name}
        left = [text for text in self._texts if text not in written]
        return [Draft(text, True, 0, 0.0) for text in left[:count]]


class Combined:
    """Half of each batch from a grammar that a language model taught, half by mutation."""

    def __init__(self, teacher: Proposer) -> None:
        self._learned = LearnedProposer(teacher)
        self._mutation = MutationProposer()
        self.name = f"{self._learned.name} + mutation"

    def most_dollars(self, prompt: Prompt, count: int) -> float:
        """What the teacher's half can cost."""
        return self._learned.most_dollars(prompt, count - count // 2)

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """As many drafts of either; the teacher's own where none of its answers is known yet."""
        half = count // 2
        return [
            *self._learned.propose(prompt, count - half, seed),
            *self._mutation.propose(prompt, half, seed),
        ]


class Untold:
    """A language model that is never told what is wrong with the best program."""

    def __init__(self, model: Proposer) -> None:
        self._model = model
        self.name = f"{model.name}, no feedback"

    def most_dollars(self, prompt: Prompt, count: int) -> float:
        """What the model's drafts can cost."""
        return most_dollars(self._model, prompt.without_feedback(), count)

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """What the model answers to the prompt without its feedback."""
        return self._model.propose(prompt.without_feedback(), count, seed)


def arms(language_models: Sequence[str]) -> Arms:
    """Those without a language model, and for each one it alone and all that is built on it.

    `language_models` are names as of --proposer; InputError for one that is none.
    """
    found: dict[str, Callable[[], Proposer]] = {
        TRIVIAL: partial(Given, TRIVIAL, ()),
        PLAIN_START: partial(Given, PLAIN_START, (START,)),
        WORKED: partial(Given, WORKED, EXAMPLES),
        **{name: partial(make_proposer, name) for name in WITHOUT_MODEL},
    }
    for spec in language_models:
        kind, model = parse_proposer(spec)
        title = model if kind == "outlines" else spec
        found[title] = partial(make_proposer, spec)
        found[f"{title}, no feedback"] = partial(_untold, spec)
        found[f"{title}, learned grammar, mutation"] = partial(_combined, spec)
    return found


def _untold(spec: str) -> Untold:
    return Untold(make_proposer(spec))


def _combined(spec: str) -> Combined:
    return Combined(make_proposer(spec))
