"""`headscript replace`: the numbers are those of the replaced model, the refusals one line each."""

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from grammar.canonical import content_hash
from grammar.parser import parse_or_raise
from interpreter.capture import Head
from interpreter.command_line import main
from interpreter.likelihood import batches, examples
from interpreter.models import load_model
from interpreter.replacement import replaced
from interpreter.texts import Texts, load_texts
from interpreter.tokens import encode
from synth.ordering import ORDERS, Judged, damages, order_heads
from synth.replace_command import ORDERS as NAMED
from synth.replace_command import parse_fractions
from tests.replacing import PROGRAMS, library_for, model_folder

pytestmark = pytest.mark.usefixtures("tagger")

STORIES = load_texts("stories").documents
TOKENS = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def library(model: Path, tmp_path: Path) -> Path:
    return library_for(tmp_path / "l.sqlite", model, PROGRAMS)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return written(tmp_path / "texts.jsonl", STORIES[:6])


def written(path: Path, documents: Any) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return path


def command(library: Path, model: Path, texts: Path | str, *more: str) -> list[str]:
    named = ["--library", str(library), "--model", str(model), "--texts", str(texts)]
    return ["replace", *named, "--max-tokens", str(TOKENS), *more]


def answer(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refusal(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def perplexity(model: Path, documents: Any, programs: dict[Head, str]) -> tuple[float, int]:
    """Document by document, straight from the model."""
    loaded = load_model(str(model))
    total, count = 0.0, 0
    for document in documents:
        ids = torch.tensor([loaded.tokenizer(document)["input_ids"][:TOKENS]])
        with torch.no_grad():
            if programs:
                with replaced(loaded, programs):
                    logits = loaded.model(ids).logits[0]
            else:
                logits = loaded.model(ids).logits[0]
        chances = torch.log_softmax(logits.double(), -1)[:-1]
        total -= float(chances.gather(1, ids[0, 1:, None]).sum())
        count += ids.shape[1] - 1
    return math.exp(total / count), count


def test_the_numbers_are_those_of_the_replaced_model(
    library: Path, model: Path, texts: Path
) -> None:
    found = answer(*command(library, model, texts, "--order", "iou", "--fractions", "0.4,1"))
    assert list(found) == ["base_perplexity", "tokens", "curve", "order", "controls"]
    base, count = perplexity(model, STORIES[:6], {})
    assert found["tokens"] == count
    assert found["base_perplexity"] == pytest.approx(base, rel=1e-4)
    assert found["order"] == "iou"
    for point, heads in zip(found["curve"], (2, 5), strict=True):
        assert list(point) == ["fraction", "heads", "perplexity", "increase_percent", "ci95"]
        assert point["heads"] == heads
        some = dict(list(PROGRAMS.items())[:heads])
        expected, _ = perplexity(model, STORIES[:6], some)
        assert point["perplexity"] == pytest.approx(expected, rel=1e-3)
        assert point["increase_percent"] == pytest.approx(100 * (expected / base - 1), abs=0.1)
        low, high = point["ci95"]
        assert low < point["increase_percent"] < high
    controls = found["controls"]
    assert abs(controls["own_pattern_increase_percent"]) < 0.01
    assert list(controls) == [
        f"{name}_increase_percent"
        for name in ("own_pattern", "zeros", "first_token", "shuffled_programs")
    ]
    first, _ = perplexity(model, STORIES[:6], dict.fromkeys(PROGRAMS, "first"))
    increase = 100 * (first / base - 1)
    assert controls["first_token_increase_percent"] == pytest.approx(increase, abs=0.1)
    others = [value for name, value in controls.items() if not name.startswith("own")]
    assert len({round(value, 3) for value in others}) == 3


def test_only_unseen_documents_are_reported(model: Path, tmp_path: Path, texts: Path) -> None:
    seen = load_texts(str(texts)).sha256
    library = library_for(tmp_path / "l.sqlite", model, PROGRAMS, texts_sha256=seen)
    found = answer(*command(library, model, texts, "--fractions", "1"))
    assert found["tokens"] == perplexity(model, [STORIES[3]], {})[1]
    own = answer(*command(library, model, "stories", "--fractions", "1", "--order", "iou"))
    assert own["tokens"] == perplexity(model, STORIES[3::4], {})[1]


def test_the_most_faithful_choice_stands_in(library: Path, model: Path, texts: Path) -> None:
    all_heads = ("--fractions", "1", "--order", "iou")
    by_iou = answer(*command(library, model, texts, *all_heads))
    library_for(library, model, {(0, 1): "self"}, "output_error")
    library_for(library, model, {(0, 1): "back(1)", (0, 2): "first"}, "tuned")
    mixed, _ = perplexity(model, STORIES[:6], PROGRAMS | {(0, 1): "back(1)", (0, 2): "first"})
    found = answer(*command(library, model, texts, *all_heads))
    assert found["curve"][0]["perplexity"] == pytest.approx(mixed, rel=1e-3)
    assert answer(*command(library, model, texts, *all_heads, "--choice", "iou")) == by_iou
    named = answer(*command(library, model, texts, *all_heads, "--choice", "output_error"))
    assert named["curve"][0]["heads"] == 1
    assert named["controls"]["shuffled_programs_increase_percent"] is None


def judged(model: Path, facts_of: Any = "prefix") -> Judged:
    loaded = load_model(str(model))
    trees = {head: parse_or_raise(program) for head, program in PROGRAMS.items()}
    ious = {head: 0.9 - 0.1 * i for i, head in enumerate(PROGRAMS)}
    return Judged(loaded, trees, ious, Texts("some", STORIES[:3]), TOKENS, facts_of)


def test_orders(model: Path) -> None:
    assert set(NAMED) == set(ORDERS)
    question = judged(model)
    for name in ORDERS:
        assert sorted(order_heads(name, question)) == sorted(PROGRAMS)
    assert order_heads("iou", question) == list(PROGRAMS)
    damage = damages(question)
    assert order_heads("damage", question) == sorted(PROGRAMS, key=lambda head: damage[head])
    # Ten rounds for five heads: one each time, and the first is the one that hurts least alone.
    assert order_heads("greedy", question)[0] == order_heads("damage", question)[0]


def test_damage_is_the_divergence_of_a_whole_pass(model: Path) -> None:
    question = judged(model)
    damage = damages(question)
    loaded = question.loaded
    for head, program in PROGRAMS.items():
        total, count = 0.0, 0
        for document in STORIES[:3]:
            ids = torch.tensor([loaded.tokenizer(document)["input_ids"][:TOKENS]])
            with torch.no_grad():
                before = torch.log_softmax(loaded.model(ids).logits[0, :-1], -1)
                with replaced(loaded, {head: program}):
                    after = torch.log_softmax(loaded.model(ids).logits[0, :-1], -1)
            total += float((before.exp() * (before - after)).sum())
            count += len(before)
        assert damage[head] == pytest.approx(total / count, rel=1e-3)


def test_pseudo_perplexity_of_a_masked_model(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "masked", "masked")
    loaded = load_model(str(folder))
    total, count = 0.0, 0
    for document in STORIES[:2]:
        ids = loaded.tokenizer(document)["input_ids"][:12]
        for place, token in enumerate(ids):
            hidden = [*ids[:place], loaded.tokenizer.mask_token_id, *ids[place + 1 :]]
            with torch.no_grad():
                logits = loaded.model(torch.tensor([hidden])).logits[0, place]
            total -= float(torch.log_softmax(logits.double(), -1)[token])
            count += 1
    chosen = examples(loaded, Texts("two", STORIES[:2]), 12)
    assert [e.text.ids[e.asked[0]] for e in chosen] == [loaded.tokenizer.mask_token_id] * count
    losses = [loss for b in batches(loaded, chosen, 5) for loss in b.surprise(b.logits())]
    assert sum(losses) == pytest.approx(total, rel=1e-4)
    hidden = chosen[3].text
    start, end = hidden.spans[3]
    assert hidden.text[start:end] == "þ"
    whole = encode(STORIES[:1], loaded.tokenizer, 12)[0]
    covered = [hidden.text[a:b] for a, b in hidden.spans]
    expected = [whole.text[a:b] for a, b in whole.spans]
    assert covered == [*expected[:3], "þ", *expected[4:]]
    library = library_for(tmp_path / "l.sqlite", folder, PROGRAMS)
    texts = written(tmp_path / "texts.jsonl", STORIES[:2])
    more = ("--max-tokens", "12", "--fractions", "1")
    found = answer(*command(library, folder, texts, *more))
    assert found["base_perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)
    assert abs(found["controls"]["own_pattern_increase_percent"]) < 0.01
    assert abs(found["curve"][0]["increase_percent"]) > 0.1


def test_table(library: Path, model: Path, texts: Path) -> None:
    result = CliRunner().invoke(main, command(library, model, texts, "--fractions", "1"))
    assert result.exit_code == 0, result.output
    assert "100%" in result.stdout
    assert "own pattern" in result.stdout


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_bad_input(library: Path, model: Path, texts: Path, tmp_path: Path) -> None:
    assert "no choice 'best'" in refusal(*command(library, model, texts, "--choice", "best"))
    other = model_folder(tmp_path / "gpt2", "gpt2")
    assert "has no choice 'iou'" in refusal(*command(library, other, texts))
    more = ("--max-tokens", "4000")
    assert "read at most 2,048" in refusal(*command(library, model, texts, *more))
    most = ("--max-tokens", "2000")
    assert "takes at most 128" in refusal(*command(library, model, texts, *most))
    alone = command(library, model, "stories", "--order-texts", str(texts))
    assert "name other --order-texts" in refusal(*alone)
    bert = model_folder(tmp_path / "bert", "bert")
    written_for_bert = library_for(tmp_path / "b.sqlite", bert, PROGRAMS)
    assert "predicts no tokens" in refusal(*command(written_for_bert, bert, texts))
    both = command(written_for_bert, bert, texts, "--facts", "prefix")
    assert "in both directions" in refusal(*both)
    change(library, "UPDATE choices SET model_revision = 'ffff'")
    assert "was made for revision ffff" in refusal(*command(library, model, texts))


def test_a_head_twice_is_refused(library: Path, model: Path, texts: Path) -> None:
    exported = library.with_suffix(".jsonl")
    words = ["library", "export", "--library", str(library), "-o", str(exported)]
    assert CliRunner().invoke(main, words).exit_code == 0
    lines = exported.read_text().splitlines()
    last = json.loads(lines[-1])
    choice = next(line for line in lines if json.loads(line)["kind"] == "choice")
    last["records"] += 1
    exported.write_text("\n".join([*lines[:-1], choice, json.dumps(last)]) + "\n")
    told = refusal(*command(exported, model, texts))
    assert "a second choice 'iou' for layer 0, head 0: leave one of them out" in told


def test_a_head_that_the_model_lacks_is_refused(library: Path, model: Path, texts: Path) -> None:
    change(library, "UPDATE choices SET head = 7 WHERE layer = 1 AND head = 3")
    assert "L1H7, which" in refusal(*command(library, model, texts))


def test_weights_in_half_precision(model: Path, texts: Path, tmp_path: Path) -> None:
    loaded = load_model(str(model))
    half = tmp_path / "half"
    loaded.model.bfloat16().save_pretrained(half)
    loaded.tokenizer.save_pretrained(half)
    library = library_for(tmp_path / "half.sqlite", half, PROGRAMS)
    options = ("--fractions", "1", "--order", "iou")
    found = answer(*command(library, half, texts, *options))
    # They are computed with in float32, so that a head's own pattern changes nothing.
    assert abs(found["controls"]["own_pattern_increase_percent"]) < 0.01
    expected, _ = perplexity(half, STORIES[:6], PROGRAMS)
    assert found["curve"][0]["perplexity"] == pytest.approx(expected, rel=1e-3)


def test_a_program_that_is_none_is_refused(library: Path, model: Path, texts: Path) -> None:
    change(library, f"INSERT INTO programs VALUES ('{content_hash('frist')}', 'frist', 'now')")
    change(
        library,
        f"UPDATE choices SET program_hash = '{content_hash('frist')}' WHERE layer = 1 AND head = 0",
    )
    assert "L1H0: " in refusal(*command(library, model, texts))


@pytest.mark.parametrize("text", ["0", "1.5", "x", "", "0.1,,1", "nan"])
def test_bad_fractions(text: str, library: Path, model: Path, texts: Path) -> None:
    assert "--fractions" in refusal(*command(library, model, texts, "--fractions", text))


def test_fractions() -> None:
    assert parse_fractions("0.1, 0.25,1") == (0.1, 0.25, 1.0)
