"""Attacks the parser, the evaluators and the library at length, and records what was tried.

    python -m tests.fuzz texts --count 1000000             the parser, on mutated programs
    python -m tests.fuzz programs --count 1000000          both evaluators, on random programs
    python -m tests.fuzz library --count 100000            the library, on mutated files
    python -m tests.fuzz_coverage parser --count 1000000   the parser, guided by coverage (atheris)
    python -m tests.fuzz_coverage library --count 100000   the import of exports, likewise

Each run writes its counts into `docs/fuzzing.json`; `make fuzz` does all.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

from grammar import limits
from grammar.canonical import canonical, canonical_tree
from grammar.parser import parse
from grammar.printer import to_text
from grammar.rejection import Rejection
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.reference import Reference
from tests.fuzz_library import Target
from tests.random_programs import mutated, random_program, random_tokens

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "fuzzing.json"
FIXTURES = Path(__file__).with_name("fixtures")

MOST_TOKENS = 6
PROGRAMS_PER_BATCH = 64
TOLERANCE = 1e-5


def examples() -> list[str]:
    """The canonical programs and the escape attempts that the tests know."""
    found = []
    for name in ("identity.txt", "escapes.txt"):
        for line in (FIXTURES / name).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                found.append(line.encode().decode("unicode_escape") if "esc" in name else line)
    return found


def attack_parser(text: str, tried: Counter[str]) -> None:
    """Parse anything; what is rejected renders, what is accepted comes back from its own text."""
    tried["executions"] += 1
    tree = parse(text)
    if isinstance(tree, Rejection):
        tried[tree.code] += 1
        assert tree.line >= 1
        assert tree.column >= 1
        tree.render(text).encode()
        json.dumps(tree.as_json())
        return
    tried["accepted"] += 1
    assert_reads_back(tree, tried)
    simpler = canonical(tree)
    assert canonical(simpler) is simpler
    assert_reads_back(simpler, tried)
    assert isinstance(canonical_tree(text), Rejection) or isinstance(parse(to_text(simpler)), Node)


def assert_reads_back(tree: Node, tried: Counter[str]) -> None:
    """A tree's text parses to the tree, where it is not over a limit."""
    text = to_text(tree)
    tried["executions"] += 1
    again = parse(text)
    if len(text) > limits.MAX_PROGRAM_CHARACTERS or tree.size > limits.MAX_PROGRAM_NODES:
        assert isinstance(again, Rejection)
        assert again.code in ("too_long", "too_large")
    else:
        assert isinstance(again, Node)
        assert to_text(again) == text


def attack_evaluators(rng: Random, count: int) -> None:
    """`count` random programs on two random texts: both evaluators agree on distributions."""
    causal = rng.random() < 0.5
    batch = [random_tokens(rng, MOST_TOKENS) for _ in range(2)]
    programs = [random_program(rng) for _ in range(count)]
    evaluator = Evaluator(make_facts(batch, causal=causal))
    matrices = torch.stack([evaluator.matrices(program) for program in programs], dim=1)
    for tokens, found in zip(batch, matrices, strict=True):
        n = len(tokens)
        reference = Reference(tokens, causal=causal)
        expected = torch.tensor([reference.matrix(program) for program in programs])
        for rows in (expected, found[:, :n, :n]):
            assert rows.isfinite().all()
            assert rows.min() >= 0
            assert ((rows.sum(-1) - 1).abs() < TOLERANCE).all()
            assert not (causal and rows.triu(1).any())
        differs = ((found[:, :n, :n] - expected).abs() > TOLERANCE).flatten(1).any(1)
        assert not differs.any(), to_text(programs[int(differs.nonzero()[0])])
        assert not found[:, n:].any()
        assert not found[:, :, n:].any()


def random_texts(rng: Random) -> Iterator[str]:
    """Programs as they print, and mutations of them and of the examples, without end."""
    texts = examples()
    while True:
        program = to_text(random_program(rng))
        yield program
        texts[rng.randrange(len(texts))] = program
        for _ in range(8):
            changed = mutated(rng.choice(texts), program, rng)
            yield changed
            if rng.random() < 0.05:
                texts[rng.randrange(len(texts))] = changed


class Run:
    """One attack: counts, findings, and where they are written."""

    def __init__(self, name: str, about: str, seed: int) -> None:
        self.name, self.about = f"{name}, seed {seed}", about
        self.tried: Counter[str] = Counter()
        self.findings: list[dict[str, str]] = []
        self._start = time.monotonic()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: object, *_: object) -> bool:
        """What was tried until an interruption counts too."""
        self.write()
        return kind is KeyboardInterrupt

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def guarded(self, shown: str, attack: Callable[..., None], *arguments: Any) -> None:
        """Runs one attack; an exception is a finding."""
        try:
            attack(*arguments)
        except Exception as error:
            if len(self.findings) < 20:
                finding = {"input": ascii(shown), "error": f"{type(error).__name__}: {error}"}
                self.findings.append(finding)
                click.echo(finding, err=True)

    def write(self) -> None:
        """Puts the counts under this run's name in the results file."""
        known: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        known[self.name] = {
            "what": self.about,
            **dict(sorted(self.tried.items(), key=lambda item: -item[1])),
            "seconds": round(self.seconds),
            "findings": self.findings,
        }
        RESULTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
        click.echo(json.dumps(known[self.name], indent=2))


@click.group()
def main() -> None:
    """Attack the language; see the module."""
    torch.set_num_threads(1)


COUNT = click.option("--count", required=True, type=int, help="Stop after so many.")
SECONDS = click.option("--seconds", default=1e9, help="Stop after this time even so.")
SEED = click.option("--seed", default=0, show_default=True)


@main.command()
@COUNT
@SECONDS
@SEED
def texts(count: int, seconds: float, seed: int) -> None:
    """Parse mutated programs."""
    with Run("texts", "parser on mutated programs", seed) as run:
        for text in random_texts(Random(seed)):
            run.guarded(text, attack_parser, text, run.tried)
            if run.tried["executions"] >= count or run.seconds > seconds:
                break


@main.command()
@COUNT
@SECONDS
@SEED
def programs(count: int, seconds: float, seed: int) -> None:
    """Evaluate random programs with both evaluators."""
    number = 0
    with Run("programs", "random programs under both evaluators", seed) as run:
        while run.tried["programs"] < count and run.seconds < seconds:
            rng = Random(f"{seed} {number}")
            run.guarded(f"batch {number}", attack_evaluators, rng, PROGRAMS_PER_BATCH)
            number += 1
            run.tried["programs"] += PROGRAMS_PER_BATCH
            run.tried["evaluations"] += 2 * 2 * PROGRAMS_PER_BATCH


@main.command()
@COUNT
@SECONDS
@SEED
def library(count: int, seconds: float, seed: int) -> None:
    """Merge mutated libraries into a whole one."""
    with TemporaryDirectory() as folder, Run("library", "mutated libraries, merged", seed) as run:
        target = Target(Path(folder))
        while run.tried["executions"] < count and run.seconds < seconds:
            number = run.tried["executions"]
            run.guarded(f"library {number}", target.attack, Random(f"{seed} {number}"), run.tried)


if __name__ == "__main__":
    main()
