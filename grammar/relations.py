"""Relations: yes or no about a query and a key.  See `grammar.declaration`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from grammar.declaration import Kind, Parameter, Primitive, offset
from grammar.token_facts import Token
from grammar.words import fold_word

if TYPE_CHECKING:
    from torch import Tensor

    from grammar.token_facts import TensorFacts as Facts


def _same(
    name: str, doc: str, phrase: str, scalar: Callable[[Token], Any], tensor: Callable[[Any], Any]
) -> Primitive:
    """Query and key agree in something that both have ("" and -1 agree with nothing)."""

    def has(value: str | int) -> bool:
        return value != "" if isinstance(value, str) else value >= 0

    def same_tensor(facts: "Facts") -> "Tensor":
        ids: Tensor = tensor(facts)
        return (facts.at_query(ids)[:, :, None] == ids[:, None, :]) & (ids >= 0)[:, None, :]

    return Primitive(
        name,
        Kind.RELATION,
        doc,
        phrase,
        name,
        scalar=lambda tokens, i, j: (
            has(scalar(tokens[j])) and scalar(tokens[i]) == scalar(tokens[j])
        ),
        tensor=same_tensor,
        cost=2,
    )


RELATIONS = (
    Primitive(
        "self",
        Kind.RELATION,
        "the query token itself",
        "the query itself",
        "self",
        scalar=lambda tokens, i, j: i == j,
        tensor=lambda facts: offset(facts) == 0,
        cost=2,
    ),
    Primitive(
        "back",
        Kind.RELATION,
        "the token k positions before the query",
        "the {nth}previous token",
        "back(1)",
        scalar=lambda tokens, i, j, k: i - j == k,
        tensor=lambda facts, k: offset(facts) == k,
        parameters=(Parameter.NUMBER,),
        cost=2,
    ),
    Primitive(
        "ahead",
        Kind.RELATION,
        "the token k positions after the query (never visible in a causal model)",
        "the {nth}next token",
        "ahead(1)",
        scalar=lambda tokens, i, j, k: j - i == k,
        tensor=lambda facts, k: offset(facts) == -k,
        parameters=(Parameter.NUMBER,),
        cost=2,
        looks_ahead=True,
    ),
    Primitive(
        "within",
        Kind.RELATION,
        "a token at most k positions from the query, itself included",
        "token(s) at most {k} away",
        "within(8)",
        scalar=lambda tokens, i, j, k: abs(i - j) <= k,
        tensor=lambda facts, k: offset(facts).abs_() <= k,
        parameters=(Parameter.NUMBER,),
        cost=3,
    ),
    _same(
        "same_token",
        "a token equal to the query, itself included",
        "cop(y/ies) of the query",
        lambda t: t.token_id,
        lambda f: f.token_id,
    ),
    _same(
        "same_word",
        "a token of the same word type as the query, in any case",
        "occurrence(s) of the query's word",
        lambda t: fold_word(t.word),
        lambda f: f.folded_word,
    ),
    _same(
        "same_lemma",
        "a token of the same dictionary form as the query",
        "form(s) of the query's word",
        lambda t: t.lemma,
        lambda f: f.lemma,
    ),
    _same(
        "same_pos",
        "a token of the same part of speech as the query",
        "token(s) of the query's part of speech",
        lambda t: t.pos,
        lambda f: f.pos,
    ),
    _same(
        "same_sentence",
        "a token in the query's sentence",
        "token(s) in the query's sentence",
        lambda t: t.sentence,
        lambda f: f.sentence,
    ),
    _same(
        "same_clause",
        "a token of the query's clause: what ends with a punctuation mark or line break",
        "token(s) in the query's clause",
        lambda t: t.clause,
        lambda f: f.clause,
    ),
    _same(
        "same_governor",
        "a token of a word that depends on the same word as the query's (its dependency siblings)",
        "sibling(s) of the query",
        lambda t: t.governor,
        lambda f: f.governor,
    ),
    _same(
        "same_piece",
        "a token of the very word that the query is a piece of",
        "piece(s) of the query's own word",
        lambda t: t.word_index,
        lambda f: f.word_index,
    ),
    Primitive(
        "governor",
        Kind.RELATION,
        "a token of the word that governs the query's word (its dependency head)",
        "the word that the query depends on",
        "governor",
        scalar=lambda tokens, i, j: 0 <= tokens[i].governor == tokens[j].word_index,
        tensor=lambda facts: (
            (facts.at_query(facts.governor)[:, :, None] == facts.word_index[:, None, :])
            & (facts.at_query(facts.governor) >= 0)[:, :, None]
        ),
        cost=2,
    ),
    Primitive(
        "dependent",
        Kind.RELATION,
        "a token of a word that the query's word governs (its dependency children)",
        "dependent(s) of the query",
        "dependent",
        scalar=lambda tokens, i, j: 0 <= tokens[j].governor == tokens[i].word_index,
        tensor=lambda facts: (
            (facts.at_query(facts.word_index)[:, :, None] == facts.governor[:, None, :])
            & (facts.governor >= 0)[:, None, :]
        ),
        cost=2,
    ),
)
