"""What the language model sees: the language, worked examples, and one head's summary.

The vocabulary is rendered from the declarations.  Each worked example is a program together
with the summary of its own pattern on the training texts, so nothing in the prompt is made up.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from grammar.canonical import canonical
from grammar.parser import parse_or_raise
from grammar.primitives import Kind, primitives
from interpreter.capture import Head, capture
from interpreter.evaluate import Evaluator
from interpreter.models import LoadedModel
from interpreter.texts import Texts
from synth.summary import Summarizer, Summary

EXAMPLES = (
    "7 first + 2 back(1) + 1 self",
    '5 first + 4 first(word("the")) + 1 near(any, 8)',
    "6 first + 3 recent(stop) + 1 recent(sentence_start)",
    "5 first + 4 near(after(same_token), 32) + 1 same_word",
    "when newline: 4 first + 1 self; 5 near(noun or verb, 6) + 3 any + 2 first",
    "3 first + 2 score(2.0 same_sentence + 1.5 content - 0.5 distance(any))",
)

INSTRUCTION = (
    "You explain attention heads. A head looks from each query token at key tokens. You are told "
    "where its weight goes; answer with one short program that predicts it: weighted selections "
    "of keys, `6 first + 3 back(1) + 1 noun`. P is a class or relation, or several joined by "
    "and, or, not, after(P), before(P).\n"
)


@dataclass(frozen=True)
class Prompt:
    """Chat messages, ending with a user's turn."""

    messages: tuple[tuple[str, str], ...]
    """(role, content) pairs; roles are system, user, assistant."""

    @property
    def sha256(self) -> str:
        """64 hex digits that name the prompt."""
        return hashlib.sha256(repr(self.messages).encode()).hexdigest()

    def text(self) -> str:
        """The whole prompt as plain text, for models without a chat template and for people."""
        names = {"system": "", "user": "Head:\n", "assistant": "Program: "}
        turns = [f"{names[role]}{content}" for role, content in self.messages]
        return "\n\n".join([*turns, "Program: "])


def vocabulary(*, causal: bool) -> str:
    """The language's words by kind; for a causal model without those that look ahead."""
    lines = []
    for kind in Kind:
        words = (p.signature for p in primitives(kind) if not (causal and p.looks_ahead))
        lines.append(f"{kind}: {', '.join(words)}")
    return "\n".join([*lines, "score(2.0 noun - 0.5 distance(any)): a softmax over the keys"])


class PromptWriter:
    """Writes prompts about heads on one set of texts."""

    def __init__(self, evaluator: Evaluator, summarizer: Summarizer) -> None:
        turns: list[tuple[str, str]] = [
            ("system", INSTRUCTION + vocabulary(causal=evaluator.facts.causal))
        ]
        for program in EXAMPLES:
            pattern = evaluator.matrices(canonical(parse_or_raise(program)))
            turns.append(("user", summarizer.summary(pattern).text()))
            turns.append(("assistant", program))
        self._turns = tuple(turns)

    def prompt(self, summary: Summary) -> Prompt:
        """The prompt about one head."""
        return Prompt((*self._turns, ("user", summary.text())))


def prompt_for(loaded: LoadedModel, texts: Texts, heads: Sequence[Head], max_tokens: int) -> Prompt:
    """The prompt about the first of `heads`, as `synth` makes it from the train documents."""
    patterns = capture(loaded, texts.split()["train"], heads, max_tokens)
    evaluator = Evaluator(patterns.facts())
    summarizer = Summarizer(evaluator, patterns.tokens)
    summary = summarizer.summary(patterns.head(heads[0]))
    return PromptWriter(evaluator, summarizer).prompt(summary)
