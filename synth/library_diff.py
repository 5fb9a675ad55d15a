"""What differs between two programs, two heads, or two libraries."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from grammar.printer import to_text
from grammar.tree import Node
from synth.heads import head_name
from synth.library import Library
from synth.library_search import named_program
from synth.library_view import ListedHead, listed_heads
from synth.probe import behaviours, similarity
from synth.structure import mixture_of


@dataclass(frozen=True)
class DiffTerm:
    """A term of a rule with its share of that rule's weight in each of two programs."""

    rule: str
    """The guard, "" for the last rule."""
    term: str
    one: float
    other: float


@dataclass(frozen=True)
class ProgramDiff:
    """Two programs beside one another; `similarity` is their IoU on the probe batch."""

    one: str
    other: str
    similarity: float
    terms: list[DiffTerm]


def diff_programs(library: Library, one: str, other: str, model: str | None) -> ProgramDiff:
    """Compares programs as `named_program` finds them: by head, by hash, or written out."""
    trees = [named_program(library, name, model) for name in (one, other)]
    first, second = (_shares(tree) for tree in trees)
    places = dict.fromkeys([*first, *second])
    return ProgramDiff(
        one=to_text(trees[0]),
        other=to_text(trees[1]),
        similarity=similarity(*behaviours(trees)),
        terms=[DiffTerm(*place, first.get(place, 0.0), second.get(place, 0.0)) for place in places],
    )


def _shares(program: Node) -> dict[tuple[str, str], float]:
    shares: dict[tuple[str, str], float] = {}
    for rule in program.children:
        guard = to_text(rule.children[0]) if rule.op == "when" else ""
        parts = mixture_of(rule).children
        weights = [cast(int, part.args[0]) for part in parts]
        for weight, part in zip(weights, parts, strict=True):
            place = (guard, to_text(part.children[0]))
            shares[place] = shares.get(place, 0.0) + weight / sum(weights)
    return shares


@dataclass(frozen=True)
class DiffHead:
    """A head whose choice differs: text and IoU in each of two libraries, None where it has none.

    The IoUs are comparable where both are of one split of the same texts.
    """

    model: str
    model_revision: str | None
    """None where each library holds one revision of the model, be they the same or not."""
    name: str
    choice: str
    one: str | None
    other: str | None
    one_iou: float | None
    other_iou: float | None


@dataclass(frozen=True)
class LibraryDiff:
    """How two libraries differ: choices, and the numbers of programs in one alone and in both."""

    heads: list[DiffHead]
    same_heads: int
    programs_in_one: int
    programs_in_other: int
    programs_in_both: int


def diff_libraries(one: Library, other: Library, model: str | None) -> LibraryDiff:
    """Compares choices head by head, and the sets of programs."""
    listed = [listed_heads(library, model) for library in (one, other)]
    several = set[str]().union(*map(_of_several_revisions, listed))
    first, second = (_by_place(heads, several) for heads in listed)
    differing = []
    places = sorted({*first, *second})
    for place in places:
        a, b = first.get(place), second.get(place)
        if a and b and a.program == b.program:
            continue
        name, revision, layer, head, choice = place
        differing.append(
            DiffHead(
                model=name,
                model_revision=revision or None,
                name=head_name(layer, head),
                choice=choice,
                one=a.program if a else None,
                other=b.program if b else None,
                one_iou=a.iou if a else None,
                other_iou=b.iou if b else None,
            )
        )
    texts = [{program.text for program in library.programs()} for library in (one, other)]
    return LibraryDiff(
        heads=differing,
        same_heads=len(places) - len(differing),
        programs_in_one=len(texts[0] - texts[1]),
        programs_in_other=len(texts[1] - texts[0]),
        programs_in_both=len(texts[0] & texts[1]),
    )


def _of_several_revisions(heads: Iterable[ListedHead]) -> set[str]:
    """The models of which these are of more than one revision."""
    first: dict[str, str] = {}
    return {
        h.model for h in heads if first.setdefault(h.model, h.model_revision) != h.model_revision
    }


def _by_place(
    heads: Iterable[ListedHead], several: set[str]
) -> dict[tuple[str, str, int, int, str], ListedHead]:
    """By model, revision ("" but for `several` revisions), layer, head and choice."""
    return {
        (h.model, h.model_revision if h.model in several else "", h.layer, h.head, h.choice): h
        for h in heads
    }
