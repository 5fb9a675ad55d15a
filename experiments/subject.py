"""What a claim is about: a model, a library, and what the model's heads do on some texts.

The stored program of a head, its own, was chosen by the library's run.  Whatever a claim chooses
itself it chooses on the select documents, and reports on the test documents.  A document's part is
its place modulo 4, so that the test documents stay those of the library's run, and of any --limit.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from experiments.results import FOLDER, ROOT, about_texts, file_stem, write
from experiments.tables import Block
from grammar.errors import InputError
from grammar.limits import MAX_EVALUATION_COST
from grammar.parser import parse
from grammar.rejection import Rejection
from interpreter.capture import Captured, Head, capture
from interpreter.cost import program_cost
from interpreter.models import LoadedModel, load_model
from interpreter.texts import Texts, load_texts
from synth.chosen import of_revision, stored_choices
from synth.library import Library
from synth.scorer import Scorer

LIBRARIES = ROOT / "experiments" / "libraries"


@dataclass(frozen=True)
class Programs:
    """What of a library can run, as canonical texts."""

    own: dict[Head, str]
    """The stored choice of each head."""
    pool: list[str]
    """All programs of the library, each once."""
    rejected: Counter[str]
    """How many programs of the library cannot run, by the code of the rejection."""


def shipped(model: str) -> Path:
    """The library that comes with this repository for a model; InputError where there is none."""
    path = LIBRARIES / f"{model}.jsonl"
    if not path.exists():
        raise InputError(f"no library is shipped for {model}: name one by --library")
    return path


def load_programs(place: str | Path, loaded: LoadedModel, max_tokens: int) -> Programs:
    """The programs of a library that may run on texts of so many tokens."""
    with Library.open(place) as library:
        texts = [program.text for program in library.programs()]
        stored = of_revision(place, stored_choices(library, loaded.name, "iou"), loaded)
    pool, rejected = runnable(texts, max_tokens)
    usable = set(pool)
    own = {(c.layer, c.head): c.text for c in stored if c.text in usable}
    if not own:
        raise InputError(f"{place}: none of its {len(stored)} choices can run")
    return Programs(own, pool, rejected)


def runnable(texts: Sequence[str], max_tokens: int) -> tuple[list[str], Counter[str]]:
    """Those that are programs and cost no more than is allowed, and the codes of all others."""
    kept, rejected = [], Counter[str]()
    for text in sorted(set(texts)):
        tree = parse(text)
        if isinstance(tree, Rejection):
            rejected[tree.code] += 1
        elif program_cost(tree, max_tokens) > MAX_EVALUATION_COST:
            rejected["too_costly"] += 1
        else:
            kept.append(text)
    return kept, rejected


@dataclass(frozen=True)
class Subject:
    """A model, its programs, and the patterns of its heads on each part of the texts."""

    loaded: LoadedModel
    library: Path
    programs: Programs
    texts: Texts
    patterns: Mapping[str, Captured]
    """By the name of the part."""

    @property
    def heads(self) -> tuple[Head, ...]:
        return next(iter(self.patterns.values())).heads

    @cached_property
    def scorers(self) -> dict[str, Scorer]:
        """One for each part of the texts."""
        return {part: Scorer(patterns) for part, patterns in self.patterns.items()}

    def stem(self, name: str) -> str:
        """The name of a claim's files."""
        return file_stem(name, self.loaded.name)

    def write(
        self,
        name: str,
        claim: str,
        blocks: Mapping[str, Block],
        results: Mapping[str, Any],
        folder: Path,
        more: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """As `results.write`, of a claim about this; `more` is about further texts.

        All seeds are 0.
        """
        split = self.texts.split()
        texts = [about_texts(split[part], p.tokens) for part, p in self.patterns.items()]
        write(
            name,
            claim=claim,
            blocks=blocks,
            results=results,
            loaded=self.loaded,
            texts=[*texts, *more],
            library=self.library,
            seed=0,
            rejected=self.programs.rejected,
            folder=folder,
        )


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every claim about a model."""
    options = [
        click.option("--model", default="smollm2-135m", show_default=True),
        click.option("--library", help="Default: the one that is shipped for the model."),
        click.option("--every", default=1, show_default=True, help="Only every so many heads."),
        click.option("--limit", type=int, help="At most so many documents."),
        click.option(
            "--output",
            type=click.Path(path_type=Path),
            default=FOLDER,
            help="The folder for the JSON and the picture.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def subject_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every claim about a model on one source of texts."""
    command = click.option("--max-tokens", default=96, show_default=True)(command)
    command = click.option("--texts", default="stories", show_default=True)(command)
    return model_options(command)


def opened(model: str, library: str | None) -> tuple[Path, LoadedModel]:
    """Where the library of a claim is, and its model."""
    return Path(library) if library else shipped(model), load_model(model)


def load_subject(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    texts: str,
    max_tokens: int,
    parts: Sequence[str] = ("select", "test"),
) -> Subject:
    """Loads the model and its library, and captures its heads on parts of the texts."""
    place, loaded = opened(model, library)
    programs = load_programs(place, loaded, max_tokens)
    source = load_texts(texts, limit)
    split = source.split()
    heads = sampled(programs.own, every)
    patterns = {part: capture(loaded, split[part], heads, max_tokens) for part in parts}
    return Subject(loaded, place, programs, source, patterns)


def sampled(own: Iterable[Head], every: int) -> list[Head]:
    """Every so many of the heads that have a program, from all layers alike."""
    return sorted(own)[every // 2 :: every]
