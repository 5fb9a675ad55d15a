"""The same code on every device: on the CPU always, on an accelerator where there is one."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from grammar.errors import InputError
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES
from interpreter.capture import capture
from interpreter.command_line import main
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.models import load_model
from interpreter.overlap import HeadIoU
from interpreter.replacement import replaced
from interpreter.scores import iou_with_each
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from synth import scoring
from synth.outlines_proposer import OutlinesProposer
from synth.prompt import Prompt
from synth.scorer import Scorer
from tests.replacing import PROGRAMS as REPLACED
from tests.replacing import library_for, model_folder
from tests.running import batch_of, run
from tests.test_overlap import patterns
from tests.tiny_models import tiny, tokenizer, writer

PROGRAMS = [
    *(primitive.example for primitive in PRIMITIVES.values()),
    "when noun: 3 recent(stop) + 1 before(noun); score(2.0 same_word - 0.5 distance(any))",
]

STORIES = load_texts("stories").documents[:2]

AVAILABLE = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
DEVICES = [
    pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"this machine has no {name}"))
    for name, there in AVAILABLE.items()
]


def computed(tagger, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrices of all programs, and the IoU of each with all of them as heads."""
    tokens = read_tokens(load_texts("stories").documents[:3], tokenizer(), tagger, 40)
    facts = make_facts([tokens[0][:25], *tokens[1:]], causal=True, device=device)
    evaluator = Evaluator(facts)
    matrices = torch.stack([evaluator.matrices(parse_or_raise(text)) for text in PROGRAMS])
    assert matrices.device.type == device
    ious = HeadIoU(matrices.transpose(0, 1), facts.visible).ious(matrices)
    return matrices, torch.stack(list(ious))


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_computes_the_same(tagger, device: str) -> None:
    matrices, ious = computed(tagger, device)
    own = ious.diagonal(dim1=0, dim2=2)
    torch.testing.assert_close(own, torch.ones_like(own))
    expected = computed(tagger, "cpu")
    torch.testing.assert_close((matrices.cpu(), ious.cpu()), expected, atol=2e-6, rtol=1e-5)


def test_nothing_falls_back_to_the_cpu(tagger) -> None:
    """Tensors without data stand for a device that is not there: mixed with others they fail."""
    matrices, ious = computed(tagger, "meta")
    assert matrices.shape[0] == ious.shape[0] == len(PROGRAMS)
    assert ious.device.type == "meta"


@pytest.mark.parametrize("device", DEVICES)
def test_heads_are_explained_with_the_model_on_every_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """Capture and the default proposer use the device; scores are those of the CPU."""
    folder = writer(tmp_path / "model")
    library = str(tmp_path / "l.sqlite")
    named = ["--model", folder, "--library", library, "--max-tokens", "24"]
    asked = ["--heads", "L0H0-1", "--budget", "0", "--proposer", "sampling"]
    monkeypatch.setenv("HEADSCRIPT_DEVICE", device)
    scoring.known_model.cache_clear()
    assert scoring.known_model(folder).model.device.type == device
    drafts = OutlinesProposer(folder).propose(Prompt((("user", "A head."),)), 2, seed=0)
    assert len(drafts) == 2
    assert all(draft.tokens for draft in drafts)
    CliRunner().invoke(main, ["synth", *named, *asked], catch_exceptions=False)
    found = CliRunner().invoke(main, ["score", *named, "--json"], catch_exceptions=False)
    some = capture(scoring.known_model(folder), load_texts("stories").split()["test"], [(0, 0)], 24)
    assert Scorer(some).of_many.facts.visible.device.type == device
    monkeypatch.setenv("HEADSCRIPT_DEVICE", "cpu")
    scoring.known_model.cache_clear()
    again = CliRunner().invoke(main, ["score", *named, "--json"], catch_exceptions=False)
    ious = [json.loads(result.stdout)["mean_iou"] for result in (found, again)]
    assert ious[0] == pytest.approx(ious[1], abs=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("causal", [True, False])
def test_many_scores_are_those_of_torch(device: str, causal: bool) -> None:
    """More programs than are packed at once, more heads than a tile has, texts of two lengths."""
    real_tokens = torch.arange(40) < torch.tensor([[40], [17]])
    visible = real_tokens[:, :, None] & real_tokens[:, None, :]
    visible = visible.tril() if causal else visible
    real = patterns((2, 70, 40, 40), visible[:, None], 0)
    predicted = patterns((300, 2, 40, 40), visible, 1)
    found = list(HeadIoU(real.to(device), visible.to(device)).ious(predicted.to(device)))
    expected = [iou_with_each(real, matrices) for matrices in predicted]
    torch.testing.assert_close(torch.stack(found).cpu(), torch.stack(expected))


@pytest.mark.parametrize("device", DEVICES)
def test_programs_replace_heads_on_every_device(device: str) -> None:
    loaded = tiny("llama")
    ids, mask = batch_of(loaded, STORIES, 30)
    with replaced(loaded, REPLACED):
        expected = run(loaded, ids, mask)
    loaded.model.to(device)
    with replaced(loaded, REPLACED):
        found = run(loaded, ids, mask)
    assert found.device.type == device
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(run(loaded, ids, mask).cpu(), expected, atol=1e-2)


@pytest.mark.parametrize("device", DEVICES)
def test_programs_are_tuned_on_every_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """Error and divergence before tuning are those of the CPU, and tuning goes through."""
    model = model_folder(tmp_path / "model")
    found = []
    for number, place in enumerate(("cpu", device)):
        monkeypatch.setenv("HEADSCRIPT_DEVICE", place)
        library = library_for(tmp_path / f"{number}.sqlite", model, REPLACED)
        named = ["--model", str(model), "--library", str(library), "--max-tokens", "24"]
        few = ["--documents", "2", "--rounds", "1", "--parts", "2", "--json"]
        result = CliRunner().invoke(main, ["tune", *named, *few], catch_exceptions=False)
        found.append(json.loads(result.stdout))
    expected, again = found
    assert again["output_error"] == pytest.approx(expected["output_error"], abs=1e-4)
    assert again["divergences"][0] == pytest.approx(expected["divergences"][0], rel=1e-2)
    assert len(again["divergences"]) == 2


@pytest.mark.parametrize("device", ["abacus", "cuda"])
def test_a_device_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    if AVAILABLE.get(device):
        pytest.skip(f"this machine has a {device} device")
    folder = writer(tmp_path / "model")
    monkeypatch.setenv("HEADSCRIPT_DEVICE", device)
    with pytest.raises(InputError, match=f"HEADSCRIPT_DEVICE={device}: "):
        load_model(folder)
