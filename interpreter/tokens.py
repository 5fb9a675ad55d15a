"""What each model token is: alignment of tokens with spaCy's words by character offsets.

A token belongs to the word that it shares most characters with, the earlier one on a tie, the
white space around the token left out.  So a byte-level token " don" belongs to "do", the pieces
of an emoji all to the emoji, and a WordPiece "##ing" to the word that it continues.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from grammar.limits import MAX_SEQUENCE_TOKENS
from grammar.token_facts import Token
from grammar.words import fold_word

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc
    from transformers import PreTrainedTokenizerBase

QUOTES = {"“": 1, "”": -1, "«": 1, "»": -1}


def read_tokens(
    texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    tagger: "Language",
    max_tokens: int | None = None,
) -> list[list[Token]]:
    """The tokens of each text, cut to `max_tokens`, as the model's tokenizer makes them.

    The tagger reads only the characters that the kept tokens cover, so that no fact comes from
    text that the model does not see.
    """
    limit = min(max_tokens or MAX_SEQUENCE_TOKENS, MAX_SEQUENCE_TOKENS)
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=limit,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
    )
    spans: list[list[tuple[int, int]]] = encoded["offset_mapping"]
    seen = [text[: max((e for _, e in s), default=0)] for text, s in zip(texts, spans, strict=True)]
    docs: Iterable[Doc] = tagger.pipe(seen)
    return [
        _tokens(text, ids, span, special, doc)
        for text, ids, span, special, doc in zip(
            seen, encoded["input_ids"], spans, encoded["special_tokens_mask"], docs, strict=True
        )
    ]


def _tokens(
    text: str,
    ids: Sequence[int],
    spans: Sequence[tuple[int, int]],
    special_mask: Sequence[int],
    doc: "Doc",
) -> list[Token]:
    word_of = _word_of_character(doc)
    sentence_of = [0] * len(doc)
    if doc.has_annotation("SENT_START"):
        for number, span in enumerate(doc.sents):
            sentence_of[span.start : span.end] = [number] * len(span)
    quoted = _quoted_characters(text)

    specials = [
        bool(mask) or start == end for mask, (start, end) in zip(special_mask, spans, strict=True)
    ]
    words = [
        -1 if special else _best_word(text, start, end, word_of)
        for special, (start, end) in zip(specials, spans, strict=True)
    ]
    lexical = [w >= 0 and not doc[w].is_space for w in words]
    sentences = [sentence_of[w] if w >= 0 else -1 for w in words]
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for position, (sentence, real) in enumerate(zip(sentences, lexical, strict=True)):
        if real:
            starts.setdefault(sentence, position)
            ends[sentence] = position

    tokens = []
    begun: set[int] = set()
    for position, word in enumerate(words):
        start, end = spans[position]
        surface = "" if specials[position] else text[start:end].strip(" \t\u00a0")
        real = lexical[position]
        spacy_word = doc[word] if word >= 0 else None
        governor = -1
        if real and spacy_word is not None and spacy_word.head.i != spacy_word.i:
            governor = spacy_word.head.i
        tokens.append(
            Token(
                token_id=int(ids[position]),
                text=surface,
                word=fold_word(spacy_word.text) if real and spacy_word is not None else "",
                word_index=word if real else -1,
                lemma=fold_word(spacy_word.lemma_ or spacy_word.text)
                if real and spacy_word is not None
                else "",
                pos=spacy_word.pos_ if spacy_word is not None else "",
                role=spacy_word.dep_ if real and spacy_word is not None else "",
                governor=governor,
                sentence=sentences[position],
                sentence_start=starts.get(sentences[position]) == position,
                sentence_end=ends.get(sentences[position]) == position,
                continuation=real and word in begun,
                quoted=not specials[position] and start < end and quoted[end - 1],
                special=specials[position],
            )
        )
        if real:
            begun.add(word)
    return tokens


def _word_of_character(doc: "Doc") -> list[int]:
    """For every character the index of its word, -1 for the space between two words."""
    word_of = [-1] * len(doc.text)
    for word in doc:
        word_of[word.idx : word.idx + len(word)] = [word.i] * len(word)
    return word_of


def _best_word(text: str, start: int, end: int, word_of: Sequence[int]) -> int:
    inside = [c for c in range(start, end) if not text[c].isspace()]
    counts: dict[int, int] = {}
    for character in inside or range(start, end):
        word = word_of[character]
        if word >= 0:
            counts[word] = counts.get(word, 0) + 1
    return max(counts, key=lambda word: (counts[word], -word), default=-1)


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
