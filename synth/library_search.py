"""Finds programs of a library by what they say and by what they do."""

from dataclasses import dataclass

from grammar.canonical import canonical
from grammar.errors import InputError
from grammar.parser import parse
from grammar.rejection import Rejection
from grammar.tree import Node
from synth.categories import category
from synth.heads import head_name, parse_head
from synth.library import Choice, Library
from synth.library_view import program_tree, program_trees
from synth.mentions import mentions


@dataclass(frozen=True)
class FoundProgram:
    """A program, the heads that it is chosen for, and how alike it is to what was asked.

    `heads` are [model, name of the head]; `similarity` is the IoU on the probe batch, None where
    the search was not for behaviour.
    """

    program_hash: str
    program: str
    category: str
    heads: list[tuple[str, str]]
    similarity: float | None


def named_program(library: Library, name: str, model: str | None = None) -> Node:
    """The program that stands for a head (L5H4), has this hash, or is written out in `name`.

    Raises InputError where there is none, or where heads of several models have the name.
    """
    place = parse_head(name)
    if place is None:
        if stored := library.programs(name):
            return program_tree(library, stored[0])
        parsed = parse(name)
        if isinstance(parsed, Rejection):
            raise InputError(
                f"{library.path} has no program {name!r:.40}, and it is none: "
                "name a head, as in L5H4, the 16 digits of a hash, or write a program"
            )
        return canonical(parsed)
    return program_tree(library, chosen_for(library, name, model))


def chosen_for(library: Library, name: str, model: str | None) -> Choice:
    """The choice by IoU for a head (L5H4); InputError where there is none, or several models'."""
    layer, head = parse_head(name) or (-1, -1)
    choices = library.choices(model, "iou", layer, head)
    if not choices:
        raise InputError(f"{library.path} has no program for {name} of {model or 'any model'}")
    models = sorted({choice.model for choice in choices})
    if len(models) > 1:
        raise InputError(f"{name} is a head of {', '.join(models)}: choose one with --model")
    return choices[-1]


def search(
    library: Library,
    *,
    primitive: str | None = None,
    text: str | None = None,
    like: str | None = None,
    model: str | None = None,
    kind: str | None = None,
    everything: bool = False,
) -> list[FoundProgram]:
    """The programs that hold a part and a text, or those most like another in behaviour, first.

    Only programs that are chosen for a head (by the `kind` of choice that is given), but for
    `everything`.
    """
    heads: dict[str, list[tuple[str, str]]] = {}
    for choice in library.choices(model, kind):
        place = (choice.model, head_name(choice.layer, choice.head))
        if place not in heads.setdefault(choice.program_hash, []):
            heads[choice.program_hash].append(place)
    holds = mentions(primitive) if primitive else None
    asked = [p for p in library.programs() if everything or p.program_hash in heads]
    trees = program_trees(library, asked)
    found = [
        (program, trees[program.text])
        for program in asked
        if (holds is None or holds(trees[program.text])) and (text is None or text in program.text)
    ]
    alike: list[float | None] = [None] * len(found)
    if like is not None:
        # What runs programs imports torch, which takes seconds.
        from synth.probe import behaviours, similarity

        target = named_program(library, like, model)
        wanted, *rest = behaviours([target, *(tree for _, tree in found)])
        alike = [similarity(wanted, behaviour) for behaviour in rest]
    programs = [
        FoundProgram(
            program_hash=program.program_hash,
            program=program.text,
            category=category(tree),
            heads=heads.get(program.program_hash, []),
            similarity=value,
        )
        for (program, tree), value in zip(found, alike, strict=True)
    ]
    return sorted(programs, key=lambda p: (-(p.similarity or 0.0), p.program))
