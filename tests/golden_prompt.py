"""The prompt as it was last looked at.

`python -m tests.golden_prompt` rewrites `tests/fixtures/prompt.txt`; look at what has changed.
"""

from pathlib import Path

from grammar.parser import parse_or_raise
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.models import load_spacy
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from synth.prompt import Prompt, PromptWriter
from tests.tiny_models import tokenizer

PATH = Path(__file__).parent / "fixtures" / "prompt.txt"


def golden_prompt() -> Prompt:
    """The second round about a head that is a program, after one answer and with an example."""
    tokens = read_tokens(load_texts("stories").documents[:4], tokenizer(), load_spacy(), 64)
    evaluator = Evaluator(make_facts(tokens, causal=True))
    pattern = evaluator.matrices(parse_or_raise("near(after(same_token), 32)"))
    writer = PromptWriter(evaluator, tokens)
    writer.add_example("9 near(after(same_token), 16) + 1 back(1)")
    attempts = writer.attempts(pattern, {"8 first + 2 recent(comma)": "model", "self": "trivial"})
    return writer.prompt(pattern, attempts, feedback=True)


if __name__ == "__main__":
    PATH.write_text(golden_prompt().text() + "\n", encoding="utf-8")
