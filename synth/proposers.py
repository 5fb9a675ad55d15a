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


MAX_NEW_TOKENS = 96
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
        tokenizer: Any = self._tokenizer
        self._model = outlines.from_transformers(self._loaded.model, tokenizer)
        grammar = CFG(PATH.read_text(encoding="utf-8"))
        self._generator = outlines.Generator(self._model, grammar, backend="llguidance")
        self._ids: list[int] = []
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
        shown = self._input(prompt)
        cache = copy.deepcopy(self._prefilled(self._model.type_adapter.format_input(shown)))
        cache.batch_repeat_interleave(count)
        recorder = _recorder()
        torch.manual_seed(seed)
        texts: Any = self._generator(
            shown,
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
        written = recorder.ids[:, len(self._ids) + 1 :]
        ends = [(row == self._tokenizer.eos_token_id).nonzero() for row in written]
        lengths = [int(end[0]) if len(end) else None for end in ends]
        return [
            Draft(text, n is not None, written.shape[1] if n is None else n, seconds)
            for text, n in zip(answers, lengths, strict=True)
        ]
