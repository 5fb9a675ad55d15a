"""Names of heads (L5H4) and selections of them (all, L3H5,L4H0-8)."""

import re

from grammar.errors import InputError

_HEADS = re.compile(r"L([0-9]{1,4})H([0-9]{1,4})(?:-([0-9]{1,4}))?")


def head_name(layer: int, head: int) -> str:
    """`L5H4` for head 4 of layer 5; both count from 0."""
    return f"L{layer}H{head}"


def check_heads(text: str) -> None:
    """InputError where `text` selects no heads of any model."""
    if text.strip() != "all":
        parse_heads(text, 10_000, 10_000)


def parse_heads(text: str, layers: int, heads: int) -> list[tuple[int, int]]:
    """The heads that `text` selects in a model of `layers` x `heads`, in order, each once.

    Raises InputError if the text is empty or malformed, or names a head that is not there.
    """
    if text.strip() == "all":
        return [(layer, head) for layer in range(layers) for head in range(heads)]
    selected: set[tuple[int, int]] = set()
    for part in text.split(","):
        match = _HEADS.fullmatch(part.strip())
        if match is None:
            raise InputError(
                f"{part.strip()!r:.40} names no heads: write all, L3H5 or L4H0-8, with commas"
            )
        layer, first = int(match[1]), int(match[2])
        last = first if match[3] is None else int(match[3])
        if layer >= layers or max(first, last) >= heads:
            raise InputError(
                f"{match[0]}: the model has layers L0-L{layers - 1} and heads H0-H{heads - 1}"
            )
        if last < first:
            raise InputError(f"{match[0]} runs backwards: write L{layer}H{last}-{first}")
        selected.update((layer, head) for head in range(first, last + 1))
    return sorted(selected)


def parse_head(text: str) -> tuple[int, int] | None:
    """(layer, head) if `text` is the name of one head, as in L5H4."""
    match = _HEADS.fullmatch(text)
    return (int(match[1]), int(match[2])) if match and match[3] is None else None
