"""What a model loses when programs stand in for its heads: perplexity, with controls."""

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from grammar.errors import InputError
from grammar.parser import parse_or_raise
from grammar.tree import Node
from interpreter.attention import handled
from interpreter.capture import Head, check_texts
from interpreter.cost import check_cost
from interpreter.evaluate import Evaluator
from interpreter.likelihood import Batch, batches, examples
from interpreter.models import LoadedModel, load_model, load_spacy
from interpreter.progress import progress_bar
from interpreter.rows import FactsOf
from interpreter.statistics import bootstrap_ratio_ci95
from interpreter.substitution import substituted
from interpreter.texts import OWN_CORPUS, Texts, load_texts
from synth.chosen import most_faithful, of_revision, stored_choices
from synth.heads import head_name
from synth.library import Choice, Library
from synth.ordering import Judged, order_heads

FIRST_TOKEN = "first"
CONTROLS = ("own_pattern", "zeros", "first_token", "shuffled_programs")


@dataclass(frozen=True)
class Question:
    """What is measured: which programs, on which texts, in which order."""

    library: str
    model: str
    texts: str
    fractions: tuple[float, ...]
    order: str
    order_texts: str | None
    """Where the order comes from; None: see `reported_and_ordering`."""
    choice: str | None
    """None: of each head the most faithful that the library has."""
    max_tokens: int
    facts: FactsOf | None


def measure_replacement(question: Question) -> dict[str, Any]:
    """The result as `headscript replace --json` prints it.

    InputError where the library has nothing for the model, a chosen program is none or too dear,
    or the model predicts no tokens.
    """
    with Library.open(question.library) as library:
        name = question.choice
        stored = stored_choices(library, question.model, name) if name else None
        choices = stored or most_faithful(library, question.model)
        seen = {run.texts_sha256 for run in library.runs()}
        place = library.path
    texts, order_texts = reported_and_ordering(question.texts, question.order_texts, seen)
    loaded = load_model(question.model)
    check_texts(loaded, texts, question.max_tokens)
    trees = replaceable(place, choices, loaded, question.max_tokens)
    facts_of = question.facts or loaded.facts_of
    if facts_of == "prefix" and not loaded.causal:
        raise InputError(f"{loaded.name} reads a text in both directions: give --facts text")
    ious = {(c.layer, c.head): c.select_iou for c in choices}
    judged = Judged(loaded, trees, ious, order_texts, question.max_tokens, facts_of)
    order = order_heads(question.order, judged)
    counts = [max(1, round(fraction * len(order))) for fraction in question.fractions]
    losses = Losses.measured(loaded, texts, trees, order, counts, question.max_tokens, facts_of)
    return {
        "base_perplexity": losses.base_perplexity,
        "tokens": sum(losses.tokens),
        "curve": [
            {"fraction": fraction, "heads": count} | losses.of(str(count))
            for fraction, count in zip(question.fractions, counts, strict=True)
        ],
        "order": question.order,
        "controls": {
            f"{control}_increase_percent": losses.of(control)["increase_percent"]
            if control in losses.surprise
            else None
            for control in CONTROLS
        },
    }


def reported_and_ordering(
    name: str, order_name: str | None, seen: Collection[str]
) -> tuple[Texts, Texts]:
    """The documents that are reported on, and others, which the order is made from.

    `seen` are checksums of the texts that the programs were made from: of those only the test
    documents are reported on.  Without a name for the order's texts they are the same, if the
    programs were made from them, else the project's own.
    """
    texts = load_texts(name)
    source = order_name or (name if texts.sha256 in seen else OWN_CORPUS)
    order_texts = load_texts(source)
    if texts.sha256 in {*seen, order_texts.sha256}:
        texts = texts.split()["test"]
    select = order_texts.split()["select"]
    reported = set(texts.documents)
    left = tuple(document for document in select.documents if document not in reported)
    if not left:
        raise InputError(
            f"{source}: no document to order the heads by that is not reported on; "
            "name other --order-texts"
        )
    return texts, Texts(select.name, left)


def replaceable(
    path: str | Path, choices: Sequence[Choice], loaded: LoadedModel, tokens: int
) -> dict[Head, Node]:
    """The programs by head; InputError where one is none or too dear: no head is left in place."""
    trees: dict[Head, Node] = {}
    for c in of_revision(path, choices, loaded):
        try:
            tree = parse_or_raise(c.text)
            check_cost(tree, tokens)
        except InputError as error:
            raise InputError(f"{path}: {head_name(c.layer, c.head)}: {error}") from error
        trees[c.layer, c.head] = tree
    return trees


@dataclass(frozen=True)
class Losses:
    """What the model and its changed forms are surprised by, document by document."""

    tokens: list[int]
    """Tokens that were predicted in each document."""
    base: list[float]
    """Of the model as it is: sums of -ln p, in nats."""
    surprise: dict[str, list[float]]
    """The same by number of replaced heads, or by name of control."""

    @property
    def base_perplexity(self) -> float:
        return math.exp(sum(self.base) / sum(self.tokens))

    def of(self, name: str) -> dict[str, Any]:
        """Perplexity and its rise in percent, with a paired interval over documents."""
        rises = [new - old for new, old in zip(self.surprise[name], self.base, strict=True)]
        rise = sum(rises) / sum(self.tokens)
        low, high = bootstrap_ratio_ci95(rises, self.tokens)
        return {
            "perplexity": self.base_perplexity * math.exp(rise),
            "increase_percent": 100 * math.expm1(rise),
            "ci95": [100 * math.expm1(low), 100 * math.expm1(high)],
        }

    @classmethod
    def measured(
        cls,
        loaded: LoadedModel,
        texts: Texts,
        trees: Mapping[Head, Node],
        order: Sequence[Head],
        counts: Sequence[int],
        max_tokens: int,
        facts_of: FactsOf,
    ) -> "Losses":
        """Runs every form of the model on the texts; the controls with the most heads replaced."""
        chosen = examples(loaded, texts, max_tokens)
        made = batches(loaded, chosen, len(trees))
        names = [*map(str, dict.fromkeys(counts)), *CONTROLS]
        if len(trees) == 1:
            names.remove("shuffled_programs")
        documents = len(texts.documents)
        tokens, base = [0] * documents, [0.0] * documents
        surprise = {name: [0.0] * documents for name in names}
        tagger = load_spacy()
        with progress_bar() as bar, torch.no_grad():
            task = bar.add_task(f"Heads of {loaded.name} replaced", total=len(made))
            for batch in made:
                logits, own = _own_patterns(loaded, batch, order)
                for example, loss in zip(batch.examples, batch.surprise(logits), strict=True):
                    tokens[example.document] += len(example.answers)
                    base[example.document] += loss
                rows = batch.rows(tagger, facts_of)
                evaluator = Evaluator(rows.facts)
                programs = {h: rows.placed(evaluator.matrices(tree)) for h, tree in trees.items()}
                first = rows.placed(evaluator.matrices(parse_or_raise(FIRST_TOKEN)))
                forms = _forms(programs, own, first, order, counts)
                for name in names:
                    with substituted(loaded.model, forms[name]):
                        found = batch.surprise(batch.logits())
                    for example, loss in zip(batch.examples, found, strict=True):
                        surprise[name][example.document] += loss
                bar.advance(task)
        return cls(tokens, base, surprise)


def _own_patterns(
    loaded: LoadedModel, batch: Batch, heads: Sequence[Head]
) -> tuple[Tensor, dict[Head, Tensor]]:
    """The model's own logits, and what the heads attend to."""
    own: dict[Head, Tensor] = {}

    def keep(
        _module: nn.Module, layer: int, weights: Tensor, _value: Tensor, _visible: Tensor
    ) -> Tensor:
        own.update({(at, head): weights[:, head] for at, head in heads if at == layer})
        return weights

    with handled(loaded.model, keep):
        return batch.logits(), own


def others(heads: Collection[Head]) -> dict[Head, Head]:
    """For each head another, round a circle in random order: none of several keeps its own."""
    circle = random.Random(0).sample(sorted(heads), len(heads))
    return {head: circle[i - 1] for i, head in enumerate(circle)}


def _forms(
    programs: Mapping[Head, Tensor],
    own: Mapping[Head, Tensor],
    first: Tensor,
    order: Sequence[Head],
    counts: Sequence[int],
) -> dict[str, dict[Head, Tensor]]:
    """By name the matrices that stand in for heads."""
    most = order[: max(counts)]
    forms = {str(count): {head: programs[head] for head in order[:count]} for count in counts}
    other = others(programs)
    return forms | {
        "own_pattern": {head: own[head] for head in most},
        "zeros": dict.fromkeys(most, torch.zeros_like(first)),
        "first_token": dict.fromkeys(most, first),
        "shuffled_programs": {head: programs[other[head]] for head in most},
    }
