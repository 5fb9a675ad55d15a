"""A replaced model in a folder: a checkpoint of transformers, and its heads' programs beside it.

The weights are the original's; `headscript/programs.json` says what stands for which head, and for
which weights it was written:

    {"weights_sha256", "facts": "prefix" or "text", "heads": [{"layer", "head", "program"}]}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grammar.canonical import canonical, verified
from grammar.errors import InputError
from grammar.parser import parse_or_raise
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.capture import Head
from interpreter.models import LoadedModel, load_model
from interpreter.replacement import check_programs
from interpreter.rows import FactsOf

# In a folder of its own, so that it has no part in the checksum of the weights.
PROGRAMS = Path("headscript") / "programs.json"


def save_replaced(
    folder: str | Path, loaded: LoadedModel, programs: Mapping[Head, Node | str], facts: FactsOf
) -> None:
    """Writes the model, its tokenizer and the programs, in canonical form.

    InputError as by `replaced`, and where the folder holds something else.
    """
    check_programs(loaded, programs)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty: name a new folder")
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    heads = [
        {"layer": layer, "head": head, "program": _canonical_text(program)}
        for (layer, head), program in sorted(programs.items(), key=lambda pair: pair[0])
    ]
    written = {"weights_sha256": load_model(str(folder)).revision, "facts": facts, "heads": heads}
    path = folder / PROGRAMS
    path.parent.mkdir()
    path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def load_replaced(folder: str | Path) -> tuple[LoadedModel, dict[Head, Node], FactsOf]:
    """The model, its programs and which facts they read: what `replaced` takes.

    InputError where a file is missing or damaged, the weights are others than those that the
    programs were saved with, a head is named twice or a program is none.
    """
    path = Path(folder) / PROGRAMS
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    loaded = load_model(str(folder))
    try:
        sha256, facts, heads = written["weights_sha256"], written["facts"], written["heads"]
        rows = [(row["layer"], row["head"], row["program"]) for row in heads]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not what save_replaced writes: {error}") from error
    if sha256 != loaded.revision:
        raise InputError(f"{path} was saved with other weights than those in {folder}")
    if facts not in ("prefix", "text"):
        raise InputError(f"{path}: facts are {facts!r:.20}, not prefix or text")
    programs: dict[Head, Node] = {}
    for layer, head, program in rows:
        _check_row(path, layer, head, program)
        if (layer, head) in programs:
            raise InputError(f"{path} names L{layer}H{head} twice: leave one of them out")
        programs[layer, head] = verified(program)
    check_programs(loaded, programs)
    return loaded, programs, facts


def _check_row(path: Path, layer: Any, head: Any, program: Any) -> None:
    if type(layer) is not int or type(head) is not int or not isinstance(program, str):
        raise InputError(f"{path}: a head is {layer!r:.20}, {head!r:.20}, {program!r:.40}")


def _canonical_text(program: Node | str) -> str:
    return to_text(canonical(parse_or_raise(program) if isinstance(program, str) else program))
