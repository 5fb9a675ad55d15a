"""The programs that a library has for the heads of a model."""

from collections.abc import Sequence
from pathlib import Path

from grammar.errors import InputError
from interpreter.models import LoadedModel, ModelShape
from synth.heads import head_name
from synth.library import Choice, Library

MOST_FAITHFUL = ("tuned", "output_error", "iou")
"""Kinds of choices, the one that is to stand in a head's place first."""


def stored_choices(library: Library, model: str, choice: str) -> list[Choice]:
    """The choices of one kind; InputError where there is none."""
    choices = library.choices(model, choice)
    if not choices:
        raise InputError(
            f"{library.path} has no choice {choice!r:.40} for {model}; `library list` shows all"
        )
    return choices


def most_faithful(library: Library, model: str) -> list[Choice]:
    """For each head the choice of the first kind of `MOST_FAITHFUL` that it has."""
    kinds = [kind for kind in MOST_FAITHFUL if library.choices(model, kind)]
    if not kinds:
        return stored_choices(library, model, MOST_FAITHFUL[-1])
    found: dict[tuple[str, int, int], Choice] = {}
    for kind in kinds:
        for c in library.choices(model, kind):
            found.setdefault((c.model_revision, c.layer, c.head), c)
    return sorted(found.values(), key=lambda c: (c.layer, c.head))


def of_revision(
    path: str | Path, choices: Sequence[Choice], loaded: LoadedModel | ModelShape
) -> list[Choice]:
    """Those for these very weights.

    InputError where all are for others, or one is for a head that the model does not have.
    """
    known = {c.model_revision for c in choices}
    choices = [c for c in choices if c.model_revision == loaded.revision]
    if not choices:
        raise InputError(
            f"{path} was made for revision {min(known)[:12]} of {loaded.name}, "
            f"this is {loaded.revision[:12]}: its programs explain another model"
        )
    for c in choices:
        if c.layer not in range(loaded.layers) or c.head not in range(loaded.heads):
            raise InputError(
                f"{path} has a program for {head_name(c.layer, c.head)}, "
                f"which {loaded.name} does not have: restore it from a copy"
            )
    return choices
