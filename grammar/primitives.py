"""Every primitive of the language, declared once.

Grammar, parser, prompt vocabulary, reference table, both evaluators and their tests are derived
from `PRIMITIVES`; to add a primitive, add its declaration here.

Three kinds:

* a token class says yes or no about a key token; `scalar(token, *args)`,
  `tensor(facts, *args)` -> [batch, tokens] bool;
* a relation says yes or no about a query i and a key j; `scalar(tokens, i, j, *args)`,
  `tensor(facts, *args)` -> [batch, query, key] bool;
* a selection weighs the keys; `scalar(i, members, *args)` -> {key: weight},
  `tensor(facts, members, *args)` -> [batch, query, key] float32, where `members` are the
  visible keys that the selection's predicate holds for.

The scalar definition is the meaning; the tensor body is its fast form.  Tensor bodies use methods
of tensors alone, so that reading or checking a program needs no torch.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from grammar.token_facts import UNIVERSAL_POS, Token

if TYPE_CHECKING:
    from torch import Tensor

    from grammar.token_facts import TensorFacts as Facts


class Kind(StrEnum):
    """What a primitive speaks about."""

    TOKEN_CLASS = "token class"
    RELATION = "relation"
    SELECTION = "selection"


class Parameter(StrEnum):
    """What an argument of a primitive is."""

    NUMBER = "number"
    WORD = "word"
    PREDICATE = "predicate"


@dataclass(frozen=True)
class Primitive:
    """One word of the language.  `cost` counts passes over a [query, key] matrix."""

    name: str
    kind: Kind
    doc: str
    example: str
    scalar: Callable[..., Any]
    tensor: Callable[..., Any]
    parameters: tuple[Parameter, ...] = ()
    defaults: tuple[str | int, ...] = field(default=())
    """Values of the trailing parameters that may be left out."""
    cost: int = 0
    looks_ahead: bool = False
    """Whether it can only choose keys after the query, which a causal model never sees."""

    @property
    def signature(self) -> str:
        """The primitive with its parameters, as the documentation shows it."""
        letters = {Parameter.NUMBER: "k", Parameter.WORD: '"w"', Parameter.PREDICATE: "P"}
        required = len(self.parameters) - len(self.defaults)
        shown = [letters[p] for p in self.parameters]
        shown[required:] = [
            f"{s}={d}" for s, d in zip(shown[required:], self.defaults, strict=True)
        ]
        return f"{self.name}({', '.join(shown)})" if shown else self.name


def _by_pos(name: str, pos: str, doc: str, example: str | None = None) -> Primitive:
    code = UNIVERSAL_POS.index(pos)
    return Primitive(
        name,
        Kind.TOKEN_CLASS,
        doc,
        example or name,
        scalar=lambda token: token.pos == pos,
        tensor=lambda facts: facts.pos == code,
    )


def _by_pos_group(name: str, group: tuple[str, ...], doc: str) -> Primitive:
    codes = [UNIVERSAL_POS.index(pos) for pos in group]
    return Primitive(
        name,
        Kind.TOKEN_CLASS,
        doc,
        name,
        scalar=lambda token: token.pos in group,
        tensor=lambda facts: sum((facts.pos == code for code in codes[1:]), facts.pos == codes[0]),
    )


def _by_role(name: str, roles: tuple[str, ...], doc: str) -> Primitive:
    return Primitive(
        name,
        Kind.TOKEN_CLASS,
        doc,
        name,
        scalar=lambda token: token.role in roles,
        tensor=lambda facts: sum(
            (facts.role == facts.role_id(role) for role in roles[1:]),
            facts.role == facts.role_id(roles[0]),
        ),
    )


def _by_characters(name: str, characters: str, doc: str) -> Primitive:
    return Primitive(
        name,
        Kind.TOKEN_CLASS,
        doc,
        name,
        scalar=lambda token: bool(token.text) and all(c in characters for c in token.text),
        tensor=lambda facts: facts.text_in(characters),
    )


def _by_flag(name: str, attribute: Callable[[Any], Any], doc: str) -> Primitive:
    return Primitive(name, Kind.TOKEN_CLASS, doc, name, scalar=attribute, tensor=attribute)


CONTENT = ("NOUN", "PROPN", "VERB", "ADJ", "ADV", "NUM", "INTJ")
FUNCTION = ("AUX", "PRON", "DET", "ADP", "CCONJ", "SCONJ", "PART")

TOKEN_CLASSES = (
    Primitive(
        "any",
        Kind.TOKEN_CLASS,
        "every token",
        "any",
        scalar=lambda token: True,
        tensor=lambda facts: facts.token_id == facts.token_id,
    ),
    _by_pos("noun", "NOUN", "a common noun: dog, park"),
    _by_pos("name", "PROPN", "a proper noun: Lily, London"),
    _by_pos("pronoun", "PRON", "a pronoun: she, it, who"),
    _by_pos("verb", "VERB", "a verb, not an auxiliary: run, found"),
    _by_pos("auxiliary", "AUX", "an auxiliary verb: was, can, did"),
    _by_pos("adjective", "ADJ", "an adjective: red, happy"),
    _by_pos("adverb", "ADV", "an adverb: then, very"),
    _by_pos("determiner", "DET", "a determiner: the, a, every"),
    _by_pos("preposition", "ADP", "a preposition: in, with, of"),
    _by_pos("conjunction", "CCONJ", "a coordinating conjunction: and, but, or"),
    _by_pos("subordinator", "SCONJ", "a subordinating conjunction: because, that, if"),
    _by_pos("number", "NUM", "a numeral: 3, two"),
    _by_pos("particle", "PART", "a particle: to, not, 's"),
    _by_pos("interjection", "INTJ", "an interjection: oh, yes"),
    _by_pos("punctuation", "PUNCT", "any punctuation mark"),
    _by_pos_group(
        "content", CONTENT, "a content word: noun, name, verb, adjective, adverb, number"
    ),
    _by_pos_group("function", FUNCTION, "a function word: the small words of grammar"),
    _by_role("subject", ("nsubj", "nsubjpass", "csubj", "expl"), "the subject of its clause"),
    _by_role(
        "object", ("dobj", "obj", "pobj", "dative", "iobj"), "an object of a verb or preposition"
    ),
    _by_role("root", ("ROOT",), "the main verb or head of its sentence"),
    _by_characters("stop", ".!?…", "a mark that ends a sentence: . ! ?"),
    _by_characters("comma", ",", "a comma"),
    _by_characters("colon", ":;", "a colon or semicolon"),
    _by_characters("quote", "\"'“”‘’«»`", "a quotation mark or apostrophe standing alone"),
    _by_characters("dash", "-–—_", "a dash or hyphen"),
    _by_characters("bracket", "()[]{}<>", "a bracket"),
    Primitive(
        "newline",
        Kind.TOKEN_CLASS,
        "a token that holds a line break",
        "newline",
        scalar=lambda token: "\n" in token.text,
        tensor=lambda facts: facts.text_has("\n"),
    ),
    Primitive(
        "digit",
        Kind.TOKEN_CLASS,
        "a token that holds a digit",
        "digit",
        scalar=lambda token: any(c.isdecimal() for c in token.text),
        tensor=lambda facts: facts.text_has_digit(),
    ),
    Primitive(
        "capital",
        Kind.TOKEN_CLASS,
        "a token that begins with a capital letter",
        "capital",
        scalar=lambda token: token.text[:1].isupper(),
        tensor=lambda facts: facts.capital,
    ),
    _by_flag(
        "continuation", lambda t: t.continuation, "a token inside a word, not its first piece"
    ),
    _by_flag("sentence_start", lambda t: t.sentence_start, "the first token of a sentence"),
    _by_flag("sentence_end", lambda t: t.sentence_end, "the last token of a sentence"),
    _by_flag("quoted", lambda t: t.quoted, "a token inside quotation marks"),
    _by_flag("special", lambda t: t.special, "a special token of the model: <s>, [CLS], [SEP]"),
    Primitive(
        "word",
        Kind.TOKEN_CLASS,
        "a token of this word, in any case",
        'word("the")',
        scalar=lambda token, word: token.word == word,
        tensor=lambda facts, word: facts.word == facts.word_id(word),
        parameters=(Parameter.WORD,),
    ),
)


def _same(
    name: str, doc: str, scalar: Callable[[Token], Any], tensor: Callable[[Any], Any]
) -> Primitive:
    """Query and key agree in something that both have ("" and -1 agree with nothing)."""

    def has(value: str | int) -> bool:
        return value != "" if isinstance(value, str) else value >= 0

    def same_tensor(facts: "Facts") -> "Tensor":
        ids: Tensor = tensor(facts)
        return (ids[:, :, None] == ids[:, None, :]) & (ids >= 0)[:, None, :]

    return Primitive(
        name,
        Kind.RELATION,
        doc,
        name,
        scalar=lambda tokens, i, j: (
            has(scalar(tokens[j])) and scalar(tokens[i]) == scalar(tokens[j])
        ),
        tensor=same_tensor,
        cost=2,
    )


def _offset(facts: "Facts") -> "Tensor":
    """[query, key] int64: how far back the key lies from the query."""
    return facts.position[:, None] - facts.position[None, :]


RELATIONS = (
    Primitive(
        "self",
        Kind.RELATION,
        "the query token itself",
        "self",
        scalar=lambda tokens, i, j: i == j,
        tensor=lambda facts: (_offset(facts) == 0)[None],
        cost=1,
    ),
    Primitive(
        "back",
        Kind.RELATION,
        "the token k positions before the query",
        "back(1)",
        scalar=lambda tokens, i, j, k: i - j == k,
        tensor=lambda facts, k: (_offset(facts) == k)[None],
        parameters=(Parameter.NUMBER,),
        cost=1,
    ),
    Primitive(
        "ahead",
        Kind.RELATION,
        "the token k positions after the query (never visible in a causal model)",
        "ahead(1)",
        scalar=lambda tokens, i, j, k: j - i == k,
        tensor=lambda facts, k: (_offset(facts) == -k)[None],
        parameters=(Parameter.NUMBER,),
        cost=1,
        looks_ahead=True,
    ),
    Primitive(
        "within",
        Kind.RELATION,
        "a token at most k positions from the query, itself included",
        "within(8)",
        scalar=lambda tokens, i, j, k: abs(i - j) <= k,
        tensor=lambda facts, k: (_offset(facts).abs() <= k)[None],
        parameters=(Parameter.NUMBER,),
        cost=2,
    ),
    _same(
        "same_token",
        "a token equal to the query, itself included",
        lambda t: t.token_id,
        lambda f: f.token_id,
    ),
    _same(
        "same_word",
        "a token of the same word type as the query, in any case",
        lambda t: t.word,
        lambda f: f.word,
    ),
    _same(
        "same_lemma",
        "a token of the same dictionary form as the query",
        lambda t: t.lemma,
        lambda f: f.lemma,
    ),
    _same(
        "same_pos",
        "a token of the same part of speech as the query",
        lambda t: t.pos,
        lambda f: f.pos,
    ),
    _same(
        "same_sentence",
        "a token in the query's sentence",
        lambda t: t.sentence,
        lambda f: f.sentence,
    ),
    _same(
        "same_piece",
        "a token of the very word that the query is a piece of",
        lambda t: t.word_index,
        lambda f: f.word_index,
    ),
    Primitive(
        "governor",
        Kind.RELATION,
        "a token of the word that governs the query's word (its dependency head)",
        "governor",
        scalar=lambda tokens, i, j: 0 <= tokens[i].governor == tokens[j].word_index,
        tensor=lambda facts: (
            (facts.governor[:, :, None] == facts.word_index[:, None, :])
            & (facts.governor >= 0)[:, :, None]
        ),
        cost=2,
    ),
    Primitive(
        "dependent",
        Kind.RELATION,
        "a token of a word that the query's word governs (its dependency children)",
        "dependent",
        scalar=lambda tokens, i, j: 0 <= tokens[j].governor == tokens[i].word_index,
        tensor=lambda facts: (
            (facts.word_index[:, :, None] == facts.governor[:, None, :])
            & (facts.governor >= 0)[:, None, :]
        ),
        cost=2,
    ),
)


def _kth(members: list[int], k: int) -> dict[int, float]:
    return {members[k - 1]: 1.0} if len(members) >= k else {}


def _rank_from_start(members: "Tensor") -> "Tensor":
    """[batch, query, key] int64: 1 for the first member of each row, 2 for the second, ..."""
    return members.cumsum(-1)


def _rank_from_end(members: "Tensor") -> "Tensor":
    """[batch, query, key] int64: 1 for the last member of each row, 2 for the one before, ..."""
    counts = members.cumsum(-1)
    return counts[..., -1:] - counts + 1


def _earlier(facts: "Facts", members: "Tensor") -> "Tensor":
    return members & (_offset(facts) > 0)


def _later(facts: "Facts", members: "Tensor") -> "Tensor":
    return members & (_offset(facts) < 0)


# Weights stop halving here, so that nothing selected ever underflows to nothing.
MOST_HALVINGS = 60


def _halved(steps: int, half_life: int) -> float:
    return math.pow(2.0, -min(steps / half_life, MOST_HALVINGS))


def _halving(steps: "Tensor", half_life: int) -> "Tensor":
    """The same on tensors: float32, 2 ** -(steps / half_life)."""
    return (-(steps.float() / half_life).clamp_max(MOST_HALVINGS)).exp2()


def _recent_scalar(i: int, members: list[int]) -> list[int]:
    return [j for j in reversed(members) if j < i]


PICK = (Parameter.PREDICATE, Parameter.NUMBER)

SELECTIONS = (
    Primitive(
        "first",
        Kind.SELECTION,
        "the k-th P of the text; `first` alone is the first token",
        "first(noun, 2)",
        scalar=lambda i, members, k: _kth(members, k),
        tensor=lambda facts, members, k: (members & (_rank_from_start(members) == k)).float(),
        parameters=PICK,
        defaults=("any", 1),
        cost=4,
    ),
    Primitive(
        "last",
        Kind.SELECTION,
        "the k-th P from the end of what the query sees, itself included",
        "last(stop)",
        scalar=lambda i, members, k: _kth(members[::-1], k),
        tensor=lambda facts, members, k: (members & (_rank_from_end(members) == k)).float(),
        parameters=PICK,
        defaults=(1,),
        cost=5,
    ),
    Primitive(
        "recent",
        Kind.SELECTION,
        "the k-th most recent P before the query",
        "recent(noun)",
        scalar=lambda i, members, k: _kth(_recent_scalar(i, members), k),
        tensor=lambda facts, members, k: (
            _earlier(facts, members) & (_rank_from_end(_earlier(facts, members)) == k)
        ).float(),
        parameters=PICK,
        defaults=(1,),
        cost=6,
    ),
    Primitive(
        "next",
        Kind.SELECTION,
        "the k-th P after the query (never visible in a causal model)",
        "next(stop)",
        scalar=lambda i, members, k: _kth([j for j in members if j > i], k),
        tensor=lambda facts, members, k: (
            _later(facts, members) & (_rank_from_start(_later(facts, members)) == k)
        ).float(),
        parameters=PICK,
        defaults=(1,),
        cost=6,
        looks_ahead=True,
    ),
    Primitive(
        "near",
        Kind.SELECTION,
        "every P, the weight halving with every k tokens of distance from the query",
        "near(noun, 8)",
        scalar=lambda i, members, k: {j: _halved(abs(i - j), k) for j in members},
        tensor=lambda facts, members, k: members * _halving(_offset(facts).abs(), k),
        parameters=PICK,
        cost=3,
    ),
    Primitive(
        "newest",
        Kind.SELECTION,
        "every P before the query, the weight halving with every k of them, latest first",
        "newest(noun, 2)",
        scalar=lambda i, members, k: {
            j: _halved(rank, k) for rank, j in enumerate(_recent_scalar(i, members))
        },
        tensor=lambda facts, members, k: (
            _earlier(facts, members) * _halving(_rank_from_end(_earlier(facts, members)) - 1, k)
        ),
        parameters=PICK,
        cost=8,
    ),
    Primitive(
        "earliest",
        Kind.SELECTION,
        "every P, the weight halving with every k of them, first of the text first",
        "earliest(noun, 2)",
        scalar=lambda i, members, k: {j: _halved(rank, k) for rank, j in enumerate(members)},
        tensor=lambda facts, members, k: members * _halving(_rank_from_start(members) - 1, k),
        parameters=PICK,
        cost=6,
    ),
    Primitive(
        "distance",
        Kind.SELECTION,
        "every P, weighing log2(1 + distance): for scores, where a negative logit fades it",
        "distance(any)",
        scalar=lambda i, members: {j: math.log2(1 + abs(i - j)) for j in members},
        tensor=lambda facts, members: members * (1 + _offset(facts).abs()).float().log2(),
        parameters=(Parameter.PREDICATE,),
        cost=3,
    ),
)

PRIMITIVES: dict[str, Primitive] = {p.name: p for p in (*TOKEN_CLASSES, *RELATIONS, *SELECTIONS)}


def primitives(kind: Kind) -> Iterator[Primitive]:
    """The primitives of one kind, in the order of their declaration."""
    return (p for p in PRIMITIVES.values() if p.kind is kind)
