"""What is captured is what the model computes: for every family, against transformers' own."""

import pytest
import torch

from grammar.errors import InputError
from interpreter.attention import handled
from interpreter.capture import capture
from interpreter.models import LoadedModel
from interpreter.scores import output_error
from interpreter.texts import Texts, load_texts
from tests.tiny_models import FAMILIES, HEADS, LAYERS, tiny

ALL_HEADS = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
STORIES = Texts("three", load_texts("stories").documents[:3])


def ids_of(tokens: list) -> torch.Tensor:
    return torch.tensor([[token.token_id for token in tokens]])


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_the_models_own(family: str) -> None:
    loaded = tiny(family)
    captured = capture(loaded, STORIES, ALL_HEADS, 40)
    loaded.model.set_attn_implementation("eager")
    for number, tokens in enumerate(captured.tokens):
        real = loaded.model(ids_of(tokens), output_attentions=True).attentions
        expected = torch.cat(real).flatten(0, 1)
        n = len(tokens)
        torch.testing.assert_close(
            captured.attention[number, :, :n, :n], expected, atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(
            captured.attention[number].sum(-1)[:, :n], torch.ones(len(ALL_HEADS), n)
        )
        assert not captured.attention[number, :, n:].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_output_error_is_that_of_the_residual_stream(family: str) -> None:
    """Replace one head's weights in the model, and see what its attention block then writes."""
    loaded = tiny(family)
    layer, head = 1, 2
    captured = capture(loaded, Texts("one", STORIES.documents[:1]), [(layer, head)], 30)
    (tokens,) = captured.tokens
    wrong = torch.softmax(torch.randn(1, len(tokens), len(tokens)), -1)
    written = []

    def run(weights_of_head: torch.Tensor | None) -> torch.Tensor:
        block = attention_block(loaded, layer)
        hook = block.register_forward_hook(
            lambda *a: written.append(a[-1][0] if isinstance(a[-1], tuple) else a[-1])
        )

        def replace(module, at, weights, value, visible):
            if at == layer and weights_of_head is not None:
                weights = weights.clone()
                weights[:, head] = weights_of_head
            return weights

        with torch.no_grad(), handled(loaded.model, replace):
            loaded.model(ids_of(tokens))
        hook.remove()
        return written[-1]

    real, replaced, empty = run(None), run(wrong), run(torch.zeros_like(wrong))
    expected = (replaced - real).square().sum() / (real - empty).square().sum()
    found = output_error(captured.attention[0, 0], wrong[0], captured.values[0, 0])
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-5)


def attention_block(loaded: LoadedModel, layer: int) -> torch.nn.Module:
    """The module whose output is the heads' sum in the residual stream, before any norm."""
    names = {
        "tiny-gpt2": f"transformer.h.{layer}.attn.c_proj",
        "tiny-bert": f"encoder.layer.{layer}.attention.output.dense",
    }
    return loaded.model.get_submodule(
        names.get(loaded.name, f"model.layers.{layer}.self_attn.o_proj")
    )


def test_one_token_and_too_many_tokens_are_refused() -> None:
    loaded = tiny("llama")
    with pytest.raises(InputError, match="document 2 of 2 has 1 token"):
        capture(loaded, Texts("x", ("Two words.", "a")), ALL_HEADS, 40)
    with pytest.raises(InputError, match="takes at most 128"):
        capture(loaded, STORIES, ALL_HEADS, 129)


def test_attention_implementation_is_put_back_after_an_error() -> None:
    loaded = tiny("llama")
    loaded.model.set_attn_implementation("sdpa")

    def fail(*_: object) -> torch.Tensor:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"), handled(loaded.model, fail):
        loaded.model(torch.tensor([[1, 2]]))
    assert loaded.model.config._attn_implementation == "sdpa"
