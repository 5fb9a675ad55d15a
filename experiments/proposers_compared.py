"""Does the language model help?  Who proposes programs, compared at equal numbers of evaluations.

    python -m experiments.proposers_compared --model smollm2-135m --texts stories --every 20

Every proposer is asked, for each head of a sample, until it has written so many programs that are
new for the head; answers that are none, and duplicates, are counted beside.  Their constants are
fitted alike on training documents.  Of the first 1, 2, 4, ... of them and the trivial programs
the best on select documents is reported on test documents.  Then, on some of the heads, this best
program grows and is reshaped as in a run of `headscript synth`, whose own start is one of those
that are compared.  All that was written and fitted is kept in a library, from which a run that was
cut off goes on.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from experiments.arms import SAMPLING, Arms, arms
from experiments.pictures import new_figure, save
from experiments.results import FOLDER, about_texts, file_stem, write
from experiments.scoring import mean_over_heads
from experiments.tables import table, with_interval
from experiments.written import Setting, Written, counts_of, written
from grammar.parser import parse_or_raise
from grammar.tree import Node
from interpreter.capture import Head, capture
from interpreter.evaluate import Evaluator
from interpreter.models import load_model
from interpreter.progress import progress_bar
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import load_texts
from synth.fitting import Fitter
from synth.growing import STEPS
from synth.job import Settings
from synth.library import Library, Run
from synth.proposers import Proposer, costs_money
from synth.refining import GROWING_TEXTS, vocabulary_grower, vocabulary_reshaper
from synth.summary import TRIVIAL

CLAIM = (
    "At an equal number of evaluated programs, those of a language model predict heads better than "
    "those that are drawn from the grammar."
)
CUT_OFF = "incomplete"
"""The code of an answer that has no whole part yet at the length limit."""
FEWEST = 8
"""Heads that an interval over heads is told for: of three gains of one sign it says nothing."""


def fitted(
    setting: Setting, run: Run, by_head: Mapping[Head, Written], title: str
) -> dict[Head, list[str]]:
    """Of each head its programs with their constants fitted, in the same order."""
    growing = setting.patterns["train"].first(GROWING_TEXTS)
    facts = growing.facts()

    def fit(head: Head) -> list[Node]:
        # What an evaluator keeps of one head's programs, no other head needs.
        fitter, target = Fitter(Evaluator(facts)), growing.head(head)
        trees = map(parse_or_raise, by_head[head].programs)
        return [fitter.fit_constants(tree, target, STEPS) for tree in trees]

    with progress_bar() as bar:
        heads = bar.track(by_head, description=f"Fitting: {title}")
        return {head: setting.kept(run, head, "fit", partial(fit, head)) for head in heads}


def curve_counts(most: int) -> list[int]:
    """1, 2, 4 and so on, `most` the last."""
    return [*(2**k for k in range(most.bit_length()) if 2**k < most), most]


def best_of_first(
    setting: Setting, head: Head, texts: Sequence[str], counts: Sequence[int]
) -> tuple[str, Tensor]:
    """Chosen on select documents among the trivial programs and the first `counts` of `texts`.

    The choice of the last count, and of each count the IoU on test documents, [count, text].
    """
    programs = [*TRIVIAL, *texts]
    select = setting.ious("select", head, programs).mean(-1)
    chosen = [programs[int(select[: len(TRIVIAL) + count].argmax())] for count in counts]
    return chosen[-1], setting.ious("test", head, chosen)


@dataclass(frozen=True)
class Outcome:
    """What one proposer's programs reach."""

    counts: dict[str, Any]
    curve: Tensor
    """[count, head, text] on test documents, fitted."""
    as_written: Tensor
    """[head, text] on test documents of all, before their constants were fitted."""
    best: dict[Head, str]
    """The fitted program of each head that is best on select documents."""
    run: Run


def outcome(setting: Setting, title: str, proposer: Proposer) -> Outcome:
    by_head = written(setting, proposer)
    run = setting.run_of(proposer.name)
    fitted_ones = fitted(setting, run, by_head, title)
    counts = curve_counts(setting.settings.budget)
    curves, raw, best = [], [], {}
    for head, of_head in by_head.items():
        _, chosen = best_of_first(setting, head, of_head.programs, counts[-1:])
        raw.append(chosen[0])
        best[head], chosen = best_of_first(setting, head, fitted_ones[head], counts)
        curves.append(chosen)
    return Outcome(counts_of(by_head), torch.stack(curves, dim=1), torch.stack(raw), best, run)


def refined(setting: Setting, outcomes: Mapping[str, Outcome], count: int) -> dict[str, Any]:
    """The test IoU of each proposer's best programs once grown and reshaped, on `count` heads."""
    heads = setting.settings.heads
    some = heads[:: -(-len(heads) // count)]
    train = setting.patterns["train"]
    growing = train.first(GROWING_TEXTS)
    fitter, quick = Fitter(Evaluator(train.facts())), Fitter(Evaluator(growing.facts()))
    grower = vocabulary_grower(quick, growing.tokens, [])
    reshaper = vocabulary_reshaper(quick, growing.tokens)

    def refine(text: str, head: Head) -> list[Node]:
        target = growing.head(head)
        start = parse_or_raise(text)
        grown = [start, *grower.grow(start, target)][-1]
        reshaped = [grown, *reshaper.reshape(grown, target)][-1]
        return [fitter.fit(reshaped, train.head(head))]

    found: dict[str, Any] = {}
    with progress_bar() as bar:
        task = bar.add_task("Growing and reshaping", total=len(outcomes) * len(some))
        for title, of_arm in outcomes.items():
            before, after = [], []
            for head in some:
                start = of_arm.best[head]
                (text,) = setting.kept(of_arm.run, head, "grow", partial(refine, start, head))
                both = setting.ious("test", head, [start, text])
                before.append(both[0])
                after.append(both[1])
                bar.advance(task)
            found[title] = {"before": torch.stack(before), "after": torch.stack(after)}
    return found


def compared(ious: Tensor, others: Tensor) -> dict[str, Any]:
    """How much better than the others, both [head, text]; the interval is over heads.

    Heads, because every proposer writes other programs for each of them.
    """
    gains = (ious - others).mean(1)
    return {
        "gain": float(gains.mean()),
        "ci95_over_heads": bootstrap_ci95(gains.tolist()),
        "heads_better": int((gains > 0).sum()),
        "heads_worse": int((gains < 0).sum()),
    }


def comparison(setting: Setting, compared_arms: Arms, refine: int) -> dict[str, Any]:
    outcomes = {title: outcome(setting, title, make()) for title, make in compared_arms.items()}
    after = refined(setting, outcomes, refine) if refine else {}
    reference = outcomes[SAMPLING]
    found = []
    for title, of_arm in outcomes.items():
        about = {
            "name": title,
            **of_arm.counts,
            "curve": [mean_over_heads(at) for at in of_arm.curve],
            "as_written": mean_over_heads(of_arm.as_written),
            "over_sampling": compared(of_arm.curve[-1], reference.curve[-1]),
        }
        if after:
            of_title = after[title]
            about["refined"] = {
                "start": mean_over_heads(of_title["before"]),
                "end": mean_over_heads(of_title["after"]),
                "over_sampling": compared(of_title["after"], after[SAMPLING]["after"]),
            }
        found.append(about)
    return {
        "heads": len(setting.settings.heads),
        "refined_heads": len(next(iter(after.values()))["after"]) if after else 0,
        "evaluations": curve_counts(setting.settings.budget),
        "arms": found,
    }


def draw(results: Mapping[str, Any], title: str, path: Path) -> None:
    """IoU against the number of evaluated programs."""
    figure, axes = new_figure(1, 1, width=9.5, height=4)
    axis = axes[0][0]
    for number, arm in enumerate(results["arms"]):
        means = [at["mean_iou"] for at in arm["curve"]]
        low, high = zip(*(at["ci95"] for at in arm["curve"]), strict=True)
        # There are ten colours.
        style = "-" if number < 10 else "--"
        (line,) = axis.plot(results["evaluations"], means, style, marker=".", label=arm["name"])
        axis.fill_between(results["evaluations"], low, high, alpha=0.06, color=line.get_color())
    axis.set_xscale("log", base=2)
    axis.set_xticks(results["evaluations"], results["evaluations"])
    axis.set_xlabel("programs evaluated for a head, constants fitted")
    axis.set_ylabel("mean IoU, test documents")
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    save(figure, path)


def _titled(record: Mapping[str, Any], arm: Mapping[str, Any]) -> str:
    return f"{record['model']['name']}, {arm['name']}"


def curve_block(records: Sequence[dict[str, Any]]) -> str:
    """Mean IoU by the number of programs, as many as every record has."""
    fewest = min(records, key=lambda record: len(record["results"]["evaluations"]))
    shown = fewest["results"]["evaluations"]
    rows = [
        [
            _titled(record, arm),
            *(with_interval(at["mean_iou"], at["ci95"]) for at in arm["curve"][: len(shown)]),
        ]
        for record in records
        for arm in record["results"]["arms"]
    ]
    return table(["programs evaluated", *map(str, shown)], rows)


def answers_block(records: Sequence[dict[str, Any]]) -> str:
    """What became of the answers."""
    titles = ["", "answers", "cut off", "no programs", "duplicates", "programs"]
    titles += ["worked examples", "seconds"]
    rows = [
        [
            _titled(record, arm),
            f"{arm['answers']:,}",
            f"{arm['rejected'].get(CUT_OFF, 0):,}",
            f"{sum(n for code, n in arm['rejected'].items() if code != CUT_OFF):,}",
            f"{arm['duplicates']:,}",
            f"{arm['programs']:,}",
            f"{arm['worked_examples']:,}",
            f"{arm['seconds']:,.0f}",
        ]
        for record in records
        for arm in record["results"]["arms"]
    ]
    return table(titles, rows)


def refined_block(records: Sequence[dict[str, Any]]) -> str:
    """As written, fitted, and refined; each gain over sampling is the mean over heads."""
    titles = [
        *("", "as written", "fitted", "over sampling (interval over heads)", "heads better, worse"),
        *("refined", "over sampling", "heads better, worse"),
    ]
    rows = []
    for record in records:
        for arm in record["results"]["arms"]:
            row = [_titled(record, arm)]
            row += [
                with_interval(found["mean_iou"], found["ci95"])
                for found in (arm["as_written"], arm["curve"][-1])
            ]
            row += _over(arm["over_sampling"], record["results"]["heads"])
            if "refined" in arm:
                end = arm["refined"]["end"]
                row += [with_interval(end["mean_iou"], end["ci95"])]
                row += _over(arm["refined"]["over_sampling"], record["results"]["refined_heads"])
            else:
                row += ["–"] * 3
            rows.append(row)
    return table(titles, rows)


def _over(over: Mapping[str, Any], heads: int) -> list[str]:
    gain = f"{over['gain']:+.3f}"
    if heads >= FEWEST:
        low, high = over["ci95_over_heads"]
        gain += f" ({low:+.3f} to {high:+.3f})"
    return [gain, f"{over['heads_better']}, {over['heads_worse']}"]


BLOCKS = {"curve": curve_block, "answers": answers_block, "refined": refined_block}


@click.command()
@click.option("--model", default="smollm2-135m", show_default=True, help="Whose heads.")
@click.option("--texts", default="stories", show_default=True)
@click.option("--max-tokens", default=96, show_default=True)
@click.option("--limit", type=int, help="At most so many documents.")
@click.option("--every", default=20, show_default=True, help="Only every so many heads.")
@click.option(
    "--proposer",
    "proposers",
    multiple=True,
    default=["outlines:smollm2-135m"],
    show_default=True,
    help="A language model, by its name for `headscript synth`; more than once for more.",
)
@click.option("--evaluations", default=32, show_default=True, help="Programs per head.")
@click.option("--refine", default=0, show_default=True, help="Heads whose programs are refined.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--kept",
    type=click.Path(path_type=Path),
    default=Path("demo/proposers.sqlite"),
    show_default=True,
    help="The library from which a run goes on.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=FOLDER,
    help="The folder for the JSON and the picture.",
)
def main(
    model: str,
    texts: str,
    max_tokens: int,
    limit: int | None,
    every: int,
    proposers: tuple[str, ...],
    evaluations: int,
    refine: int,
    seed: int,
    kept: Path,
    output: Path,
) -> None:
    """Compare who proposes programs, at equal numbers of evaluated programs."""
    for spec in filter(costs_money, proposers):
        raise click.UsageError(
            f"{spec} may cost money, and nothing here is limited: serve the model, as vllm:URL"
        )
    compared_arms = arms(proposers)
    loaded = load_model(model)
    source = load_texts(texts, limit)
    heads = loaded.all_heads
    sample = tuple(heads[every // 2 :: every])
    split = source.split()
    patterns = {part: capture(loaded, of, sample, max_tokens) for part, of in split.items()}
    settings = Settings(sample, evaluations, seed, max_tokens)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with Library.open(kept, create=True) as library:
        setting = Setting(loaded, source, patterns, library, settings)
        results = comparison(setting, compared_arms, refine)
    rejected = sum((Counter(arm["rejected"]) for arm in results["arms"]), Counter[str]())
    write(
        "proposers_compared",
        claim=CLAIM,
        blocks=BLOCKS,
        results=results,
        loaded=loaded,
        texts=[about_texts(split[part], p.tokens) for part, p in patterns.items()],
        seed=seed,
        rejected=rejected,
        folder=output,
    )
    draw(results, model, output / f"{file_stem('proposers_compared', model)}.png")


if __name__ == "__main__":
    main()
