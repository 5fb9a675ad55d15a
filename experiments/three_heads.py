"""Three heads with their programs, real attention above what is predicted: the paper's figure 3.

    python -m experiments.three_heads --model smollm2-135m --texts stories

The heads are not picked by hand: of those whose stored programs are short they are the ones that
gain most over the best trivial program on the select documents, of different categories.
What is drawn is the test document in which the heads look least at the first token, where there is
most to see; the scores are means over all test documents.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from torch import Tensor

from experiments.pictures import new_figure, save
from experiments.scoring import best_for_heads, ious_of_all, ious_of_chosen
from experiments.subject import Subject, load_subject, subject_options
from experiments.tables import table, with_interval
from grammar.english import sentence
from grammar.parser import parse_or_raise
from interpreter.capture import Captured, Head
from interpreter.statistics import bootstrap_ci95
from synth.categories import category
from synth.heads import head_name
from synth.summary import TRIVIAL, shown

CLAIM = "A person can read what some heads do, and see that it is so."
SHOWN_TOKENS = 28


def most_gained(subject: Subject, count: int) -> list[Head]:
    """Of the tenth with the shortest programs: the largest gains on the select documents.

    Each is of another category.
    """
    texts = subject.programs.own
    by_length = sorted(subject.heads, key=lambda head: (len(texts[head]), head))
    shortest = by_length[: -(-len(by_length) // 10)]
    select = subject.scorers["select"]
    own, _ = ious_of_chosen(select, texts)
    trivial = ious_of_all(select, TRIVIAL, "Trivial programs").mean(-1).amax(0)
    gains = dict(zip(subject.heads, (own.mean(1) - trivial).tolist(), strict=True))
    found: dict[str, Head] = {}
    for head in sorted(shortest, key=lambda head: gains[head], reverse=True):
        found.setdefault(category(parse_or_raise(texts[head])), head)
    return list(found.values())[:count]


def head_results(subject: Subject, head: Head) -> dict[str, Any]:
    """Program and scores of one head on the test documents; the best trivial one by the select."""
    text = subject.programs.own[head]
    select, test = subject.scorers["select"], subject.scorers["test"]
    index = subject.heads.index(head)
    trivial = best_for_heads(select, TRIVIAL)[head]
    ious, of_trivial = (found[:, index] for found in test.ious([text, trivial]))
    return {
        "layer": head[0],
        "head": head[1],
        "program": text,
        "sentence": sentence(parse_or_raise(text)),
        "category": category(parse_or_raise(text)),
        "iou": float(ious.mean()),
        "iou_ci95": bootstrap_ci95(ious.tolist()),
        "best_trivial": trivial,
        "best_trivial_iou": float(of_trivial.mean()),
    }


def most_to_see(patterns: Captured, heads: Sequence[Head]) -> int:
    """The text in whose shown tokens these heads give the first token least."""
    columns = [patterns.heads.index(head) for head in heads]
    return int(patterns.attention[:, columns, :SHOWN_TOKENS, 0].mean((1, 2)).argmin())


def draw(subject: Subject, heads: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Real weights above predicted ones, a column for each head."""
    scorer = subject.scorers["test"]
    drawn = most_to_see(scorer.patterns, [(found["layer"], found["head"]) for found in heads])
    tokens = scorer.patterns.tokens[drawn][:SHOWN_TOKENS]
    words = [shown(token) for token in tokens]
    figure, axes = new_figure(2, len(heads), width=3.6 * len(heads), height=7.6)
    for column, found in enumerate(heads):
        head = (found["layer"], found["head"])
        title = f"{head_name(*head)}   IoU {found['iou']:.2f}\n"
        axes[0][column].set_title(
            title + textwrap.fill(found["program"], 46), fontsize=7, loc="left", family="monospace"
        )
        for row, matrix in enumerate(
            (scorer.patterns.head(head), scorer.matrices(found["program"]))
        ):
            _draw(axes[row][column], matrix[drawn], words, labels=column == 0)
    axes[0][0].set_ylabel("real: query token")
    axes[1][0].set_ylabel("predicted by the program")
    for axis in axes[1]:
        axis.set_xlabel("key token", fontsize=8)
    save(figure, path)


def _draw(axis: Any, matrix: Tensor, words: list[str], *, labels: bool) -> None:
    n = len(words)
    # Square root: small weights are seen too.
    axis.imshow(np.sqrt(matrix[:n, :n].numpy()), cmap="viridis", vmin=0, vmax=1)
    axis.set_xticks(range(n), words, rotation=90, fontsize=5)
    axis.set_yticks(range(n), words if labels else [], fontsize=5)


def heads_block(records: Sequence[dict[str, Any]]) -> str:
    """The heads of every model with their programs."""
    rows = []
    for record in records:
        for head in record["results"]["heads"]:
            trivial = f"`{head['best_trivial']}` {head['best_trivial_iou']:.3f}"
            rows.append(
                [
                    f"{record['model']['name']} {head_name(head['layer'], head['head'])}",
                    f"`{head['program']}`",
                    head["category"],
                    with_interval(head["iou"], head["iou_ci95"]),
                    trivial,
                ]
            )
    titles = ["head", "program", "category", "IoU (95% interval)", "best trivial"]
    return table(titles, rows, left=3)


def lead_block(records: Sequence[dict[str, Any]]) -> str:
    """The shortest of the last model's programs, read aloud."""
    record = records[-1]
    head = min(record["results"]["heads"], key=lambda found: len(found["program"]))
    return "\n".join(
        [
            "```",
            head["program"],
            "```",
            "",
            f"{head['sentence']} That is head {head['head']} of layer {head['layer']} of "
            f"`{record['model']['name']}`, and it is checked: on documents that no step has seen, "
            f"the program's attention overlaps the real one with an IoU of {head['iou']:.2f}, "
            f"the best trivial program's with {head['best_trivial_iou']:.2f}.",
        ]
    )


BLOCKS = {"heads": heads_block, "lead": lead_block}


@click.command()
@subject_options
@click.option("--heads", "count", default=3, show_default=True, help="How many heads.")
def main(output: Path, count: int, **which: Any) -> None:
    """Draw real and predicted attention of heads whose short programs gain most."""
    subject = load_subject(**which)
    heads = [head_results(subject, head) for head in most_gained(subject, count)]
    subject.write("three_heads", CLAIM, BLOCKS, {"heads": heads}, output)
    draw(subject, heads, output / f"{subject.stem('three_heads')}.png")


if __name__ == "__main__":
    main()
