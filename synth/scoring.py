"""Scores a library's choices on texts, with the baselines beside them."""

from typing import Any

import torch
from torch import Tensor

from grammar.errors import InputError
from grammar.parser import parse
from grammar.rejection import Rejection
from interpreter import scores
from interpreter.capture import capture
from interpreter.cost import check_cost
from interpreter.models import load_model
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import Texts, load_texts
from synth.chosen import of_revision, stored_choices
from synth.library import Library
from synth.library_rows import BEST_TRIVIAL
from synth.pipeline import TRIVIAL
from synth.ranking import Scorer


def score_library(
    path: str, model: str, source: str, max_tokens: int, choice: str
) -> dict[str, Any]:
    """The result as `headscript score --json` prints it.

    InputError where the library has nothing for the model, or for another revision of it alone.
    """
    with Library.open(path) as library:
        choices = stored_choices(library, model, choice)
        seen = {run.texts_sha256 for run in library.runs()}
        rejected = sum(library.counts(run).total.rejected for run in library.runs())
        place = library.path
    texts = load_texts(source)
    if texts.sha256 in seen:
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
    about = {"model": model, "model_revision": loaded.revision, "texts_sha256": texts.sha256}
    scorer = Scorer(patterns)
    found = [scorer.score(c.text, (c.layer, c.head), about, "test") for c in usable]
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
