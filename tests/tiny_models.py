"""Tiny random transformers of several families, with a byte-level tokenizer of their own."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from interpreter.models import LoadedModel
from interpreter.texts import load_texts

LAYERS, HEADS, CONTEXT = 2, 4, 128
VOCABULARY = 400
LONG = 16_384
"""Tokens of a context that holds a prompt."""


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of 400 tokens, trained on the project's own stories; no special tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet)
    made.train_from_iterator(load_texts("stories").documents, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made)


SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
}

FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2)),
    "long": lambda: LlamaForCausalLM(
        LlamaConfig(**SIZES | {"max_position_embeddings": LONG}, num_key_value_heads=2)
    ),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, num_key_value_heads=2)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SIZES, num_key_value_heads=2, head_dim=8, sliding_window=16)
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=LAYERS, n_head=HEADS, n_positions=CONTEXT
        )
    ),
    "bert": lambda: BertModel(BertConfig(**SIZES)),
}


def tiny(family: str) -> LoadedModel:
    """A model with random weights, the same each time."""
    torch.manual_seed(0)
    model = FAMILIES[family]().eval().requires_grad_(False)
    for parameter in model.parameters():
        # Larger weights than the usual start, so that patterns are not all even.
        if parameter.ndim == 2:
            parameter.mul_(5)
    return LoadedModel(
        name=f"tiny-{family}",
        revision="0" * 40,
        model=model,
        tokenizer=tokenizer(),
        layers=LAYERS,
        heads=HEADS,
        causal=family != "bert",
        max_tokens=model.config.max_position_embeddings,
    )


def writer(folder: Path, family: str = "llama", chat_template: str | None = None) -> str:
    """A folder with a model that knows nothing: all sense in what it writes is the grammar's."""
    tiny(family).model.save_pretrained(folder)
    ending = copy.deepcopy(tokenizer())
    ending.add_special_tokens({"eos_token": ending.decode([0])})
    ending.chat_template = chat_template
    ending.save_pretrained(folder)
    return str(folder)
