"""Ids back to text: what the tokenizer made of a text is found again, prefix by prefix."""

import pytest

from interpreter.decoding import decode_prefixes
from interpreter.texts import load_texts
from interpreter.tokens import encode, read_tokens, tag
from tests.test_tokens import NASTY, byte_level, sentence_piece_bpe, word_piece

LOSSLESS = {"byte level": byte_level(False), "with bos": byte_level(True)}
TEXTS = [*load_texts("stories").documents[:4], *(t for k, t in NASTY.items() if "special" not in k)]


@pytest.mark.parametrize("name", LOSSLESS)
def test_facts_from_ids_are_those_of_the_text(name: str, tagger) -> None:
    tokenizer = LOSSLESS[name]
    whole = 0
    for text in TEXTS:
        (encoded,) = encode([text], tokenizer, 80)
        (expected,) = read_tokens([text], tokenizer, tagger, 80)
        decoded = decode_prefixes(encoded.ids, tokenizer)[-1]
        assert encoded.text.startswith(decoded.text.rstrip("\ufffd"))
        # Else the cut is inside a character, which the text knows and the ids do not.
        if not decoded.text.endswith("\ufffd"):
            whole += 1
            assert tag([decoded], tagger) == [expected], text
    assert whole >= len(TEXTS) - 3


@pytest.mark.parametrize("make", [byte_level, word_piece, sentence_piece_bpe])
def test_what_follows_changes_nothing(make) -> None:
    tokenizer = make(True)
    for text in TEXTS:
        (encoded,) = encode([text], tokenizer, 40)
        whole = decode_prefixes(encoded.ids, tokenizer)
        for count in (1, 2, len(whole) // 2 or 1):
            assert decode_prefixes(encoded.ids[:count], tokenizer) == whole[:count]
        for prefix in whole:
            assert all(0 <= a <= b <= len(prefix.text) for a, b in prefix.spans)


def test_a_character_of_several_tokens_belongs_to_all_of_them() -> None:
    tokenizer = byte_level(False)
    (encoded,) = encode(["a 𒀀b"], tokenizer)
    *prefixes, last = decode_prefixes(encoded.ids, tokenizer)
    assert last.text == "a 𒀀b"
    pieces = [span for span in last.spans if span[1] == 3]
    assert len(pieces) == 4
    assert prefixes[-2].text.endswith("\ufffd")
    assert last.spans[-1] == (3, 4)
