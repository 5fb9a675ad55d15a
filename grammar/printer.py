"""Tree to text, in the one spacing that the grammar knows."""

from typing import cast

from grammar.primitives import PRIMITIVES
from grammar.tree import Node

_PRECEDENCE = {"or": 0, "and": 1, "not": 2}


def to_text(node: Node) -> str:
    """The text of a tree; parsing it gives the tree back."""
    match node.op:
        case "program":
            return "; ".join(to_text(child) for child in node.children)
        case "when":
            predicate, mixture = node.children
            return f"when {to_text(predicate)}: {to_text(mixture)}"
        case "mixture":
            if len(node.args) == 1 and node.children[0].args[0] == 1:
                return to_text(node.children[0].children[0])
            return " + ".join(to_text(part) for part in node.children)
        case "part":
            return f"{node.args[0]} {to_text(node.children[0])}"
        case "score":
            return f"score({_logits(node)})"
        case "and" | "or":
            return f" {node.op} ".join(_operand(child, node.op) for child in node.children)
        case "not":
            return f"not {_operand(node.children[0], 'not')}"
        case "after" | "before" | "query":
            return f"{node.op}({to_text(node.children[0])})"
        case _:
            return _primitive(node)


def _operand(node: Node, parent: str) -> str:
    text = to_text(node)
    loose = _PRECEDENCE.get(node.op, 3) <= _PRECEDENCE[parent]
    return f"({text})" if loose else text


def _logits(node: Node) -> str:
    text = ""
    for logit in node.children:
        tenths = cast(int, logit.args[0])
        sign = (" - " if tenths < 0 else " + ") if text else ("-" if tenths < 0 else "")
        text += f"{sign}{abs(tenths) // 10}.{abs(tenths) % 10} {to_text(logit.children[0])}"
    return text


def _primitive(node: Node) -> str:
    primitive = PRIMITIVES[node.op]
    arguments = [
        to_text(a) if isinstance(a, Node) else f'"{a}"' if isinstance(a, str) else str(a)
        for a in node.args
    ]
    for default in reversed(primitive.defaults):
        if arguments[-1] != str(default):
            break
        arguments.pop()
    return f"{node.op}({', '.join(arguments)})" if arguments else node.op
