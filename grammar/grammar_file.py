"""Writes the grammar in Lark's notation, in the dialect that lark, llguidance and xgrammar share.

One canonical spacing stands in the literals, and every repetition and nesting is unrolled to its
bound, so that a model that writes under this grammar always ends.
`python -m grammar.grammar_file` rewrites `grammar/attention.lark`; a test checks that it is fresh.
"""

from itertools import pairwise
from pathlib import Path

from grammar import limits
from grammar.primitives import Kind, Parameter, Primitive, primitives

PATH = Path(__file__).with_name("attention.lark")

# Letters, digits and the marks inside words.  Of the characters beyond ASCII, white space,
# invisible and direction-changing ones are left out, and all astral ones but pictographs.
BEYOND_ASCII = (
    r"ª-¬®-\u167f\u1681-\u180d\u180f-\u1fff\u2010-\u2027\u2030-\u205e\u2070-\u2fff"
    r"\u3001-\ud7ff\uf900-\ufdff\U0001f000-\U0001faff"
)
WORD_START = f"A-Za-z0-9'{BEYOND_ASCII}"
WORD_REST = f"{WORD_START}._-"


def _unrolled(rule: str, item: str, separator: str, most: int, alias: str) -> list[str]:
    """One to `most` items: a rule is an item, or an item, the separator and the next rule."""
    names = [rule, *(f"{rule}_{left}" for left in range(most - 1, 0, -1))]
    chained = [
        f"?{name}: {item} | {item} {separator} {following} -> {alias}"
        for name, following in pairwise(names)
    ]
    return [*chained, f"?{names[-1]}: {item}"]


def _alternatives(primitive: Primitive, predicate: str) -> list[str]:
    """The alternatives of one primitive, one for each number of trailing defaults left out."""
    shown = {
        Parameter.NUMBER: "NUMBER",
        Parameter.WORD: "WORD",
        Parameter.FOLDED_WORD: "WORD",
        Parameter.PREDICATE: predicate,
    }
    arguments = [shown[p] for p in primitive.parameters]
    choices = []
    for count in range(len(arguments) - len(primitive.defaults), len(arguments) + 1):
        if count == 0:
            choices.append(f'"{primitive.name}" -> primitive')
        else:
            inside = ' ", " '.join(arguments[:count])
            choices.append(f'"{primitive.name}(" {inside} ")" -> primitive')
    return choices


def _rule(name: str, alternatives: list[str]) -> str:
    return f"{name}: " + "\n    | ".join(alternatives)


def _predicates(prefix: str, atoms: list[str], asked: str = "") -> list[str]:
    """Boolean expressions over `atoms`, nested to the bound: `or` over `and` over `not`.

    `asked` is the prefix of the predicates that may be held against the query.
    """
    lines = []
    for depth in range(limits.MAX_NESTING, -1, -1):
        level = f"{prefix}{depth}"
        most = limits.MAX_OPERANDS
        lines += _unrolled(f"{level}_or", f"{level}_and", '" or "', most, "disjunction")
        lines += _unrolled(f"{level}_and", f"{level}_not", '" and "', most, "conjunction")
        lines.append(f'?{level}_not: {level}_atom | "not " {level}_atom -> negation')
        inner = f"{prefix}{depth - 1}_or"
        nested = [
            f'"after(" {inner} ")" -> wrapped',
            f'"before(" {inner} ")" -> wrapped',
            f'"(" {inner} ")" -> group',
        ]
        if asked:
            nested.append(f'"query(" {asked}{depth - 1}_or ")" -> wrapped')
        lines.append(_rule(f"?{level}_atom", [*atoms, *(nested if depth else [])]))
    return lines


def grammar_text() -> str:
    """The whole grammar, derived from the declared primitives and the limits."""
    predicate = f"p{limits.MAX_NESTING}_or"
    guards, logits = limits.MAX_GUARDS, limits.MAX_LOGITS
    rules = [f"rules_{left}" for left in range(guards - 1, -1, -1)]
    later = [f"later_{left}" for left in range(logits - 1, 0, -1)]
    lines = [
        "// Written by grammar/grammar_file.py from grammar/primitives.py: do not edit.",
        f'start: mixture | when "; " {rules[0]} -> start',
        *(f'?{a}: mixture | when "; " {b} -> rules' for a, b in pairwise(rules)),
        f"?{rules[-1]}: mixture",
        f'when: "when " g{limits.MAX_NESTING}_or ": " mixture',
        "mixture: term | parts",
        *_unrolled("parts", "part", '" + "', limits.MAX_PARTS, "parts"),
        'part: NUMBER " " term',
        '?term: selection | "score(" logits ")" -> score',
        f'logits: logit | "-" logit | logit {later[0]} | "-" logit {later[0]}',
        *(f"?{a}: signed | signed {b} -> logits" for a, b in pairwise(later)),
        f"?{later[-1]}: signed",
        'signed: " + " logit | " - " logit',
        'logit: LOGIT " " selection',
        _rule(
            "?selection",
            [
                predicate,
                *(c for p in primitives(Kind.SELECTION) for c in _alternatives(p, predicate)),
            ],
        ),
        *_predicates("p", ["token_class", "relation"], asked="g"),
        *_predicates("g", ["token_class"]),
        _rule(
            "?token_class", [c for p in primitives(Kind.TOKEN_CLASS) for c in _alternatives(p, "")]
        ),
        _rule("?relation", [c for p in primitives(Kind.RELATION) for c in _alternatives(p, "")]),
        "NUMBER: /[1-9][0-9]?/",
        r"LOGIT: /[0-9]\.[0-9]/",
        f'WORD: /"[{WORD_START}][{WORD_REST}]{{0,{limits.MAX_WORD_CHARACTERS - 1}}}"/',
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PATH.write_text(grammar_text(), encoding="utf-8")
