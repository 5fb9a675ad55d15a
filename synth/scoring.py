"""Scores a library's choices on texts, with the baselines beside them.

The texts go by in shards, each captured, scored and let go, so that memory does not grow with them.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial, reduce
from typing import Any

import torch
from torch import Tensor

from grammar.errors import InputError
from grammar.parser import parse, parse_or_raise
from grammar.rejection import Rejection
from grammar.tree import Node
from interpreter import scores
from interpreter.capture import Head, captured, check_finite, check_texts
from interpreter.cost import check_cost
from interpreter.engine import TEXTS, Engine, Shard, shards, tracked
from interpreter.models import LoadedModel, ModelShape, load_model
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import Texts, load_texts
from synth.chosen import of_revision, stored_choices
from synth.lengths import check_length
from synth.library import Choice, Library, Score
from synth.library_rows import BEST_TRIVIAL
from synth.library_store import check_place
from synth.ordering import Judged, damages
from synth.scorer import Scorer, ShardScores
from synth.summary import TRIVIAL


@dataclass(frozen=True)
class Wanted:
    """What is scored: which programs of a library, on which texts, and what becomes of it."""

    path: str
    model: str
    texts: str
    choice: str
    max_tokens: int
    damage: bool
    """Also what each program costs the model in its head's place: see `synth.ordering.damages`."""
    keep: bool
    """The scores are stored in the library."""


def score_library(wanted: Wanted, engine: Engine) -> dict[str, Any]:
    """The result as `headscript score --json` prints it.

    InputError where the library has nothing for the model, or for another revision of it alone.
    """
    model, max_tokens = wanted.model, wanted.max_tokens
    if wanted.keep:
        check_place(wanted.path)
    with Library.open(wanted.path) as library:
        choices = stored_choices(library, model, wanted.choice)
        runs = library.runs()
        rejected = sum(library.counts(run).total.rejected for run in runs)
        place = library.path
    texts = load_texts(wanted.texts)
    about = {"model": model, "texts_sha256": texts.sha256}
    if wanted.keep:
        same = [run for run in runs if run.model == model]
        check_length(same, texts.name, texts.sha256, max_tokens)
    if texts.sha256 in {run.texts_sha256 for run in runs}:
        texts = texts.split()["test"]
    whole = Shard(texts.name, 0, texts.documents)
    (shape,) = engine.map(partial(examined, model, max_tokens), [whole])
    choices = of_revision(place, choices, shape)
    trees = {c.text: parse(c.text) for c in choices}
    usable = [c for c in choices if not isinstance(trees[c.text], Rejection)]
    if not usable:
        raise InputError(f"{place}: none of its {len(choices)} choices for {model} is a program")
    for tree in trees.values():
        if not isinstance(tree, Rejection):
            check_cost(tree, max_tokens)
    chosen = [((c.layer, c.head), c.text) for c in usable]
    work = partial(score_shard, partial(known_model, model), chosen, max_tokens)
    parts = shards("texts", texts.documents, TEXTS)
    scored = reduce(operator.add, tracked(engine, work, parts, "Scoring texts"))
    about["model_revision"] = shape.revision
    found = [
        measures.score(text, head, about, "test")
        for (head, text), measures in zip(chosen, scored.measures, strict=True)
    ]
    if wanted.damage:
        found = _with_damage(known_model(model), texts, usable, found, max_tokens)
    if wanted.keep:
        _keep(wanted.path, found)
    ious = torch.tensor([s.iou_per_document for s in found])  # [head, text]
    return {
        "model": model,
        "texts": {
            "documents": len(texts.documents),
            "tokens": scored.tokens,
            "sha256": texts.sha256,
        },
        "heads": [
            {
                "layer": s.layer,
                "head": s.head,
                "program": c.text,
                "iou": s.iou,
                "iou_no_sink": s.iou_no_sink,
                "jsd": s.jsd,
                "output_error": s.output_error,
                "damage": s.damage,
            }
            for s, c in zip(found, usable, strict=True)
        ],
        "mean_iou": float(ious.mean()),
        "mean_iou_ci95": bootstrap_ci95(ious.mean(0).tolist()),
        "mean_iou_no_sink": sum(s.iou_no_sink or 0.0 for s in found) / len(found),
        "baselines": _baselines(scored.baselines),
        "distinct_programs": len({c.text for c in usable}),
        "rejected": rejected + len(choices) - len(usable),
    }


def _with_damage(
    loaded: LoadedModel,
    texts: Texts,
    choices: Sequence[Choice],
    found: Sequence[Score],
    max_tokens: int,
) -> list[Score]:
    trees: Mapping[Head, Node] = {(c.layer, c.head): parse_or_raise(c.text) for c in choices}
    measured = damages(Judged(loaded, trees, {}, texts, max_tokens, loaded.facts_of))
    # Rounding can take what is no damage at all below 0.
    return [replace(s, damage=max(0.0, measured[s.layer, s.head])) for s in found]


def _keep(path: str, found: Sequence[Score]) -> None:
    """Stores the scores; damage that was measured before stays where it was not measured now."""
    keys = ("program_hash", "model", "model_revision", "layer", "head", "texts_sha256", "split")
    with Library.open(path) as library:
        kept = []
        for s in found:
            stored = library.scores(**{key: getattr(s, key) for key in keys})
            known = [o.damage for o in stored if o.metric_version == s.metric_version]
            kept.append(replace(s, damage=known[0]) if s.damage is None and known else s)
        library.record_scores(kept)


@cache
def known_model(name: str) -> LoadedModel:
    """The model, loaded once in each process."""
    return load_model(name)


def examined(model: str, max_tokens: int, shard: Shard[str]) -> ModelShape:
    """What the model is; InputError where it cannot be had or cannot read the texts."""
    loaded = known_model(model)
    check_texts(loaded, Texts(shard.name, shard.items), max_tokens)
    return loaded.shape


def score_shard(
    model: Callable[[], LoadedModel],
    chosen: Sequence[tuple[Head, str]],
    max_tokens: int,
    shard: Shard[str],
) -> ShardScores:
    """Captures the chosen programs' heads on a shard of texts, and scores the programs."""
    heads = [head for head, _ in chosen]
    loaded = model()
    patterns = captured(loaded, Texts(shard.name, shard.items), heads, max_tokens)
    check_finite(patterns, loaded.name)
    found = Scorer(patterns).shard_scores(chosen)
    random = {
        name: scores.iou(patterns.attention, matrix[:, None]).tolist()
        for name, matrix in random_patterns(patterns.facts().visible, shard.start).items()
    }
    return replace(found, baselines=found.baselines | random)


def _baselines(ious: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, float]:
    """Mean IoU over heads of each trivial program, and of the paper's random ones.

    `ious` are [text][head] of each.  `best_trivial` takes for each head the best trivial program on
    these very texts, which favours it: it is chosen and reported on the same documents.
    """
    found = {name: torch.tensor(of_one).mean(0) for name, of_one in ious.items()}  # [head] of each
    best = torch.stack([found[text] for text in TRIVIAL]).amax(0)
    return {name: float(ious.mean()) for name, ious in found.items()} | {
        BEST_TRIVIAL: float(best.mean())
    }


def random_patterns(visible: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """The paper's random baselines (arXiv 2606.19317), each [text, query, key] float32.

    `random_token`: every query looks at one visible key drawn at random; `random_column`: all
    look at one token drawn at random, at the first where it is not visible.  (The paper's third,
    the lower diagonal, is the trivial program `back(1)`.)
    """
    generator = torch.Generator().manual_seed(seed)
    texts, n, _ = visible.shape
    real = visible.any(-1)
    draws = torch.rand(visible.shape, generator=generator).masked_fill(~visible, -1.0)
    token = torch.nn.functional.one_hot(draws.argmax(-1), n).float() * real[:, :, None]
    lengths = real.sum(-1)
    columns = (torch.rand(texts, generator=generator) * lengths).long()
    chosen = columns[:, None].expand(texts, n)
    seen = torch.gather(visible, 2, chosen[:, :, None])[:, :, 0]
    chosen = torch.where(seen, chosen, 0)
    column = torch.nn.functional.one_hot(chosen, n).float() * real[:, :, None]
    return {"random_token": token, "random_column": column}
