"""Does a score of a program tell what its head's replacement costs?  Rank correlations over heads.

    python -m experiments.head_damage

Damage is what replacing a head alone does to the model's predictions (`synth.ordering.damages`).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.results import about_texts, write
from experiments.stand_ins import StandIns, stand_ins, texts_seen
from experiments.subject import model_options, opened
from experiments.tables import Block, table, with_interval
from interpreter.capture import capture
from interpreter.evaluate import Evaluator
from interpreter.scores import iou, iou_no_sink, output_error
from interpreter.statistics import RESAMPLES
from interpreter.texts import Texts
from synth.faithfulness import reported_and_ordering
from synth.heads import head_name
from synth.ordering import damages

CLAIM = "What a program's scores tell about the damage of putting it in its head's place."
SCORES = ("iou", "iou_no_sink", "output_error")


@click.command()
@model_options
@click.option("--texts", default="stories", show_default=True)
@click.option("--order-texts", help="Texts whose select documents are used: see `replace --help`.")
@click.option("--choice", help="Which choice of each head.  [default: the most faithful]")
@click.option("--max-tokens", type=click.IntRange(2), default=96, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def head_damage(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    texts: str,
    order_texts: str | None,
    choice: str | None,
    max_tokens: int,
    as_json: bool,
) -> None:
    """Rank heads by damage, by IoU and by output error, and say how far the ranks agree."""
    place, loaded = opened(model, library)
    _, select = reported_and_ordering(texts, order_texts, texts_seen(place))
    select = Texts(select.name, select.documents[:limit])
    heads = about_heads(stand_ins(place, loaded, choice, max_tokens, every), select, max_tokens)
    damage = [head["damage"] for head in heads]
    results = {
        "heads": heads,
        "spearman": {
            score: spearman_with_ci95([head[score] for head in heads], damage) for score in SCORES
        },
    }
    path = write(
        "head_damage",
        claim=CLAIM,
        loaded=loaded,
        texts=[about_texts(select)],
        library=place,
        seed=0,
        results=results,
        folder=output,
    )
    draw(results, loaded.name, path.with_suffix(".png"))
    if as_json:
        click.echo(json.dumps(results, indent=2))
        return
    click.echo(correlations([{"model": {"name": model}, "results": results}]))


def correlations(records: Sequence[Mapping[str, Any]]) -> str:
    """A table of rank correlations with damage, a row for each model."""
    rows = []
    for record in records:
        found = record["results"]["spearman"]
        cells = [with_interval(found[score]["rho"], found[score]["ci95"], 2) for score in SCORES]
        rows.append([record["model"]["name"], str(len(record["results"]["heads"])), *cells])
    return table(["model", "heads", *(f"damage and {score}" for score in SCORES)], rows)


BLOCKS: dict[str, Block] = {"correlations": correlations}


def about_heads(programs: StandIns, texts: Texts, tokens: int) -> list[dict[str, Any]]:
    """Scores of each program on the texts, and its damage on the first of them."""
    heads = list(programs.trees)
    damage = damages(programs.judged(texts, tokens))
    seen = capture(programs.loaded, texts, heads, tokens)
    evaluator = Evaluator(seen.facts())
    found = []
    for index, head in enumerate(heads):
        real, values = seen.attention[:, index], seen.values[:, index]
        predicted = evaluator.matrices(programs.trees[head])
        scores = {
            "iou": iou(real, predicted),
            "iou_no_sink": iou_no_sink(real, predicted),
            "output_error": output_error(real, predicted, values),
        }
        means = {score: float(scores[score].mean()) for score in SCORES}
        found.append({"head": head_name(*head), "damage": damage[head]} | means)
    return found


def spearman_with_ci95(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """The rank correlation, and its 95% interval by bootstrap over the pairs."""
    pairs = np.array([first, second])
    draws = np.random.default_rng(0).integers(pairs.shape[1], size=(RESAMPLES, pairs.shape[1]))
    drawn = [spearman(*pairs[:, draw]) for draw in draws]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return {"rho": spearman(*pairs), "ci95": [float(low), float(high)]}


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """The correlation of ranks; equal values share the mean of theirs, NaN where all are equal."""
    centred = [ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second))]
    size = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum()) / size if size else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (counts.cumsum() - (counts - 1) / 2)[place]
    return ranks


def draw(results: Mapping[str, Any], model: str, path: Path) -> None:
    """Damage of each head against IoU, and against output error."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4.2), sharey=True)
    for axis, score in zip(axes, ("iou", "output_error"), strict=True):
        found = results["spearman"][score]
        low, high = found["ci95"]
        values = [head[score] for head in results["heads"]]
        axis.scatter(values, [head["damage"] for head in results["heads"]], s=9, alpha=0.6)
        axis.set_title(f"Spearman {found['rho']:+.2f} ({low:+.2f} – {high:+.2f})", fontsize=10)
        axis.set_xlabel({"iou": "IoU", "output_error": "output error"}[score])
        axis.set_yscale("log")
    axes[1].set_xscale("log")
    axes[0].set_ylabel("damage when replaced alone (nats a token)")
    figure.suptitle(f"{model}, {len(results['heads'])} heads", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    head_damage()
