"""The default proposer: a causal language model held to the grammar by Outlines and llguidance."""

import time
from typing import Any

import torch
from torch import Tensor

from grammar.errors import InputError
from synth.prompt import Prompt
from synth.proposers import MAX_NEW_TOKENS, TEMPERATURE, TOP_P, Draft

WIDEST = 256
"""Of the tokens that the grammar allows, the most likely ones that one is drawn from."""


class OutlinesProposer:
    """Any transformer of the table, of the hub or of a folder that can write text."""

    def __init__(self, model_name: str) -> None:
        import outlines
        from outlines.backends import get_cfg_logits_processor

        from grammar.grammar_file import PATH
        from interpreter.branching import Branching
        from interpreter.models import load_model

        self.longest = MAX_NEW_TOKENS
        """Tokens of an answer."""
        self._loaded = load_model(model_name, attention="sdpa")
        self._tokenizer = self._loaded.tokenizer
        self._branching = Branching(self._loaded)
        tokenizer: Any = self._tokenizer
        model = outlines.from_transformers(self._loaded.model, tokenizer)
        grammar = PATH.read_text(encoding="utf-8")
        self.processor: Any = get_cfg_logits_processor("llguidance", model, grammar)

    @property
    def name(self) -> str:
        """outlines:MODEL@REVISION."""
        return f"outlines:{self._loaded.name}@{self._loaded.revision[:12]}"

    def _ids(self, prompt: Prompt) -> list[int]:
        ids: list[int] = self._tokenizer(prompt.read_with(self._tokenizer))["input_ids"]
        return ids

    def _chunks(self, prompt: Prompt) -> list[list[int]]:
        """The prompt's tokens, cut before every turn of the user.

        What two prompts share, the system's turn and leading examples, is read once.
        """
        ids = self._ids(prompt)
        cuts = [0]
        for i, (role, _) in enumerate(prompt.messages):
            if role == "user" and i > 0:
                shared = zip(
                    ids, self._ids(Prompt((*prompt.messages[:i], ("user", "")))), strict=False
                )
                cuts.append(next((n for n, (a, b) in enumerate(shared) if a != b), cuts[-1]))
        return [ids[a:b] for a, b in zip(cuts, [*cuts[1:], len(ids)], strict=True) if a < b]

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """`count` samples of at most `longest` tokens each."""
        started = time.monotonic()
        random = torch.Generator().manual_seed(seed)
        end = self._tokenizer.eos_token_id
        chunks = self._chunks(prompt)
        needed = sum(map(len, chunks)) + self.longest
        if needed > self._loaded.max_tokens:
            raise InputError(
                f"model {self._loaded.name} reads {self._loaded.max_tokens} tokens, and a prompt "
                f"with its answer takes {needed}: name another --proposer"
            )
        self.processor.reset()
        logits = self._branching.start(chunks).repeat(count, 1)
        written = torch.empty(count, 0, dtype=torch.long)
        while True:
            token = _drawn(self.processor(written, logits), random)
            written = torch.cat([written, token[:, None]], 1)
            if written.shape[1] == self.longest or bool((written == end).any(1).all()):
                break
            logits = self._branching.step(token)
        seconds = (time.monotonic() - started) / count
        return [self._draft(row.tolist(), seconds) for row in written]

    def _draft(self, ids: list[int], seconds: float) -> Draft:
        end = self._tokenizer.eos_token_id
        finished = end in ids
        kept = ids[: ids.index(end)] if finished else ids
        text: Any = self._tokenizer.decode(kept)
        return Draft(text, finished, len(kept), seconds)


def _drawn(logits: Tensor, random: torch.Generator) -> Tensor:
    """[branch] int64: a token for each row, from the likeliest that hold `TOP_P` of the mass."""
    likeliest = logits.topk(min(WIDEST, logits.shape[1]))
    shares = torch.softmax(likeliest.values / TEMPERATURE, -1)
    # A token stays if the ones before it leave something to hold.
    shares = shares * (shares.cumsum(-1) - shares < TOP_P)
    chosen = torch.multinomial(shares, 1, generator=random)
    return likeliest.indices.gather(1, chosen)[:, 0]
