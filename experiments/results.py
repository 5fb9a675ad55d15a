"""One JSON file for every claim and model: the numbers, and all that is needed to get them again.

    write("fit", claim="...", loaded=loaded, texts=[about_texts(texts, tokens)], ...)
    read("fit")

A file holds no date and no duration, unless the claim is about time: the same commit on the same
machine writes the same file.
"""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch

from experiments.tables import Block
from grammar.errors import InputError
from grammar.token_facts import Token
from interpreter.models import LoadedModel
from interpreter.texts import Texts

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "experiments" / "results"
PACKAGES = ("torch", "transformers", "spacy", "numpy", "headscript")
DIGITS = 5
"""After the point: finer differences are rounding."""

PRIVATE = ("output", "kept")
"""Options that say where results go, which change no number."""


def write(
    name: str,
    *,
    claim: str,
    blocks: Mapping[str, Block],
    results: Mapping[str, Any],
    loaded: LoadedModel | None = None,
    texts: Sequence[Mapping[str, Any]] = (),
    library: str | Path | None = None,
    seed: int | None = None,
    rejected: Mapping[str, int] | None = None,
    folder: Path = FOLDER,
) -> Path:
    """Writes the results of the running click command, as `folder`/NAME-MODEL.json.

    They are printed as the pages show them, by `blocks`, with the file.  `name` is that of the
    claim's module, `claim` one sentence; `texts` are as by `about_texts`, `rejected` counts
    programs by the code of their rejection.
    """
    context = click.get_current_context()
    record = {
        "name": name,
        "claim": claim,
        "command": _command(name, context),
        "commit": commit(),
        "model": {"name": _shown(loaded.name), "revision": loaded.revision} if loaded else None,
        "texts": list(texts),
        "library": about_library(library) if library else None,
        "seed": seed,
        "configuration": {
            option: _shown(value)
            for option, value in context.params.items()
            if option not in PRIVATE
        },
        "rejected": dict(rejected or {}),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
        "machine": machine(),
        "results": results,
    }
    path = folder / f"{file_stem(name, loaded.name if loaded else None)}.json"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        _rounded(record), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    path.write_text(text + "\n", encoding="utf-8")
    for block in blocks.values():
        click.echo(block([json.loads(text)]) + "\n")
    click.echo(path)
    return path


def read(name: str, folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The results of a claim, one record for each model, ordered by its name.

    InputError where there are none.
    """
    paths = [*folder.glob(f"{name}.json"), *sorted(folder.glob(f"{name}-*.json"))]
    if not paths:
        raise InputError(f"no results of {name} in {folder}: run `python -m experiments.{name}`")
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def file_stem(name: str, model: str | None) -> str:
    """The name of a claim's files for a model, without their suffix."""
    return name if model is None else f"{name}-{_shown(model).replace('/', '--')}"


def about_texts(texts: Texts, tokens: Sequence[Sequence[Token]] | None = None) -> dict[str, Any]:
    """What says which texts were used: `tokens` are those that the model read of them."""
    read = {} if tokens is None else {"tokens": sum(map(len, tokens))}
    return {"name": texts.name, "sha256": texts.sha256, "documents": len(texts.documents)} | read


def about_library(place: str | Path) -> dict[str, str]:
    with Path(place).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": str(_shown(str(place))), "sha256": digest}


def commit() -> str | None:
    """The commit that is checked out, -dirty where files outside of results and docs differ."""
    found = _git("rev-parse", "HEAD")
    if not found:
        return None
    changed = _git("status", "--porcelain", "--", ".", ":!experiments/results", ":!docs")
    return found + "-dirty" * bool(changed)


def _git(*words: str) -> str:
    # An installed package is no repository, and the machine may lack git.
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu() -> str:
    # platform.processor() says no more than x86_64 on Linux, or nothing.
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _command(name: str, context: click.Context) -> str:
    """The command line of this run: what is not the default, without the folders of files."""
    words = ["python", "-m", f"experiments.{name}"]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        default = parameter.get_default(context)
        # Values of an option that may be repeated come as a tuple, its default as it was given.
        default = tuple(default) if isinstance(default, list) else default
        if parameter.name in PRIVATE or value == default or value is None:
            continue
        option = max(parameter.opts, key=len)
        if isinstance(value, bool):
            words.append(option)
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [option, str(_shown(one))]
    return " ".join(words)


def _shown(value: Any) -> Any:
    """A value of an option; a file or folder by its place in this repository, or by its name."""
    if isinstance(value, tuple):
        return [_shown(one) for one in value]
    if not isinstance(value, str | Path) or not os.path.exists(value):
        return value
    path = Path(value).resolve()
    inside = path.is_relative_to(ROOT.resolve())
    return path.relative_to(ROOT.resolve()).as_posix() if inside else path.name


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
