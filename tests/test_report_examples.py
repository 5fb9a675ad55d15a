"""Patterns on texts that the reader of a page names."""

from dataclasses import replace
from pathlib import Path

import pytest

from grammar.errors import InputError
from interpreter.capture import capture
from interpreter.models import load_model
from interpreter.texts import Texts, load_texts
from synth.library import Library
from synth.report_data import report_data
from synth.report_examples import with_examples
from synth.scorer import Scorer
from tests.replacing import model_folder
from tests.report_samples import full_library

pytestmark = pytest.mark.usefixtures("tagger")


def test_a_page_with_patterns_on_other_texts(tmp_path: Path) -> None:
    """What `report --texts` shows is what the head does and what the program says there."""
    model = model_folder(tmp_path / "llama")
    loaded = load_model(str(model))
    path = tmp_path / "l.sqlite"
    full_library(path, 2, 4)
    with Library.open(path) as library:
        data = report_data(library, None)
    told = replace(data, model=str(model), revision=loaded.revision)
    with pytest.raises(InputError, match="leave out --texts"):
        with_examples(replace(told, revision="r1"), "stories")
    shown = with_examples(told, "stories")
    documents = load_texts("stories").documents[:3]
    for entry in shown.entries:
        assert [e.document for e in entry.examples] == ["stories 1", "stories 2", "stories 3"]
        told = "".join(entry.examples[1].tokens)
        assert "".join(told.split()) == "".join(documents[1].split())[: len("".join(told.split()))]
        assert " " in entry.examples[1].tokens
        assert "<special>" not in entry.examples[1].tokens
    one = Scorer(capture(loaded, Texts("x", documents), [(1, 3)], 48))
    entry = next(e for e in shown.entries if e.name == "L1H3")
    n = len(entry.examples[2].tokens)
    real = one.patterns.attention[2, 0, :n, :n]
    assert list(entry.examples[2].real) == (real * 255).round().int().flatten().tolist()
    predicted = one.matrices(entry.program)[2, :n, :n]
    assert list(entry.examples[2].predicted) == (predicted * 255).round().int().flatten().tolist()
