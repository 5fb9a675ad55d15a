"""The one grammar file under its three readers: lark, llguidance and xgrammar say the same.

The grammar bounds no text in all: `limits.MAX_PROGRAM_CHARACTERS` and `MAX_PROGRAM_NODES` are
checked after parsing, so the readers are compared without them.
"""

import importlib.util
from functools import cache
from itertools import islice
from random import Random

import pytest
import regex
from lark import Lark
from lark.exceptions import UnexpectedInput
from llguidance import LLMatcher, LLTokenizer

from grammar import limits
from grammar.grammar_file import BEYOND_ASCII, PATH
from grammar.printer import to_text
from tests.fuzz import examples, random_texts
from tests.random_programs import random_program

xgrammar = pytest.importorskip("xgrammar")

GRAMMAR = PATH.read_text(encoding="utf-8")


@cache
def lark() -> Lark:
    return Lark(GRAMMAR, parser="lalr")


@cache
def patterns() -> dict[str, str]:
    return {t.name: t.pattern.to_regexp() for t in lark().terminals}


@cache
def llguidance_start() -> LLMatcher:
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(GRAMMAR))
    assert not matcher.is_error(), matcher.get_error()
    return matcher


@cache
def xgrammar_start():
    vocabulary = [bytes([b]) for b in range(256)] + [b"</s>"]
    info = xgrammar.TokenizerInfo(vocabulary, stop_token_ids=[256])
    compiler = xgrammar.GrammarCompiler(info, max_threads=1)
    return xgrammar.GrammarMatcher(compiler.compile_grammar(xgrammar.Grammar.from_lark(GRAMMAR)))


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def lark_accepts(text: str) -> bool:
    try:
        lark().parse(text)
    except UnexpectedInput:
        return False
    return True


def llguidance_reads(text: str) -> tuple[int, bool]:
    """How many bytes are the beginning of a program, and whether the whole is one."""
    matcher = llguidance_start().deep_copy()
    data = encoded(text)
    count = matcher.try_consume_tokens(list(data))
    return count, count == len(data) and matcher.is_accepting()


def xgrammar_accepts(text: str) -> bool:
    matcher = xgrammar_start()
    matcher.reset()
    data = encoded(text)
    return all(matcher.accept_token(byte) for byte in data) and matcher.accept_token(256)


def begins_a_program(text: str) -> bool:
    """Whether lark could go on from here, whatever comes: an LALR parser shifts no wrong token.

    The last token may be cut short, or be the beginning of a longer one.
    """
    try:
        lark().parse(text)
    except UnexpectedInput as error:
        place = error.pos_in_stream
        if place is None or getattr(getattr(error, "token", None), "type", "") == "$END":
            return True
        state = lark().parse_interactive(text[:place])
        for _ in state.iter_parse():
            pass
        allowed = (patterns()[name] for name in state.accepts() - {"$END"})
        return any(regex.fullmatch(p, text[place:], partial=True) for p in allowed)
    return True


def assert_the_same(text: str) -> bool:
    accepted = lark_accepts(text)
    count, accepting = llguidance_reads(text)
    assert (accepting, xgrammar_accepts(text)) == (accepted, accepted), ascii(text)
    # Whole characters that llguidance read, and the one that it refused.
    read = encoded(text)[:count].decode("utf-8", "ignore")
    assert begins_a_program(read), ascii(read)
    if len(read) < len(text):
        assert not begins_a_program(text[: len(read) + 1]), ascii(text[: len(read) + 1])
    return accepted


def test_the_examples() -> None:
    found = {assert_the_same(text) for text in examples()}
    assert found == {True, False}


def test_generated_and_mutated_programs() -> None:
    found = [assert_the_same(text) for text in islice(random_texts(Random(3)), 2000)]
    assert 200 < sum(found) < 1800


def test_every_beginning_of_a_program_can_be_finished() -> None:
    rng = Random(5)
    for _ in range(60):
        text = to_text(random_program(rng))
        cut = text[: rng.randrange(len(text))]
        assert_the_same(cut)
        assert begins_a_program(cut)
        assert lark_accepts(finished(cut, rng))


def finished(text: str, rng: Random) -> str:
    """The text carried on at random under llguidance's masks, until it lets it end."""
    matcher = llguidance_start().deep_copy()
    data = list(encoded(text))
    assert matcher.try_consume_tokens(data) == len(data)
    while not matcher.is_accepting():
        # Plain letters alone: a byte beyond them would begin a character.
        mask = matcher.compute_bitmask()
        data.append(rng.choice([b for b in range(128) if mask[b // 8] >> b % 8 & 1]))
        assert matcher.try_consume_tokens(data[-1:]) == 1
    return bytes(data).decode()


EDGES = [ord(c) for c in regex.findall(r"[^-]", BEYOND_ASCII.encode().decode("unicode_escape"))]


def test_words_at_the_edges_of_what_a_word_may_hold() -> None:
    near = {e + d for e in EDGES for d in (-1, 0, 1)} | {0, 9, 10, 13, 32, 34, 92, 127, 0x85}
    near |= {0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000, 0xFFFF, 0x1_0000, 0x10_FFFF}
    words = [c for code in near for c in (chr(code), "a" + chr(code), chr(code) * 24)]
    words += ["a" * 24, "a" * 25, "猫" * 25, "\U0001f600" * 25, "._", "a._-", "-a", ""]
    found = [assert_the_same(f'word("{word}")') for word in words]
    assert 60 < sum(found) < len(found) - 60


@pytest.mark.skipif(
    importlib.util.find_spec("interegular") is None,
    reason="lark's strict mode needs interegular; `make fuzz` runs this",
)
def test_lark_finds_no_two_readings() -> None:
    Lark(GRAMMAR, parser="lalr", strict=True)


def longest(symbol: str, name_of: dict[str, int]) -> int:
    """Characters of the longest text of a rule or terminal; no rule leads back to itself."""
    if symbol not in name_of:
        choices = [r.expansion for r in lark().rules if r.origin.name == symbol]
        name_of[symbol] = max(sum(longest(s.name, name_of) for s in c) for c in choices)
    return name_of[symbol]


def test_every_program_ends() -> None:
    """The grammar's own bound is far off; `limits.MAX_PROGRAM_CHARACTERS` cuts before it.

    A grammar without memory cannot count the characters of all parts together, and bounds on
    each that keep every sum under the limit would forbid most programs that people write.  What
    is grammatical and too long is rejected as `too_long`, like any other mistake.
    """
    widths = {t.name: int(t.pattern.max_width) for t in lark().terminals}
    assert longest("start", widths) == 1_136_321
    assert longest("selection", widths) > limits.MAX_PROGRAM_CHARACTERS
