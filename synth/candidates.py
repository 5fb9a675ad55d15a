"""The programs that were tried on a head, their sizes and what they reach on select documents."""

from dataclasses import dataclass

from grammar.parser import parse_or_raise
from synth.choosing import front
from synth.library import Choice, Library
from synth.library_rows import BEST_TRIVIAL
from synth.library_view import terms
from synth.results import required, scores_of


@dataclass(frozen=True)
class Candidate:
    """A program that was tried on the head: its terms, and its IoU on the select documents."""

    program: str
    terms: int
    iou: float
    trivial: bool = False


def candidates(library: Library, choice: Choice) -> list[Candidate]:
    """Every program with an IoU on the head's select documents, each once, smallest first.

    The documents are those of the run that made the choice, which is one by IoU.  Raises
    InputError where the library lacks that run.
    """
    run = required(library, next(iter(library.runs(choice.run_id)), None), "run")
    baselines = library.baselines(run.id, choice.layer, choice.head)
    trivial = [b for b in baselines if b.name != BEST_TRIVIAL]
    names = {b.name for b in trivial}
    scored = scores_of(library, run, choice, "select")
    newest = max((score.metric_version for score in scored), default=None)
    found = {choice.text: choice.select_iou}
    found |= {b.name: b.iou for b in trivial if b.split == "select"}
    for score in scored:
        if score.metric_version == newest:
            (program,) = library.programs(score.program_hash)
            found[program.text] = score.iou
    sizes = {text: terms(parse_or_raise(text)) for text in found}
    ordered = sorted(found, key=lambda text: (sizes[text], -found[text], text))
    return [Candidate(text, sizes[text], found[text], text in names) for text in ordered]


def pareto_front(library: Library, choice: Choice) -> list[Candidate]:
    """The candidates that no other one of at most their size reaches, smallest first.

    The chosen one too: near the best, of as many terms it is the one with fewer parts.
    """
    tried = candidates(library, choice)
    kept = front([c.terms for c in tried], [c.iou for c in tried])
    return [c for i, c in enumerate(tried) if i in kept or c.program == choice.text]
