"""Who writes candidate programs: what all proposers have in common, and their names."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol, runtime_checkable

from grammar.canonical import canonical, content_hash
from grammar.errors import InputError
from grammar.printer import to_text
from grammar.tree import Node
from synth.prompt import Prompt, as_text

MAX_NEW_TOKENS = 80
TEMPERATURE = 0.7
TOP_P = 0.9

PATIENCE = 100
"""Programs that are drawn for each that is wanted, before a proposer without a model gives up."""


@dataclass(frozen=True)
class Prices:
    """Dollars for a million tokens, read and written."""

    read: float = 0.0
    written: float = 0.0

    def dollars(self, read: int, written: int) -> float:
        """What so many tokens cost."""
        return (read * self.read + written * self.written) / 1e6


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
    failure: str = ""
    """Why there is no answer, where a part of a batch came to nothing."""


class Proposer(Protocol):
    """Writes programs for a head from a prompt about it."""

    @property
    def name(self) -> str:
        """What is stored as the provenance of its programs: kind, model and revision."""
        ...

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """At most `count` drafts; the same prompt and seed give the same on one machine.

        Raises InputError where every other batch would be lost too; any other error, a
        ProposerFailedError where it was foreseen, costs this batch alone.
        """
        ...


@runtime_checkable
class Paid(Protocol):
    """A proposer whose answers cost money."""

    def most_dollars(self, prompt: Prompt, count: int) -> float:
        """What `count` drafts can cost at most, if the other side counts tokens as we do."""
        ...


@runtime_checkable
class Concurrent(Protocol):
    """A proposer that answers several prompts sooner than one after the other."""

    def propose_many(
        self, prompts: Sequence[Prompt], count: int
    ) -> "list[list[Draft] | Exception]":
        """For each prompt what `propose` would return or raise, following no seed.

        Raises InputError as `propose` does; any other error costs all of these batches.
        """
        ...


def most_dollars(proposer: Proposer, prompt: Prompt, count: int) -> float:
    """What `count` drafts of any proposer can cost at most."""
    return proposer.most_dollars(prompt, count) if isinstance(proposer, Paid) else 0.0


class ProposerFailedError(Exception):
    """A batch that came to nothing; the message says why in one line."""


def failure(error: Exception) -> str:
    """Why there is no answer, in one line; of an error that nobody foresaw its type too."""
    first = str(error).partition("\n")[0]
    if isinstance(error, (InputError, ProposerFailedError)):
        return first or "no answer"
    return f"{type(error).__name__}: {first:.200}".removesuffix(": ")


FREE = Prices()

KINDS = {
    "outlines:MODEL": "a transformer held to the grammar, in this process; MODEL alone means it",
    "vllm:URL": "a vLLM server that holds its model to the grammar, as http://127.0.0.1:8000",
    "vllm:MODEL": "vLLM in this process",
    "api:MODEL@URL": "an OpenAI-compatible API, as https://host/v1, told of its errors once",
    "sampling": "programs drawn from the grammar",
    "enumeration": "programs of one part, and the best so far made longer",
    "mutation": "changes and crossings of the best programs so far",
    "learned:PROPOSER": "drawn from a grammar learned from the answers of another proposer",
}
"""What --proposer takes, and what each is."""

WITHOUT_MODEL = ("sampling", "enumeration", "mutation")


def parse_proposer(spec: str) -> tuple[str, str]:
    """(kind, what it needs to know) of a name of `KINDS`.  Raises InputError for any other."""
    kind, colon, rest = spec.partition(":")
    if not colon and kind not in ("outlines", "vllm", "api", "learned", ""):
        meant = get_close_matches(kind, WITHOUT_MODEL, n=1, cutoff=0.75)
        if meant and kind not in WITHOUT_MODEL and not Path(kind).exists():
            raise InputError(f"no proposer {spec!r:.60}: did you mean `{meant[0]}`?")
        return (kind, "") if kind in WITHOUT_MODEL else ("outlines", spec)
    if kind == "learned" and rest:
        parse_proposer(rest)
        return kind, rest
    if kind in ("outlines", "vllm") and rest:
        return kind, rest
    if kind == "api" and all(rest.rpartition("@")):
        return kind, rest
    raise InputError(f"no proposer {spec!r:.60}: write one of {', '.join(KINDS)}")


def costs_money(spec: str) -> bool:
    """Whether the proposer of that name may be paid for its answers; InputError for no name."""
    kind, rest = parse_proposer(spec)
    return kind == "api" or (kind == "learned" and costs_money(rest))


def make_proposer(spec: str, prices: Prices = FREE) -> Proposer:
    """The proposer of that name, ready to write.

    Raises InputError for a name of none, and where its model or server cannot be had.
    """
    kind, rest = parse_proposer(spec)
    match kind:
        case "sampling":
            from synth.sampling import SamplingProposer

            return SamplingProposer()
        case "enumeration":
            from synth.enumeration import EnumerationProposer

            return EnumerationProposer()
        case "mutation":
            from synth.mutation import MutationProposer

            return MutationProposer()
        case "learned":
            from synth.learned import LearnedProposer

            return LearnedProposer(make_proposer(rest, prices))
        case "vllm" if _is_url(rest):
            from synth.vllm_proposer import VllmServerProposer

            return VllmServerProposer(rest)
        case "vllm":
            from synth.vllm_in_process import VllmProposer

            return VllmProposer(rest)
        case "api":
            from synth.api_proposer import ApiProposer

            model, _, url = rest.rpartition("@")
            return ApiProposer(model, url, prices)
    from synth.outlines_proposer import OutlinesProposer

    return OutlinesProposer(rest)


def shown_to(spec: str) -> Callable[[Prompt], str]:
    """How a prompt reaches the language model behind the proposer of that name, as text.

    Nothing is asked.  What a server is sent stands in `as_text`; it alone knows what its model
    reads.  Raises InputError for a proposer without a language model.
    """
    kind, rest = parse_proposer(spec)
    match kind:
        case "learned":
            return shown_to(rest)
        case "api":
            from synth.api_proposer import asked

            return lambda prompt: as_text(asked(prompt))
        case "vllm" if _is_url(rest):
            return lambda prompt: as_text(prompt.messages)
        case "outlines" | "vllm":
            from synth.scoring import known_model

            return lambda prompt: prompt.read_with(known_model(rest).tokenizer)
    raise InputError(f"{spec} is shown no text: name a proposer with a language model")


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


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
