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


MAX_NEW_TOKENS = 80
TEMPERATURE = 0.7
TOP_P = 0.9


def _recorder() -> Any:
    """A stopping criterion that stops nothing and remembers the tokens it was shown.

    Outlines returns decoded text alone, which does not tell whether an answer had ended.
    """
    import torch
    from transformers import StoppingCriteria

    class Recorder(StoppingCriteria):
        ids: torch.Tensor

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            self.ids = input_ids
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    return Recorder()


class OutlinesProposer:
    """A causal language model whose decoding is held to the grammar: Outlines, llguidance.

    Prompts are long and answers short, so the key-value cache of the turn that all prompts
    share is kept, and the answers of one batch start from one cache.
    """

    def __init__(self, model_name: str) -> None:
        import outlines
        from outlines.types import CFG

        from grammar.grammar_file import PATH
        from interpreter.models import load_model

        self._loaded = load_model(model_name, attention="sdpa")
        self._tokenizer = self._loaded.tokenizer
        tokenizer: Any = self._tokenizer
        self._model = outlines.from_transformers(self._loaded.model, tokenizer)
        grammar = CFG(PATH.read_text(encoding="utf-8"))
        self._generator = outlines.Generator(self._model, grammar, backend="llguidance")
        self._turns: tuple[tuple[str, str], ...] = ()
        self._shared = 0
        self._cache: Any = None

    @property
    def name(self) -> str:
        """outlines:MODEL@REVISION."""
        return f"outlines:{self._loaded.name}@{self._loaded.revision[:12]}"

    def _input(self, prompt: Prompt) -> Any:
        """The prompt as Outlines takes it: a chat where the model has a template for one."""
        from outlines.inputs import Chat

        if not self._tokenizer.chat_template:
            return prompt.text()
        return Chat([{"role": role, "content": content} for role, content in prompt.messages])

    def _ids(self, prompt: Prompt) -> list[int]:
        text = self._model.type_adapter.format_input(self._input(prompt))
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids

    def _extended(self, cache: Any, ids: list[int]) -> Any:
        """A copy of the cache with the keys and values of further tokens."""
        import torch

        cache = copy.deepcopy(cache)
        if ids:
            new = torch.tensor([ids], device=self._loaded.model.device)
            with torch.no_grad():
                self._loaded.model(new, past_key_values=cache, logits_to_keep=1)
        return cache

    def _prefilled(self, prompt: Prompt) -> Any:
        """The key-value cache of all tokens of the prompt but the last.

        Always made in the same two steps, the system's turn and then the rest, so that
        rounding does not depend on what was asked before.
        """
        from transformers import DynamicCache

        ids = self._ids(prompt)[:-1]
        turns = (prompt.messages[0], ("user", ""))
        if turns != self._turns:
            pairs = zip(ids, self._ids(Prompt(turns)), strict=False)
            self._shared = next((i for i, (a, b) in enumerate(pairs) if a != b), len(ids))
            empty = DynamicCache(config=self._loaded.model.config)
            self._cache = self._extended(empty, ids[: self._shared])
            self._turns = turns
        return self._extended(self._cache, ids[self._shared :])

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """`count` samples of at most `MAX_NEW_TOKENS` tokens each."""
        import torch

        started = time.monotonic()
        cache = self._prefilled(prompt)
        cache.batch_repeat_interleave(count)
        recorder = _recorder()
        torch.manual_seed(seed)
        texts: Any = self._generator(
            self._input(prompt),
            past_key_values=cache,
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=True,
            temperature=TEMPERATURE,
            top_k=0,
            top_p=TOP_P,
            num_return_sequences=count,
            stopping_criteria=[recorder],
        )
        seconds = (time.monotonic() - started) / count
        answers = [texts] if isinstance(texts, str) else texts
        written = recorder.ids[:, len(self._ids(prompt)) :]
        ends = [(row == self._tokenizer.eos_token_id).nonzero() for row in written]
        lengths = [int(end[0]) if len(end) else None for end in ends]
        return [
            Draft(text, n is not None, written.shape[1] if n is None else n, seconds)
            for text, n in zip(answers, lengths, strict=True)
        ]
