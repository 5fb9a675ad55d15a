"""What the grammar costs a model that writes, and capture a model that reads."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from grammar.token_facts import Token
from grammar.tree import Node
from interpreter.capture import BATCH_TEXTS, capture_batch, empty_patterns
from interpreter.models import LoadedModel
from interpreter.padding import padded

if TYPE_CHECKING:
    from synth.outlines_proposer import OutlinesProposer

ASKED = "Write one program for a head that looks at the previous token and at the first one."
TOGETHER = 8
"""Answers of one prompt: as many as `headscript synth` asks for at a time."""


T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds until it is done, also what an accelerator was given to do, and what it gives."""
    _wait()
    started = time.perf_counter()
    found = work()
    _wait()
    return time.perf_counter() - started, found


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    return timed(work)[0]


def _wait() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def masking(programs: Sequence[Node], loaded: LoadedModel) -> dict[str, Any]:
    """How long the grammar takes for a mask of the tokens that may follow, along the programs."""
    from llguidance import LLMatcher
    from llguidance.hf import from_tokenizer
    from llguidance.torch import allocate_token_bitmask, fill_next_token_bitmask

    from grammar.grammar_file import PATH
    from grammar.printer import to_text

    tokenizer = from_tokenizer(loaded.tokenizer)
    bitmask = allocate_token_bitmask(1, tokenizer.vocab_size)
    started = time.perf_counter()
    grammar = LLMatcher.grammar_from_lark(PATH.read_text(encoding="utf-8"))
    fresh = LLMatcher(tokenizer, grammar)
    fill_next_token_bitmask(fresh, bitmask, 0)
    first = time.perf_counter() - started
    times = []
    for program in programs:
        matcher = fresh.deep_copy()
        for token in loaded.tokenizer(to_text(program), add_special_tokens=False)["input_ids"]:
            times.append(seconds(partial(fill_next_token_bitmask, matcher, bitmask, 0)))
            if matcher.try_consume_tokens([token]) == 0:
                break
    times.sort()
    return {
        "masks": len(times),
        "mask_us_p50": round(1e6 * times[int(0.5 * (len(times) - 1))], 1),
        "mask_us_p99": round(1e6 * times[int(0.99 * (len(times) - 1))], 1),
        "first_mask_ms": round(1e3 * first, 1),
    }


class _Timed:
    """A logits processor that counts the seconds that it takes."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.seconds = 0.0

    def __call__(self, *logits: torch.Tensor) -> Any:
        started = time.perf_counter()
        result = self._processor(*logits)
        self.seconds += time.perf_counter() - started
        return result

    def reset(self) -> None:
        self._processor.reset()


def generation(proposer: "OutlinesProposer", longest: int, alone: int) -> dict[str, Any]:
    """Tokens a second of answers written together and `alone` one by one; the grammar's share.

    An answer is cut off after `longest` tokens.
    """
    from synth.prompt import Prompt

    prompt = Prompt((("user", ASKED),))
    proposer.longest = 1
    proposer.propose(prompt, 1, 0)  # what is made when it is first needed
    proposer.longest = longest
    timed = _Timed(proposer.processor)
    proposer.processor = timed
    started = time.perf_counter()
    together = proposer.propose(prompt, TOGETHER, 1)
    middle = time.perf_counter()
    share = timed.seconds / (middle - started)
    single = [draft for seed in range(alone) for draft in proposer.propose(prompt, 1, seed + 2)]
    ended = time.perf_counter()
    rates = [
        sum(draft.tokens for draft in drafts) / passed
        for drafts, passed in ((together, middle - started), (single, ended - middle))
    ]
    return {
        "grammar_share_of_generation": round(share, 4),
        "tokens_per_second_together": round(rates[0], 1),
        "tokens_per_second_one_by_one": round(rates[1], 1),
        "together_speedup": round(rates[0] / rates[1], 2),
    }


def capturing(
    loaded: LoadedModel, tokens: Sequence[Sequence[Token]], passes: int
) -> dict[str, Any]:
    """Capture of every head, beside a plain pass of the model with eager attention."""
    batch = tokens[:BATCH_TEXTS]
    heads = loaded.all_heads
    ids, mask = padded([[token.token_id for token in text] for text in batch])
    ids, mask = ids.to(loaded.model.device), mask.to(loaded.model.device)
    attention, values = empty_patterns(loaded, batch, heads)

    def plain() -> None:
        with torch.no_grad():
            loaded.model(input_ids=ids, attention_mask=mask)

    def captured() -> None:
        capture_batch(loaded, batch, heads, attention, values)

    captured()
    pairs = [(seconds(plain), seconds(captured)) for _ in range(passes)]
    forward, capture = (min(times) for times in zip(*pairs, strict=True))
    return {
        "capture_texts_per_second": round(len(batch) / capture, 2),
        "capture_times_forward": round(capture / forward, 3),
    }
