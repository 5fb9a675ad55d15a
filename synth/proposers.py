"""Who writes candidate programs."""

import copy
import time
from dataclasses import dataclass
from typing import Any, Protocol

from synth.prompt import Prompt


@dataclass(frozen=True)
class Draft:
    """One answer as it was written.  `finished` is false where the length limit cut it off."""

    text: str
    finished: bool
    tokens: int
    seconds: float


class Proposer(Protocol):
    """Writes programs for a head from a prompt about it."""

    @property
    def name(self) -> str:
        """What is stored as the provenance of its programs: kind, model and revision."""
        ...

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """`count` drafts; the same prompt and seed give the same drafts on one machine."""
        ...


MAX_NEW_TOKENS = 64
TEMPERATURE = 0.7


class OutlinesProposer:
    """A causal language model whose decoding is held to the grammar: Outlines, llguidance.

    The key-value cache of what a prompt shares with the one before it is kept, and all
    answers of one batch start from one cache: prompts are long, answers short.
    """

    def __init__(self, model_name: str) -> None:
        import outlines
        from outlines.types import CFG

        from grammar.grammar_file import PATH
        from interpreter.models import load_model

        self._loaded = load_model(model_name, attention="sdpa")
        self._tokenizer = self._loaded.tokenizer
        model = outlines.from_transformers(self._loaded.model, self._tokenizer)
        grammar = CFG(PATH.read_text(encoding="utf-8"))
        self._generator = outlines.Generator(model, grammar, backend="llguidance")
        self._ids: list[int] = []
        self._cache: Any = None

    @property
    def name(self) -> str:
        """outlines:MODEL@REVISION."""
        return f"outlines:{self._loaded.name}@{self._loaded.revision[:12]}"

    def _rendered(self, prompt: Prompt) -> str:
        if not self._tokenizer.chat_template:
            return prompt.text()
        messages = [{"role": role, "content": content} for role, content in prompt.messages]
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        )

    def _prefilled(self, text: str) -> Any:
        """The key-value cache of all tokens of the prompt but the last."""
        import torch
        from transformers import DynamicCache

        ids = self._tokenizer(text)["input_ids"][:-1]
        pairs = zip(ids, self._ids, strict=False)
        shared = next(
            (i for i, (a, b) in enumerate(pairs) if a != b), min(len(ids), len(self._ids))
        )
        if self._cache is None:
            self._cache = DynamicCache(config=self._loaded.model.config)
        if shared < len(self._ids):
            self._cache.crop(shared - len(self._ids))
        if shared < len(ids):
            new = torch.tensor([ids[shared:]], device=self._loaded.model.device)
            with torch.no_grad():
                self._loaded.model(new, past_key_values=self._cache, logits_to_keep=1)
        self._ids = ids
        return self._cache

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """`count` samples of at most `MAX_NEW_TOKENS` tokens each."""
        import torch

        started = time.monotonic()
        text = self._rendered(prompt)
        cache = copy.deepcopy(self._prefilled(text))
        cache.batch_repeat_interleave(count)
        torch.manual_seed(seed)
        texts = self._generator(
            text,
            past_key_values=cache,
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=True,
            temperature=TEMPERATURE,
            top_k=0,
            num_return_sequences=count,
        )
        seconds = (time.monotonic() - started) / count
        answers = [texts] if isinstance(texts, str) else texts
        return [self._draft(text, seconds) for text in answers]

    def _draft(self, text: str, seconds: float) -> Draft:
        tokens = len(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return Draft(text, tokens < MAX_NEW_TOKENS, tokens, seconds)
