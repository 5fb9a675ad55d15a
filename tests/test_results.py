"""Results are written with all that is needed to get them again, and the pages show them."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from experiments.render import PAGES, rendered
from experiments.results import ROOT, about_texts, read, write
from experiments.tables import table, with_interval
from grammar.errors import InputError
from interpreter.texts import load_texts
from tests.tiny_models import tiny


@click.command()
@click.option("--model", default="tiny")
@click.option("--texts", default="stories")
@click.option("--length", default=(32, 96), multiple=True, type=int)
@click.option("--quick", is_flag=True)
@click.option("--output", type=click.Path(path_type=Path))
def claim(model: str, texts: str, length: tuple[int, ...], quick: bool, output: Path) -> None:
    write(
        "fit",
        claim="Programs fit.",
        blocks={"mean": lambda records: f"a mean of {records[0]['results']['mean']}"},
        loaded=tiny("llama"),
        texts=[about_texts(load_texts(texts), [])],
        library=ROOT / "experiments" / "libraries" / "minilm-l6.jsonl",
        results={"mean": 1 / 3, "list": (0.1234567, None)},
        folder=output,
    )


@pytest.fixture
def record(tmp_path: Path) -> dict:
    texts = tmp_path / "some where" / "mine.jsonl"
    texts.parent.mkdir()
    texts.write_text('{"text": "The cat saw the dog."}\n')
    words = ["--texts", str(texts), "--length", "8", "--quick", "--output", str(tmp_path)]
    said = CliRunner().invoke(claim, words, catch_exceptions=False).stdout
    assert said == f"a mean of 0.33333\n\n{tmp_path}/fit-tiny-llama.json\n"
    (found,) = read("fit", tmp_path)
    return found


def test_a_record_says_how_to_get_it_again(record: dict, tmp_path: Path) -> None:
    assert record["command"] == "python -m experiments.fit --texts mine.jsonl --length 8 --quick"
    assert record["configuration"] == {
        "model": "tiny",
        "texts": "mine.jsonl",
        "length": [8],
        "quick": True,
    }
    assert record["model"] == {"name": "tiny-llama", "revision": "0" * 40}
    assert record["library"]["name"] == "experiments/libraries/minilm-l6.jsonl"
    assert record["texts"][0]["documents"] == 1
    assert record["results"] == {"mean": 0.33333, "list": [0.12346, None]}
    assert record["machine"]["cores"] > 0
    text = (tmp_path / "fit-tiny-llama.json").read_text()
    assert list(json.loads(text)) == sorted(record)
    assert str(tmp_path) not in text


def test_results_are_read_by_claim(record: dict, tmp_path: Path) -> None:
    (tmp_path / "fit_more-tiny.json").write_text("{}")
    assert read("fit", tmp_path) == [record]
    with pytest.raises(InputError, match=r"python -m experiments\.grids"):
        read("grids", tmp_path)


def test_blocks_are_filled(record: dict, tmp_path: Path) -> None:
    def means(records):
        return table(
            ["model", "mean"], [[r["model"]["name"], str(r["results"]["mean"])] for r in records]
        )

    page = "a\n<!-- results fit.means -->\nold\n<!-- end -->\nb\n"
    new = rendered(page, tmp_path, {"fit": {"means": means}})
    assert new == page.replace("old", "| model | mean |\n| --- | ---: |\n| tiny-llama | 0.33333 |")
    assert rendered(new, tmp_path, {"fit": {"means": means}}) == new
    with pytest.raises(InputError, match="names no block"):
        rendered(page, tmp_path, {"fit": {}})
    with pytest.raises(InputError, match="is not closed"):
        rendered(page.replace("old\n<!-- end -->", "") + page, tmp_path, {"fit": {"means": means}})


def test_an_interval() -> None:
    assert with_interval(0.5, (0.4, 0.61)) == "0.500 (0.400–0.610)"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_pages_are_fresh(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert rendered(page) == page, "run `python -m experiments.render`"
    assert page.count("<!-- results ") == page.count("<!-- end -->")
