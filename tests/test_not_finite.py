"""Heads that hold NaN are named and left out, and change nothing for the others."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from grammar.errors import InputError
from interpreter.capture import Captured, capture, check_finite
from interpreter.engine import InProcess, Shard
from interpreter.models import LoadedModel
from interpreter.texts import Texts, load_texts
from synth.job import Makers, Settings, new_job
from synth.library import Library
from synth.pipeline import synthesize
from synth.results import RunResults, run_results
from synth.sampling import SamplingProposer
from synth.scoring import score_shard
from synth.tables import print_results
from tests.tiny_models import tiny

pytestmark = pytest.mark.usefixtures("tagger")

TEXTS = Texts("few", load_texts("stories").documents[:8])
HEADS = "L0H1,L1H2,L1H3"
LENGTH = 24
WIDTH = 8
"""Of a head of the tiny model."""


def broken(heads: int = 1) -> LoadedModel:
    """The queries of the last heads of the last layer are NaN."""
    loaded = tiny("llama")
    loaded.model.model.layers[1].self_attn.q_proj.weight[-heads * WIDTH :] = float("nan")
    return loaded


def synthesized(
    path: Path, loaded: LoadedModel, heads: str, proposer: SamplingProposer | None = None
) -> RunResults:
    settings = Settings(heads=(), budget=2, seed=1, max_tokens=LENGTH)
    makers = Makers(lambda: loaded, lambda: proposer or SamplingProposer())
    engine = InProcess()
    job = new_job(makers, heads, TEXTS, settings, path.parent / "patterns", engine)
    with Library.open(path, create=True) as library:
        return run_results(library, synthesize(job, TEXTS, library, engine))


class Interrupted(SamplingProposer):
    def propose(self, *_: object) -> list:
        raise KeyboardInterrupt


def test_a_run_leaves_them_out_and_says_so(tmp_path: Path, capsys) -> None:
    whole = synthesized(tmp_path / "whole.sqlite", tiny("llama"), "L0H1,L1H2")
    place = tmp_path / "broken.sqlite"
    with pytest.raises(KeyboardInterrupt):
        synthesized(place, broken(), HEADS, Interrupted())
    found = synthesized(place, broken(), HEADS)
    assert found.heads == whole.heads
    assert (found.left_out, whole.left_out) == (["L1H3"], [])
    print_results(found)
    assert "holds NaN: L1H3" in capsys.readouterr().out
    assert synthesized(place, broken(), HEADS) == replace(found, run=found.run)


def test_a_run_of_nothing_else_ends_in_a_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the attention of no head is finite"):
        synthesized(tmp_path / "a.sqlite", broken(2), "L1H2,L1H3")


def test_everything_else_refuses_them() -> None:
    with pytest.raises(InputError, match=r"2 of 3 heads is not finite on these texts.* of L1H2"):
        capture(broken(2), TEXTS, [(0, 0), (1, 3), (1, 2)], LENGTH)
    shard = Shard(TEXTS.name, 0, TEXTS.documents)
    with pytest.raises(InputError, match="of L1H3"):
        score_shard(partial(broken), [((0, 0), "first"), ((1, 3), "first")], LENGTH, shard)


def test_values_count_too() -> None:
    patterns = capture(tiny("llama"), TEXTS, [(0, 0), (0, 1)], LENGTH)
    check_finite(patterns, "m")
    values = patterns.values.clone()
    values[0, 1, 0, 0] = float("inf")
    wrong = Captured(
        patterns.heads, patterns.tokens, patterns.attention, values, causal=patterns.causal
    )
    assert wrong.finite_heads() == ((0, 0),)
