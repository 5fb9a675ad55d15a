"""Selections held against weights of the keys: how much of them each would catch at each query.

Most selections weigh the keys of a text alike for every query, or pick one key: a product of
matrices and a lookup serve these.  Only the others, and scores, need a matrix each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grammar.tree import Node
from interpreter.evaluate import Evaluator

BLOCK = 12
"""Queries whose matrices lie together, cut after the last key that one of them sees."""


@dataclass(frozen=True)
class Pool:
    """Selections on the evaluator's texts: those alike for every query, those that pick, others.

    A pool of shares may hold scores too: their rows sum to 1, all on the first token where nothing
    is selected.  A pool of raw weights has rows of 0 there.
    """

    nodes: list[Node]
    _alike: Tensor
    """[text, key, selection]: raw weights."""
    _scales: Tensor
    """[text, query, selection]: makes them shares; 0 where all goes to the first token."""
    _picks: Tensor
    """[text, query, selection] int64: the key, or the number of keys where there is none."""
    _others: list[Tensor]
    """[text, query, key, selection] of each `BLOCK` of queries."""

    @classmethod
    def of(cls, nodes: Sequence[Node], evaluator: Evaluator, *, shares: bool) -> "Pool":
        """Evaluates the selections, as shares or as raw weights."""
        visible = evaluator.facts.visible
        texts, queries, keys = visible.shape
        alike: dict[Node, Tensor] = {}
        picking: dict[Node, Tensor] = {}
        others: dict[Node, list[Tensor]] = {}
        for node in nodes:
            raw = None if node.op == "score" else evaluator.spread(node).expand(texts, -1, keys)
            if raw is not None and raw.shape[1] < queries:
                alike[node] = raw[:, 0]
                continue
            values = evaluator.fresh_shares(node) if shares else evaluator.weights(node)
            top, key = values.max(-1)
            if torch.equal(values.sum(-1), top) and bool(((top == 0) | (top == 1)).all()):
                picking[node] = key.masked_fill(top == 0, keys)
            else:
                others[node] = _blocks(values, visible)
        rows = _stacked(alike.values(), visible.new_empty((texts, keys), dtype=torch.float32))
        totals = visible.float() @ rows
        scales = torch.where(totals > 0, 1 / totals, 0) if shares else torch.ones_like(totals)
        picks = _stacked(picking.values(), visible.new_empty((texts, queries), dtype=torch.int64))
        empty = _blocks(torch.empty_like(visible, dtype=torch.float32), visible)
        matrices = [_stacked(cut, like) for *cut, like in zip(*others.values(), empty, strict=True)]
        return cls([*alike, *picking, *others], rows, scales, picks, matrices)

    def products(self, weights: Tensor) -> Tensor:
        """[text, query, selection]: the sum over the keys of each selection times the weights.

        `weights` is [text, query, key], 0 where a key is not visible.
        """
        alike = (weights @ self._alike) * self._scales
        alike += weights[..., :1] * (self._scales == 0)
        picked = torch.nn.functional.pad(weights, (0, 1)).gather(2, self._picks)
        others = [
            (block[:, :, None, : matrices.shape[2]] @ matrices)[:, :, 0]
            for block, matrices in zip(weights.split(BLOCK, 1), self._others, strict=True)
        ]
        return torch.cat([alike, picked, torch.cat(others, 1)], 2)


def _blocks(values: Tensor, visible: Tensor) -> list[Tensor]:
    """Blocks of the queries of [text, query, key], without keys that none of a block sees."""
    seen = [int(block.sum(-1).max()) for block in visible.split(BLOCK, 1)]
    pairs = zip(values.split(BLOCK, 1), seen, strict=True)
    return [block[:, :, :keys].clone() for block, keys in pairs]


def _stacked(values: Iterable[Tensor], like: Tensor) -> Tensor:
    """The values, each of the shape of `like`, along a new last dimension, which may be empty."""
    values = list(values)
    return torch.stack(values, -1) if values else like.new_empty((*like.shape, 0))
