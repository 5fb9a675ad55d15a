"""Questions put to replaced models: right answers are counted as lm-evaluation-harness does."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from experiments.question_answering import accuracies, question_answering
from experiments.results import DIGITS
from grammar.errors import InputError
from interpreter.models import load_model
from interpreter.replacement import replaced
from tests.replacing import PROGRAMS, library_for, model_folder

pytest.importorskip("lm_eval", reason="the extra `qa` is not installed")
pytestmark = pytest.mark.usefixtures("tagger")

QUESTIONS: list[dict[str, Any]] = [
    {"question": "Where does the cat sleep?", "choices": ["in a box", "on two seas"], "gold": 0},
    {"question": "What is red?", "choices": ["an apple", "the sky at noon"], "gold": 0},
    {"question": "Who barks?", "choices": ["the fish", "a dog", "no one at all"], "gold": 1},
    {"question": "When is it dark?", "choices": ["at night", "by day"], "gold": 0},
    {"question": "What do birds do?", "choices": ["they read", "fly", "swim in milk"], "gold": 1},
]


def items(path: Path, questions: list[dict[str, Any]] = QUESTIONS, source: str = "own") -> Path:
    lines = [json.dumps({"id": f"{source}-{n}"} | q) for n, q in enumerate(questions)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("qa")
    model = model_folder(folder / "llama")
    return model, library_for(folder / "l.sqlite", model, PROGRAMS)


def answers(place: tuple[Path, Path], output: Path, *more: str) -> dict[str, Any]:
    model, library = place
    named = ["--library", str(library), "--model", str(model), "--output", str(output)]
    options = ["--order", "iou", "--fractions", "0,0.4,1", *more]
    result = CliRunner().invoke(question_answering, [*named, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(Path(result.stdout.splitlines()[-1]).read_text())["results"]
    return found


def rounded(number: float) -> Any:
    """As a record keeps it."""
    return pytest.approx(number, abs=10**-DIGITS)


def by_hand(model: Path, heads: int, prompt: str) -> tuple[list[float], list[float]]:
    """Which questions are right by likelihood, and which by likelihood per character."""
    loaded = load_model(str(model))
    heads_replaced = dict(list(PROGRAMS.items())[:heads])
    plain, normed = [], []
    with torch.no_grad(), replaced(loaded, heads_replaced) if heads else nullcontext():
        for item in QUESTIONS:
            context = prompt.format(item["question"])
            before = len(loaded.tokenizer(context)["input_ids"])
            totals = []
            for choice in item["choices"]:
                ids = torch.tensor([loaded.tokenizer(f"{context} {choice}")["input_ids"]])
                chances = torch.log_softmax(loaded.model(ids).logits[0].double(), -1)
                answer = chances[before - 1 : -1].gather(1, ids[0, before:, None])
                totals.append(float(answer.sum()))
            each = [total / len(c) for total, c in zip(totals, item["choices"], strict=True)]
            plain.append(float(totals.index(max(totals)) == item["gold"]))
            normed.append(float(each.index(max(each)) == item["gold"]))
    return plain, normed


@pytest.mark.parametrize(
    ("source", "prompt"), [("own", "Question: {}\nAnswer:"), ("siqa", "Q: {}\nA:")]
)
def test_accuracies_are_those_of_each_replaced_model(
    place: tuple[Path, Path], tmp_path: Path, source: str, prompt: str
) -> None:
    asked = items(tmp_path / "own.jsonl", source=source)
    found = answers(place, tmp_path, "--items", str(asked))
    (task,) = found["tasks"]
    assert task["task"] == "own"
    assert task["questions"] == 5
    assert task["chance"] == rounded((3 / 2 + 2 / 3) / 5)
    assert [(p["fraction"], p["heads"]) for p in task["curve"]] == [(0, 0), (0.4, 2), (1, 5)]
    whole = by_hand(place[0], 0, prompt)
    for point in task["curve"]:
        expected = by_hand(place[0], point["heads"], prompt)
        for metric, right, base in zip(("acc", "acc_norm"), expected, whole, strict=True):
            assert point[metric]["mean"] == rounded(sum(right) / 5)
            assert point[metric]["difference"] == rounded((sum(right) - sum(base)) / 5)
            low, high = point[metric]["difference_ci95"]
            assert low <= point[metric]["difference"] <= high
    (file,) = tmp_path.glob("question_answering-*.json")
    record = json.loads(file.read_text())
    assert record["results"]["tasks"][0]["chance"] == round(task["chance"], 5)
    assert record["texts"][0]["questions"] == 5
    assert "own (5) | 40% |" in accuracies([record])


def test_a_limit_and_two_files(place: tuple[Path, Path], tmp_path: Path) -> None:
    files = [items(tmp_path / "a.jsonl"), items(tmp_path / "b.jsonl", QUESTIONS[::-1])]
    more = [word for file in files for word in ("--items", str(file))]
    found = answers(place, tmp_path, *more, "--limit", "2")
    assert [(task["task"], task["questions"]) for task in found["tasks"]] == [("a", 2), ("b", 2)]
    assert [task["chance"] for task in found["tasks"]] == [
        1 / 2,
        rounded((1 / 3 + 1 / 2) / 2),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "Who?", "choices": ["a", "b"], "gold": 2}', "line 2: not a question"),
        ('{"question": "Who?", "choices": ["a", " "], "gold": 0}', "line 2: not a question"),
        ('{"question": "Who?", "choices": ["a"], "gold": 0}', "line 2: not a question"),
        ('{"question": "Who?", "gold": 0}', "line 2: not a question"),
        ("[]", "line 2: not a question"),
        ("{", "line 2: not JSON"),
        (json.dumps(QUESTIONS[0] | {"id": "siqa-7"}), "asked in different ways"),
    ],
)
def test_bad_questions(place: tuple[Path, Path], tmp_path: Path, line: str, message: str) -> None:
    path = items(tmp_path / "bad.jsonl", QUESTIONS[:1])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=message):
        answers(place, tmp_path, "--items", str(path))


def test_nothing_to_ask(place: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --items FILE or --tasks NAME"):
        answers(place, tmp_path)
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(InputError, match="no question in it"):
        answers(place, tmp_path, "--items", str(tmp_path / "none.jsonl"))


def test_tasks_of_the_hub(
    place: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with a single kind of accuracy, as COPA; what cannot be had ends in a message."""
    from experiments import harness

    with pytest.raises(InputError, match="lm-evaluation-harness has no task none"):
        harness.hub_tasks(["copa", "none"])

    def unreachable(*_: object) -> None:
        raise ConnectionError("no route\nat all")

    with monkeypatch.context() as patched:
        patched.setattr(harness.TaskManager, "load", unreachable)
        with pytest.raises(InputError, match=r"questions of copa, piqa cannot .*: no route; give"):
            harness.hub_tasks(["copa", "piqa"])
    with monkeypatch.context() as patched:
        patched.setattr(harness, "METRICS", ("acc",))
        task, _ = harness.local_task(items(tmp_path / "copa.jsonl"))
    monkeypatch.setattr(harness.TaskManager, "load", lambda *_: {"tasks": {"copa": task}})
    (found,) = answers(place, tmp_path, "--tasks", "copa")["tasks"]
    assert found["questions"] == len(QUESTIONS)
    assert all("acc" in point and "acc_norm" not in point for point in found["curve"])
    shown = accuracies([{"model": {"name": "m"}, "results": {"tasks": [found]}}])
    assert "| copa (5) | 0% |" in shown
