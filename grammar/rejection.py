"""A rejected program is a value: what is wrong, where, what was expected, what to do."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from grammar import limits
from grammar.primitives import PRIMITIVES
from grammar.tree import CONNECTIVES


@dataclass(frozen=True)
class Rejection:
    """Why a text is not a program.  `line` and `column` count from 1, in characters.

    `code` is one of: "empty", "too_long", "too_large", "syntax", "unknown_name", "incomplete",
    "characters", or, of a proposal, "failed".
    """

    code: str
    message: str
    line: int
    column: int
    hint: str = ""
    expected: tuple[str, ...] = ()

    def render(self, text: str) -> str:
        """The message, the offending line, and a caret under the place."""
        lines = text.split("\n")
        source = lines[min(self.line, len(lines)) - 1]
        start = max(0, self.column - 61)
        shown = printable(source[start : start + 100])
        caret = " " * _terminal_width(printable(source[start : self.column - 1])) + "^"
        parts = [f"{self.code} at line {self.line}, column {self.column}: {self.message}"]
        parts += [f"  {shown}", f"  {caret}"]
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)

    def as_json(self) -> dict[str, object]:
        """The fields, as `headscript check --json` prints them."""
        return dict(vars(self))


# What people and models write when they mean one of our words.
SYNONYMS = {
    "previous": "back(1)",
    "prev": "back(1)",
    "current": "self",
    "same": "same_word",
    "bos": "first",
    "sink": "first",
    "start": "first",
    "begin": "first",
    "most_recent": "recent(noun)",
    "latest": "recent(noun)",
    "nth": "first(noun, 2)",
    "induction": "near(after(same_token), 99)",
    "uniform": "any",
    "all": "any",
    "every": "any",
    "token": "any",
    "period": "stop",
    "full_stop": "stop",
    "dot": "stop",
    "punct": "punctuation",
    "propn": "name",
    "proper_noun": "name",
    "adj": "adjective",
    "adv": "adverb",
    "aux": "auxiliary",
    "det": "determiner",
    "article": "determiner",
    "adp": "preposition",
    "cconj": "conjunction",
    "sconj": "subordinator",
    "num": "number",
    "part": "particle",
    "line_break": "newline",
    "eol": "newline",
    "cls": "special",
    "sep": "special",
    "uppercase": "capital",
    "subword": "continuation",
    "head": "governor",
    "parent": "governor",
    "child": "dependent",
    "same_sent": "same_sentence",
    "fade": "near(noun, 8)",
    "decay": "near(noun, 8)",
    "softmax": "score(1.0 noun)",
    "if": "when noun: self; first",
    "else": "a last rule without `when`",
    "otherwise": "a last rule without `when`",
}


NAMES = (*PRIMITIVES, *CONNECTIVES, "score", "when")


@lru_cache(1000)
def _closest(name: str) -> str:
    """The word of the language that `name` looks like, or ""."""
    return next(iter(get_close_matches(name, NAMES, n=1, cutoff=0.7)), "")


def printable(text: str) -> str:
    """`text` with every character that could upset a terminal or an encoder escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _terminal_width(text: str) -> int:
    """The columns that `text` takes in a terminal: Chinese letters two, combining accents none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def hint_at(text: str, offset: int) -> str:
    """Advice drawn from typical mistakes at this place of a rejected program, or ""."""
    here = text[offset : offset + 1]
    if not (here.isprintable() or here.isspace()):
        # The message shows what stands there, and no word of the language was meant.
        return ""
    start = offset
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    found = re.compile(r"[A-Za-z_]+[0-9]*").match(text, start)
    name = found.group().lower() if found else ""
    before, rest = text[:offset], text[offset:]
    if before.endswith("word(") or name == "word" or rest[:1] in ("'", '"'):
        return 'a word stands in double quotes: `word("the")`'
    if name and name not in NAMES:
        meant = SYNONYMS.get(name) or _closest(name)
        return f"`{printable(name)}`: did you mean `{meant}`?" if meant else ""
    if rest.startswith(" + ") and not re.match(r"[0-9]", before.rsplit("; ")[-1]):
        return "give every part of a sum a weight: `60 first + 40 back(1)`"
    if rest.strip() in ("and", "or", "+"):
        return f"something is missing after `{rest.strip()}`"
    if re.match(r" (and|or) ", rest):
        return (
            f"`and` and `or` join at most {limits.MAX_OPERANDS} predicates, "
            "and a way to select, as `first(noun)`, is none"
        )
    if re.match(r"\s|[+:;]|,(?! \S)", rest):
        return "one space around `+`, after `,`, `:` and `;`, none elsewhere: `30 first + 20 self`"
    if name and found and found.group() != name:
        return f"names are written in small letters: `{name}`"
    call = re.search(r"([a-z_]+)\([^()]*$", before[:start])
    if call and call.group(1) in PRIMITIVES and (name or rest[:1] in (")", ",")):
        name = call.group(1)
    elif name in PRIMITIVES and re.search(r"(^|; )when [^:]*$", before[:start]):
        return "a guard says what the query token is: `when noun and not name: self; first`"
    if name in PRIMITIVES and PRIMITIVES[name].parameters:
        return f"write {PRIMITIVES[name].doc}: `{PRIMITIVES[name].example}`"
    if rest[:1].isdigit() and re.search(r"score\((.* [+-] )?$", before):
        return "logits run from 0.0 to 9.9, with one digit after the point: `score(2.0 noun)`"
    if rest[:1] == "." or re.match(r"0?\.[0-9]", text[start:]):
        return "weights are whole numbers from 1 to 99; logits have one digit after the point: 2.5"
    if rest[:1].isdigit():
        return "numbers run from 1 to 99, logits from 0.0 to 9.9"
    return ""


def located(
    code: str, message: str, text: str, offset: int, expected: Sequence[str] = ()
) -> Rejection:
    """A rejection at a character offset of the text."""
    before = text[:offset]
    line = before.count("\n") + 1
    column = offset - (before.rfind("\n") + 1) + 1
    hint = hint_at(text, offset) if code in ("syntax", "unknown_name") else ""
    if code == "incomplete" and "; " in expected:
        hint = "the last rule has no `when`: `when noun: self; first`"
    return Rejection(code, message, line, column, hint, tuple(expected))
