"""What replaced models find likely is what the models say, run one by one."""

from contextlib import nullcontext

import pytest
import torch

from experiments.continuations import Continuation, ReplacedModels
from grammar.errors import InputError
from grammar.parser import parse_or_raise
from interpreter.replacement import replaced
from interpreter.texts import load_texts
from tests.replacing import PROGRAMS
from tests.tiny_models import tiny

pytestmark = pytest.mark.usefixtures("tagger")

ORDER = [(1, 0), (0, 1), (1, 3), (0, 0), (0, 2)]
TREES = {head: parse_or_raise(text) for head, text in PROGRAMS.items()}
COUNTS = [0, 2, 5]


def asked(tokenizer) -> list[Continuation]:
    texts = [tuple(tokenizer(text)["input_ids"]) for text in load_texts("stories").documents[:2]]
    return [
        Continuation(texts[0][:15], texts[0][15:19]),
        Continuation(texts[1][:9], texts[1][9:10]),
        Continuation(texts[0][:15], texts[1][20:27]),
        Continuation(texts[1][:1], texts[1][1:5]),
    ]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_likelihoods_are_those_of_each_replaced_model(family: str) -> None:
    loaded = tiny(family)
    questions = asked(loaded.tokenizer)
    found = ReplacedModels(loaded, TREES, ORDER, COUNTS).likelihoods(questions)
    for count, row in zip(COUNTS, found, strict=True):
        heads = {head: PROGRAMS[head] for head in ORDER[:count]}
        with torch.no_grad(), replaced(loaded, heads) if heads else nullcontext():
            for question, (likelihood, greedy) in zip(questions, row, strict=True):
                ids = torch.tensor([[*question.context, *question.following]])
                chances = torch.log_softmax(loaded.model(ids).logits[0].double(), -1)
                chances = chances[len(question.context) - 1 : -1]
                following = torch.tensor(question.following)
                expected = float(chances.gather(1, following[:, None]).sum())
                assert likelihood == pytest.approx(expected, rel=1e-3)
                assert greedy == bool((chances.argmax(-1) == following).all())
    assert len({row[0][0] for row in found}) == len(COUNTS)


def test_a_first_choice_is_known() -> None:
    loaded = tiny("llama")
    context = asked(loaded.tokenizer)[0].context
    with torch.no_grad():
        best = int(loaded.model(torch.tensor([context])).logits[0, -1].argmax())
    questions = [Continuation(context, (best,)), Continuation(context, (best + 1,))]
    (row,) = ReplacedModels(loaded, TREES, ORDER, [0]).likelihoods(questions)
    assert [greedy for _, greedy in row] == [True, False]


def test_what_can_not_be_asked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny("llama")
    models = ReplacedModels(loaded, TREES, ORDER, [0, 5])
    long = Continuation(tuple(range(1, 128)), (1, 2))
    with pytest.raises(InputError, match="at most 128 can be read"):
        models.likelihoods([long])
    monkeypatch.setattr("grammar.limits.MAX_EVALUATION_COST", 1000)
    with pytest.raises(InputError, match=r"L\dH\d can't be replaced: .*too_costly"):
        models.likelihoods(asked(loaded.tokenizer))
    with pytest.raises(InputError, match="reads both directions"):
        ReplacedModels(tiny("bert"), TREES, ORDER, [0])
