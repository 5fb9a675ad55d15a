"""What the language model sees: the language, worked examples, and one head's summary.

The vocabulary is rendered from the declarations.  Each worked example is a program together
with the summary of its own pattern on the training texts, so nothing in the prompt is made up.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from grammar.parser import parse, parse_or_raise
from grammar.primitives import Kind, primitives
from grammar.rejection import Rejection
from grammar.token_facts import Token
from interpreter.evaluate import Evaluator
from interpreter.scores import iou
from synth.feedback import feedback_text
from synth.summary import Summarizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Messages = Sequence[tuple[str, str]]
"""(role, content) pairs; roles are system, user, assistant."""

EXAMPLES = (
    "7 first + 2 back(1) + 1 self",
    "4 back(1) + 1 first",
    "7 self + 3 near(any, 2)",
    "3 any + 2 near(determiner, 32)",
    "5 near(any, 4) + 4 near(function, 16) + 1 first",
    '5 first + 4 first(word("the")) + 1 first(word("the"), 2)',
    "6 first + 3 recent(stop) + 1 recent(sentence_start)",
    "7 first + 3 near(after(same_token), 32)",
    "5 first + 3 same_word + 2 near(content, 8)",
    "3 near(noun or verb, 8) + 2 first",
    "when newline: 4 first + 1 self; 1 first + 1 near(comma or stop, 16)",
    "3 first + 2 score(2.0 same_sentence + 1.5 content - 0.5 distance(any))",
)
"""Programs to learn from; a prompt shows some, the last the one whose pattern is nearest."""

SHARED_EXAMPLES = (EXAMPLES[5], EXAMPLES[10], EXAMPLES[11])
"""Shown in every prompt, and first, so that a model reads them once for all heads: they show
what the form of a program can be, by a word, a guard and a score."""

NEAR_EXAMPLES = 1
"""Of the others, those with the patterns nearest to the head's."""

OTHERS = 24
"""Programs of other heads that examples are chosen from, beside the ones above."""

WORDS = 60
"""Words of the texts that proposers without a language model are told."""

INSTRUCTION = (
    "You explain attention heads. A head looks from each query token at key tokens. You are told "
    "where its weight goes; answer with one short program that predicts it: weighted selections "
    "of keys, `6 first + 3 back(1) + 1 noun`. P is a class or relation, or several joined by "
    "and, or, not, after(P), before(P); query(P) asks what the query is.\n"
)


@dataclass(frozen=True)
class Attempt:
    """A program that was tried on the head."""

    text: str
    iou: float
    """Mean over the train documents."""
    proposer: str = ""
    """Who wrote it for this head; empty for trivial programs, examples, and other heads' own."""


@dataclass(frozen=True)
class Prompt:
    """What a proposer is told about a head; a language model sees the messages alone."""

    messages: tuple[tuple[str, str], ...]
    """`Messages` that end with a user's turn."""
    told: int = 0
    """How many of the last messages are feedback."""
    tried: tuple[Attempt, ...] = ()
    """What is known to fit this head or not, the best first."""
    words: tuple[str, ...] = ()
    """Words of the texts, the most frequent first."""
    causal: bool = True

    def without_feedback(self) -> "Prompt":
        """The same, before any feedback was given."""
        return replace(self, messages=self.messages[: len(self.messages) - self.told], told=0)

    @property
    def sha256(self) -> str:
        """64 hex digits that name the prompt."""
        return hashlib.sha256(repr(self.messages).encode()).hexdigest()

    def text(self) -> str:
        """The whole prompt as plain text, for models without a chat template."""
        names = {"system": "", "user": "Head:\n", "assistant": "Program: "}
        turns = [f"{names[role]}{content}" for role, content in self.messages]
        return "\n\n".join([*turns, "Program: "])

    def read_with(self, tokenizer: "PreTrainedTokenizerFast") -> str:
        """The text whose tokens a model reads: a chat where its tokenizer has a template."""
        if not tokenizer.chat_template:
            return self.text()
        turns = [{"role": role, "content": content} for role, content in self.messages]
        chat: Any = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return str(chat)


def as_text(messages: Messages) -> str:
    """What a server is sent, each message under its role; the server makes a chat of them."""
    return "\n\n".join(f"{role}:\n{content}" for role, content in messages)


def vocabulary(*, causal: bool) -> str:
    """The language's words by kind; for a causal model without those that look ahead."""
    lines = []
    for kind in Kind:
        words = (p.signature for p in primitives(kind) if not (causal and p.looks_ahead))
        lines.append(f"{kind}: {', '.join(words)}")
    return "\n".join([*lines, "score(2.0 noun - 0.5 distance(any)): a softmax over the keys"])


class PromptWriter:
    """Writes prompts about heads on one set of texts."""

    def __init__(self, evaluator: Evaluator, tokens: Sequence[Sequence[Token]]) -> None:
        self._summarizer = Summarizer(evaluator, tokens)
        self._facts = evaluator.facts
        self._tokens = tokens
        self._system = ("system", INSTRUCTION + vocabulary(causal=evaluator.facts.causal))
        self._words = frequent_words(tokens)
        self._own = {text: self._example(text) for text in EXAMPLES}
        self._others: dict[str, _Example] = {}

    def _example(self, text: str) -> "_Example":
        # An evaluator of its own: what it would keep of every program is not needed again.
        pattern = Evaluator(self._facts).matrices(parse_or_raise(text))
        return _Example(pattern, self._summarizer.summary(pattern).text())

    def add_example(self, text: str) -> None:
        """A program of another head, to be shown where it is near; the oldest makes room."""
        if text not in self._own and text not in self._others:
            self._others[text] = self._example(text)
            if len(self._others) > OTHERS:
                del self._others[next(iter(self._others))]

    def attempts(self, pattern: Tensor, texts: Mapping[str, str]) -> list[Attempt]:
        """The programs, texts with their proposers, scored on a pattern [text, query, key]."""
        evaluator = Evaluator(self._facts)
        return [
            Attempt(text, float(iou(pattern, evaluator.matrices(parse_or_raise(text))).mean()), by)
            for text, by in texts.items()
        ]

    def prompt(
        self, pattern: Tensor, attempts: Sequence[Attempt] = (), *, feedback: bool = False
    ) -> Prompt:
        """The prompt about a head with attention [text, query, key]; the nearest example last.

        With `feedback` it goes on with the best attempt, and with what is wrong with it.
        """
        examples = self._own | self._others
        near = {t: float(iou(pattern, e.pattern).mean()) for t, e in examples.items()}
        turns = [self._system]
        others = sorted(near.keys() - {*SHARED_EXAMPLES}, key=lambda t: (near[t], t))
        for text in (*SHARED_EXAMPLES, *others[-NEAR_EXAMPLES:]):
            turns += [("user", examples[text].summary), ("assistant", text)]
        turns.append(("user", self._summarizer.summary(pattern).text()))
        written = {attempt.text for attempt in attempts}
        known = [Attempt(text, score) for text, score in near.items() if text not in written]
        tried = sorted([*attempts, *known], key=lambda a: (-a.iou, a.text))
        if feedback:
            best = max(attempts, key=lambda attempt: attempt.iou)
            predicted = Evaluator(self._facts).matrices(parse_or_raise(best.text))
            told = feedback_text(self._summarizer, self._tokens, pattern, predicted)
            turns += [("assistant", best.text), ("user", told)]
        return Prompt(tuple(turns), 2 * feedback, tuple(tried), self._words, self._facts.causal)


@dataclass(frozen=True)
class _Example:
    pattern: Tensor
    """[text, query, key]."""
    summary: str


def frequent_words(tokens: Sequence[Sequence[Token]]) -> tuple[str, ...]:
    """The words of some texts that a program can name, the most frequent first."""
    counts = Counter(token.word for text in tokens for token in text if token.word)
    common = (word for word, _ in counts.most_common(2 * WORDS))
    sayable = (word for word in common if not isinstance(parse(f'word("{word}")'), Rejection))
    return tuple(sayable)[:WORDS]
