"""What a program is without its constants."""

from grammar.printer import to_text
from grammar.tree import Node


def structure(program: Node) -> Node:
    """The program with all weights and logits alike: what stays the same when it is fitted."""
    if program.op == "logit":
        return Node("logit", 1, program.children[0])
    if program.op == "part":
        return Node("part", 1, structure(program.children[0]))
    if program.op in ("program", "when", "mixture", "score"):
        children = [structure(child) for child in program.children]
        if program.op in ("mixture", "score"):
            children.sort(key=lambda child: to_text(child.children[0]))
        return Node(program.op, *children)
    return program


def mixture_of(rule: Node) -> Node:
    """The mixture of a rule, guarded or not."""
    return rule.children[-1] if rule.op == "when" else rule


def with_mixture(rule: Node, mixture: Node) -> Node:
    """The rule with another mixture, guarded as before."""
    return Node("when", rule.children[0], mixture) if rule.op == "when" else mixture


def uses(node: Node, primitive: str) -> bool:
    """Whether the primitive stands anywhere in the node."""
    return any(part.op == primitive for part in node.walk())
