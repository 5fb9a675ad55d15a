"""The libraries in `experiments/libraries` are whole, and say what they are said to say."""

from pathlib import Path
from statistics import median

import pytest

from grammar.canonical import verified
from synth.library import Library
from synth.library_merge import checked_copy
from synth.library_recompute import recompute
from synth.library_view import terms

FOLDER = Path(__file__).parent.parent / "experiments" / "libraries"
HEADS = {"smollm2-135m": (30, 9), "minilm-l6": (6, 12), "qwen2.5-coder-1.5b": (28, 12)}
MOST_TERMS = 12
TEXTS = FOLDER.parents[2] / "shared" / "data" / "tinystories-100.jsonl"
"""What they were made from, where it lies beside the checkout."""


@pytest.mark.parametrize("model", HEADS)
def test_a_shipped_library(model: str) -> None:
    path = FOLDER / f"{model}.jsonl"
    checked_copy(path)
    layers, heads = HEADS[model]
    with Library.open(path) as library:
        choices = library.choices(model, "iou")
        scores = library.scores(model=model)
    assert {(c.layer, c.head) for c in choices} == {
        (layer, head) for layer in range(layers) for head in range(heads)
    }
    sizes = [terms(verified(choice.text)) for choice in choices]
    assert max(sizes) <= MOST_TERMS
    assert median(sizes) <= MOST_TERMS
    tested = {(s.layer, s.head): s.iou for s in scores if s.split == "test"}
    assert len(tested) == layers * heads
    assert all(0 <= iou <= 1 for iou in tested.values())


@pytest.mark.skipif(not TEXTS.exists(), reason=f"{TEXTS.name} is not at hand: scores need it")
@pytest.mark.parametrize("model", ["smollm2-135m", "minilm-l6"])
def test_its_scores_are_those_of_its_programs(model: str) -> None:
    """Computed again on some heads; a score that differs on some document raises."""
    found = recompute(FOLDER / f"{model}.jsonl", model, str(TEXTS), 8)
    assert {score.split for score in found} == {"select", "test"}
    assert len({(score.layer, score.head) for score in found}) >= 4
