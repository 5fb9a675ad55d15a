"""Token classes: yes or no about one token.  See `grammar.declaration`."""

from collections.abc import Callable
from typing import Any

from grammar.declaration import Kind, Parameter, Primitive
from grammar.token_facts import UNIVERSAL_POS


def _by_pos(name: str, pos: str, doc: str, phrase: str) -> Primitive:
    code = UNIVERSAL_POS.index(pos)
    return Primitive(
        name,
        Kind.TOKEN_CLASS,
        doc,
        phrase,
        name,
        scalar=lambda token: token.pos == pos,
        tensor=lambda facts: facts.pos == code,
    )


def _by_pos_group(name: str, group: tuple[str, ...], doc: str, phrase: str) -> Primitive:
    codes = [UNIVERSAL_POS.index(pos) for pos in group]
    return Primitive(
        name,
        Kind.TOKEN_CLASS,
        doc,
        phrase,
        name,
        scalar=lambda token: token.pos in group,
        tensor=lambda facts: sum((facts.pos == code for code in codes[1:]), facts.pos == codes[0]),
    )


def _by_role(name: str, roles: tuple[str, ...], doc: str, phrase: str) -> Primitive:
    return Primitive(
        name,
        Kind.TOKEN_CLASS,
        doc,
        phrase,
        name,
        scalar=lambda token: token.role in roles,
        tensor=lambda facts: sum(
            (facts.role == facts.role_id(role) for role in roles[1:]),
            facts.role == facts.role_id(roles[0]),
        ),
    )


def _by_characters(name: str, characters: str, doc: str, phrase: str) -> Primitive:
    return Primitive(
        name,
        Kind.TOKEN_CLASS,
        doc,
        phrase,
        name,
        scalar=lambda token: bool(token.text) and all(c in characters for c in token.text),
        tensor=lambda facts: facts.text_in(characters),
    )


def _by_flag(name: str, attribute: Callable[[Any], Any], doc: str, phrase: str) -> Primitive:
    return Primitive(name, Kind.TOKEN_CLASS, doc, phrase, name, scalar=attribute, tensor=attribute)


CONTENT = ("NOUN", "PROPN", "VERB", "ADJ", "ADV", "NUM", "INTJ")
FUNCTION = ("AUX", "PRON", "DET", "ADP", "CCONJ", "SCONJ", "PART")

TOKEN_CLASSES = (
    Primitive(
        "any",
        Kind.TOKEN_CLASS,
        "every token",
        "token(s)",
        "any",
        scalar=lambda token: True,
        tensor=lambda facts: facts.token_id == facts.token_id,
    ),
    _by_pos("noun", "NOUN", "a common noun: dog, park", "noun(s)"),
    _by_pos("name", "PROPN", "a proper noun: Lily, London", "name(s)"),
    _by_pos("pronoun", "PRON", "a pronoun: she, it, who", "pronoun(s)"),
    _by_pos("verb", "VERB", "a verb, not an auxiliary: run, found", "verb(s)"),
    _by_pos("auxiliary", "AUX", "an auxiliary verb: was, can, did", "auxiliary verb(s)"),
    _by_pos("adjective", "ADJ", "an adjective: red, happy", "adjective(s)"),
    _by_pos("adverb", "ADV", "an adverb: then, very", "adverb(s)"),
    _by_pos("determiner", "DET", "a determiner: the, a, every", "determiner(s)"),
    _by_pos("preposition", "ADP", "a preposition: in, with, of", "preposition(s)"),
    _by_pos("conjunction", "CCONJ", "a coordinating conjunction: and, but, or", "conjunction(s)"),
    _by_pos(
        "subordinator",
        "SCONJ",
        "a subordinating conjunction: because, that, if",
        "subordinating conjunction(s)",
    ),
    _by_pos("number", "NUM", "a numeral: 3, two", "number(s)"),
    _by_pos("particle", "PART", "a particle: to, not, 's", "particle(s)"),
    _by_pos("interjection", "INTJ", "an interjection: oh, yes", "interjection(s)"),
    _by_pos("punctuation", "PUNCT", "any punctuation mark", "punctuation mark(s)"),
    _by_pos_group(
        "content",
        CONTENT,
        "a content word: noun, name, verb, adjective, adverb, number, interjection",
        "content word(s)",
    ),
    _by_pos_group(
        "function", FUNCTION, "a function word: the small words of grammar", "function word(s)"
    ),
    _by_role(
        "subject",
        ("nsubj", "nsubjpass", "csubj", "expl"),
        "the subject of its clause",
        "subject(s)",
    ),
    _by_role(
        "object",
        ("dobj", "obj", "pobj", "dative", "iobj"),
        "an object of a verb or preposition",
        "object(s)",
    ),
    _by_role("root", ("ROOT",), "the main verb or head of its sentence", "main verb(s)"),
    _by_characters("stop", ".!?…", "a mark that ends a sentence: . ! ?", "full stop(s)"),
    _by_characters("comma", ",", "a comma", "comma(s)"),
    _by_characters("colon", ":;", "a colon or semicolon", "colon(s)"),
    _by_characters(
        "quote", "\"'“”‘’«»`", "a quotation mark or apostrophe standing alone", "quotation mark(s)"
    ),
    _by_characters("dash", "-–—_", "a dash or hyphen", "dash(es)"),
    _by_characters("bracket", "()[]{}<>", "a bracket", "bracket(s)"),
    Primitive(
        "newline",
        Kind.TOKEN_CLASS,
        "a token that holds a line break",
        "line break(s)",
        "newline",
        scalar=lambda token: "\n" in token.text,
        tensor=lambda facts: facts.text_has("\n"),
    ),
    Primitive(
        "digit",
        Kind.TOKEN_CLASS,
        "a token that holds a digit",
        "token(s) with a digit",
        "digit",
        scalar=lambda token: any(c.isdecimal() for c in token.text),
        tensor=lambda facts: facts.text_has_digit(),
    ),
    Primitive(
        "capital",
        Kind.TOKEN_CLASS,
        "a token that begins with a capital letter",
        "token(s) with a capital letter",
        "capital",
        scalar=lambda token: token.text[:1].isupper(),
        tensor=lambda facts: facts.capital,
    ),
    _by_flag(
        "continuation",
        lambda t: t.continuation,
        "a token inside a word, not its first piece",
        "later piece(s) of words",
    ),
    _by_flag(
        "sentence_start",
        lambda t: t.sentence_start,
        "the first token of a sentence",
        "sentence start(s)",
    ),
    _by_flag(
        "sentence_end",
        lambda t: t.sentence_end,
        "the mark that ends a sentence: . ! ? or the quotation mark after it",
        "sentence end(s)",
    ),
    _by_flag(
        "quoted",
        lambda t: t.quoted,
        "a token inside quotation marks",
        "token(s) inside quotation marks",
    ),
    _by_flag(
        "repeated",
        lambda t: t.repeated,
        "a token whose word the text has had before, in any case",
        "repeated word(s)",
    ),
    _by_flag(
        "special",
        lambda t: t.special,
        "a special token of the model: <s>, [CLS], [SEP]",
        "special token(s)",
    ),
    Primitive(
        "word",
        Kind.TOKEN_CLASS,
        'a token of this word, written just so: word("The") is another',
        "“{word}”(s)",
        'word("the")',
        scalar=lambda token, word: token.word == word,
        tensor=lambda facts, word: facts.word == facts.word_id(word),
        parameters=(Parameter.WORD,),
    ),
    Primitive(
        "lemma",
        Kind.TOKEN_CLASS,
        "a token of any form of this word, in any case",
        "form(s) of “{word}”",
        'lemma("be")',
        scalar=lambda token, lemma: token.lemma == lemma,
        tensor=lambda facts, lemma: facts.lemma == facts.lemma_id(lemma),
        parameters=(Parameter.FOLDED_WORD,),
    ),
)
