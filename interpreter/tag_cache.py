"""A tagger that reads no text twice, as long as it remembers it.

The answers to one question share the question, and so its prefixes.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

MOST_TEXTS = 8_192


def remembering(tagger: "Language", most: int = MOST_TEXTS) -> "Language":
    """The tagger for `interpreter.tokens.tag`; it keeps the `most` texts that were asked last."""
    return cast("Language", _Remembering(tagger, most))


class _Remembering:
    """What `tag` uses of a spaCy pipeline."""

    def __init__(self, tagger: "Language", most: int) -> None:
        self._tagger = tagger
        self._most = most
        self._known: OrderedDict[str, Doc] = OrderedDict()
        self.max_length = tagger.max_length

    def pipe(self, texts: Iterable[str]) -> Iterator["Doc"]:
        """What the tagger says of each text, in their order."""
        asked = list(texts)
        new = [text for text in dict.fromkeys(asked) if text not in self._known]
        for text, doc in zip(new, self._tagger.pipe(new), strict=True):
            # The vectors inside the tagger, most of the memory, are read by nobody.
            doc.tensor = np.zeros(0, dtype=np.float32)
            self._known[text] = doc
        for text in asked:
            self._known.move_to_end(text)
        found = [self._known[text] for text in asked]
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return iter(found)
