"""Who writes candidate programs: what all proposers have in common, and their names."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from grammar.canonical import canonical, content_hash
from grammar.errors import InputError
from grammar.printer import to_text
from grammar.tree import Node
from synth.prompt import Prompt

MAX_NEW_TOKENS = 80
TEMPERATURE = 0.7
TOP_P = 0.9

PATIENCE = 100
"""Programs that are drawn for each that is wanted, before a proposer without a model gives up."""


@dataclass(frozen=True)
class Draft:
    """One answer as it was written.  `finished` is false where the length limit cut it off."""

    text: str
    finished: bool
    tokens: int
    seconds: float
    dollars: float = 0.0
    parents: tuple[str, ...] = ()
    """Hashes of the programs that it was made from."""
    author: str = ""
    """The name of the proposer that wrote it, where that is another one than was asked."""


class Proposer(Protocol):
    """Writes programs for a head from a prompt about it."""

    @property
    def name(self) -> str:
        """What is stored as the provenance of its programs: kind, model and revision."""
        ...

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """At most `count` drafts; the same prompt and seed give the same on one machine.

        Raises ProposerFailedError when this batch is lost, and InputError when all would be.
        """
        ...


class ProposerFailedError(Exception):
    """A batch that came to nothing; the message says why in one line.

    `dollars` is what it may have cost.
    """

    def __init__(self, message: str, dollars: float = 0.0) -> None:
        super().__init__(message)
        self.dollars = dollars


KINDS = {
    "outlines:MODEL": "a transformer held to the grammar, in this process; MODEL alone means this",
    "vllm:URL": "a vLLM server that holds its model to the grammar, as vllm:http://127.0.0.1:8000",
    "vllm:MODEL": "vLLM in this process",
    "api:MODEL@URL": "an OpenAI-compatible API; its key is read from HEADSCRIPT_API_KEY",
    "sampling": "programs drawn from the grammar",
    "enumeration": "the smallest programs first, then greedily longer",
    "mutation": "changes and crossings of the best programs so far",
    "learned:PROPOSER": "drawn from a grammar learned from another proposer's answers",
}
"""What --proposer takes, and what each is."""


def make_proposer(spec: str) -> Proposer:
    """The proposer of that name, ready to write.  Raises InputError for a name of none."""
    kind, _, rest = spec.partition(":")
    match kind, rest:
        case "sampling", "":
            from synth.sampling import SamplingProposer

            return SamplingProposer()
        case "enumeration", "":
            from synth.enumeration import EnumerationProposer

            return EnumerationProposer()
        case "mutation", "":
            from synth.mutation import MutationProposer

            return MutationProposer()
        case "learned", _ if rest:
            from synth.learned import LearnedProposer

            return LearnedProposer(make_proposer(rest))
        case "outlines", _ if rest:
            from synth.outlines_proposer import OutlinesProposer

            return OutlinesProposer(rest)
        case _, "" if kind not in ("outlines", "vllm", "api", "learned"):
            from synth.outlines_proposer import OutlinesProposer

            return OutlinesProposer(spec)
    raise InputError(f"no proposer {spec!r:.60}: write one of {', '.join(KINDS)}")


def distinct(
    draw: Callable[[], tuple[Node, tuple[str, ...]]], prompt: Prompt, count: int
) -> list[Draft]:
    """Drafts of `count` programs that were not tried; `draw` gives a program and its parents.

    Fewer where `draw` finds nothing new any more.
    """
    known = {attempt.text for attempt in prompt.tried}
    found: list[Draft] = []
    for _ in range(PATIENCE * count):
        if len(found) == count:
            break
        started = time.monotonic()
        program, parents = draw()
        text = to_text(canonical(program))
        if text not in known:
            known.add(text)
            hashes = tuple(map(content_hash, parents))
            found.append(Draft(text, True, 0, time.monotonic() - started, parents=hashes))
    return found
