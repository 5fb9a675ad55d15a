"""Who writes candidate programs."""

from dataclasses import dataclass
from typing import Protocol

from synth.prompt import Prompt


@dataclass(frozen=True)
class Draft:
    """One answer as it was written.  `finished` is false where the length limit cut it off."""

    text: str
    finished: bool
    tokens: int
    seconds: float


class Proposer(Protocol):
    """Writes programs for a head from a prompt about it."""

    @property
    def name(self) -> str:
        """What is stored as the provenance of its programs: kind, model and revision."""
        ...

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """`count` drafts; the same prompt and seed give the same drafts on one machine."""
        ...


MAX_NEW_TOKENS = 80
TEMPERATURE = 0.7
TOP_P = 0.9
