"""Where in a model its heads are predicted, and by what kind of program: the paper's grids.

    python -m experiments.grids --model smollm2-135m --texts stories

For every head the IoU of its stored program on the test documents and the category of that program
(see docs/library.md), as two pictures of layers and heads.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from torch import Tensor

from experiments.pictures import new_figure, save
from experiments.scoring import ious_of_chosen
from experiments.subject import Subject, load_subject, subject_options
from experiments.tables import table
from grammar.parser import parse_or_raise
from interpreter.statistics import bootstrap_ci95
from synth.categories import Category, category

CLAIM = "How well a head is predicted, and what kind of program predicts it, depends on its layer."
CATEGORIES: tuple[str, ...] = get_args(Category)


def grid_results(subject: Subject) -> dict[str, Any]:
    full, rest = ious_of_chosen(subject.scorers["test"], subject.programs.own)
    heads = [
        {
            "layer": head[0],
            "head": head[1],
            "iou": float(full[k].mean()),
            "iou_no_sink": float(rest[k].mean()),
            "category": category(parse_or_raise(subject.programs.own[head])),
        }
        for k, head in enumerate(subject.heads)
    ]
    layers = sorted({layer for layer, _ in subject.heads})
    return {
        "heads": heads,
        "layers": [_layer(layer, heads, full, rest) for layer in layers],
        "categories": [_category(name, heads) for name in CATEGORIES],
    }


def _layer(
    layer: int, heads: Sequence[Mapping[str, Any]], full: Tensor, rest: Tensor
) -> dict[str, Any]:
    here = [k for k, head in enumerate(heads) if head["layer"] == layer]
    return {
        "layer": layer,
        "mean_iou": float(full[here].mean()),
        "mean_iou_ci95": bootstrap_ci95(full[here].mean(0).tolist()),
        "mean_iou_no_sink": float(rest[here].mean()),
        "categories": dict(Counter(heads[k]["category"] for k in here)),
    }


def _category(name: str, heads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    here = [head for head in heads if head["category"] == name]
    means = {
        f"mean_{score}": float(np.mean([head[score] for head in here])) if here else None
        for score in ("iou", "iou_no_sink")
    }
    return {"category": name, "heads": len(here), **means}


def draw(results: Mapping[str, Any], title: str, path: Path) -> None:
    """IoU with and without the first token, and the category, of every head."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    layers = 1 + max(head["layer"] for head in results["heads"])
    width = 1 + max(head["head"] for head in results["heads"])
    figure, axes = new_figure(1, 3, width=11, height=2.2 + 0.2 * layers)
    for axis, score in zip(axes[0], ("iou", "iou_no_sink"), strict=False):
        image = axis.imshow(_grid(results, score, layers, width), vmin=0, vmax=1, aspect="auto")
        figure.colorbar(image, ax=axis)
    colours = ListedColormap([f"C{k}" for k in range(len(CATEGORIES))])
    numbers = _grid(results, "category", layers, width)
    axes[0][2].imshow(numbers, cmap=colours, vmin=-0.5, vmax=len(CATEGORIES) - 0.5, aspect="auto")
    patches = [Patch(color=f"C{k}", label=name) for k, name in enumerate(CATEGORIES)]
    axes[0][2].legend(handles=patches, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    titles = ("IoU of the stored program", "without the first token", "category of the program")
    for axis, text in zip(axes[0], titles, strict=True):
        axis.set_title(f"{title}: {text}", fontsize=8)
        axis.set_xlabel("head")
        axis.set_xticks(range(width))
    axes[0][0].set_ylabel("layer")
    save(figure, path)


def _grid(results: Mapping[str, Any], field: str, layers: int, width: int) -> np.ndarray:
    """[layer, head]: a score or the number of the category; NaN where no head was scored."""
    grid = np.full((layers, width), np.nan)
    for head in results["heads"]:
        value = head[field]
        number = CATEGORIES.index(value) if isinstance(value, str) else value
        grid[head["layer"], head["head"]] = number
    return grid


def layers_block(records: Sequence[dict[str, Any]]) -> str:
    """Best and worst layers by model."""
    rows = []
    for record in records:
        ranked = sorted(record["results"]["layers"], key=lambda layer: -layer["mean_iou"])
        rows.append(
            [
                record["model"]["name"],
                ", ".join(f"{one['layer']} ({one['mean_iou']:.2f})" for one in ranked[:3]),
                ", ".join(f"{one['layer']} ({one['mean_iou']:.2f})" for one in ranked[-3:]),
            ]
        )
    return table(["", "best layers (mean IoU)", "worst layers (mean IoU)"], rows)


def categories_block(records: Sequence[dict[str, Any]]) -> str:
    """How many heads are of each category, and how well they are predicted."""
    rows = []
    for record in records:
        for one in record["results"]["categories"]:
            if one["heads"]:
                values = [f"{one['mean_iou']:.3f}", f"{one['mean_iou_no_sink']:.3f}"]
                rows.append(
                    [f"{record['model']['name']}, {one['category']}", str(one["heads"]), *values]
                )
    return table(["", "heads", "mean IoU", "without the first token"], rows)


BLOCKS = {"layers": layers_block, "categories": categories_block}


@click.command()
@subject_options
def main(output: Path, **which: Any) -> None:
    """Score the stored program of every head and say of what category it is."""
    subject = load_subject(**which, parts=("test",))
    results = grid_results(subject)
    subject.write("grids", CLAIM, BLOCKS, results, output)
    draw(results, subject.loaded.name, output / f"{subject.stem('grids')}.png")


if __name__ == "__main__":
    main()
