"""Scores a library's choices on texts, with the baselines beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from grammar.errors import InputError
from grammar.parser import parse, parse_or_raise
from grammar.rejection import Rejection
from grammar.tree import Node
from interpreter import scores
from interpreter.capture import Head, capture
from interpreter.cost import check_cost
from interpreter.models import LoadedModel, load_model
from interpreter.progress import progress_bar
from interpreter.rows import FactsOf
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import Texts, load_texts
from synth.chosen import of_revision, stored_choices
from synth.library import Choice, Library, Run, Score
from synth.library_rows import BEST_TRIVIAL
from synth.library_store import check_place
from synth.ordering import Judged, damages
from synth.pipeline import TRIVIAL
from synth.ranking import Scorer


@dataclass(frozen=True)
class Wanted:
    """What is scored: which programs of a library, on which texts, and what becomes of it."""

    path: str
    model: str
    texts: str
    choice: str = "iou"
    max_tokens: int = 96
    damage: bool = False
    """Also what each program costs the model in its head's place: see `synth.ordering.damages`."""
    keep: bool = False
    """The scores are stored in the library."""


def score_library(wanted: Wanted) -> dict[str, Any]:
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
        _check_length(runs, texts, max_tokens)
    if texts.sha256 in {run.texts_sha256 for run in runs}:
        texts = texts.split()["test"]
    loaded = load_model(model)
    choices = of_revision(place, choices, loaded)
    trees = {c.text: parse(c.text) for c in choices}
    usable = [c for c in choices if not isinstance(trees[c.text], Rejection)]
    if not usable:
        raise InputError(f"{place}: none of its {len(choices)} choices for {model} is a program")
    for tree in trees.values():
        if not isinstance(tree, Rejection):
            check_cost(tree, max_tokens)
    heads = [(c.layer, c.head) for c in usable]
    patterns = capture(loaded, texts, heads, max_tokens)
    about["model_revision"] = loaded.revision
    scorer = Scorer(patterns)
    with progress_bar() as bar:
        found = [
            scorer.score(c.text, (c.layer, c.head), about, "test")
            for c in bar.track(usable, description="Scores of each program")
        ]
    if wanted.damage:
        found = _with_damage(loaded, texts, usable, found, max_tokens)
    if wanted.keep:
        _keep(wanted.path, found)
    ious = torch.tensor([s.iou_per_document for s in found])  # [head, text]
    return {
        "model": model,
        "texts": _about(texts, scorer),
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
        "baselines": _baselines(scorer),
        "distinct_programs": len({c.text for c in usable}),
        "rejected": rejected + len(choices) - len(usable),
    }


def _check_length(runs: Sequence[Run], texts: Texts, max_tokens: int) -> None:
    """InputError where the library's scores on these texts are of documents of another length."""
    lengths = {r.settings.get("max_tokens") for r in runs if r.texts_sha256 == texts.sha256}
    lengths.discard(None)
    if lengths and max_tokens not in lengths:
        raise InputError(
            f"--max-tokens {max_tokens}: the library's scores on {texts.name} are of documents of "
            f"{', '.join(map(str, lengths))} tokens; give that, or leave out --keep"
        )


def _with_damage(
    loaded: LoadedModel,
    texts: Texts,
    choices: Sequence[Choice],
    found: Sequence[Score],
    max_tokens: int,
) -> list[Score]:
    trees: Mapping[Head, Node] = {(c.layer, c.head): parse_or_raise(c.text) for c in choices}
    facts_of: FactsOf = "prefix" if loaded.causal else "text"
    measured = damages(Judged(loaded, trees, {}, texts, max_tokens, facts_of))
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


def _about(texts: Texts, scorer: Scorer) -> dict[str, Any]:
    return {
        "documents": len(texts.documents),
        "tokens": sum(map(len, scorer.patterns.tokens)),
        "sha256": texts.sha256,
    }


def _baselines(scorer: Scorer) -> dict[str, float]:
    """Mean IoU over heads of each trivial program, and of the paper's random ones.

    `best_trivial` takes for each head the best trivial program on these very texts, which
    favours it: it is chosen and reported on the same documents.
    """
    # [head] for each
    trivial = {text: ious.mean(0) for text, ious in zip(TRIVIAL, scorer.ious(TRIVIAL), strict=True)}
    result = {text: float(values.mean()) for text, values in trivial.items()}
    result[BEST_TRIVIAL] = float(torch.stack(list(trivial.values())).amax(0).mean())
    for name, matrix in random_patterns(scorer.patterns.facts().visible).items():
        result[name] = float(scores.iou(scorer.patterns.attention, matrix[:, None]).mean())
    return result


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
