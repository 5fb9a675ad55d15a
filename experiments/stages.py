"""What each stage of the search is worth: the program of a head after it.

    python -m experiments.stages --model smollm2-135m --texts stories --every 20

The search starts from nothing but the trivial programs, the prompt's worked examples and the plain
start, so that what is found is the search's own; then each head may have any program of the stored
library, those of other heads among them.  All is found on train documents, what is chosen is chosen
on select documents, and reported are the test documents.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from experiments.subject import Subject, load_subject, subject_options
from experiments.tables import Block, table, with_interval
from grammar.parser import parse_or_raise
from grammar.tree import Node
from interpreter.capture import Head
from interpreter.evaluate import Evaluator
from interpreter.facts import on_first
from interpreter.progress import progress_bar
from interpreter.scores import iou
from interpreter.statistics import bootstrap_ci95
from synth.library_view import terms
from synth.prompt import EXAMPLES
from synth.refining import START, Refinement, Refiner, best_structures
from synth.summary import TRIVIAL

CLAIM = "Each stage of the search finds programs that predict heads better than those before it."

STAGES: Mapping[str, Callable[[Refinement], Node]] = {
    "constants fitted": lambda found: found.paths[0].fitted,
    "grown": lambda found: [found.paths[0].fitted, *found.paths[0].grown][-1],
    "reshaped": lambda found: found.paths[0].programs[-1],
    "the best of three starts": lambda found: found.best.programs[-1],
    "cut back, grown and reshaped again": lambda found: [*found.best.programs, *found.again][-1],
    "fitted on all, pruned": lambda found: found.last,
}


class Stages:
    """Finds programs for heads of a subject, and scores them on its select and test documents."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        train = subject.patterns["train"]
        self._texts = sorted({*EXAMPLES, START})
        self.trees = [parse_or_raise(text) for text in self._texts]
        self._refiner = Refiner(train.tokens, train.causal, self._texts)
        self._quick = self._refiner.quick
        self._evaluators = {
            part: Evaluator(subject.patterns[part].facts()) for part in ("select", "test")
        }

    def tried(self, head: Head) -> list[float]:
        """The score of every program that is tried, on the first train documents."""
        few = on_first(self._subject.patterns["train"].head(head), self._quick.evaluator.facts)
        return [self._quick.score(tree, few) for tree in self.trees]

    def refined(self, head: Head, tried: Sequence[float]) -> Refinement:
        target = self._subject.patterns["train"].head(head)
        return self._refiner.refined(best_structures(self.trees, tried), target)

    def ious(self, part: str, head: Head, program: Node) -> Tensor:
        """[text]."""
        target = self._subject.patterns[part].head(head)
        return iou(target, self._evaluators[part].matrices(program))

    def best(self, head: Head, programs: Sequence[Node]) -> Node:
        """The best on the select documents."""
        return max(programs, key=lambda program: float(self.ious("select", head, program).mean()))


def measured(subject: Subject) -> list[dict[str, Any]]:
    """Mean IoU and size after each stage, and what the stage added to the one before."""
    stages = Stages(subject)
    pool = [parse_or_raise(text) for text in subject.programs.pool]
    trivial = [parse_or_raise(text) for text in TRIVIAL]
    names = ("best trivial", "tried", *STAGES, "or any of the library")
    ious: dict[str, list[Tensor]] = {name: [] for name in names}
    sizes: dict[str, list[int]] = {name: [] for name in names}
    with progress_bar() as bar:
        for head in bar.track(subject.heads, description="Refining"):
            tried = stages.tried(head)
            found = stages.refined(head, tried)
            programs = {
                "best trivial": stages.best(head, trivial),
                "tried": stages.trees[tried.index(max(tried))],
                **{name: of(found) for name, of in STAGES.items()},
                "or any of the library": stages.best(head, [found.last, *pool]),
            }
            for name, program in programs.items():
                ious[name].append(stages.ious("test", head, program))
                sizes[name].append(terms(program))
    rows, before = [], None
    for name in names:
        now = torch.stack(ious[name])
        row = {
            "stage": name,
            "mean_iou": float(now.mean()),
            "ci95": bootstrap_ci95(now.mean(0).tolist()),
            "mean_terms": sum(sizes[name]) / len(sizes[name]),
        }
        if before is not None:
            gain = (now - before).mean(0)
            row |= {"gain": float(gain.mean()), "gain_ci95": bootstrap_ci95(gain.tolist())}
        rows.append(row)
        before = now
    return rows


def stages_block(records: Sequence[Mapping[str, Any]]) -> str:
    """A row for every model and stage."""
    rows = []
    for record in records:
        for row in record["results"]["stages"]:
            gain = ""
            if "gain" in row:
                low, high = row["gain_ci95"]
                gain = f"{row['gain']:+.3f} ({low:+.3f} to {high:+.3f})"
            score = with_interval(row["mean_iou"], row["ci95"])
            name = f"{record['model']['name']}, {row['stage']}"
            rows.append([name, score, gain, f"{row['mean_terms']:.1f}"])
    about = "; ".join(f"{r['model']['name']}: {r['results']['heads']} heads" for r in records)
    return table(["after", "IoU", "gained", "terms"], rows) + f"\n\n{about}."


BLOCKS: dict[str, Block] = {"stages": stages_block}


@click.command()
@subject_options
def main(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    texts: str,
    max_tokens: int,
) -> None:
    """Refine programs for a sample of heads, and report IoU after each stage."""
    parts = ("train", "select", "test")
    subject = load_subject(model, library, every, limit, texts, max_tokens, parts)
    results = {"heads": len(subject.heads), "stages": measured(subject)}
    subject.write("stages", CLAIM, BLOCKS, results, output)


if __name__ == "__main__":
    main()
