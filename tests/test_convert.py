"""A packaged GGUF is converted once; what is loaded afterwards is the same model."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter, TokenType
from safetensors import SafetensorError
from transformers import LlamaConfig, LlamaForCausalLM

from grammar.errors import InputError
from interpreter import models, packaged_models
from interpreter.fetch import fetch, model_folder
from interpreter.models import load_model
from interpreter.packaged_models import PackagedModel

TOKENS = ["<unk>", "<s>", "</s>", "a", "b", "Ġ", "ab", "Ġa"]
MERGES = ["a b", "Ġ a"]
SIZE = 8
TENSORS = {
    "attn_q": (SIZE, SIZE),
    "attn_k": (SIZE // 2, SIZE),
    "attn_v": (SIZE // 2, SIZE),
    "attn_output": (SIZE, SIZE),
    "ffn_gate": (SIZE, SIZE),
    "ffn_up": (SIZE, SIZE),
    "ffn_down": (SIZE, SIZE),
    "attn_norm": (SIZE,),
    "ffn_norm": (SIZE,),
}


def write_gguf(path: Path) -> None:
    """A llama of one layer with two heads, one key-value head, and tied embeddings."""
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(32)
    writer.add_embedding_length(SIZE)
    writer.add_feed_forward_length(SIZE)
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * 5)
    writer.add_token_merges(MERGES)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    random = np.random.default_rng(0)
    shapes = {f"blk.0.{name}.weight": shape for name, shape in TENSORS.items()}
    shapes |= {"token_embd.weight": (len(TOKENS), SIZE), "output_norm.weight": (SIZE,)}
    for name, shape in shapes.items():
        writer.add_tensor(name, random.standard_normal(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(autouse=True)
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which the .gguf of the one model of the table lies, fetched and verified."""
    monkeypatch.setenv("HEADSCRIPT_CACHE", str(tmp_path / "cache"))
    gguf = model_folder("tiny") / "tiny.gguf"
    gguf.parent.mkdir(parents=True)
    write_gguf(gguf)
    tiny = PackagedModel(
        name="tiny",
        what="a test",
        kind="causal",
        layers=1,
        heads=2,
        requirements=("tiny==1.0",),
        members={},
        size=gguf.stat().st_size,
        sha256={"tiny.gguf": hashlib.sha256(gguf.read_bytes()).hexdigest()},
    )
    monkeypatch.setattr(packaged_models, "PACKAGED_MODELS", {"tiny": tiny})
    monkeypatch.setattr(models, "PACKAGED_MODELS", {"tiny": tiny})
    return gguf


def test_converted_model_is_the_packed_one(packed: Path) -> None:
    direct, converted = load_model(str(packed.parent)), load_model("tiny")
    assert converted.revision == hashlib.sha256(packed.read_bytes()).hexdigest()
    assert (converted.layers, converted.heads, converted.max_tokens) == (1, 2, 32)
    encoded = converted.tokenizer("ab a b", return_tensors="pt")
    assert encoded["input_ids"].equal(direct.tokenizer("ab a b", return_tensors="pt")["input_ids"])
    logits = direct.model(**encoded).logits
    assert converted.model(**encoded).logits.equal(logits)
    assert converted.tokenizer.eos_token == direct.tokenizer.eos_token == "</s>"


def test_converted_folder_is_a_plain_checkpoint() -> None:
    folder = fetch("tiny")
    assert {"model.safetensors", "tokenizer.json"} < {path.name for path in folder.iterdir()}
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert load_model(str(folder)).layers == 1


def test_converts_once_and_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor() as pool:
        folders = set(pool.map(fetch, ["tiny"] * 4))
    assert len(folders) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("Converting tiny once") == 1
    assert fetch("tiny") in folders
    assert capfd.readouterr() == ("", "")


def test_a_half_converted_folder_is_not_used(packed: Path) -> None:
    half = packed.parent / ".converted.half"
    half.mkdir()
    LlamaForCausalLM(LlamaConfig(num_hidden_layers=0, vocab_size=8)).save_pretrained(half)
    (half / "junk").write_bytes(b"junk")
    folder = fetch("tiny")
    assert not half.exists()
    assert not (folder / "junk").exists()
    assert load_model("tiny").layers == 1


def test_full_disk_leaves_nothing_half_used(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("transformers.PreTrainedModel.save_pretrained", full)
        with pytest.raises(InputError, match="No space left on device; make room"):
            fetch("tiny")
    assert list(packed.parent.iterdir()) == [packed]
    assert load_model("tiny").layers == 1
