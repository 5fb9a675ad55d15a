"""The programs that a library has for the heads of a model, and in which order they are put in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from experiments.subject import sampled
from grammar.errors import InputError
from grammar.tree import Node
from interpreter.capture import Head
from interpreter.models import LoadedModel
from interpreter.texts import Texts
from synth.chosen import most_faithful, of_revision, stored_choices
from synth.faithfulness import replaceable
from synth.library import Library
from synth.ordering import Judged, order_heads
from synth.replace_command import ORDERS


@dataclass(frozen=True)
class StandIns:
    """A model, and a program for each head that is to be replaced."""

    loaded: LoadedModel
    trees: Mapping[Head, Node]
    ious: Mapping[Head, float]
    """As the library has them: of the select documents that the programs were chosen on."""

    def judged(self, texts: Texts, max_tokens: int) -> Judged:
        """What an order is made from, on these texts."""
        return Judged(self.loaded, self.trees, self.ious, texts, max_tokens, self.loaded.facts_of)

    def ordered(self, order: str, texts: Texts, max_tokens: int) -> list[Head]:
        """All heads in the order of that name, made from these texts."""
        return order_heads(order, self.judged(texts, max_tokens))


def kinds_of(place: Path, loaded: LoadedModel, kinds: Sequence[str]) -> list[str]:
    """Those kinds of choices that the library has for the model; InputError where it has none."""
    with Library.open(place) as opened:
        there = [kind for kind in kinds if opened.choices(loaded.name, kind)]
    if not there:
        raise InputError(f"{place} has none of the choices {', '.join(kinds)} for {loaded.name}")
    return there


def stand_ins(
    path: Path, loaded: LoadedModel, choice: str | None, tokens: int, every: int
) -> StandIns:
    """The library's programs of one choice, or the most faithful ones, for texts of that length.

    Of every so many heads.

    InputError where it has none for these weights, or one is no program or too dear.
    """
    with Library.open(path) as library:
        if choice:
            choices = stored_choices(library, loaded.name, choice)
        else:
            choices = most_faithful(library, loaded.name)
    by_head = {(c.layer, c.head): c for c in of_revision(path, choices, loaded)}
    own = [by_head[head] for head in sampled(by_head, every)]
    ious = {(c.layer, c.head): c.select_iou for c in own}
    return StandIns(loaded, replaceable(path, own, loaded, tokens), ious)


def order_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of claims that replace heads in an order which comes from texts of its own."""
    options = [
        click.option("--order", type=click.Choice(ORDERS), default="damage", show_default=True),
        click.option("--order-texts", default="stories", show_default=True),
        click.option("--order-tokens", default=96, show_default=True),
        click.option("--choice", help="Which choice of each head.  [default: the most faithful]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def texts_seen(path: Path) -> set[str]:
    """Checksums of the texts that the library's runs worked on."""
    with Library.open(path) as library:
        return {run.texts_sha256 for run in library.runs()}


def count_of(fraction: float, heads: int) -> int:
    """How many heads a share of them is: one at least, none for 0."""
    return max(1, round(fraction * heads)) if fraction else 0
