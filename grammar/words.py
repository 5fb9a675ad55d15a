"""How a word is compared: case is folded one character at a time, so lengths never change."""


def fold_word(text: str) -> str:
    """Lower-case `text`, keeping any character whose lower case is longer than itself."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
