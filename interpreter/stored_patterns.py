"""Captured patterns as files that are mapped into memory, one for each shard of texts.

A file is in the safetensors format: a header of JSON, then the tensors `attention` [text, head,
query, key] and `values` [text, head, key, head size], float32, little-endian, each in one piece.
The header's metadata hold `format`, `heads`, `tokens` and `causal` as JSON.  Reading maps the file:
what is not looked at is not read, and what was can be dropped when memory runs short.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from grammar.errors import InputError
from grammar.token_facts import Token
from interpreter.capture import Captured, Head
from interpreter.engine import Shard

FORMAT = "headscript patterns 1"

PatternFile = Shard[Path]
"""The one file of a shard of texts, which starts at the number of its first text."""


def save_patterns(captured: Captured, path: Path) -> None:
    """Writes the file whole, or not at all; InputError where it cannot be written."""
    metadata = {
        "format": FORMAT,
        "heads": json.dumps(captured.heads),
        "tokens": json.dumps([[asdict(token) for token in text] for text in captured.tokens]),
        "causal": json.dumps(captured.causal),
    }
    tensors = {"attention": captured.attention, "values": captured.values}
    unfinished = path.with_suffix(".part")
    try:
        save_file(tensors, unfinished, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be written: {error}; make room there, or name another folder"
        ) from error
    unfinished.replace(path)


def read_patterns(path: Path, heads: Sequence[Head] | None = None) -> Captured:
    """The patterns of a file: all of them mapped, or those of some heads copied.

    InputError where there is no such file, or it holds other heads.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise InputError(f"{path} holds no captured patterns: capture them again")
            known = [tuple(head) for head in json.loads(about["heads"])]
            tokens = [[Token(**t) for t in text] for text in json.loads(about["tokens"])]
            causal = bool(json.loads(about["causal"]))
            if heads is None:
                tensors = [file.get_tensor(name) for name in ("attention", "values")]
                return Captured(tuple(known), tokens, tensors[0], tensors[1], causal)
            if missing := set(heads) - set(known):
                raise InputError(f"{path} lacks head {min(missing)}: capture it again")
            at = [known.index(head) for head in heads]
            tensors = [
                torch.cat([file.get_slice(name)[:, k : k + 1] for k in at], 1)
                for name in ("attention", "values")
            ]
            return Captured(tuple(heads), tokens, tensors[0], tensors[1], causal)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}; capture the patterns again") from error


def joined(parts: Sequence[Captured]) -> Captured:
    """The same heads on the texts of all parts, padded to the longest."""
    width = max(part.attention.shape[-1] for part in parts)

    def padded(part: Captured) -> tuple[torch.Tensor, torch.Tensor]:
        more = width - part.attention.shape[-1]
        pad = torch.nn.functional.pad
        return pad(part.attention, (0, more, 0, more)), pad(part.values, (0, 0, 0, more))

    attention, values = zip(*map(padded, parts), strict=True)
    return Captured(
        parts[0].heads,
        [text for part in parts for text in part.tokens],
        torch.cat(attention),
        torch.cat(values),
        parts[0].causal,
    )
