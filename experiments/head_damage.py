"""Does a score of a program tell what its head's replacement costs?  Rank correlations over heads.

    python -m experiments.head_damage

Damage is what replacing a head alone does to the model's predictions (`synth.ordering.damages`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from experiments.pictures import new_figure, save
from experiments.results import about_texts, write
from experiments.stand_ins import StandIns, kinds_of, stand_ins, texts_seen
from experiments.subject import model_options, opened
from experiments.tables import Block, table
from interpreter.capture import capture
from interpreter.evaluate import Evaluator
from interpreter.scores import iou, iou_no_sink, output_error
from interpreter.statistics import RESAMPLES
from interpreter.texts import Texts
from synth.chosen import MOST_FAITHFUL
from synth.faithfulness import reported_and_ordering
from synth.heads import head_name
from synth.ordering import damages

CLAIM = "What a program's scores tell about the damage of putting it in its head's place."
SCORES = ("iou", "iou_no_sink", "output_error")


@click.command()
@model_options
@click.option("--texts", default="stories", show_default=True)
@click.option("--order-texts", help="Texts whose select documents are used: see `replace --help`.")
@click.option("--choices", default=",".join(MOST_FAITHFUL), show_default=True)
@click.option("--max-tokens", type=click.IntRange(2), default=96, show_default=True)
def head_damage(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    texts: str,
    order_texts: str | None,
    choices: str,
    max_tokens: int,
) -> None:
    """Rank heads by damage, by IoU and by output error, and say how far the ranks agree."""
    place, loaded = opened(model, library)
    _, select = reported_and_ordering(texts, order_texts, texts_seen(place))
    select = Texts(select.name, select.documents[:limit])
    found = [
        {"choice": choice}
        | about_choice(stand_ins(place, loaded, choice, max_tokens, every), select, max_tokens)
        for choice in kinds_of(place, loaded, choices.split(","))
    ]
    results = {"choices": found}
    path = write(
        "head_damage",
        claim=CLAIM,
        blocks=BLOCKS,
        loaded=loaded,
        texts=[about_texts(select)],
        library=place,
        seed=0,
        results=results,
        folder=output,
    )
    draw(results, loaded.name, path.with_suffix(".png"))


def correlations(records: Sequence[Mapping[str, Any]]) -> str:
    """A table of rank correlations with damage, a row for each model and choice."""
    rows = []
    for record in records:
        for of_choice in record["results"]["choices"]:
            found = of_choice["spearman"]
            name = f"{record['model']['name']}, {of_choice['choice']}"
            cells = [_shown(found[score]) for score in SCORES]
            rows.append([name, str(len(of_choice["heads"])), *cells])
    return table(["programs", "heads", *(f"damage and {score}" for score in SCORES)], rows)


def _shown(correlation: Mapping[str, Any]) -> str:
    if correlation["rho"] is None:
        return "–"
    low, high = correlation["ci95"]
    return f"{correlation['rho']:+.2f} ({low:+.2f} to {high:+.2f})"


BLOCKS: dict[str, Block] = {"correlations": correlations}


def about_choice(programs: StandIns, texts: Texts, tokens: int) -> dict[str, Any]:
    """Each head's scores and damage, and the rank correlations of these."""
    heads = about_heads(programs, texts, tokens)
    damage = [head["damage"] for head in heads]
    scores = {score: [head[score] for head in heads] for score in SCORES}
    correlated = {score: spearman_with_ci95(scores[score], damage) for score in SCORES}
    return {"heads": heads, "spearman": correlated}


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
    """The rank correlation, and its 95% interval by bootstrap over the pairs.

    None and None where the values of one side are all equal.
    """
    pairs = np.array([first, second])
    rho = spearman(*pairs)
    if np.isnan(rho):
        return {"rho": None, "ci95": None}
    draws = np.random.default_rng(0).integers(pairs.shape[1], size=(RESAMPLES, pairs.shape[1]))
    drawn = [spearman(*pairs[:, draw]) for draw in draws]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return {"rho": rho, "ci95": [float(low), float(high)]}


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
    """Damage of each head against IoU, and against output error; a row for each choice."""
    choices = results["choices"]
    figure, axes = new_figure(len(choices), 2, 9, 3.4 * len(choices) + 0.8)
    for row, of_choice in zip(axes, choices, strict=True):
        for axis, score in zip(row, ("iou", "output_error"), strict=True):
            found = of_choice["spearman"][score]
            values = [head[score] for head in of_choice["heads"]]
            axis.scatter(values, [head["damage"] for head in of_choice["heads"]], s=9, alpha=0.6)
            axis.set_title(f"{of_choice['choice']}: Spearman {_shown(found)}", fontsize=10)
            axis.set_xlabel({"iou": "IoU", "output_error": "output error"}[score])
            axis.set_yscale("log")
        row[1].set_xscale("log")
        for axis in row:
            axis.sharey(axes[0][0])
        row[0].set_ylabel("damage when replaced alone\n(nats a token)")
    figure.suptitle(f"{model}, {len(choices[0]['heads'])} heads", fontsize=10)
    save(figure, path)


if __name__ == "__main__":
    head_damage()
