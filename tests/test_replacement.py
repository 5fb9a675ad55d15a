"""Programs in the place of heads: what replacement changes, and what it must not."""

import copy
import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grammar.errors import InputError
from grammar.parser import parse_or_raise
from interpreter.attention import handled
from interpreter.capture import Head
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.models import LoadedModel, load_model
from interpreter.reference import Reference
from interpreter.replacement import replaced
from interpreter.saved_replacement import load_replaced, save_replaced
from interpreter.substitution import substituted
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from tests.replacing import model_folder
from tests.running import batch_of, run, seen_weights
from tests.tiny_models import FAMILIES, HEADS, LAYERS, tiny

pytestmark = pytest.mark.usefixtures("tagger")

STORIES = load_texts("stories").documents
ALL_HEADS = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
PROGRAMS = {
    (0, 1): "60 first(noun) + 30 back(1) + 10 near(content, 4)",
    (0, 2): "when punctuation: self; 70 last(stop) + 30 score(2.0 verb - 0.5 distance(any))",
    (1, 0): "50 recent(after(same_token)) + 50 same_word",
    (1, 3): "40 governor + 30 sentence_end + 30 first",
}
ATTENTIONS = (
    *("LlamaAttention", "Qwen2Attention", "Gemma3Attention", "GPT2Attention"),
    "BertSelfAttention",
)
CAUSAL = [family for family in FAMILIES if family != "bert"]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_own_patterns_change_nothing_and_others_change_much(family: str, side: str) -> None:
    loaded = tiny(family)
    ids, mask = batch_of(loaded, STORIES[:3], 40, side)
    own = seen_weights(loaded, ids, mask)
    before = run(loaded, ids, mask)
    with substituted(loaded.model, own):
        assert (run(loaded, ids, mask) - before).abs().max() < 1e-4
    first = {head: torch.zeros_like(pattern) for head, pattern in own.items()}
    for pattern in first.values():
        pattern[torch.arange(3), :, mask.argmax(-1)] = 1
    others = {
        "zeros": {head: torch.zeros_like(pattern) for head, pattern in own.items()},
        "first token": first,
        "shuffled": {h: own[ALL_HEADS[i - 3]] for i, h in enumerate(ALL_HEADS)},
    }
    for name, patterns in others.items():
        with substituted(loaded.model, patterns):
            assert (run(loaded, ids, mask) - before).abs().max() > 0.05, name
    torch.testing.assert_close(run(loaded, ids, mask), before, rtol=0, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_other_heads_keep_their_weights_bit_for_bit(family: str) -> None:
    loaded = tiny(family)
    ids, mask = batch_of(loaded, STORIES[:2], 30)
    own = seen_weights(loaded, ids, mask)
    used = {}

    def keep(module, inputs, output):
        used[module.layer_idx] = output[1]

    attentions = (m for m in loaded.model.modules() if type(m).__name__ in ATTENTIONS)
    hooks = [m.register_forward_hook(keep) for m in attentions]
    with replaced(loaded, {(0, 2): "self"}):
        run(loaded, ids, mask)
    for hook in hooks:
        hook.remove()
    real = mask.bool()
    for head in range(HEADS):
        same = torch.equal(used[0][:, head][real], own[0, head][real])
        assert same == (head != 2)
    row = used[0][:, 2][real]
    torch.testing.assert_close(row.amax(-1), torch.ones(len(row)))


def prefix_rows(loaded: LoadedModel, text: str, count: int, program: str, tagger) -> Tensor:
    """What the reference says of every prefix: [query, key]."""
    rows = torch.zeros(count, count)
    for i in range(count):
        (tokens,) = read_tokens([text], loaded.tokenizer, tagger, i + 1)
        matrix = Reference(tokens, causal=True).matrix(parse_or_raise(program))
        rows[i, : i + 1] = torch.tensor(matrix[-1])
    return rows


@pytest.mark.parametrize("family", CAUSAL)
def test_rows_are_those_of_the_reference_on_each_prefix(family: str, tagger) -> None:
    loaded = tiny(family)
    ids, mask = batch_of(loaded, STORIES[:1], 14)
    rows = {
        head: prefix_rows(loaded, STORIES[0], 14, program, tagger)[None]
        for head, program in PROGRAMS.items()
    }
    with substituted(loaded.model, rows):
        expected = run(loaded, ids, mask)
    with replaced(loaded, PROGRAMS):
        torch.testing.assert_close(run(loaded, ids, mask), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_facts_of_the_whole_text(family: str, tagger) -> None:
    loaded = tiny(family)
    ids, mask = batch_of(loaded, STORIES[:1], 30)
    evaluator = Evaluator(
        make_facts(read_tokens(STORIES[:1], loaded.tokenizer, tagger, 30), causal=loaded.causal)
    )
    rows = {h: evaluator.matrices(parse_or_raise(p)) for h, p in PROGRAMS.items()}
    with substituted(loaded.model, rows):
        expected = run(loaded, ids, mask)
    with replaced(loaded, PROGRAMS, facts="text"):
        torch.testing.assert_close(run(loaded, ids, mask), expected, rtol=1e-4, atol=1e-4)
    if loaded.causal:
        with replaced(loaded, PROGRAMS):
            assert (run(loaded, ids, mask) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_and_batches_change_nothing(family: str) -> None:
    loaded = tiny(family)
    with replaced(loaded, PROGRAMS):
        alone = [
            run(loaded, *(part[i : i + 1, : 30 - 3 * i] for part in batch_of(loaded, STORIES, 30)))
            for i in range(3)
        ]
        for side in ("right", "left"):
            together = run(loaded, *batch_of(loaded, STORIES[:3], 30, side))
            torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", CAUSAL)
def test_generation_with_a_cache_is_a_full_pass_without(family: str, beams: int) -> None:
    loaded = tiny(family)
    ids, mask = batch_of(loaded, STORIES[:2], 20, "left")
    how = {"max_new_tokens": 8, "do_sample": False, "num_beams": beams, "pad_token_id": 7}
    with torch.no_grad(), replaced(loaded, PROGRAMS):
        cached = loaded.model.generate(
            ids, attention_mask=mask, output_logits=True, return_dict_in_generate=True, **how
        )
        plain = loaded.model.generate(ids, attention_mask=mask, use_cache=False, **how)
        assert torch.equal(cached.sequences, plain)
        if beams == 1:
            grown = torch.cat([mask, torch.ones(2, 8, dtype=torch.long)], 1)
            whole = loaded.model(
                input_ids=cached.sequences,
                attention_mask=grown,
                position_ids=(grown.cumsum(-1) - 1).clamp_min(0),
            ).logits[:, 19:-1]
            torch.testing.assert_close(torch.stack(cached.logits, 1), whole, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        # Else the test would show nothing.
        assert not torch.equal(loaded.model.generate(ids, attention_mask=mask, **how), plain)


def test_sliding_window_gives_what_is_hidden_to_what_is_seen() -> None:
    loaded = tiny("gemma3")
    sliding = loaded.model.model.layers[0].self_attn
    assert sliding.is_sliding
    ids, mask = batch_of(loaded, STORIES[:1], 40)
    used = {}
    hook = sliding.register_forward_hook(lambda m, i, output: used.update(weights=output[1]))
    with replaced(loaded, {(0, 0): "first", (0, 1): "1 first + 1 self"}):
        run(loaded, ids, mask)
    hook.remove()
    rows = used["weights"][0]
    for query in range(40):
        oldest = max(0, query - 15)
        assert rows[0, query, oldest] == 1
        expected = torch.tensor([0.5, 0.5] if oldest == 0 and query else [0.0, 1.0])
        found = torch.stack([rows[1, query, 0], rows[1, query, query]])
        if query:
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_fused_attention(dtype: torch.dtype) -> None:
    loaded = tiny("llama")
    ids, mask = batch_of(loaded, STORIES[:2], 30)
    with replaced(loaded, PROGRAMS):
        expected = run(loaded, ids, mask)
    loaded.model.set_attn_implementation("sdpa")
    with replaced(loaded, PROGRAMS):
        torch.testing.assert_close(run(loaded, ids, mask), expected, rtol=1e-5, atol=1e-5)
    assert loaded.model.config._attn_implementation == "sdpa"
    loaded.model.to(dtype).set_attn_implementation("eager")
    own, before = seen_weights(loaded, ids, mask), run(loaded, ids, mask)
    with substituted(loaded.model, own):
        torch.testing.assert_close(run(loaded, ids, mask), before, rtol=0, atol=0)
    with replaced(loaded, PROGRAMS):
        half = run(loaded, ids, mask)
    assert half.dtype == dtype
    assert (half.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_two_models_at_a_time_keep_apart() -> None:
    """One replaced within the context of another: each has its own programs."""
    llama, gpt2 = tiny("llama"), tiny("gpt2")
    ids, mask = batch_of(llama, STORIES[:2], 20)
    with replaced(llama, PROGRAMS):
        expected = run(llama, ids, mask)
    own = seen_weights(gpt2, ids, mask)
    before = run(gpt2, ids, mask)
    with replaced(llama, PROGRAMS), substituted(gpt2.model, own):
        assert (run(gpt2, ids, mask) - before).abs().max() < 1e-4
        torch.testing.assert_close(run(llama, ids, mask), expected, rtol=0, atol=0)


def test_a_model_loaded_with_fused_attention(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "llama")
    eager, fused = (load_model(str(folder), attention=name) for name in ("eager", "sdpa"))
    ids, mask = batch_of(eager, STORIES[:2], 30)
    with replaced(eager, PROGRAMS):
        expected = run(eager, ids, mask)
    with replaced(fused, PROGRAMS):
        torch.testing.assert_close(run(fused, ids, mask), expected, rtol=1e-5, atol=1e-5)
    assert fused.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", CAUSAL)
def test_a_beginning_of_sequence_stays_what_it_is(family: str, side: str) -> None:
    """Each text with its own first token gives the same alone and in a batch, and generates it."""
    loaded = tiny(family)
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.add_special_tokens({"bos_token": tokenizer.decode([9])})
    loaded = dataclasses.replace(loaded, tokenizer=tokenizer)
    ids, mask = batch_of(loaded, STORIES[:3], 20, side)
    ids[torch.arange(3), mask.argmax(-1)] = tokenizer.bos_token_id
    programs = PROGRAMS | {(1, 1): "60 special + 40 first(not special)"}
    with torch.no_grad(), replaced(loaded, programs):
        together = run(loaded, ids, mask)
        alone = [
            run(loaded, row[real][None], torch.ones(1, int(real.sum()), dtype=torch.long))
            for row, real in zip(ids, mask.bool(), strict=True)
        ]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
        if side == "left":
            how = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False}
            cached = loaded.model.generate(ids, **how)
            assert torch.equal(cached, loaded.model.generate(ids, use_cache=False, **how))


def test_special_tokens_are_no_words() -> None:
    loaded = tiny("llama")
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.add_special_tokens({"bos_token": "þ"})
    loaded = dataclasses.replace(loaded, tokenizer=tokenizer)
    ids, _ = batch_of(loaded, STORIES[:1], 12)
    ids = torch.cat([torch.tensor([[tokenizer.bos_token_id]]), ids], 1)
    used = []
    attention = loaded.model.model.layers[0].self_attn
    hook = attention.register_forward_hook(lambda m, i, output: used.append(output[1]))
    with replaced(loaded, {(0, 0): "special", (0, 1): "first(not special)"}):
        run(loaded, ids, torch.ones_like(ids))
    hook.remove()
    assert used[0][0, 0, :, 0].eq(1).all()
    assert used[0][0, 1, 1:, 1].eq(1).all()


def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "replaced"
    save_replaced(str(folder), tiny("llama"), PROGRAMS, "prefix")
    return folder


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    loaded = tiny("llama")
    ids, mask = batch_of(loaded, STORIES[:1], 20)
    with replaced(loaded, PROGRAMS):
        expected = run(loaded, ids, mask)
    again, programs, facts = load_replaced(str(saved(tmp_path)))
    assert facts == "prefix"
    with replaced(again, programs, facts):
        torch.testing.assert_close(run(again, ids, mask), expected)
    how = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False}
    with torch.no_grad(), replaced(again, programs, facts), replaced(loaded, PROGRAMS):
        written = (model.generate(ids, **how) for model in (again.model, loaded.model))
        assert torch.equal(*written)
    with pytest.raises(InputError, match="is not empty"):
        save_replaced(tmp_path / "replaced", loaded, PROGRAMS, "prefix")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w["heads"].append(w["heads"][0]), "names L0H1 twice"),
        (lambda w: w["heads"].append({"layer": 5, "head": 0, "program": "self"}), "no L5H0"),
        (
            lambda w: w["heads"].append({"layer": "x", "head": 0, "program": "self"}),
            "a head is 'x'",
        ),
        (lambda w: w["heads"].append({"layer": 1, "head": 1, "program": "frist"}), "frist"),
        (lambda w: w["heads"].append(7), "not what save_replaced writes"),
        (lambda w: w.pop("facts"), "not what save_replaced writes: 'facts'"),
        (lambda w: w.update(facts="none"), "facts are 'none'"),
        (lambda w: w.update(weights_sha256="00"), "saved with other weights"),
    ],
)
def test_a_spoilt_file_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    folder = saved(tmp_path)
    path = folder / "headscript" / "programs.json"
    written = json.loads(path.read_text())
    change(written)
    path.write_text(json.dumps(written))
    with pytest.raises(InputError, match=message):
        load_replaced(folder)
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        load_replaced(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2-135m", "minilm-l6"])
def test_the_controls_on_a_real_model(name: str) -> None:
    loaded = load_model(name)
    heads = loaded.all_heads
    ids, mask = batch_of(loaded, STORIES[:3], 48)
    before = run(loaded, ids, mask)
    much = 0.3 * before.abs().mean()
    own: dict[Head, Tensor] = {}

    def keep(module, layer, weights, value, visible):
        own.update({(layer, head): weights[:, head] for head in range(loaded.heads)})
        return weights

    with handled(loaded.model, keep):
        run(loaded, ids, mask)
    with substituted(loaded.model, own):
        assert (run(loaded, ids, mask) - before).abs().max() < 1e-4
    with substituted(loaded.model, {h: torch.zeros_like(p) for h, p in own.items()}):
        assert (run(loaded, ids, mask) - before).abs().mean() > much
    with replaced(loaded, dict.fromkeys(heads, "first")):
        assert (run(loaded, ids, mask) - before).abs().mean() > much
    shuffled = random.Random(0).sample(heads, len(heads))
    others = {head: own[other] for head, other in zip(heads, shuffled, strict=True)}
    with substituted(loaded.model, others):
        assert (run(loaded, ids, mask) - before).abs().mean() > much
    programs = {head: [*PROGRAMS.values()][head[1] % 4] for head in heads[::2]}
    with replaced(loaded, programs):
        together = run(loaded, ids, mask)
        left = run(loaded, *batch_of(loaded, STORIES[:3], 48, "left"))
        torch.testing.assert_close(left, together, rtol=1e-3, atol=1e-3)
        alone = [
            run(loaded, row[real][None], torch.ones(1, int(real.sum()), dtype=torch.long))
            for row, real in zip(ids, mask.bool(), strict=True)
        ]
        torch.testing.assert_close(torch.cat(alone), together, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_real_model_writes_the_same_with_and_without_a_cache() -> None:
    loaded = load_model("smollm2-135m")
    programs = {(layer, layer % 9): p for layer, p in enumerate([*PROGRAMS.values()] * 7)}
    ids, mask = batch_of(loaded, STORIES[:2], 24, "left")
    with torch.no_grad(), replaced(loaded, programs):
        how = {"attention_mask": mask, "max_new_tokens": 12, "do_sample": False}
        cached = loaded.model.generate(ids, **how)
        assert torch.equal(cached, loaded.model.generate(ids, use_cache=False, **how))
