"""Programs in numpy alone: what a standalone file of programs runs on.

`synth.library_python` writes the source of this module into that file, below the declarations of
the primitives, whose tensor bodies run on `Array` as they do on tensors of torch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from grammar.primitives import PRIMITIVES
from grammar.token_facts import UNIVERSAL_POS, Token
from grammar.words import fold_word


def _array(values: Any) -> "Array":
    found: Array = values.view(Array)
    return found


class Array(np.ndarray[Any, Any]):
    """An array with the methods of a tensor that the declarations use."""

    def int(self) -> "Array":
        return self.astype(np.int32).view(Array)

    def float(self) -> "Array":
        return self.astype(np.float32).view(Array)

    # In place on tensors; here each gives a new array, and what it is called on is not used again.

    def abs_(self) -> "Array":
        return _array(np.abs(self))

    def neg_(self) -> "Array":
        return _array(np.negative(self))

    def add_(self, other: Any) -> "Array":
        return _array(np.add(self, other))

    def mul_(self, other: Any) -> "Array":
        return _array(np.multiply(self, other))

    def cumsum_(self, axis: Any) -> "Array":
        return _array(np.cumsum(self, axis))

    def exp2_(self) -> "Array":
        return _array(np.exp2(self))

    def log2_(self) -> "Array":
        return _array(np.log2(self))

    def clamp_max_(self, most: Any) -> "Array":
        return _array(np.minimum(self, most))

    def clamp_min_(self, least: Any) -> "Array":
        return _array(np.maximum(self, least))


class Facts:
    """Facts about one text of n tokens, and the steps that programs are made of.

    Arrays of predicates are [1, query, key] bool ([1, 1, key] where no query matters), weights
    [1, query, key] float32.  `causal` says that a query sees no key after itself.
    """

    def __init__(self, tokens: Sequence[Token], *, causal: bool) -> None:
        self._all = list(tokens)
        self._words, self.word = self._identified(lambda t: t.word)
        self._roles, self.role = self._identified(lambda t: t.role)
        self._lemmas, self.lemma = self._identified(lambda t: t.lemma)
        _, self.folded_word = self._identified(lambda t: fold_word(t.word))
        pos = {name: number for number, name in enumerate(UNIVERSAL_POS)}
        self.pos = self._each(lambda t: pos.get(t.pos, -1))
        self.token_id = self._each(lambda t: t.token_id)
        self.word_index = self._each(lambda t: t.word_index)
        self.governor = self._each(lambda t: t.governor)
        self.sentence = self._each(lambda t: t.sentence)
        self.sentence_start = self._each(lambda t: t.sentence_start)
        self.sentence_end = self._each(lambda t: t.sentence_end)
        self.clause = self._each(lambda t: t.clause)
        self.repeated = self._each(lambda t: t.repeated)
        self.continuation = self._each(lambda t: t.continuation)
        self.quoted = self._each(lambda t: t.quoted)
        self.special = self._each(lambda t: t.special)
        self.capital = self._each(lambda t: t.text[:1].isupper())
        n = len(self._all)
        self.position = np.arange(n).view(Array)
        self.query = self.position[None].view(Array)
        everything = np.ones((1, n, n), bool)
        self.visible = (np.tril(everything) if causal else everything).view(Array)
        self.newest = self.query if causal else np.full((1, n), n - 1).view(Array)
        self._sink = np.zeros((1, n, n), np.float32).view(Array)
        self._sink[:, :, 0] = 1

    def _each(self, value: Callable[[Token], object]) -> Array:
        return np.array([[value(token) for token in self._all]]).view(Array)

    def _identified(self, value: Callable[[Token], str]) -> tuple[dict[str, int], Array]:
        known = {"": -1}
        for token in self._all:
            known.setdefault(value(token), len(known) - 1)
        return known, self._each(lambda token: known[value(token)])

    # What the declarations ask

    def at_query(self, values: Array) -> Array:
        """[1, n]: every token asks, so that these are the values themselves."""
        return values

    def at_key(self, values: Array, keys: Array) -> Array:
        """[1, n, 1] of [1, 1 or n, n]: for each query the value at a key; `keys` is [1, n]."""
        found = np.broadcast_to(values, self.visible.shape)
        return np.take_along_axis(found, keys[:, :, None], axis=2).view(Array)

    def text_in(self, characters: str) -> Array:
        """[1, n] bool: the token's text is not empty and made of these characters."""
        return self._each(lambda t: bool(t.text) and all(c in characters for c in t.text))

    def text_has(self, characters: str) -> Array:
        """[1, n] bool: the token's text holds one of these characters."""
        return self._each(lambda t: any(c in t.text for c in characters))

    def text_has_digit(self) -> Array:
        """[1, n] bool: the token's text holds a decimal digit."""
        return self._each(lambda t: any(c.isdecimal() for c in t.text))

    def word_id(self, word: str) -> int:
        """The identifier of a word of this text, -2 where no token has it."""
        return self._words.get(word, -2)

    def lemma_id(self, lemma: str) -> int:
        """The identifier of a lemma of this text, -2 where no token has it."""
        return self._lemmas.get(lemma, -2)

    def role_id(self, role: str) -> int:
        """The identifier of a dependency role of this text, -2 where no token has it."""
        return self._roles.get(role, -2)

    # What programs are made of

    def where(self, name: str, *arguments: str | int) -> Array:
        """The predicate of this name; `&`, `|` and `~` join predicates."""
        found: Array = PRIMITIVES[name].tensor(self, *arguments)
        return found[:, None, :].view(Array) if found.ndim == 2 else found

    def after(self, predicate: Array) -> Array:
        """Holds for the key after one for which the predicate holds."""
        result = np.zeros_like(predicate)
        result[..., 1:] = predicate[..., :-1]
        return result

    def before(self, predicate: Array) -> Array:
        """Holds for the key before one that the query sees and for which the predicate holds."""
        seen = (predicate & self.visible).view(Array)
        result = np.zeros_like(seen)
        result[..., :-1] = seen[..., 1:]
        return result

    def asked(self, predicate: Array) -> Array:
        """Holds for every key where the predicate holds for the query itself."""
        pairs = np.broadcast_to(predicate, self.visible.shape)
        asked = np.diagonal(pairs, axis1=1, axis2=2)[:, :, None]
        return np.broadcast_to(asked, self.visible.shape).view(Array)

    def pick(self, name: str, predicate: Array, *numbers: int) -> Array:
        """The raw weights of the selection of this name, 0 where not visible."""
        found: Array = PRIMITIVES[name].tensor(self, predicate, *numbers)
        return (found * self.visible).view(Array)

    def weights(self, selected: Array) -> Array:
        """Of a predicate 1 where it holds and the key is visible; weights as they are."""
        return (selected & self.visible).view(Array).float() if selected.dtype == bool else selected

    def score(self, *logits: tuple[float, Array]) -> Array:
        """Softmax over the visible keys of the sum of logit times weight."""
        total = np.zeros_like(self._sink)
        for logit, selected in logits:
            total += np.float32(logit) * self.weights(selected)
        total = np.where(self.visible, total, -np.inf).view(Array)
        powers = np.exp(total - total.max(-1, keepdims=True))
        shares: Array = (powers / powers.sum(-1, keepdims=True)).view(Array)
        return shares

    def mixture(self, *parts: tuple[int, Array]) -> Array:
        """The weighted mean of the parts, each with rows that sum to 1.

        Where a part picks nothing, everything goes to the first token.
        """
        result = np.zeros_like(self._sink)
        for weight, selected in parts:
            picked = self.weights(selected)
            total = picked.sum(-1, keepdims=True)
            shares = np.where(total > 0, picked / np.maximum(total, np.float32(1e-30)), self._sink)
            result += np.float32(weight / sum(w for w, _ in parts)) * shares
        return result

    def rules(self, *rules: Any) -> Array:
        """The first mixture whose guard holds for the query: (guard, mixture), ..., mixture."""
        *guarded, result = rules
        for guard, mixture in reversed(guarded):
            pairs = np.broadcast_to(guard, self.visible.shape)
            holds = np.diagonal(pairs, axis1=1, axis2=2)[:, :, None]
            result = np.where(holds, mixture, result)
        return np.asarray(result).view(Array)
