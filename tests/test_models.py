"""Loading models from folders and from the cache; the hub's answer where there is no hub."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5Model,
)

from grammar.errors import InputError
from interpreter.fetch import is_cached
from interpreter.models import load_model, load_spacy

WORDS = {word: number for number, word in enumerate(["[UNK]", "a", "fox", "saw", "the", "sea"])}
SIZES: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
LLAMA = LlamaConfig(**SIZES, num_key_value_heads=2)
BERT = BertConfig(**SIZES)


def save(folder: Path, model: Any) -> str:
    """Writes the model with a tokenizer of six words."""
    words = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


def refusal(name: str) -> str:
    """The one line that says why the model is not loaded."""
    with pytest.raises(InputError) as caught:
        load_model(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_causal_model_of_a_folder(tmp_path: Path) -> None:
    loaded = load_model(save(tmp_path, LlamaForCausalLM(LLAMA)))
    assert type(loaded.model) is LlamaForCausalLM
    assert (loaded.layers, loaded.heads, loaded.causal, loaded.max_tokens) == (2, 4, True, 32)
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    encoded = loaded.tokenizer(
        "the fox", return_offsets_mapping=True, return_token_type_ids=False, return_tensors="pt"
    )
    assert encoded.pop("offset_mapping").tolist() == [[[0, 3], [4, 7]]]
    attentions = loaded.model(**encoded, output_attentions=True).attentions
    assert [attention.shape for attention in attentions] == [(1, 4, 2, 2)] * 2


def test_bidirectional_model_of_a_folder(tmp_path: Path) -> None:
    loaded = load_model(save(tmp_path, BertModel(BERT)))
    assert type(loaded.model) is BertModel
    assert (loaded.layers, loaded.heads, loaded.causal, loaded.max_tokens) == (2, 4, False, 32)


def test_masked_language_model_is_bidirectional_and_needs_no_pooler(tmp_path: Path) -> None:
    loaded = load_model(save(tmp_path, BertForMaskedLM(BERT)))
    assert not loaded.causal


def test_causal_model_without_its_language_head(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=4, n_positions=32)
    loaded = load_model(save(tmp_path, GPT2Model(config)))
    assert (loaded.layers, loaded.heads, loaded.causal, loaded.max_tokens) == (2, 4, True, 32)


def test_dtype_and_attention_are_ours_to_choose(tmp_path: Path) -> None:
    name = save(tmp_path, LlamaForCausalLM(LLAMA))
    loaded = load_model(name, attention="sdpa", dtype=torch.bfloat16)
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.model.config._attn_implementation == "sdpa"
    assert load_model(name).model.config._attn_implementation == "eager"
    assert load_model(name).model.dtype == torch.float32


def test_revision_of_a_folder_follows_its_content(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LLAMA)
    first = load_model(save(tmp_path / "a", model)).revision
    assert load_model(save(tmp_path / "b", model)).revision == first
    assert load_model(save(tmp_path / "c", LlamaForCausalLM(LLAMA))).revision != first


def test_nothing_is_written_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = save(tmp_path, LlamaForCausalLM(LLAMA))
    capfd.readouterr()
    load_model(name)
    assert capfd.readouterr() == ("", "")


def test_folder_without_a_model(tmp_path: Path) -> None:
    assert "holds no model: neither config.json nor one .gguf file" in refusal(str(tmp_path))


def test_folder_with_a_broken_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    assert "cannot be loaded" in refusal(str(tmp_path))


def test_folder_with_broken_weights(tmp_path: Path) -> None:
    name = save(tmp_path, LlamaForCausalLM(LLAMA))
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    assert "cannot be loaded" in refusal(name)


def test_folder_with_a_broken_gguf(tmp_path: Path) -> None:
    (tmp_path / "weights.gguf").write_bytes(b"not weights")
    assert "cannot be loaded" in refusal(str(tmp_path))


def test_folder_that_lacks_weights(tmp_path: Path) -> None:
    name = save(tmp_path, LlamaForCausalLM(LLAMA))
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 3}))
    assert "lacks 9 of its weights" in refusal(name)


def test_folder_without_a_tokenizer(tmp_path: Path) -> None:
    LlamaForCausalLM(LLAMA).save_pretrained(tmp_path)
    assert "cannot be loaded" in refusal(str(tmp_path))


def test_model_without_attention_heads(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    assert "its config has no num_attention_heads" in refusal(str(tmp_path))


def test_encoder_with_decoder(tmp_path: Path) -> None:
    config = T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    name = save(tmp_path, T5Model(config))
    assert "is not one stack of attention layers" in refusal(name)


def test_unknown_attention(tmp_path: Path) -> None:
    name = save(tmp_path, LlamaForCausalLM(LLAMA))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(name, attention="nonsense")


def test_unknown_name_without_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    message = refusal("nobody/no-such-model")
    assert message.startswith("unknown model nobody/no-such-model: not one of the known models")
    assert message.endswith("not a folder, and the hub could not be reached")


def test_tagger_is_no_model() -> None:
    assert "has no attention heads" in refusal("en_core_web_sm")


# The real weights: by name, or when they are here anyway.
def real(name: str) -> Callable[..., Any]:
    return (lambda test: test) if is_cached(name) else pytest.mark.slow


@real("smollm2-135m")
def test_smollm2() -> None:
    loaded = load_model("smollm2-135m")
    assert (loaded.layers, loaded.heads, loaded.causal, loaded.max_tokens) == (30, 9, True, 8192)
    text = "Once  upon\n\na naïve 😀, in 2024"
    encoded = loaded.tokenizer(text, return_offsets_mapping=True)
    assert loaded.tokenizer.decode(encoded["input_ids"]) == text
    # No token is put before the text, and every character belongs to a token.
    assert encoded["offset_mapping"][0] == (0, 4)
    covered = {at for start, end in encoded["offset_mapping"] for at in range(start, end)}
    assert covered == set(range(len(text)))
    ids = torch.tensor([loaded.tokenizer("The capital of France is")["input_ids"]])
    best = loaded.model(input_ids=ids).logits[0, -1].argmax()
    assert loaded.tokenizer.decode(best) == " Paris"


@real("minilm-l6")
def test_minilm() -> None:
    loaded = load_model("minilm-l6")
    assert (loaded.layers, loaded.heads, loaded.causal, loaded.max_tokens) == (6, 12, False, 512)
    texts = ["A man eats food.", "Somebody is eating a meal.", "The stock market fell."]
    encoded = loaded.tokenizer(texts, padding=True, return_tensors="pt")
    mask = encoded["attention_mask"].unsqueeze(-1)
    means = (loaded.model(**encoded).last_hidden_state * mask).sum(1) / mask.sum(1)
    near, far = torch.cosine_similarity(means[0], means[1:])
    assert near > far + 0.3


@real("en_core_web_sm")
def test_tagger() -> None:
    tags = [(word.text, word.pos_) for word in load_spacy()("The fox ran.")]
    assert tags == [("The", "DET"), ("fox", "NOUN"), ("ran", "VERB"), (".", "PUNCT")]
