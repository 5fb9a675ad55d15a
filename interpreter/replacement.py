"""Programs in the place of attention heads, inside a running model.

In a causal model the row of a token is the program's last row on the text up to that token: all
facts, the tags of earlier words too, come from what the model has read so far.  So a pass over a
whole text, batches with any padding and generation with a cache give the same, and nothing is
known of tokens to come.  A program that is asked for facts of the whole text instead ("text") is
given what it was scored with; its tags may depend on words that the model has not read yet, and
there is no cache.  A bidirectional model reads whole texts.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import StaticCache

from grammar.errors import InputError
from grammar.limits import MAX_SEQUENCE_TOKENS
from grammar.parser import parse_or_raise
from grammar.tree import Node
from interpreter.attention import check_reached, handled
from interpreter.capture import Head
from interpreter.cost import check_cost
from interpreter.evaluate import Evaluator
from interpreter.models import LoadedModel, load_spacy
from interpreter.rows import FactsOf, Rows, rows_of_ids
from interpreter.substitution import put_in_place


@contextmanager
def replaced(
    loaded: LoadedModel, programs: Mapping[Head, Node | str], facts: FactsOf | None = None
) -> Iterator[None]:
    """Within this context the given heads attend as their programs say, however the model is run.

    `facts` are those of each token's prefix where the model is causal, unless "text" is given.

    InputError for a head that the model does not have, a text that is no program, a model whose
    attention can't be replaced; when the model runs, for more tokens than the limits allow, for
    input other than token ids, and for a cache that is static or was filled elsewhere.
    """
    trees = check_programs(loaded, programs)
    facts = facts or loaded.facts_of
    if facts == "prefix" and not loaded.causal:
        raise InputError(f"{loaded.name} reads a text in both directions: give facts of the text")
    running = _Running(loaded, trees, facts)
    hooks = [
        loaded.model.register_forward_pre_hook(running.before, with_kwargs=True),
        loaded.model.register_forward_hook(running.after),
    ]
    try:
        with handled(loaded.model, running.handle):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def check_programs(
    loaded: LoadedModel, programs: Mapping[Head, Node | str]
) -> dict[int, dict[int, Node]]:
    """The trees by layer and head; InputError as by `replaced`, that names the head."""
    if not programs:
        raise InputError("no heads to replace: give a program for one at least")
    trees: dict[int, dict[int, Node]] = {}
    for place, program in programs.items():
        if isinstance(place, str):
            raise InputError(f"a head is a pair as (4, 2), layer and number, not {place!r:.20}")
        layer, head = place
        if layer not in range(loaded.layers) or head not in range(loaded.heads):
            raise InputError(
                f"{loaded.name} has layers L0-L{loaded.layers - 1} and heads H0-H{loaded.heads - 1}"
                f", so no L{layer}H{head} to replace"
            )
        try:
            tree = parse_or_raise(program) if isinstance(program, str) else program
        except InputError as error:
            raise InputError(f"L{layer}H{head} can't be replaced: {error}") from error
        trees.setdefault(layer, {})[head] = tree
    return trees


class _Running:
    """What is known while the model runs: the tokens of the batch, and the facts about them."""

    def __init__(
        self, loaded: LoadedModel, trees: dict[int, dict[int, Node]], facts: FactsOf
    ) -> None:
        self._loaded = loaded
        self._trees = trees
        self._facts_of = facts
        self._tagger = load_spacy()
        self._signature = inspect.signature(loaded.model.forward)
        self._read: WeakKeyDictionary[Any, tuple[Tensor, Tensor]] = WeakKeyDictionary()
        """What each cache holds: ids and mask, [batch, tokens]."""
        self._batch: tuple[Tensor, Tensor] | None = None
        self._rows: Rows | None = None
        self._reached: set[int] = set()

    def before(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        """Learns the tokens from the arguments of the model's forward pass."""
        given = self._signature.bind_partial(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        ids = given.get("input_ids")
        if ids is None:
            raise InputError("replaced heads need token ids: give input_ids, not inputs_embeds")
        ids, mask, past = self._with_past(ids, given)
        self._batch = (ids, mask)
        longest = int(mask.sum(-1).max())
        for who, most in (
            ("programs read", MAX_SEQUENCE_TOKENS),
            (f"{self._loaded.name} takes", self._loaded.max_tokens),
        ):
            if longest > most:
                raise InputError(f"a text of {longest:,} tokens: {who} at most {most:,}")
        for layer, trees in self._trees.items():
            for head, tree in trees.items():
                try:
                    check_cost(tree, longest)
                except InputError as error:
                    raise InputError(f"L{layer}H{head} can't be replaced: {error}") from error
        self._rows = rows_of_ids(
            self._loaded,
            self._tagger,
            self._facts_of,
            ids,
            mask,
            past=past,
            device=self._loaded.model.device,
        )
        self._reached = set()

    def _with_past(self, ids: Tensor, given: Mapping[str, Any]) -> tuple[Tensor, Tensor, int]:
        """Ids and mask of all tokens, [batch, tokens], and how many of them the cache holds."""
        cache = given.get("past_key_values")
        if isinstance(cache, StaticCache):
            raise InputError(
                "a static cache makes room for tokens to come, and programs know none: "
                "leave out cache_implementation"
            )
        past = 0 if cache is None else int(cache.get_seq_length())
        mask = given.get("attention_mask")
        if mask is not None and mask.ndim != 2:
            raise InputError("replaced heads need an attention mask of the shape [batch, tokens]")
        if past:
            if self._facts_of == "text":
                raise InputError(
                    "facts of the whole text can't be had with a cache: use_cache=False"
                )
            if cache not in self._read:
                raise InputError(
                    "the cache holds tokens that were read before these heads were replaced: "
                    "begin without past_key_values"
                )
            old, old_mask = (part[:, :past] for part in self._read[cache])
            if len(old) != len(ids):
                raise InputError(f"the cache holds {len(old)} texts, and {len(ids)} are given")
            ids = torch.cat([old, ids.cpu()], dim=1)
            if mask is None:
                mask = torch.cat([old_mask, torch.ones_like(ids[:, past:])], dim=1)
        ids = ids.cpu()
        mask = torch.ones_like(ids) if mask is None else mask.cpu()[:, : ids.shape[1]]
        return ids, mask, past

    def handle(
        self, module: nn.Module, layer: int, weights: Tensor, _value: Tensor, visible: Tensor
    ) -> Tensor:
        """Puts the matrices of this layer's programs in place."""
        if self._rows is None:
            raise InputError(
                f"{type(module).__name__} ran outside of {type(self._loaded.model).__name__}: "
                "run the whole model, so that its tokens are known"
            )
        self._reached.add(layer)
        trees = self._trees.get(layer)
        if trees is None:
            return weights
        # One evaluator for a layer: what programs share is computed once, and memory stays bounded.
        evaluator = Evaluator(self._rows.facts)
        patterns = {h: self._rows.placed(evaluator.matrices(tree)) for h, tree in trees.items()}
        return put_in_place(patterns, weights, visible)

    def after(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """Sees to it that no layer was left out, and remembers what a cache holds now."""
        check_reached(self._loaded.model, self._trees, self._reached)
        cache = getattr(output, "past_key_values", None)
        if cache is not None and self._batch is not None:
            if cache not in self._read:
                self._follow(cache)
            self._read[cache] = self._batch
        self._rows = self._batch = None

    def _follow(self, cache: Any) -> None:
        """Beam search turns the texts of a cache around: so are its tokens."""
        reorder = cache.reorder_cache

        def followed(order: Tensor) -> None:
            reorder(order)
            ids, mask = self._read[cache]
            self._read[cache] = (ids[order.cpu()], mask[order.cpu()])

        cache.reorder_cache = followed
