"""What cannot be replaced ends in a message; no head is left in place and counted as replaced."""

import dataclasses
from contextlib import nullcontext

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from grammar.errors import InputError
from interpreter.capture import Head, capture
from interpreter.replacement import replaced
from interpreter.substitution import substituted
from interpreter.texts import Texts, load_texts
from tests.replacing import PROGRAMS
from tests.running import batch_of, run, seen_weights
from tests.tiny_models import SIZES, tiny

pytestmark = pytest.mark.usefixtures("tagger")

STORIES = load_texts("stories").documents


def test_a_model_whose_attention_is_fixed_is_refused(monkeypatch) -> None:
    loaded = tiny("llama")
    monkeypatch.setattr(loaded.model, "set_attn_implementation", lambda name: None)
    with (
        pytest.raises(InputError, match="does not let its attention implementation be chosen"),
        replaced(loaded, PROGRAMS),
    ):
        pass


@pytest.mark.parametrize("cap", [None, 20.0])
def test_attention_that_is_changed_otherwise_is_refused(cap: float | None) -> None:
    config = Gemma2Config(
        **SIZES, num_key_value_heads=2, head_dim=8, attn_logit_softcapping=cap, sliding_window=16
    )
    model = Gemma2ForCausalLM(config).eval().requires_grad_(False)
    loaded = dataclasses.replace(tiny("gemma3"), model=model)
    ids, mask = batch_of(loaded, STORIES[:1], 12)
    refused = pytest.raises(InputError, match="Gemma2Attention changes its attention by softcap")
    with replaced(loaded, PROGRAMS), refused if cap else nullcontext():
        run(loaded, ids, mask)


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        ({(2, 0): "self"}, "no L2H0 to replace"),
        ({(0, -1): "self"}, "no L0H-1 to replace"),
        ({(0, 1): "frist"}, "L0H1 can't be replaced"),
        ({"L0H1": "first"}, "a head is a pair as"),
        ({}, "no heads to replace"),
    ],
)
def test_bad_programs(programs: dict[Head, str], message: str) -> None:
    with pytest.raises(InputError, match=message), replaced(tiny("llama"), programs):
        pass


def test_what_can_not_be_replaced_is_refused() -> None:
    loaded = tiny("llama")
    ids, mask = batch_of(loaded, STORIES[:2], 12)
    with replaced(loaded, PROGRAMS):
        with pytest.raises(InputError, match="give input_ids"):
            loaded.model(inputs_embeds=loaded.model.get_input_embeddings()(ids))
        with pytest.raises(InputError, match=r"of the shape \[batch, tokens\]"):
            loaded.model(input_ids=ids, attention_mask=torch.ones(2, 1, 12, 12))
        with pytest.raises(InputError, match="has no tokens"):
            loaded.model(input_ids=ids, attention_mask=mask * torch.tensor([[1], [0]]))
        with pytest.raises(InputError, match="ran outside of LlamaForCausalLM"):
            loaded.model.model(input_ids=ids)
        with pytest.raises(InputError, match="already being read or replaced"):
            seen_weights(loaded, ids, mask)
        with pytest.raises(InputError, match="129 tokens: tiny-llama takes at most 128"):
            loaded.model(input_ids=torch.ones(1, 129, dtype=torch.long))
        with pytest.raises(InputError, match="a static cache makes room"):
            loaded.model.generate(ids, max_new_tokens=2, cache_implementation="static")
    roomy = dataclasses.replace(loaded, max_tokens=4096)
    with (
        replaced(roomy, PROGRAMS),
        pytest.raises(InputError, match="programs read at most 2,048"),
    ):
        roomy.model(input_ids=torch.ones(1, 2049, dtype=torch.long))
    cache = loaded.model(input_ids=ids).past_key_values
    with replaced(loaded, PROGRAMS), pytest.raises(InputError, match="read before these heads"):
        loaded.model(input_ids=ids, past_key_values=cache)
    with replaced(loaded, PROGRAMS, facts="text"):
        cache = loaded.model(input_ids=ids).past_key_values
        with pytest.raises(InputError, match="use_cache=False"):
            loaded.model(input_ids=ids, past_key_values=cache)
    with (
        pytest.raises(InputError, match="both directions"),
        replaced(tiny("bert"), PROGRAMS, facts="prefix"),
    ):
        pass


def test_a_layer_that_passes_its_attention_by_is_refused(monkeypatch) -> None:
    loaded = tiny("llama")
    ids, mask = batch_of(loaded, STORIES[:1], 12)
    blind = loaded.model.model.layers[1].self_attn
    monkeypatch.setattr(blind, "forward", lambda hidden_states, **_: (hidden_states, None))
    with replaced(loaded, {(0, 0): "self"}):
        run(loaded, ids, mask)
    refused = pytest.raises(InputError, match="layer 1 of this LlamaForCausalLM")
    with replaced(loaded, PROGRAMS), refused:
        run(loaded, ids, mask)
    zeros = torch.zeros(1, 12, 12)
    with refused, substituted(loaded.model, {(1, 3): zeros}):
        run(loaded, ids, mask)
    with substituted(loaded.model, {(0, 3): zeros}):
        run(loaded, ids, mask)
    with refused:
        capture(loaded, Texts("few", STORIES[:2]), [(0, 0), (1, 0)], 12)


def test_a_costly_program_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("grammar.limits.MAX_EVALUATION_COST", 1000)
    loaded = tiny("llama")
    ids, mask = batch_of(loaded, STORIES[:1], 30)
    with replaced(loaded, PROGRAMS), pytest.raises(InputError, match=r"L0H0 .* too_costly"):
        run(loaded, ids, mask)
