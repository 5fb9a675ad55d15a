"""A library in Python: its best program for a head, and how it shows itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from grammar.errors import InputError
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from synth.library import Library
from synth.probe import probe_tokens
from tests.library_samples import LARGE, SMALL, chosen, small_library, start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    small_library(tmp_path / "l.sqlite")
    return tmp_path / "l.sqlite"


def test_best(path: Path) -> None:
    best = Library(path).best("small", layer=5, head=4)
    assert (best.text, best.score and best.score.iou) == (LARGE, 0.5)
    assert best.sentence.startswith("On nouns")
    matrices = Evaluator(make_facts(probe_tokens(), causal=True)).matrices(best.tree)
    assert (matrices.sum(-1) - 1).abs().max() < 1e-5
    assert Library(str(path)).best("small", 5, 3).score is None
    assert str(Library(path).best("small", 5, 3)) == SMALL
    for model, layer in (("small", 9), ("large", 5)):
        with pytest.raises(InputError, match="has no choice 'iou' for L"):
            Library(path).best(model, layer=layer, head=4)


def test_html_tells_scores_with_their_intervals(path: Path) -> None:
    with Library(path) as library:
        (score,) = library.scores()
        library.record_scores([replace(score, damage=0.0012)])
        shown = library.best("small", 5, 4)._repr_html_()
    assert "<th>IoU</th><td>0.500 (0.400–0.600)</td>" in shown
    assert "<th>JSD</th><td>0.250</td>" in shown
    assert "<th>damage, nats a token</th><td>0.0012</td>" in shown


def test_html_is_escaped(path: Path) -> None:
    evil = "<script>alert('&')</script>"
    with Library(path) as library:
        library.set_choice(replace(chosen(start(library)), model=evil, model_revision=evil))
        shown = library._repr_html_() + library.best(evil, 5, 4)._repr_html_()
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;") == 2
    assert "<pre>when noun: 3 first + 1 word(&#34;don&#39;t&#34;);\n2 self" in shown
    assert "<th>IoU on select documents</th><td>0.700</td>" in shown
