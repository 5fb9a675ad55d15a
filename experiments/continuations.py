"""How likely a model finds what follows a context, with growing shares of its heads replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grammar.errors import InputError
from grammar.limits import MAX_SEQUENCE_TOKENS
from grammar.tree import Node
from interpreter.capture import Head
from interpreter.cost import check_cost
from interpreter.decoding import decode_prefixes
from interpreter.evaluate import Evaluator
from interpreter.likelihood import Batch, Example, batches
from interpreter.models import LoadedModel, load_spacy
from interpreter.progress import progress_bar
from interpreter.substitution import substituted
from interpreter.tag_cache import remembering
from synth.heads import head_name

Likelihood = tuple[float, bool]
"""ln p of the tokens that follow, and whether each is the model's first choice."""


@dataclass(frozen=True)
class Continuation:
    """Token ids of a context, and of what follows it: one at least of each."""

    context: tuple[int, ...]
    following: tuple[int, ...]


class ReplacedModels:
    """A causal model with the first 0, 1, ... heads of an order replaced: one for each count."""

    def __init__(
        self,
        loaded: LoadedModel,
        trees: Mapping[Head, Node],
        order: Sequence[Head],
        counts: Sequence[int],
    ) -> None:
        if not loaded.causal:
            raise InputError(f"{loaded.name} predicts no next tokens: it reads both directions")
        self.loaded = loaded
        self._trees = {head: trees[head] for head in order[: max(counts)]}
        self._heads = [order[:count] for count in counts]
        self._tagger = remembering(load_spacy())

    def likelihoods(self, asked: Sequence[Continuation]) -> list[list[Likelihood]]:
        """[count][asked]; InputError where one is longer than model or programs can read."""
        self._check_length(max(len(a.context) + len(a.following) for a in asked))
        # Those of one question stay together and are of like length, so that little is padded.
        order = sorted(range(len(asked)), key=lambda i: (len(asked[i].context), asked[i].context))
        examples = [self._example(number, asked[number]) for number in order]
        found: list[list[Likelihood]] = [[(0.0, False)] * len(asked) for _ in self._heads]
        made = batches(self.loaded, examples, len(self._trees))
        with progress_bar() as bar, torch.no_grad():
            for batch in bar.track(made, description=f"Answers of {self.loaded.name}"):
                for row, likelihoods in zip(found, self._of_batch(batch), strict=True):
                    for example, likelihood in zip(batch.examples, likelihoods, strict=True):
                        row[example.document] = likelihood
        return found

    def _check_length(self, tokens: int) -> None:
        most = min(self.loaded.max_tokens, MAX_SEQUENCE_TOKENS)
        if tokens > most:
            raise InputError(
                f"a question of {tokens:,} tokens with its answer: at most {most:,} can be read"
            )
        for head, tree in self._trees.items():
            try:
                check_cost(tree, tokens)
            except InputError as error:
                raise InputError(f"{head_name(*head)} can't be replaced: {error}") from error

    def _example(self, number: int, asked: Continuation) -> Example:
        ids = [*asked.context, *asked.following]
        # The last token is predicted and never read.
        text = decode_prefixes(ids[:-1], self.loaded.tokenizer)[-1]
        places = list(range(len(asked.context) - 1, len(ids) - 1))
        return Example(number, text, places, list(asked.following))

    def _of_batch(self, batch: Batch) -> list[list[Likelihood]]:
        patterns: dict[Head, Tensor] = {}
        if self._trees:
            rows = batch.rows(self._tagger, "prefix")
            evaluator = Evaluator(rows.facts)
            patterns = {h: rows.placed(evaluator.matrices(t)) for h, t in self._trees.items()}
        found = []
        for heads in self._heads:
            with substituted(self.loaded.model, {head: patterns[head] for head in heads}):
                logits = batch.logits()
            first = logits.argmax(-1).tolist()
            likelihoods, start = [], 0
            for example, loss in zip(batch.examples, batch.surprise(logits), strict=True):
                end = start + len(example.answers)
                likelihoods.append((-loss, first[start:end] == example.answers))
                start = end
            found.append(likelihoods)
        return found
