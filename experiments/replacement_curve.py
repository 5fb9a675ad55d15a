"""Perplexity against the share of heads replaced: by which programs, in which order.

    python -m experiments.replacement_curve --texts my.jsonl

Beside the library's choices stand trivial programs (the first token; of each head the best one that
needs no synthesis) and the most faithful choice's own programs, each in another head's place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from experiments.pictures import new_figure, save
from experiments.results import about_library, about_texts, write
from experiments.stand_ins import StandIns, count_of, kinds_of, stand_ins, texts_seen
from experiments.subject import model_options, opened
from experiments.tables import Block, table
from grammar.parser import parse_or_raise
from interpreter.capture import Head, capture, check_texts
from interpreter.evaluate import Evaluator
from interpreter.likelihood import Batch, batches, examples
from interpreter.models import LoadedModel, load_spacy
from interpreter.progress import progress_bar
from interpreter.scores import iou, output_error
from interpreter.substitution import substituted
from interpreter.texts import Texts
from synth.chosen import MOST_FAITHFUL
from synth.faithfulness import FIRST_TOKEN, Losses, others, reported_and_ordering
from synth.kept_orders import KeptOrders
from synth.library import run_key
from synth.replace_command import ORDERS, parse_fractions
from synth.summary import TRIVIAL

CLAIM = (
    "Perplexity rises with the share of heads replaced, and by how much depends on what the "
    "programs were fitted to and on the order."
)
CONTROLS = ("first token", "best trivial", "exchanged")
"""Beside the most faithful choice."""
STYLES = {"damage": "-", "output-error": "--", "iou": ":", "greedy": "-."}
"""Of the lines, by the order of the heads."""
SHARES = "0.05,0.1,0.25,0.5,0.75,1"

Series = tuple[str, str]
"""What stands in, and the order of the heads."""


@click.command()
@model_options
@click.option("--texts", default="stories", show_default=True)
@click.option("--order-texts", help="As of `headscript replace`.")
@click.option("--fractions", default=SHARES, show_default=True)
@click.option("--choices", default=",".join(MOST_FAITHFUL), show_default=True)
@click.option(
    "--orders",
    multiple=True,
    type=click.Choice(ORDERS),
    default=list(STYLES),
    show_default=True,
    help="The first is that of the trivial programs too.",
)
@click.option("--max-tokens", type=click.IntRange(2), default=96, show_default=True)
def replacement_curve(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    texts: str,
    order_texts: str | None,
    fractions: str,
    choices: str,
    orders: Sequence[str],
    max_tokens: int,
) -> None:
    """Measure perplexity with growing shares of the heads replaced, in many ways.

    A run that was cut off keeps the orders that it had made: the same again goes on from there.
    """
    shares = parse_fractions(fractions)
    place, loaded = opened(model, library)
    reported, ordering = reported_and_ordering(texts, order_texts, texts_seen(place))
    reported = Texts(reported.name, reported.documents[:limit])
    check_texts(loaded, reported, max_tokens)
    programs = replacements(place, loaded, choices.split(","), ordering, max_tokens, every)
    kept_orders = KeptOrders(
        run_key(
            claim="replacement_curve",
            model=loaded.revision,
            library=about_library(place)["sha256"],
            texts=ordering.sha256,
            tokens=max_tokens,
            every=every,
        )
    )
    series = series_of(programs, orders, ordering, max_tokens, kept_orders)
    losses = measured(loaded, reported, programs, series, shares, max_tokens)
    results = {
        "base_perplexity": losses.base_perplexity,
        "tokens": sum(losses.tokens),
        "max_tokens": max_tokens,
        "series": [
            {
                "programs": name,
                "order": order,
                "curve": curve_of(losses, (name, order), shares, len(heads)),
            }
            for (name, order), heads in series.items()
        ],
    }
    path = write(
        "replacement_curve",
        claim=CLAIM,
        blocks=BLOCKS,
        loaded=loaded,
        texts=[about_texts(reported), about_texts(ordering)],
        library=place,
        seed=0,
        results=results,
        folder=output,
    )
    kept_orders.done()
    draw(results, loaded.name, path.with_suffix(".png"))


def replacements(
    place: Path,
    loaded: LoadedModel,
    kinds: Sequence[str],
    ordering: Texts,
    tokens: int,
    every: int,
) -> dict[str, StandIns]:
    """Programs by name: the library's kinds of choices that it has, trivial ones, exchanged ones.

    InputError where it has none of these kinds.
    """
    there = kinds_of(place, loaded, kinds)
    found = {kind: stand_ins(place, loaded, kind, tokens, every) for kind in there}
    best = _best_of(there)
    heads = list(found[best].trees)
    first = parse_or_raise(FIRST_TOKEN)
    first_token = replace(found[best], trees=dict.fromkeys(heads, first))
    trivial = best_trivial(found[best], ordering, tokens)
    exchanged = {head: found[best].trees[other] for head, other in others(heads).items()}
    controls = (first_token, trivial, replace(found[best], trees=exchanged))
    return found | dict(zip(CONTROLS, controls, strict=True))


def best_trivial(programs: StandIns, texts: Texts, tokens: int) -> StandIns:
    """Of each head the trivial program that writes what the head writes with the least error."""
    heads = list(programs.trees)
    seen = capture(programs.loaded, texts, heads, tokens)
    evaluator = Evaluator(seen.facts())
    candidates = [parse_or_raise(text) for text in TRIVIAL]
    matrices = [evaluator.matrices(tree) for tree in candidates]
    trees, ious = {}, {}
    for index, head in enumerate(heads):
        real, values = seen.attention[:, index], seen.values[:, index]
        errors = [float(output_error(real, m, values).mean()) for m in matrices]
        best = errors.index(min(errors))
        trees[head] = candidates[best]
        ious[head] = float(iou(real, matrices[best]).mean())
    return replace(programs, trees=trees, ious=ious)


def series_of(
    programs: Mapping[str, StandIns],
    orders: Sequence[str],
    ordering: Texts,
    tokens: int,
    kept: KeptOrders,
) -> dict[Series, list[Head]]:
    """The heads of each series.

    Programs that explain nothing replace the same heads as the most faithful ones, in the first of
    the orders.
    """
    choices = [name for name in programs if name not in CONTROLS]
    found = {
        (name, order): kept.order(
            f"{name}, {order}", partial(programs[name].ordered, order, ordering, tokens)
        )
        for name in choices
        for order in orders
    }
    same = found[_best_of(choices), orders[0]]
    return found | {(name, orders[0]): same for name in CONTROLS}


def _best_of(kinds: Sequence[str]) -> str:
    """The most faithful of some kinds of choices."""
    return min(kinds, key=lambda kind: (*MOST_FAITHFUL, kind).index(kind))


def key_of(series: Series, share: float) -> str:
    """Of a series' losses with that share of the heads replaced."""
    return f"{series[0]}, {series[1]}, {share}"


def curve_of(
    losses: Losses, series: Series, shares: Sequence[float], heads: int
) -> list[dict[str, Any]]:
    """For each share of the heads what the model loses."""
    return [
        {"fraction": share, "heads": count_of(share, heads)} | losses.of(key_of(series, share))
        for share in shares
    ]


def measured(
    loaded: LoadedModel,
    texts: Texts,
    programs: Mapping[str, StandIns],
    orders: Mapping[Series, Sequence[Head]],
    shares: Sequence[float],
    max_tokens: int,
) -> Losses:
    """What each form of the model is surprised by, all on the same batches."""
    heads = max(map(len, orders.values()))
    made = batches(loaded, examples(loaded, texts, max_tokens), heads)
    documents = len(texts.documents)
    tokens, base = [0] * documents, [0.0] * documents
    surprise = {key_of(series, share): [0.0] * documents for series in orders for share in shares}

    def add(totals: list[float], batch: Batch, logits: Tensor) -> None:
        for example, loss in zip(batch.examples, batch.surprise(logits), strict=True):
            totals[example.document] += loss

    tagger = load_spacy()
    with progress_bar() as bar, torch.no_grad():
        for batch in bar.track(made, description=f"Heads of {loaded.name} replaced"):
            for example in batch.examples:
                tokens[example.document] += len(example.answers)
            add(base, batch, batch.logits())
            rows = batch.rows(tagger, loaded.facts_of)
            evaluator = Evaluator(rows.facts)
            for name, those in programs.items():
                patterns = {h: rows.placed(evaluator.matrices(t)) for h, t in those.trees.items()}
                for (whose, order), heads_in_order in orders.items():
                    if whose != name:
                        continue
                    for share in shares:
                        some = heads_in_order[: count_of(share, len(heads_in_order))]
                        with substituted(loaded.model, {head: patterns[head] for head in some}):
                            add(surprise[key_of((name, order), share)], batch, batch.logits())
    return Losses(tokens, base, surprise)


def draw(results: Mapping[str, Any], model: str, path: Path) -> None:
    """Perplexity against share, a line for each series, its interval shaded."""
    figure, [[axis]] = new_figure(1, 1, 7.5, 5)
    names = list(dict.fromkeys(series["programs"] for series in results["series"]))
    base = results["base_perplexity"]
    for series in results["series"]:
        colour = f"C{names.index(series['programs'])}"
        shares = [100 * point["fraction"] for point in series["curve"]]
        values = [point["perplexity"] for point in series["curve"]]
        bounds = zip(*(point["ci95"] for point in series["curve"]), strict=True)
        low, high = ([base * (1 + x / 100) for x in bound] for bound in bounds)
        label = f"{series['programs']}, by {series['order']}"
        axis.plot(shares, values, STYLES[series["order"]], color=colour, marker=".", label=label)
        axis.fill_between(shares, low, high, color=colour, alpha=0.12, linewidth=0)
    axis.axhline(base, color="grey", linewidth=0.8, label="no head replaced")
    axis.set_yscale("log")
    axis.set_xlabel("heads replaced (%)")
    axis.set_ylabel("perplexity")
    axis.set_title(f"{model}, {results['tokens']:,} predicted tokens")
    axis.legend(fontsize=7)
    save(figure, path)


def rises(records: Sequence[Mapping[str, Any]]) -> str:
    """Tables of the rise of perplexity, a row for each programs and order."""
    found = []
    for record in records:
        results = record["results"]
        rows = []
        for series in results["series"]:
            points = series["curve"]
            rows.append([series["programs"], series["order"], *map(rise, points)])
        shares = [f"{point['fraction']:.0%}" for point in results["series"][0]["curve"]]
        found.append(
            f"{record['model']['name']}, {results['tokens']:,} predicted tokens, perplexity "
            f"{results['base_perplexity']:.3f} with no head replaced:\n\n"
            + table(["programs", "order", *shares], rows)
        )
    return "\n\n".join(found)


def rise(point: Mapping[str, Any]) -> str:
    """By how many percent perplexity rises at a point of a curve, with its interval."""
    interval = " to ".join(f"{bound:+,.1f}" for bound in point["ci95"])
    return f"{point['increase_percent']:+,.1f}% ({interval})"


BLOCKS: dict[str, Block] = {"rises": rises}


if __name__ == "__main__":
    replacement_curve()
