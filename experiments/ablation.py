"""What each primitive is worth: held-out IoU of programs that are found without it.

    python -m experiments.ablation --model smollm2-135m --texts stories --texts code

Programs are grown and reshaped for a sample of the heads from the whole vocabulary.  Then, for
each primitive, those that use it are found again from a vocabulary that lacks it.  The loss is that
of the mean IoU over the whole sample on the test documents, with a 95% interval over those.  More
than one kind of text says what each of them needs: there are no brackets in stories.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from rich.progress import Progress
from torch import Tensor

from experiments.results import FOLDER, about_texts, write
from experiments.sources import source_texts
from experiments.tables import table, with_interval
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.capture import Captured, Head, capture
from interpreter.evaluate import Evaluator
from interpreter.models import load_model
from interpreter.progress import progress_bar
from interpreter.scores import iou
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import Texts
from synth.fitting import Fitter
from synth.growing import STEPS, Grower
from synth.heads import head_name
from synth.refining import GROWING_TEXTS, START, vocabulary_grower, vocabulary_reshaper
from synth.reshaping import Reshaper
from synth.structure import uses

CLAIM = "Heads are predicted less well where a primitive is missing from the language."
# `any` stands in `first` and `distance(any)`: without it there is no language.
NAMES = (*(name for name in PRIMITIVES if name != "any"), "query")


Find = Callable[[int], tuple[Node, Tensor]]
"""From the index of a head to its program, and the program's IoU on the test documents, [text]."""


def worth(heads: Sequence[Head], train: Captured, test: Captured, bar: Progress) -> dict[str, Any]:
    """The mean IoU on the test documents with all primitives, and what is lost without each."""
    growing = train.first(GROWING_TEXTS)
    quick, fitter = Fitter(Evaluator(growing.facts())), Fitter(Evaluator(train.facts()))
    judge = Evaluator(test.facts())
    grower = vocabulary_grower(quick, growing.tokens, [])
    reshaper = vocabulary_reshaper(quick, growing.tokens)

    def finder(grower: Grower, reshaper: Reshaper) -> Find:
        def find(index: int) -> tuple[Node, Tensor]:
            target = growing.attention[:, index]
            start = quick.fit_constants(parse_or_raise(START), target, STEPS)
            grown = [start, *grower.grow(start, target)][-1]
            last = [grown, *reshaper.reshape(grown, target)][-1]
            program = fitter.fit(last, train.attention[:, index])
            return program, iou(test.attention[:, index], judge.matrices(program))

        return find

    indices = bar.track(range(len(heads)), description="With every primitive")
    whole = list(map(finder(grower, reshaper), indices))
    users = {
        name: [k for k, (program, _) in enumerate(whole) if uses(program, name)] for name in NAMES
    }
    task = bar.add_task("Without each", total=sum(map(len, users.values())))
    rows = [
        _row(name, users[name], whole, without, lambda: bar.advance(task))
        for name in NAMES
        if users[name]
        for without in [finder(grower.without(name), reshaper.without(name))]
    ]
    ious = torch.stack([values for _, values in whole])
    return {
        "heads": len(heads),
        "mean_iou": float(ious.mean()),
        "mean_iou_ci95": bootstrap_ci95(ious.mean(0).tolist()),
        "primitives": sorted(rows, key=lambda row: -float(row["loss"])),
        "never_used": [name for name in NAMES if not users[name]],
        "programs": {
            head_name(*head): to_text(program)
            for head, (program, _) in zip(heads, whole, strict=True)
        },
    }


def _row(
    name: str,
    users: list[int],
    whole: list[tuple[Node, Tensor]],
    without: Find,
    advance: Callable[[], None],
) -> dict[str, Any]:
    lost = torch.zeros_like(whole[0][1])
    for index in users:
        lost += whole[index][1] - without(index)[1]
        advance()
    per_document = lost / len(whole)
    return {
        "primitive": name,
        "heads_using": len(users),
        "loss": float(per_document.mean()),
        "loss_ci95": bootstrap_ci95(per_document.tolist()),
        "loss_of_users": float(lost.mean()) / len(users),
    }


def primitives_block(records: Sequence[dict[str, Any]]) -> str:
    """How many heads use each primitive, and what is lost without it, on each kind of text."""
    columns = [
        (f"{record['model']['name']}, {source['texts']}", source)
        for record in records
        for source in record["results"]["sources"]
    ]
    found: dict[str, dict[str, str]] = {}
    for title, source in columns:
        for row in source["primitives"]:
            shown = with_interval(row["loss"], row["loss_ci95"], digits=4)
            found.setdefault(row["primitive"], {})[title] = f"{row['heads_using']}: {shown}"
    titles = [title for title, _ in columns]
    sizes = [f"{with_interval(s['mean_iou'], s['mean_iou_ci95'])}" for _, s in columns]
    heads = [str(source["heads"]) for _, source in columns]
    return table(
        ["", *titles],
        [
            ["heads in the sample", *heads],
            ["mean IoU with all", *sizes],
            *([f"`{name}`", *(by.get(t, "") for t in titles)] for name, by in found.items()),
        ],
    )


BLOCKS = {"primitives": primitives_block}


@click.command()
@click.option("--model", default="smollm2-135m", show_default=True)
@click.option("--texts", multiple=True, default=["stories"], help="May be repeated; `code` too.")
@click.option("--every", default=27, show_default=True, help="Sample every so many heads.")
@click.option("--limit", type=int, help="At most so many documents.")
@click.option("--max-tokens", default=96, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER, help="A folder.")
def main(
    model: str, texts: Sequence[str], every: int, limit: int | None, max_tokens: int, output: Path
) -> None:
    """Find programs without each primitive in turn, and report what is lost."""
    loaded = load_model(model)
    heads = [(n, h) for n in range(loaded.layers) for h in range(loaded.heads)][every // 2 :: every]
    found, about = [], []
    for source in map(source_texts, texts):
        split = Texts(source.name, source.documents[:limit]).split()
        train, test = (capture(loaded, split[p], heads, max_tokens) for p in ("train", "test"))
        with progress_bar() as bar:
            found.append({"texts": source.name, **worth(heads, train, test, bar)})
        for part, patterns in (("train", train), ("test", test)):
            about.append(about_texts(split[part], patterns.tokens))
    path = write(
        "ablation",
        claim=CLAIM,
        results={"sources": found},
        loaded=loaded,
        texts=about,
        seed=0,
        folder=output,
    )
    click.echo(path)


if __name__ == "__main__":
    main()
