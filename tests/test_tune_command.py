"""`headscript tune`: choices of their own in the library, the same where a run was cut off."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from interpreter.command_line import main
from interpreter.texts import load_texts
from synth.library import Library
from synth.tuning import Tuner
from tests.replacing import PROGRAMS, library_for, model_folder

pytestmark = pytest.mark.usefixtures("tagger")

ROUNDS = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "few.jsonl"
    documents = load_texts("stories").documents[:12]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return path


def tuned(library: Path, model: Path, texts: Path, *more: str) -> dict[str, Any]:
    named = ["--library", str(library), "--model", str(model), "--texts", str(texts)]
    options = ["--max-tokens", "20", "--rounds", str(ROUNDS), "--json"]
    result = CliRunner().invoke(main, ["tune", *named, *options, *more])
    if result.exit_code:
        raise result.exception or AssertionError(result.output)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def choices(path: Path) -> dict[str, dict[tuple[int, int], str]]:
    found: dict[str, dict[tuple[int, int], str]] = {}
    with Library.open(path) as library:
        for c in library.choices(None, None):
            found.setdefault(c.choice, {})[c.layer, c.head] = c.text
    return found


def test_end_to_end_and_cut_off(
    model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.kept_orders.cache_folder", lambda: tmp_path / "cache")
    # Random heads attend to everything alike: without this one part would do for each of them.
    monkeypatch.setattr("synth.output_growing.WORTH", 1e-6)
    monkeypatch.setattr("synth.tuning.STEPS", 8)
    whole = library_for(tmp_path / "a.sqlite", model, PROGRAMS)
    by_iou = choices(whole)["iou"]
    found = tuned(whole, model, texts)
    assert found["heads"] == len(PROGRAMS)
    assert found["output_error"] < found["iou_output_error"]
    assert len(found["divergences"]) == ROUNDS + 1
    assert found["kept_round"] > 0, found["divergences"]
    kept = choices(whole)
    assert kept["iou"] == by_iou
    assert kept["output_error"].keys() == kept["tuned"].keys() == by_iou.keys()
    assert kept["output_error"] != kept["tuned"]
    assert tuned(whole, model, texts) == found

    cut = library_for(tmp_path / "b.sqlite", model, PROGRAMS)
    real = Tuner.tuned

    def stopped(self: Tuner, programs: Any, number: int, done: Any) -> Any:
        if number == 1:
            raise KeyboardInterrupt
        return real(self, programs, number, done)

    with monkeypatch.context() as patch:
        patch.setattr(Tuner, "tuned", stopped)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            tuned(cut, model, texts)
    assert "tuned" not in choices(cut)
    with monkeypatch.context() as patch:
        # The damage of every head was measured before.
        patch.setattr("synth.faithful_run.by_damage", None)
        assert tuned(cut, model, texts) | {"library": None} == found | {"library": None}
    assert choices(cut) == kept
    assert not [*(tmp_path / "cache" / "orders").iterdir()]


def test_an_order_that_cannot_be_kept(
    model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("synth.kept_orders.cache_folder", lambda: tmp_path / "file")
    # It is said before the damage of every head is measured, which takes long.
    monkeypatch.setattr("synth.faithful_run.by_damage", None)
    library = library_for(tmp_path / "a.sqlite", model, PROGRAMS)
    named = ["--library", str(library), "--model", str(model), "--texts", str(texts)]
    result = CliRunner().invoke(main, ["tune", *named, "--max-tokens", "20"])
    assert result.exit_code == 1
    told = result.stderr.splitlines()[-1]
    assert "cannot be written" in told
    assert "HEADSCRIPT_CACHE" in told


def test_a_model_that_predicts_nothing_has_no_tuned_choice(tmp_path: Path, texts: Path) -> None:
    bert = model_folder(tmp_path / "bert", "bert")
    library = library_for(tmp_path / "b.sqlite", bert, PROGRAMS)
    found = tuned(library, bert, texts, "--no-guards", "--parts", "2")
    assert found["divergences"] == []
    kept = choices(library)
    assert set(kept) == {"iou", "output_error"}
    grown = [text for head, text in kept["output_error"].items() if text != kept["iou"][head]]
    assert grown
    assert not any("when" in text or text.count(" + ") > 1 for text in grown)


def refusal(library: Path, model: Path, texts: Path | str, *more: str) -> str:
    named = ["--library", str(library), "--model", str(model), "--texts", str(texts)]
    result = CliRunner().invoke(main, ["tune", *named, *more])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_bad_input(model: Path, texts: Path, tmp_path: Path) -> None:
    library = library_for(tmp_path / "l.sqlite", model, PROGRAMS)
    before = choices(library)
    other = model_folder(tmp_path / "gpt2", "gpt2")
    assert "has no choice 'iou'" in refusal(library, other, texts)
    assert "read at most 2,048" in refusal(library, model, texts, "--max-tokens", "2049")
    assert "takes at most 128" in refusal(library, model, texts, "--max-tokens", "129")
    assert "does not exist" in refusal(tmp_path / "none.sqlite", model, texts)
    assert "`headscript library import`" in refusal(tmp_path / "l.jsonl", model, texts)
    few = tmp_path / "few.txt"
    few.write_text("Once upon a time.")
    assert "too few to split" in refusal(library, model, few)
    assert choices(library) == before
    with closing(sqlite3.connect(library)) as connection, connection:
        connection.execute("UPDATE choices SET model_revision = 'ffff'")
    told = refusal(library, model, texts)
    assert "was made for revision ffff" in told
    assert "explain another model" in told
