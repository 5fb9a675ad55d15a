"""The vectorised evaluator: many programs on a batch of texts, shared parts computed once."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from grammar.primitives import PRIMITIVES, Kind
from grammar.tree import Node
from interpreter.facts import Facts
from interpreter.kept import Kept
from interpreter.memory import keep_freed_memory
from interpreter.mixing import Mixer
from interpreter.overlap import COMPILED

PREDICATE_BYTES = 2**26
SHARE_BYTES = 2**29
"""So much is kept for later programs: memory does not grow with their number."""


class Evaluator:
    """Evaluates programs on one batch of facts.

    Everything is float32 (bool for predicates) on the facts' device.  Results of predicates and
    selections are kept, keyed by node, so that programs share what they have in common.
    """

    def __init__(self, facts: Facts) -> None:
        keep_freed_memory()
        self.facts = facts
        self._predicates = Kept(PREDICATE_BYTES)
        self._shares = Kept(SHARE_BYTES)
        self.sink = torch.zeros_like(facts.visible, dtype=torch.float32)
        self.sink[:, :, 0] = 1.0
        on_cpu = facts.visible.device.type == "cpu"
        self.mixer = Mixer(facts) if COMPILED and on_cpu else None
        """Where nothing is compiled, torch mixes."""
        self.sink *= facts.at_query(facts.real)[:, :, None]

    def matrices(self, program: Node) -> Tensor:
        """[batch, query, key] float32: rows of real queries sum to 1, padding is 0."""
        *guarded, last = program.children
        if self.mixer is not None:
            rule_of = self.rule_of([rule.children[0] for rule in guarded])
            return self.mixer.matrices(program, rule_of, self.spread)
        result = self._mixture(last)
        for rule in reversed(guarded):
            condition, mixture = rule.children
            result = torch.where(self.guard(condition)[:, :, None], self._mixture(mixture), result)
        return result

    def rule_of(self, conditions: Sequence[Node]) -> Tensor:
        """[batch, query] uint8: the first of the guarded rules that decides, or the one after."""
        number = torch.full(self.sink.shape[:2], len(conditions), dtype=torch.uint8)
        for k in reversed(range(len(conditions))):
            number[self.guard(conditions[k])] = k
        return number

    def guard(self, condition: Node) -> Tensor:
        """[batch, query] bool: the predicate, held against the query token itself."""
        pairs = self._predicate(condition).expand_as(self.facts.visible)
        query = self.facts.query.expand(pairs.shape[:2])
        return pairs.gather(2, query[:, :, None])[:, :, 0]

    def shares(self, term: Node) -> Tensor:
        """[batch, query, key] float32: what a selection or score gives each key; rows sum to 1.

        Where nothing is selected, everything goes to the first token.  Scores are not kept:
        programs rarely share one with all its logits.
        """
        if term.op == "score":
            return self._softmax_of(term)
        return self._shares.get(term, self._compute_shares)

    def weights(self, selection: Node) -> Tensor:
        """[batch, query, key] float32: the raw weights of a selection, 0 where not visible."""
        return self.spread(selection) * self.facts.visible

    def softmax(self, logits: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """[batch, query, key]: softmax over the visible keys of sum_k logits[k] * weights[k].

        `logits` is [k] float32 and may carry gradients.
        """
        total = torch.zeros_like(self.sink)
        for logit, weight in zip(logits, weights, strict=True):
            total = total + logit * weight
        # A finite floor keeps the rows of padding free of NaN; they are set to 0 below.
        total = total.masked_fill(~self.facts.visible, torch.finfo(total.dtype).min)
        return torch.softmax(total, dim=-1) * self.facts.visible

    def _mixture(self, mixture: Node) -> Tensor:
        weights = [cast(int, part.args[0]) for part in mixture.children]
        result = torch.zeros_like(self.sink)
        for weight, part in zip(weights, mixture.children, strict=True):
            result += (weight / sum(weights)) * self.shares(part.children[0])
        return result

    def fresh_shares(self, selection: Node) -> Tensor:
        """As `shares`, and not kept."""
        return (
            self._softmax_of(selection)
            if selection.op == "score"
            else self._compute_shares(selection)
        )

    def _softmax_of(self, score: Node) -> Tensor:
        tenths = [cast(int, logit.args[0]) for logit in score.children]
        logits = torch.tensor(tenths, device=self.sink.device) / 10
        return self.softmax(logits, [self.weights(logit.children[0]) for logit in score.children])

    def spread(self, selection: Node) -> Tensor:
        """The raw weights before they are cut to what is visible.

        Float32 [batch or 1, 1 or query, key]; 1 where neither matters.
        """
        primitive = PRIMITIVES.get(selection.op)
        if primitive is None or primitive.kind is not Kind.SELECTION:
            return self._predicate(selection).float()
        predicate, *numbers = selection.args
        members = self._predicate(cast(Node, predicate))
        return cast(Tensor, primitive.tensor(self.facts, members, *numbers))

    def _compute_shares(self, selection: Node) -> Tensor:
        weights = self.weights(selection)
        total = weights.sum(-1, keepdim=True)
        return torch.where(total > 0, weights / total.clamp_min(1e-30), self.sink)

    def _predicate(self, predicate: Node) -> Tensor:
        """Bool [batch or 1, 1 or query, key]; 1 where neither matters."""
        return self._predicates.get(predicate, self._compute_predicate)

    def _compute_predicate(self, predicate: Node) -> Tensor:
        facts = self.facts
        inner = [self._predicate(child) for child in predicate.children]
        match predicate.op:
            case "and":
                result = inner[0]
                for other in inner[1:]:
                    result = result & other
                return result
            case "or":
                result = inner[0]
                for other in inner[1:]:
                    result = result | other
                return result
            case "not":
                return ~inner[0]
            case "after":
                return _shifted(inner[0], 1)
            case "before":
                return _shifted(inner[0] & facts.visible, -1)
            case "query":
                return self.guard(predicate.children[0])[:, :, None].expand_as(facts.visible)
        primitive = PRIMITIVES[predicate.op]
        value = cast(Tensor, primitive.tensor(facts, *predicate.args))
        return value[:, None, :] if primitive.kind is Kind.TOKEN_CLASS else value


def _shifted(pairs: Tensor, by: int) -> Tensor:
    """The pairs moved along the keys: key j shows what key j - by held, False at the edge."""
    result = torch.zeros_like(pairs)
    if by > 0:
        result[..., by:] = pairs[..., :-by]
    else:
        result[..., :by] = pairs[..., -by:]
    return result
