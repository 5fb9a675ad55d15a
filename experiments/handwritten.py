"""Some programs as a person would write each of them in torch, to hold the evaluator against.

Each takes the facts of a batch of a causal model and how far back every key lies, and gives
[text, query, key] float32.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from grammar.declaration import offset
from grammar.token_facts import UNIVERSAL_POS
from interpreter.facts import Facts

Written = Callable[[Facts, Tensor], Tensor]


def _first(facts: Facts, back: Tensor) -> Tensor:
    result = torch.zeros_like(facts.visible, dtype=torch.float32)
    result[:, :, 0] = facts.real
    return result


def _shares(facts: Facts, weights: Tensor) -> Tensor:
    weights = weights * facts.visible
    total = weights.sum(-1, keepdim=True)
    return torch.where(total > 0, weights / total.clamp_min(1e-30), _first(facts, weights))


def _softmax(facts: Facts, logits: Tensor) -> Tensor:
    logits = logits.masked_fill(~facts.visible, torch.finfo(logits.dtype).min)
    return logits.softmax(-1) * facts.visible


def _noun(facts: Facts) -> Tensor:
    return facts.pos == UNIVERSAL_POS.index("NOUN")


def _previous_and_first(facts: Facts, back: Tensor) -> Tensor:
    return 0.3 * _shares(facts, (back == 1).float()) + 0.7 * _first(facts, back)


def _near_nouns(facts: Facts, back: Tensor) -> Tensor:
    return _shares(facts, _noun(facts)[:, None] * torch.exp2(-back.abs() / 8))


def _latest_stop(facts: Facts, back: Tensor) -> Tensor:
    stops = torch.where(facts.text_in(".!?…"), facts.position, -1).cummax(-1).values
    before = torch.nn.functional.pad(stops[:, :-1], (1, 0), value=-1)
    return _shares(facts, (facts.position == before[:, :, None]).float())


def _second_the(facts: Facts, back: Tensor) -> Tensor:
    members = facts.word == facts.word_id("the")
    second = members & (members.cumsum(-1) == 2)
    return _shares(facts, second[:, None].float())


def _fade(facts: Facts, back: Tensor) -> Tensor:
    logits = -0.7 * (1 + back.abs()).float().log2()
    logits = logits.expand(facts.visible.shape).clone()
    logits[:, :, 0] += 1.5
    return _softmax(facts, logits)


def _same_word(facts: Facts, back: Tensor) -> Tensor:
    word = facts.folded_word
    same = (word[:, :, None] == word[:, None]) & (word >= 0)[:, None]
    return _shares(facts, same * torch.exp2(-back.abs() / 16))


def _nouns_of_the_sentence(facts: Facts, back: Tensor) -> Tensor:
    sentence = facts.sentence
    same = (sentence[:, :, None] == sentence[:, None]) & (sentence >= 0)[:, None]
    distance = (1 + back.abs()).float().log2()
    return _softmax(facts, 2.0 * _noun(facts)[:, None] + 1.0 * same - 0.5 * distance)


def _nouns_at_themselves(facts: Facts, back: Tensor) -> Tensor:
    others = 0.6 * _shares(facts, torch.exp2(-back.abs() / 4)) + 0.4 * _first(facts, back)
    return torch.where(_noun(facts)[:, :, None], (back == 0) * facts.visible.float(), others)


HANDWRITTEN: dict[str, Written] = {
    "first": _first,
    "70 first + 30 back(1)": _previous_and_first,
    "near(noun, 8)": _near_nouns,
    "recent(stop)": _latest_stop,
    'first(word("the"), 2)': _second_the,
    "score(-0.7 distance(any) + 1.5 first)": _fade,
    "near(same_word, 16)": _same_word,
    "score(2.0 noun + 1.0 same_sentence - 0.5 distance(any))": _nouns_of_the_sentence,
    "when noun: self; 60 near(any, 4) + 40 first": _nouns_at_themselves,
}
"""By their text in the language."""


def handwritten(facts: Facts) -> list[Tensor]:
    """The matrices of all of them."""
    back = offset(facts)
    return [written(facts, back) for written in HANDWRITTEN.values()]
