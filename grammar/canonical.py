"""One text for programs that mean the same: a flat list of rules, applied until none fires.

Every rule is proved by evaluation in the tests: a program and its canonical form have the same
matrices under both evaluators.  Each rule shrinks the tree or moves it towards one fixed order,
so that rewriting ends, and the canonical form of a canonical program is itself.
"""

import hashlib
from collections.abc import Callable
from math import gcd
from typing import cast

from grammar import limits
from grammar.errors import InputError
from grammar.parser import parse, parse_or_raise
from grammar.printer import to_text
from grammar.rejection import Rejection, located
from grammar.tree import Node

ANY = Node("any")
NEVER = Node("not", ANY)
FIRST = Node("first", ANY, 1)

Rule = Callable[[Node], Node]


def double_negation(node: Node) -> Node:
    """not not p = p"""
    if node.op == "not" and node.children[0].op == "not":
        return node.children[0].children[0]
    return node


def negation_inward(node: Node) -> Node:
    """not (p or q) = not p and not q;  not (p and q) = not p or not q, of plain p and q"""
    if node.op == "not" and node.children[0].op in ("and", "or"):
        inner = node.children[0]
        # An `or` of `and`s would become an `and` of `or`s, which needs one more pair of parentheses
        # than the grammar may allow.
        if not any(child.op in ("and", "or") for child in inner.children):
            op = "or" if inner.op == "and" else "and"
            return Node(op, *(Node("not", child) for child in inner.children))
    return node


def asked_plainly(node: Node) -> Node:
    """query(any) = any;  not query(p) = query(not p), of a plain p"""
    if node.op == "query" and node.children[0] is ANY:
        return ANY
    if node.op == "not" and node.children[0].op == "query":
        (asked,) = node.children[0].children
        if asked.op not in ("and", "or"):
            return Node("query", Node("not", asked))
    return node


def asked_once(node: Node) -> Node:
    """query(p) or query(q) = query(p or q), the same with `and`, of plain p and q"""
    if node.op not in ("and", "or"):
        return node
    plain = [
        child
        for child in node.children
        if child.op == "query" and child.children[0].op not in ("and", "or")
    ]
    if len(plain) < 2:
        return node
    others = [child for child in node.children if child not in plain]
    joint = Node("query", Node(node.op, *(child.children[0] for child in plain)))
    return Node(node.op, *others, joint) if others else joint


def flat(node: Node) -> Node:
    """p or (q or r) = p or q or r, as far as the grammar's bound on operands allows"""
    if node.op not in ("and", "or"):
        return node
    operands: list[Node] = []
    children = node.children
    for i, child in enumerate(children):
        left = len(children) - i - 1
        fits = len(operands) + len(child.children) + left <= limits.MAX_OPERANDS
        operands += child.children if child.op == node.op and fits else (child,)
    return Node(node.op, *operands)


def ordered(node: Node) -> Node:
    """p or q or p = p or q, operands in alphabetical order"""
    if node.op not in ("and", "or"):
        return node
    operands = sorted(set(node.children), key=to_text)
    return operands[0] if len(operands) == 1 else Node(node.op, *operands)


def absorbed(node: Node) -> Node:
    """p or (p and q) = p;  p and (p or q) = p"""
    if node.op not in ("and", "or"):
        return node
    other = "or" if node.op == "and" else "and"
    operands = set(node.children)
    kept = [
        child
        for child in node.children
        if not (child.op == other and operands.intersection(child.children))
    ]
    return kept[0] if len(kept) == 1 else Node(node.op, *kept)


def excluded_middle(node: Node) -> Node:
    """p or not p = any;  p and not p = not any"""
    if node.op in ("and", "or"):
        operands = set(node.children)
        if any(Node("not", child) in operands for child in operands):
            return NEVER if node.op == "and" else ANY
    return node


def units(node: Node) -> Node:
    """p and any = p;  p or any = any;  p or not any = p;  p and not any = not any"""
    if node.op not in ("and", "or"):
        return node
    unit, zero = (ANY, NEVER) if node.op == "and" else (NEVER, ANY)
    if zero in node.children:
        return zero
    kept = [child for child in node.children if child is not unit]
    if not kept:
        return unit
    return kept[0] if len(kept) == 1 else Node(node.op, *kept)


def nowhere(node: Node) -> Node:
    """after(not any) = before(not any) = near(not any, 8) = ... = not any"""
    if node.children and node.children[0] is NEVER and node.op not in _STRUCTURE:
        return NEVER
    return node


def by_position(node: Node) -> Node:
    """recent(any, k) = back(k);  next(any, k) = ahead(k);  first(self) = last(self) = self"""
    match node.op, node.args:
        case "recent", (predicate, k) if predicate is ANY:
            return Node("back", k)
        case "next", (predicate, k) if predicate is ANY:
            return Node("ahead", k)
        case "first" | "last", (Node(op="self") as itself, 1):
            return itself
    return node


def logits_merged(node: Node) -> Node:
    """score(1.0 p + 0.5 p + 0.0 q) = score(1.5 p), terms in the order of their size"""
    if node.op != "score":
        return node
    sums: dict[Node, int] = {}
    for logit in node.children:
        tenths, selection = cast(tuple[int, Node], logit.args)
        sums[selection] = sums.get(selection, 0) + tenths
    most = round(limits.MAX_LOGIT * 10)
    terms = [
        Node("logit", part, selection)
        for selection, tenths in sums.items()
        if selection not in (ANY, NEVER)
        for part in _split(tenths, most)
    ]
    terms.sort(key=lambda t: (-abs(cast(int, t.args[0])), to_text(t.children[0])))
    return Node("score", *terms) if terms else ANY


def _split(amount: int, most: int) -> list[int]:
    """`amount` as the fewest whole numbers of at most `most` in size, largest first."""
    sign = -1 if amount < 0 else 1
    whole, rest = divmod(abs(amount), most)
    return [sign * most] * whole + ([sign * rest] if rest else [])


def nothing_is_the_sink(node: Node) -> Node:
    """5 not any = 5 first: what selects nothing gives its weight to the first token"""
    if node.op == "part" and node.children[0] is NEVER:
        return Node("part", node.args[0], FIRST)
    return node


def parts_merged(node: Node) -> Node:
    """20 p + 30 p + 10 q = 5 p + 1 q: equal parts added, common factor out, heaviest first"""
    if node.op != "mixture":
        return node
    sums: dict[Node, int] = {}
    for part in node.children:
        weight, term = cast(tuple[int, Node], part.args)
        sums[term] = sums.get(term, 0) + weight
    factor = gcd(*sums.values())
    parts = [
        Node("part", weight, term)
        for term, total in sums.items()
        for weight in _split(total // factor, limits.MAX_NUMBER)
    ]
    parts.sort(key=lambda p: (-cast(int, p.args[0]), to_text(p.children[0])))
    return Node("mixture", *parts)


def guards_pruned(node: Node) -> Node:
    """A guard that never holds, holds twice, or changes nothing goes; `when any` ends the list"""
    if node.op != "program":
        return node
    *guarded, last = node.children
    kept: list[Node] = []
    seen = {NEVER}
    for rule in guarded:
        predicate, mixture = rule.children
        if predicate is ANY:
            last = mixture
            break
        if predicate not in seen:
            kept.append(rule)
        seen.add(predicate)
    while kept and kept[-1].children[1] is last:
        kept.pop()
    return Node("program", *kept, last)


_STRUCTURE = ("not", "and", "or", "logit", "score", "part", "mixture", "when", "program")

RULES: tuple[Rule, ...] = (
    double_negation,
    negation_inward,
    asked_plainly,
    asked_once,
    flat,
    ordered,
    absorbed,
    excluded_middle,
    units,
    nowhere,
    by_position,
    logits_merged,
    nothing_is_the_sink,
    parts_merged,
    guards_pruned,
)


def canonical(node: Node) -> Node:
    """The canonical form: the rules applied from the leaves up until nothing changes."""
    while True:
        node = Node(node.op, *(canonical(a) if isinstance(a, Node) else a for a in node.args))
        before = node
        for rule in RULES:
            node = rule(node)
        if node is before:
            return node


def canonical_tree(text: str) -> Node | Rejection:
    """The canonical form of the program that `text` is, or why it was rejected."""
    tree = parse(text)
    if isinstance(tree, Rejection):
        return tree
    tree = canonical(tree)
    if len(to_text(tree)) > limits.MAX_PROGRAM_CHARACTERS:
        message = f"its canonical form has over {limits.MAX_PROGRAM_CHARACTERS} characters"
        return located("too_long", message, text, 0)
    if tree.size > limits.MAX_PROGRAM_NODES:
        message = f"its canonical form has over {limits.MAX_PROGRAM_NODES} nodes"
        return located("too_large", message, text, 0)
    return tree


def canonical_text(text: str) -> str | Rejection:
    """Canonical text of a program, or why it was rejected."""
    tree = canonical_tree(text)
    return tree if isinstance(tree, Rejection) else to_text(tree)


def content_hash(text: str) -> str:
    """16 hex digits that name a canonical program, the same on every machine and version."""
    return hashlib.sha256(f"headscript 1\n{text}".encode()).hexdigest()[:16]


def verified(text: str) -> Node:
    """The tree of a stored program; InputError where it is not a canonical program."""
    tree = parse_or_raise(text)
    if to_text(canonical(tree)) != text:
        raise InputError(f"not in canonical form: {text!r}; `headscript check` shows the form")
    return tree
