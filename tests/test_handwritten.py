"""The programs written in torch are those of the language."""

import torch

from experiments.handwritten import HANDWRITTEN, handwritten
from grammar.parser import parse_or_raise
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from tests.tiny_models import tokenizer


def test_they_are_the_same_programs(tagger) -> None:
    tokens = read_tokens(load_texts("stories").documents[:3], tokenizer(), tagger, 60)
    facts = make_facts([tokens[0][:41], *tokens[1:]], causal=True)
    evaluator = Evaluator(facts)
    for text, written in zip(HANDWRITTEN, handwritten(facts), strict=True):
        found = evaluator.matrices(parse_or_raise(text))
        torch.testing.assert_close(
            written, found, atol=2e-6, rtol=1e-5, msg=lambda m, t=text: t + m
        )
