"""Could exact scores be left out?  What bounds would spare, and what they would cost.

    python -m experiments.pruning

The sums of a prediction and of a head over a block of keys bound their sum of minima from above: a
pair whose bound lies under the head's best IoU need not be scored.  Counted is how many pairs are
left when the best is known, as it soon is when the highest bounds are tried first.  But bounds must
be there for all texts before the first pair is left out, so the programs are evaluated twice.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from experiments.bench_command import library_programs
from experiments.results import FOLDER, about_texts, write
from experiments.tables import table
from interpreter.capture import Captured, capture
from interpreter.evaluate import Evaluator
from interpreter.models import load_model
from interpreter.overlap import HeadIoU
from interpreter.texts import OWN_CORPUS, load_texts
from interpreter.threads import use_threads

CLAIM = (
    "Where the best program alone is wanted, bounds could spare most exact scores; the ranking "
    "wants the best of every size."
)
BLOCKS_OF = (2, 4, 8, 16)


def block_sums(matrices: Tensor, size: int) -> Tensor:
    """[matrix, text, query, block]: sums over blocks of `size` keys."""
    keys = matrices.shape[-1]
    padded = torch.nn.functional.pad(matrices, (0, -keys % size))
    sums: Tensor = padded.unflatten(-1, (-1, size)).sum(-1)
    return sums


def bounds(patterns: Captured, count: int) -> dict[str, Any]:
    """For each block size the share of pairs that is left, and the time of bounds and scores."""
    facts = patterns.facts()
    programs = library_programs(count, patterns.tokens)
    Evaluator(facts).matrices(programs[0])  # compiles
    started = time.process_time()
    evaluator = Evaluator(facts)
    predicted = torch.stack([evaluator.matrices(program) for program in programs])
    evaluated = time.process_time() - started
    heads = patterns.attention.transpose(0, 1)
    scorer = HeadIoU(patterns.attention, facts.visible)
    list(scorer.ious(predicted[:2]))  # compiles
    exact, seconds = _timed(scorer, predicted)
    best = exact.amax(0)
    rows = []
    for size in BLOCKS_OF:
        sums = block_sums(heads, size)
        visible = block_sums(facts.visible.float()[None], size)[0] > 0
        bound, spent = _timed(HeadIoU(sums.transpose(0, 1), visible), block_sums(predicted, size))
        left = float((bound >= best - 1e-6).float().mean())
        share = spent / seconds
        rows.append(
            {
                "block": size,
                "left": left,
                "bounds_share": share,
                "admissible": bool((bound >= exact - 1e-5).all()),
                "best_speedup": (evaluated + seconds) / (2 * evaluated + seconds * (share + left)),
                "best_speedup_of_many_heads": 1 / (share + left),
            }
        )
    found = {"programs": count, "heads": len(patterns.heads), "blocks": rows}
    return found | {"evaluation_share": evaluated / (evaluated + seconds)}


def _timed(scorer: HeadIoU, predicted: Tensor) -> tuple[Tensor, float]:
    """[program, head]: mean IoU over texts, and the seconds that it takes."""
    started = time.process_time()
    found = torch.stack(list(scorer.ious(predicted))).mean(1)
    return found, time.process_time() - started


def bounds_block(records: Sequence[Mapping[str, Any]]) -> str:
    """What is left, what it costs, and what could be won at best."""
    (record,) = records
    rows = [
        [
            f"{r['block']} keys",
            f"{r['left']:.0%}",
            f"{r['bounds_share']:.0%}",
            f"{r['best_speedup']:.2f}",
            f"{r['best_speedup_of_many_heads']:.2f}",
        ]
        for r in record["results"]["blocks"]
    ]
    titles = (
        "sums of",
        "pairs left",
        "time of the bounds, of that of all scores",
        f"times as fast at best, {record['results']['heads']} heads",
        "were evaluation free",
    )
    return table(titles, rows)


BLOCKS = {"bounds": bounds_block}


@click.command()
@click.option("--programs", default=300, show_default=True)
@click.option("--documents", default=8, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER)
def main(programs: int, documents: int, output: Path) -> None:
    """Count what bounds would spare, on all heads of SmolLM2."""
    use_threads(1)  # processor seconds
    loaded = load_model("smollm2-135m")
    texts = load_texts(OWN_CORPUS, documents)
    heads = loaded.all_heads
    patterns = capture(loaded, texts, heads, 96)
    write(
        "pruning",
        claim=CLAIM,
        blocks=BLOCKS,
        results=bounds(patterns, programs),
        loaded=loaded,
        texts=[about_texts(texts, patterns.tokens)],
        folder=output,
    )


if __name__ == "__main__":
    main()
