"""A program as one sentence of plain English, derived from its tree.

The words of each primitive stand in its declaration (`Primitive.phrase`); they are joined here.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import cast

from grammar.primitives import PRIMITIVES, Kind
from grammar.tree import Node

MAX_CHARACTERS = 300
"""No sentence is longer: of a large program, smaller parts and then guards are left out."""

MANY = 4
"""From this number of parts on, their shares are told in percent."""

SHARES = {
    0.5: "half",
    0.57: "over half",
    0.45: "nearly half",
    0.4: "two fifths",
    0.36: "over a third",
    0.33: "a third",
    0.29: "under a third",
    0.25: "a quarter",
    0.2: "a fifth",
    0.167: "a sixth",
    0.1: "a tenth",
    0.0: "a little",
}
"""A share is told by the nearest of these."""

TOKENS = "token(s)"
"""The noun of the phrases that can narrow another: "tokens in quotes", "nouns in quotes"."""

OTHER = "other than "


def sentence(program: Node) -> str:
    """One sentence of at most `MAX_CHARACTERS` that tells what `program` looks at."""
    *guarded, _ = program.children
    widest = max((len(node.args) for node in program.walk()), default=1)
    for guards in range(len(guarded), -1, -1):
        for parts in range(widest, 1 if guards else 0, -1):
            text = _rules(program, guards, parts)
            if len(text) <= MAX_CHARACTERS:
                return text
    return text[: MAX_CHARACTERS - 12].rpartition(" ")[0] + " … and more."


def _rules(program: Node, guards: int, parts: int) -> str:
    """The first `guards` guarded rules, each mixture and score cut to its largest `parts`."""
    *guarded, last = program.children
    told = []
    for rule in guarded[:guards]:
        condition, mixture = rule.children
        told.append(f"on {_noun(condition, plural=True)}: {_mixture(mixture, parts)}")
    where = ["elsewhere"] if told else []
    if left := len(guarded) - guards:
        where.append(f"apart from {left}{' more' * bool(told)} kind{'s' * (left > 1)} of query")
    told.append(": ".join([*([", ".join(where)] if where else []), _mixture(last, parts)]))
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in told)


def _mixture(mixture: Node, parts: int) -> str:
    total = sum(cast(int, part.args[0]) for part in mixture.children)
    ordered = sorted(mixture.children, key=lambda part: -cast(int, part.args[0]))
    shares = [cast(int, part.args[0]) / total for part in ordered]
    terms = [_term(part.children[0], parts) for part in ordered[:parts]]
    rest = ["smaller parts"] if len(ordered) > parts else []
    if len(ordered) == 1:
        return terms[0]
    if len(ordered) >= MANY:
        told = [f"{share:.0%} to {term}" for share, term in zip(shares, terms, strict=False)]
        return "; ".join(told + [f"and {text}" for text in rest])
    if len(set(shares)) == 1 and not rest:
        return f"{_share(shares[0])} each to {_listed(terms, 'and')}"
    if shares[0] >= 0.6:
        most = "almost only" if shares[0] >= 0.9 else "mostly"
        others = _listed(terms[1:] + rest, "and")
        if len(terms) == 3 and shares[2] <= shares[1] / 3:
            others = f"{terms[1]} and, a little, {terms[2]}"
        return f"{most} {terms[0]}; otherwise {others}"
    told = [f"{_share(share)} to {term}" for share, term in zip(shares, terms, strict=False)]
    return "; ".join(told + [f"and {text}" for text in rest])


def _share(share: float) -> str:
    return SHARES[min(SHARES, key=lambda known: abs(known - share))]


def _term(term: Node, parts: int) -> str:
    """What one part of a mixture gives its weight to."""
    if term.op == "score":
        return _score(term, parts)
    text = _selection(term)
    if any(operand.op == "query" for operand in _operands(_predicate(term))):
        # What is asked of the query fails for all keys at once, and then nothing is selected.
        return f"{text}, else the first token"
    return f"all {text}" if text == "tokens" else text


def _score(score: Node, parts: int) -> str:
    told = []
    for how, logits in groupby(score.children[:parts], key=_strength):
        told.append(f"{how} {_listed([_selection(x.children[0]) for x in logits], 'and')}")
    if len(score.children) > parts:
        told.append("and smaller terms")
    return f"the tokens that score best ({'; '.join(told)})"


def _strength(logit: Node) -> str:
    tenths = cast(int, logit.args[0])
    degree = "strongly " if abs(tenths) >= 30 else "slightly " if abs(tenths) < 10 else ""
    return f"{degree}{'against' if tenths < 0 else 'for'}"


def _predicate(selection: Node) -> Node:
    primitive = PRIMITIVES.get(selection.op)
    picks = primitive is not None and primitive.kind is Kind.SELECTION
    return selection.children[0] if picks else selection


def _selection(node: Node) -> str:
    members = _predicate(node)
    if members is node:
        return _noun(node, plural=True)
    words = _words(node) | {
        "one": _noun(members, plural=False).removeprefix("the "),
        "many": _noun(members, plural=True).removeprefix("the "),
    }
    return PRIMITIVES[node.op].phrase.format(**words)


# Predicates as noun phrases


def _noun(node: Node, *, plural: bool) -> str:
    """ "nouns in the query's sentence"; without an article where it is singular."""
    if node.op == "or":
        names = [_noun(child, plural=plural) for child in node.children]
        return _listed(names, "and" if plural else "or")
    if node.op == "and":
        return _narrowed(_operands(node), plural=plural)
    if narrowing := _narrowing(node):
        return f"{_number(TOKENS, plural=plural)} {narrowing}"
    return _name(node, plural=plural)


def _name(primitive: Node, *, plural: bool) -> str:
    phrase = PRIMITIVES[primitive.op].phrase
    return _number(phrase, plural=plural).format(**_words(primitive))


def _number(phrase: str, *, plural: bool) -> str:
    """ "noun(s)" -> "noun" or "nouns"; "cop(y/ies)" -> "copy" or "copies"."""

    def ending(marked: re.Match[str]) -> str:
        singular, _, many = marked[1].rpartition("/")
        return many if plural else singular

    return re.sub(r"\(([a-z/]+)\)", ending, phrase)


def _a(node: Node) -> str:
    """A singular with its article: "a noun or an adverb"."""
    if node.op == "or":
        return " or ".join(_a(child) for child in node.children)
    text = _noun(node, plural=False)
    if text.startswith("the "):
        return text
    return f"{'an' if re.match('“?[aeiou]', text) else 'a'} {text}"


def _narrowing(node: Node) -> str:
    """What narrows any noun, "at most 3 away"; "" where the predicate is a noun of its own."""
    match node.op:
        case "after" | "before":
            return f"right {node.op} {_a(node.children[0])}"
        case "query":
            return f"if the query is {_is(node.children[0], plural=False)}"
        case "not":
            narrowing = _narrowing(node.children[0])
            if narrowing:
                return f"not {narrowing}"
            return f"{OTHER}{_noun(node.children[0], plural=True)}"
        case "and" | "or":
            return ""
        case _:
            name = _name(node, plural=False)
            phrase = PRIMITIVES[node.op].phrase
            return name.removeprefix("token ") if phrase.startswith(f"{TOKENS} ") else ""


def _operands(predicate: Node) -> list[Node]:
    """The operands of `and`, those of nested ones among them; of no `and`, the predicate alone."""
    if predicate.op != "and":
        return [predicate]
    return [operand for child in predicate.children for operand in _operands(child)]


def _narrowed(operands: Sequence[Node], *, plural: bool) -> str:
    """One operand is the noun, the others narrow it."""
    nouns = [o for o in operands if not _narrowing(o)]
    definite = [o for o in nouns if _noun(o, plural=False).startswith("the ")]
    if definite:
        conditions = [_is(o, plural=False) for o in operands if o is not definite[0]]
        name = _noun(definite[0], plural=plural)
        return f"{name} if it is {' and '.join(conditions)}" if conditions else name
    head, *others = sorted(nouns, key=lambda o: o.op == "or") or [Node("any")]
    told = [_noun(head, plural=plural)]
    narrowing = [text for o in operands if (text := _narrowing(o))]
    if within := [text for text in narrowing if not text.startswith(OTHER)]:
        told.append(" and ".join(within))
    if others:
        verb = "that are" if plural else "that is"
        told.append(f"{verb} {' and '.join(_is(o, plural=plural) for o in others)}")
    if excluded := [text.removeprefix(OTHER) for text in narrowing if text.startswith(OTHER)]:
        told.append(f"{OTHER}{_listed(excluded, 'and')}")
    return " ".join(told)


def _is(node: Node, *, plural: bool) -> str:
    """What stands after "that are" or "if it is": "nouns", "not a noun", "right after a noun"."""
    match node.op:
        case "not":
            return f"not {_is(node.children[0], plural=plural)}"
        case "and" | "or":
            return f" {node.op} ".join(_is(child, plural=plural) for child in node.children)
    return _narrowing(node) or (_noun(node, plural=True) if plural else _a(node))


# Words


def _words(primitive: Node) -> dict[str, str]:
    """What a primitive's phrase is filled in with, by name."""
    match primitive.args:
        case [str(word)]:
            return {"word": word}
        case [*_, int(k)]:
            return {
                "k": str(k),
                "th": _ordinal(k),
                "nth": "" if k == 1 else f"{_ordinal(k)}-",
                "every": "token" if k == 1 else f"{k} tokens",
                "each": "with each" if k == 1 else f"every {k} of them",
            }
    return {}


def _ordinal(k: int) -> str:
    names = ("first", "second", "third", "fourth", "fifth")
    if k <= len(names):
        return names[k - 1]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(k % 10, "th")
    return f"{k}{'th' if k // 10 == 1 else ending}"


def _listed(names: Sequence[str], word: str) -> str:
    """ "a", "a and b", "a, b and c"; a comma before "and" where a name holds one itself."""
    *most, last = names
    if not most:
        return last
    comma = "," if any("," in name for name in names) else ""
    return f"{', '.join(most)}{comma} {word} {last}"
