"""What each model token is: alignment of tokens with spaCy's words by character offsets.

A token belongs to the word that it shares most characters with, the earlier one on a tie, the
white space around the token left out.  So a byte-level token " don" belongs to "do", the pieces
of an emoji all to the emoji, and a WordPiece "##ing" to the word that it continues.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from grammar.errors import InputError
from grammar.limits import MAX_SEQUENCE_TOKENS
from grammar.token_facts import Token
from grammar.words import fold_word

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""The characters of a token: from the first one to before the second."""

QUOTES = {"“": 1, "”": -1, "«": 1, "»": -1}
SENTENCE_MARKS = ".!?…\"'”’»)]"
"""How a sentence ends, a quotation or bracket that closes with it included."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What spaCy says about a word; about white space only its part of speech and sentence."""

    pos: str = ""
    sentence: int = -1
    index: int = -1
    text: str = ""
    lemma: str = ""
    role: str = ""
    governor: int = -1


_NO_WORD = _Word()


@dataclass(frozen=True)
class Encoded:
    """A text as a model reads it: for each token its id, its characters, and whether it is special.

    `text` is what the tokens cover: no fact comes from text that the model does not see.
    """

    text: str
    ids: list[int]
    spans: list[Span]
    special: list[bool]


def read_tokens(
    texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    tagger: "Language",
    max_tokens: int | None = None,
) -> list[list[Token]]:
    """The tokens of each text, cut to `max_tokens`, as the model's tokenizer makes them.

    InputError where their characters are too many for the tagger.
    """
    return tag(encode(texts, tokenizer, max_tokens), tagger)


def encode(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_tokens: int | None = None
) -> list[Encoded]:
    """Each text cut to `max_tokens`, as the model's tokenizer makes it."""
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=min(max_tokens or MAX_SEQUENCE_TOKENS, MAX_SEQUENCE_TOKENS),
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
    )
    special_texts = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    found = []
    for text, ids, spans, added in zip(
        texts,
        encoded["input_ids"],
        encoded["offset_mapping"],
        encoded["special_tokens_mask"],
        strict=True,
    ):
        # A special token may also be written in the text; an unknown word has the id of one.
        special = [
            bool(by_model) or text[start:end].strip() == special_texts.get(token_id)
            for token_id, (start, end), by_model in zip(ids, spans, added, strict=True)
        ]
        seen = text[: max((end for _, end in spans), default=0)]
        found.append(Encoded(seen, ids, spans, special))
    return found


def tag(encoded: Sequence[Encoded], tagger: "Language") -> list[list[Token]]:
    """What the tagger says about each token.

    InputError where a text has too many characters for the tagger.
    """
    for e in encoded:
        if len(e.text) > tagger.max_length:
            raise InputError(
                f"a text of {len(e.text):,} characters in only {len(e.ids):,} tokens: "
                f"the tagger reads at most {tagger.max_length:,}"
            )
    docs = tagger.pipe([e.text for e in encoded])
    return [_tokens(doc, e) for doc, e in zip(docs, encoded, strict=True)]


def _tokens(doc: "Doc", encoded: Encoded) -> list[Token]:
    text, spans, specials = encoded.text, encoded.spans, encoded.special
    quoted = _quoted_characters(text)
    all_words = _words(doc)
    word_at = _word_at_characters(doc)
    words = [
        _NO_WORD if special else all_words[_shares_most(text, span, word_at)]
        for span, special in zip(spans, specials, strict=True)
    ]
    first_written: dict[str, int] = {}
    first_of_word: dict[int, int] = {}
    first_of_sentence: dict[int, int] = {}
    last_of_sentence: dict[int, int] = {}
    for position, word in enumerate(words):
        if word.index >= 0:
            first_written.setdefault(fold_word(word.text), word.index)
            first_of_word.setdefault(word.index, position)
            first_of_sentence.setdefault(word.sentence, position)
            last_of_sentence[word.sentence] = position
    breaks = [
        word.pos == "PUNCT" or "\n" in text[slice(*span)]
        for word, span in zip(words, spans, strict=True)
    ]
    clauses = list(accumulate(breaks, initial=0))
    return [
        Token(
            token_id=encoded.ids[position],
            text="" if special else text[start:end].strip(" \t\u00a0"),
            word=word.text,
            word_index=word.index,
            lemma=word.lemma,
            pos=word.pos,
            role=word.role,
            governor=word.governor,
            sentence=word.sentence,
            sentence_start=first_of_sentence.get(word.sentence) == position,
            # The newest word of a text that is still read is the last so far, but ends nothing.
            sentence_end=last_of_sentence.get(word.sentence) == position
            and text[start:end].rstrip().endswith(tuple(SENTENCE_MARKS)),
            clause=-1 if specials[position] else clauses[position],
            repeated=word.index > first_written.get(fold_word(word.text), word.index),
            continuation=first_of_word.get(word.index, position) != position,
            quoted=not special and any(quoted[start:end]),
            special=special,
        )
        for position, ((start, end), special, word) in enumerate(
            zip(spans, specials, words, strict=True)
        )
    ]


def _words(doc: "Doc") -> list[_Word]:
    """What spaCy says about each word; at the end, where -1 points, that there is none."""
    words = []
    for sentence, span in enumerate(doc.sents):
        for word in span:
            if word.is_space:
                words.append(_Word(word.pos_, sentence))
                continue
            words.append(
                _Word(
                    word.pos_,
                    sentence,
                    index=word.i,
                    text=word.text,
                    lemma=fold_word(word.lemma_ or word.text),
                    role=word.dep_,
                    governor=word.head.i if word.head.i != word.i else -1,
                )
            )
    return [*words, _NO_WORD]


def _word_at_characters(doc: "Doc") -> list[int]:
    """For every character the index of its word, -1 for the space between two words."""
    word_at = [-1] * len(doc.text)
    for word in doc:
        word_at[word.idx : word.idx + len(word)] = [word.i] * len(word)
    return word_at


def _shares_most(text: str, span: Span, word_at: Sequence[int]) -> int:
    """The index of the word that these characters belong to, -1 for none."""
    characters = range(*span)
    visible = [c for c in characters if not text[c].isspace()] or characters
    shares = Counter(word_at[c] for c in visible if word_at[c] >= 0)
    # Of words with equal shares `max` takes the one that was counted first: the earlier.
    return max(shares, key=lambda word: shares[word], default=-1)


def _quoted_characters(text: str) -> list[bool]:
    """For every character: does it stand between quotation marks, the marks left out?

    Read from the left alone: an unclosed quotation runs to the end.
    """
    quoted = []
    straight, depth = False, 0
    for character in text:
        if character == '"':
            straight = not straight
            quoted.append(False)
        elif character in QUOTES:
            depth = max(0, depth + QUOTES[character])
            quoted.append(False)
        else:
            quoted.append(straight or depth > 0)
    return quoted
