"""What a run may spend on proposals, and what it has spent.

What was spent is read back from the library, so a run that is cut off and goes on spends no more
than one that is not.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from synth.library_rows import StoredProposal

BATCH = 8
"""Answers that are asked for, and stored, at a time."""

STAGE = "language model"
"""The stage of all that a proposer writes."""


def batches(budget: int) -> range:
    """The numbers of the batches in which so many programs are asked for."""
    return range(-(-budget // BATCH))


@dataclass(frozen=True)
class Limits:
    """Upper bounds for a whole run; None bounds nothing."""

    tokens: int | None = None
    """Tokens that proposers write."""
    seconds: float | None = None
    """Seconds that proposers take."""
    evaluations: int | None = None
    """Programs that are scored on the head that they were written for."""
    dollars: float | None = None
    """What is paid for answers."""


@dataclass(frozen=True)
class Spent:
    """The same, as far as it was spent."""

    tokens: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    dollars: float = 0.0

    def over(self, limits: Limits, most_dollars: float) -> tuple[str, str] | None:
        """Which limit leaves no room for another batch of at most `most_dollars`, and why."""
        for name, limit, amount in (
            ("tokens", limits.tokens, self.tokens),
            ("seconds", limits.seconds, self.seconds),
            ("evaluations", limits.evaluations, self.evaluations),
        ):
            if limit is not None and amount >= limit:
                return name, f"{amount:,.6g} of {limit:,} spent"
        if limits.dollars is not None and self.dollars + most_dollars > limits.dollars:
            why = f"{self.dollars:.4f} of {limits.dollars} spent, {most_dollars:.4f} asked"
            return "dollars", why
        return None


def spent(proposals: Iterable[StoredProposal]) -> Spent:
    """What these proposals took."""
    found = list(proposals)
    return Spent(
        tokens=sum(p.tokens or 0 for p in found),
        seconds=sum(p.seconds for p in found),
        evaluations=sum(p.text is not None for p in found),
        dollars=sum(p.dollars for p in found),
    )
