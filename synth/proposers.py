"""Who writes candidate programs."""

import time
from dataclasses import dataclass
from typing import Protocol

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


MAX_NEW_TOKENS = 96
TEMPERATURE = 0.8


class OutlinesProposer:
    """A causal language model whose decoding is held to the grammar: Outlines, llguidance.

    The answers of one batch share the prompt's key-value cache, which is computed once.
    """

    def __init__(self, model_name: str) -> None:
        import outlines
        from outlines.types import CFG

        from grammar.grammar_file import PATH
        from interpreter.models import load_model

        self._loaded = load_model(model_name, attention="sdpa")
        self._tokenizer = self._loaded.tokenizer
        self._model = outlines.from_transformers(self._loaded.model, self._tokenizer)
        grammar = CFG(PATH.read_text(encoding="utf-8"))
        self._generator = outlines.Generator(self._model, grammar, backend="llguidance")

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

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """`count` samples at temperature 0.8, of at most 96 tokens each."""
        import torch

        torch.manual_seed(seed)
        started = time.monotonic()
        texts = self._generator(
            self._rendered(prompt),
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
