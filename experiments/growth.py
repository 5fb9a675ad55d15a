"""How time and memory grow: programs, texts, tokens and heads doubled, one at a time.

    python -m experiments.growth

Every point is a process of its own, so that its memory is its own too, and has one thread, so that
what else the machine does counts little: shards of texts go by, the programs are evaluated on each
and scored against all heads, whose patterns are random.  Seconds are the processor's.  Of each
size the exponent of time and of memory is fitted on a log-log scale.  The selections of which the
programs are made stand beside: the fewer are new among more programs, the less each one costs.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from experiments.memory import peak_memory_mb
from experiments.pictures import new_figure, save
from experiments.results import FOLDER, write
from experiments.tables import table

CLAIM = (
    "Time grows no worse than linearly with programs, texts and heads and quadratically with "
    "tokens; memory is bounded in programs and texts."
)
BASE = {"programs": 250, "texts": 16, "tokens": 96, "heads": 68}
"""The other sizes, while one of them grows."""
SIZES = {
    "programs": (125, 250, 500, 1000, 2000),
    "texts": (8, 16, 32, 64),
    "tokens": (32, 64, 128, 256),
    "heads": (34, 68, 135, 270),
}
MEASURES = ("evaluate_seconds", "score_seconds", "peak_memory_mb")
FORMS = (".3g", ".3g", ",")
REPEATS = 2


def texts_to(tokens: int, count: int, path: Path) -> None:
    """Writes so many texts of so many tokens of SmolLM2, made of the project's own stories."""
    from dataclasses import asdict

    from interpreter.models import load_model, load_spacy
    from interpreter.texts import OWN_CORPUS, load_texts
    from interpreter.tokens import read_tokens

    stories = load_texts(OWN_CORPUS).documents
    joined = [" ".join([*stories[k:], *stories[:k]][: 1 + tokens // 40]) for k in range(count)]
    loaded = load_model("smollm2-135m")
    read = read_tokens(joined, loaded.tokenizer, load_spacy(), tokens)
    path.write_text(json.dumps([[asdict(token) for token in text] for text in read]))


def measured(path: Path, programs: int, texts: int, tokens: int, heads: int) -> dict[str, Any]:
    """Seconds of each step and the peak of memory, in this process."""
    import torch

    from experiments.bench_command import library_programs
    from grammar.token_facts import Token
    from interpreter.threads import use_threads

    use_threads(1)
    read = json.loads(path.read_text())
    documents = [[Token(**token) for token in text[:tokens]] for text in read[:texts]]
    chosen = library_programs(programs, documents)
    torch.manual_seed(0)
    _run(chosen[:1], documents[:1], heads=1)  # compiles
    runs = [_run(chosen, documents, heads) for _ in range(REPEATS)]
    terms = [
        node.children[0]
        for program in chosen
        for node in program.walk()
        if node.op in ("part", "logit") and node.children[0].op != "score"
    ]
    return {
        "evaluate_seconds": min(evaluate for evaluate, _ in runs),
        "score_seconds": min(score for _, score in runs),
        "peak_memory_mb": peak_memory_mb(),
        "selections": len(terms),
        "distinct_selections": len(set(terms)),
    }


def _run(chosen: Sequence[Any], documents: Sequence[Any], heads: int) -> tuple[float, float]:
    """Seconds of evaluating and of scoring, shard by shard."""
    import torch

    from interpreter.engine import TEXTS
    from interpreter.evaluate import Evaluator
    from interpreter.facts import make_facts
    from interpreter.overlap import HeadIoU

    evaluating = 0.0

    def evaluated(evaluator: Evaluator) -> Iterator[torch.Tensor]:
        nonlocal evaluating
        for program in chosen:
            started = time.process_time()
            matrices = evaluator.matrices(program)
            evaluating += time.process_time() - started
            yield matrices

    whole = 0.0
    total = torch.zeros(len(chosen), heads)
    for first in range(0, len(documents), TEXTS):
        facts = make_facts(documents[first : first + TEXTS], causal=True)
        real = torch.rand(len(facts.real), heads, *facts.visible.shape[1:])
        real *= facts.visible[:, None]
        real /= real.sum(-1, keepdim=True)
        scorer, evaluator = HeadIoU(real, facts.visible), Evaluator(facts)
        started = time.process_time()
        for row, ious in enumerate(scorer.ious(evaluated(evaluator))):
            total[row] += ious.sum(0)
        whole += time.process_time() - started
    return evaluating, whole - evaluating


def measured_alone(path: Path, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The same in a fresh process."""
    command = [sys.executable, "-m", "experiments.growth", "--one", str(path)]
    done = subprocess.run(
        command, input=json.dumps(dict(sizes)), capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the values against the sizes on a log-log scale."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def growth(sizes: Mapping[str, Sequence[int]], base: Mapping[str, int]) -> dict[str, Any]:
    """For each size its points, and the exponents of all that was measured."""
    found: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "texts.json"
        texts_to(max(sizes["tokens"]), max(sizes["texts"]), path)
        for name, values in sizes.items():
            points = []
            for value in values:
                points.append({name: value} | measured_alone(path, {**base, name: value}))
                click.echo(f"{name} {value}: {points[-1]}", err=True)
            names = (*MEASURES, *(("distinct_selections",) if name == "programs" else ()))
            found[name] = {
                "points": points,
                "exponents": {m: exponent(values, [p[m] for p in points]) for m in names},
            }
    return found


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Seconds and memory against each size, on log-log scales."""
    figure, axes = new_figure(2, len(results), width=12, height=5.5)
    for column, (name, found) in enumerate(results.items()):
        sizes = [point[name] for point in found["points"]]
        for row, measures in enumerate((MEASURES[:2], MEASURES[2:])):
            for measure in measures:
                slope = found["exponents"][measure]
                label = f"{measure.rsplit('_', 1)[0].replace('_', ' ')}: {slope:.2f}"
                axes[row][column].loglog(
                    sizes, [point[measure] for point in found["points"]], "o-", label=label
                )
            axes[row][column].legend(title="exponent")
            axes[row][column].set_xlabel(name)
            axes[row][column].set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes[row][column].minorticks_off()
        axes[1][column].set_ylim(100, 10_000)
    axes[0][0].set_ylabel("seconds")
    axes[1][0].set_ylabel("MB at most")
    save(figure, path)


def exponents_block(records: Sequence[Mapping[str, Any]]) -> str:
    """The exponents, and the first and last point of each size."""
    (record,) = records
    rows = []
    for name, found in record["results"].items():
        first, last = found["points"][0], found["points"][-1]
        cells = [
            f"{first[m]:{form}} → {last[m]:{form}} ({found['exponents'][m]:.2f})"
            for m, form in zip(MEASURES, FORMS, strict=True)
        ]
        rows.append([f"{name} {first[name]:,} → {last[name]:,}", *cells])
    programs = record["results"]["programs"]
    first, last = programs["points"][0], programs["points"][-1]
    base = record["results"]["programs"]["points"]
    return "\n".join(
        [
            table(["grown", "evaluating, s", "scoring, s", "memory, MB"], rows),
            "",
            f"Of the {last['selections']:,} selections in {last['programs']:,} programs "
            f"{last['distinct_selections']:,} are distinct, of the {first['selections']:,} in "
            f"{first['programs']:,} {first['distinct_selections']:,}: exponent "
            f"{programs['exponents']['distinct_selections']:.2f}, over {len(base)} points.",
        ]
    )


BLOCKS = {"exponents": exponents_block}


@click.command()
@click.option("--quick", is_flag=True, help="Two points of each size, for a first look.")
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER)
@click.option("--one", type=click.Path(path_type=Path), hidden=True)
def main(quick: bool, output: Path, one: Path | None) -> None:
    """Measure how time and memory grow."""
    if one is not None:
        click.echo(json.dumps(measured(one, **json.loads(sys.stdin.read()))))
        return
    sizes = {name: values[:2] for name, values in SIZES.items()} if quick else SIZES
    results = growth(sizes, BASE)
    path = write("growth", claim=CLAIM, blocks=BLOCKS, results=results, folder=output)
    draw(results, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
