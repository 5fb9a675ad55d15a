"""From token ids back to the text that they stand for, token by token.

A running model sees ids alone.  What a token covers is what the text gains by it: a byte-level
token that ends inside a character covers that character, which reads "\ufffd" until it is whole.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interpreter.tokens import Encoded, Span

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"


class Decoder:
    """Grows a text token by token.  What it says of the first k tokens depends on them alone."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self._special_ids = frozenset(tokenizer.all_special_ids)
        self._written: list[int] = []
        self._text = ""
        self._ids: list[int] = []
        self._spans: list[Span] = []
        self._special: list[bool] = []

    def add(self, token_id: int) -> Encoded:
        """The text up to and with one more token.

        Special tokens at its beginning and its end are no part of the text, as they are none
        where the tokenizer adds them; those in between are, by their names.
        """
        self._ids.append(token_id)
        self._special.append(token_id in self._special_ids)
        if self._special[-1] and not self._written:
            self._spans.append((0, 0))
            return self._encoded()
        self._written.append(token_id)
        text = str(
            self._tokenizer.decode(
                self._written, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )
        start = _agreement(self._text.rstrip(_UNFINISHED), text)
        self._text = text
        self._spans.append((start, len(text)))
        return self._encoded()

    def _encoded(self) -> Encoded:
        pairs = zip(self._spans, self._special, strict=True)
        seen = self._text[: max((end for (_, end), special in pairs if not special), default=0)]
        spans = [(min(start, len(seen)), min(end, len(seen))) for start, end in self._spans]
        return Encoded(seen, list(self._ids), spans, list(self._special))


def _agreement(old: str, new: str) -> int:
    """How many characters the two begin with alike."""
    if new.startswith(old):
        return len(old)
    pairs = zip(old, new, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))


def decode_prefixes(ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> list[Encoded]:
    """The texts of the first 1, 2, ... tokens; the last is that of all."""
    decoder = Decoder(tokenizer)
    return [decoder.add(token_id) for token_id in ids]
