"""What five short sentences flatter: the paper's setting beside an honest one.

    python -m experiments.short_texts --model smollm2-135m --texts stories

The paper chose the best program for each head on five sentences of about twenty tokens and reported
the IoU on the same five.  Here that is done with twenty sentences of our own, for many random
fives.  Beside it stands the same choice reported on the fifteen other sentences, which is what the
choice flatters; and the choice made on documents of 96 tokens, reported on all twenty sentences and
on other documents of 96 tokens, which is what short texts flatter.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from experiments.results import about_texts
from experiments.scoring import ious_of_all
from experiments.subject import Subject, load_subject, subject_options
from experiments.tables import table, with_interval
from interpreter.capture import Captured, capture
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import Texts, load_texts
from synth.scorer import Scorer
from synth.summary import TRIVIAL

CLAIM = (
    "Choosing and reporting on the same five short sentences gives a higher IoU than the same "
    "programs have on documents that were not chosen by."
)
FIVE = 5
DRAWS = 1_000


def sentences() -> Texts:
    """The twenty sentences, of 12 to 21 words."""
    return load_texts(str(files("experiments").joinpath("sentences.jsonl")))


def fives(ious: Tensor, draws: int) -> dict[str, Any]:
    """Chosen on five sentences and reported on the same five, and on all others.

    `ious` is [program, head, sentence].  Means over the draws, with the range that holds 95% of
    them: the draws overlap, so that is no interval of a mean.
    """
    generator = np.random.default_rng(0)
    count = ious.shape[2]
    heads = torch.arange(ious.shape[1])
    found: dict[str, list[float]] = {"same_five": [], "other_sentences": []}
    for _ in range(draws):
        drawn = torch.from_numpy(generator.permutation(count))
        five, others = drawn[:FIVE], drawn[FIVE:]
        best = ious[:, :, five].mean(-1).argmax(0)
        chosen = ious[best, heads]
        found["same_five"].append(float(chosen[:, five].mean()))
        found["other_sentences"].append(float(chosen[:, others].mean()))
    return {
        name: {
            "mean_iou": float(np.mean(values)),
            "range95": [float(bound) for bound in np.percentile(values, [2.5, 97.5])],
        }
        for name, values in found.items()
    }


def by_long(ious: dict[str, Tensor]) -> dict[str, Any]:
    """Chosen on the select documents, reported on the sentences and on the test documents.

    Each of `ious` is [program, head, text].
    """
    best = ious["select"].mean(-1).argmax(0)
    heads = torch.arange(len(best))
    found = {}
    for name in ("sentences", "test"):
        by_text = ious[name][best, heads].mean(0)
        interval = bootstrap_ci95(by_text.tolist())
        found[name] = {"mean_iou": float(by_text.mean()), "ci95": interval}
    return found


def short_results(subject: Subject, short: Captured, draws: int) -> dict[str, Any]:
    scorers = subject.scorers | {"sentences": Scorer(short)}
    pools = {"library": subject.programs.pool, "trivial": list(TRIVIAL), "first": ["first"]}
    results: dict[str, Any] = {}
    for name, pool in pools.items():
        ious = {p: ious_of_all(s, pool, f"{name} on {p}") for p, s in scorers.items()}
        results[name] = {
            "programs": len(pool),
            "chosen_on_five": fives(ious["sentences"], draws),
            "chosen_on_documents": by_long(ious),
        }
    return results


COLUMNS = (
    ("five sentences, the same five", "chosen_on_five", "same_five", "range95"),
    ("five sentences, the fifteen others", "chosen_on_five", "other_sentences", "range95"),
    ("documents, all twenty sentences", "chosen_on_documents", "sentences", "ci95"),
    ("documents, other documents", "chosen_on_documents", "test", "ci95"),
)
POOLS = {"library": "the library", "trivial": "four trivial programs", "first": "the first token"}


def settings_block(records: Sequence[dict[str, Any]]) -> str:
    """Every way to choose and report."""
    rows = [
        [
            f"{record['model']['name']}, {shown}",
            *(
                with_interval(found["mean_iou"], found[bounds])
                for _, chosen, reported, bounds in COLUMNS
                for found in [record["results"][pool][chosen][reported]]
            ),
        ]
        for record in records
        for pool, shown in POOLS.items()
    ]
    return table(["chosen on, reported on", *(title for title, *_ in COLUMNS)], rows)


BLOCKS = {"settings": settings_block}


@click.command()
@subject_options
@click.option("--draws", default=DRAWS, show_default=True, help="Random fives.")
def main(output: Path, draws: int, **which: Any) -> None:
    """Choose and report on the same short sentences, and honestly."""
    subject = load_subject(**which)
    texts = sentences()
    short = capture(subject.loaded, texts, subject.heads, which["max_tokens"])
    subject.write(
        "short_texts",
        CLAIM,
        BLOCKS,
        short_results(subject, short, draws),
        output,
        more=[about_texts(texts, short.tokens)],
    )


if __name__ == "__main__":
    main()
