"""`synth --show-prompt` prints what the model behind a proposer is shown then, and asks nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from grammar.errors import InputError
from interpreter.branching import Branching
from interpreter.command_line import main
from interpreter.texts import load_texts
from synth.api_proposer import SUFFIX
from synth.library import Library
from synth.prompt import as_text
from tests.fake_api import answer, fake_api
from tests.test_api_proposer import held
from tests.tiny_models import tiny, tokenizer, writer

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, tagger: Any) -> list[str]:
    """The options that name a model, texts and a head."""
    folder = tmp_path_factory.mktemp("model")
    tiny("llama").model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    texts = folder / "few.jsonl"
    stories = load_texts("stories").documents[:4]
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in stories))
    return ["synth", "--model", str(folder), "--texts", str(texts), "--max-tokens", "24"]


@pytest.fixture(scope="module")
def earlier(named: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An earlier run, whose program for the head is nearer to it than any other example."""
    path = tmp_path_factory.mktemp("library") / "l.sqlite"
    options = ["--heads", "L1H2", "--proposer", "enumeration", "--library", str(path)]
    assert CliRunner().invoke(main, [*named, *options]).exit_code == 0
    return path


@pytest.fixture
def library(earlier: Path, tmp_path: Path) -> Path:
    """A copy of it, for a run of one's own."""
    return Path(shutil.copy(earlier, tmp_path / "l.sqlite"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The text of every prompt that a model in this process reads; it then fails."""
    seen: list[str] = []

    def start(self: Branching, chunks: list[list[int]]) -> torch.Tensor:
        seen.append(str(tokenizer().decode([token for chunk in chunks for token in chunk])))
        raise InputError("it was seen")

    monkeypatch.setattr(Branching, "start", start)
    return seen


def shown(named: list[str], proposer: str, library: Path) -> str:
    options = ["--show-prompt", "L1H2", "--proposer", proposer, "--library", str(library)]
    result = CliRunner().invoke(main, [*named, *options])
    assert result.exit_code == 0, result.output
    return result.stdout.removesuffix("\n")


def run(named: list[str], proposer: str, library: Path) -> None:
    options = ["--heads", "L1H2", "--proposer", proposer, "--library", str(library)]
    CliRunner().invoke(main, [*named, *options, "--budget", "8", "--token-limit", "9999999"])


def example(library: Path) -> str:
    with Library.open(library) as opened:
        (choice,) = opened.choices()
    return choice.text


@pytest.mark.parametrize("template", [TEMPLATE, None])
@pytest.mark.parametrize("learned", ["", "learned:"])
def test_a_model_in_this_process(
    named: list[str],
    library: Path,
    read: list[str],
    tmp_path: Path,
    template: str | None,
    learned: str,
) -> None:
    proposer = learned + writer(tmp_path / "model", "long", template)
    told = shown(named, proposer, library)
    assert read == []
    run(named, proposer, library)
    assert read == [told]
    if template:
        assert told.startswith("<|system|>You explain")
        assert f"<|assistant|>{example(library)}<|end|>" in told
        assert told.endswith("<|end|>\n<|assistant|>")
    else:
        assert f"Program: {example(library)}\n" in told
        assert told.endswith("Program: ")


def test_a_library_that_is_not_there_is_not_made(
    named: list[str], library: Path, tmp_path: Path
) -> None:
    proposer = writer(tmp_path / "model", "long")
    before = sorted(tmp_path.iterdir())
    told = shown(named, proposer, tmp_path / "new.sqlite")
    assert sorted(tmp_path.iterdir()) == before
    assert told != shown(named, proposer, library)
    assert f"Program: {example(library)}\n" not in told


@pytest.mark.parametrize("spec", ["api:model@{}", "vllm:{}"])
def test_a_server_is_asked_for_nothing(named: list[str], library: Path, spec: str) -> None:
    reply: Callable[..., None] = held("self") if spec.startswith("vllm") else answer("self")
    with fake_api(reply) as api:
        proposer = spec.format(api.url)
        told = shown(named, proposer, library)
        assert api.requests == []
        run(named, proposer, library)
        sent = api.requests[-1]["messages"]
    assert told == as_text([(message["role"], message["content"]) for message in sent])
    assert told.endswith(SUFFIX) == spec.startswith("api")
    assert f"assistant:\n{example(library)}\n" in told


@pytest.mark.parametrize("proposer", ["sampling", "enumeration", "learned:mutation"])
def test_a_proposer_without_a_language_model(named: list[str], proposer: str) -> None:
    result = CliRunner().invoke(main, [*named, "--show-prompt", "L1H2", "--proposer", proposer])
    assert result.exit_code == 1
    assert f"{proposer.removeprefix('learned:')} is shown no text" in result.stderr
