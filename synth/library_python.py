"""The programs of a library as one Python file that needs numpy alone."""

import ast
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import cast

from grammar import (
    declaration,
    primitives,
    relations,
    selections,
    token_classes,
    token_facts,
    words,
)
from grammar.canonical import content_hash, verified
from grammar.primitives import PRIMITIVES, Kind
from grammar.tree import Node
from interpreter.progress import progress_bar
from synth import numpy_program
from synth.library_rows import Choice

MODULES: tuple[ModuleType, ...] = (
    words,
    token_facts,
    declaration,
    token_classes,
    relations,
    selections,
    primitives,
    numpy_program,
)
"""Their source is the first part of the file."""

HEADER = '''"""Attention heads as programs, each a function in numpy.  Written by HeadScript.

    from {name} import HEADS, PROGRAMS, Facts, Token

    facts = Facts([Token(token_id=12, text="The", word="the", ...), ...], causal=True)
    matrix = PROGRAMS["{example}"](facts)[0]    # [query, key] float32, rows sum to 1

`Token` says what must be known of a token; HeadScript's `interpreter.tokens.read_tokens` makes
them from a text.  HEADS names the programs that were chosen for a head:
(model, layer, head, choice) -> key of PROGRAMS.
"""
'''


def python_source(name: str, choices: Sequence[Choice]) -> str:
    """The file `name`.py with the programs of these choices.

    Raises InputError where one is not a canonical program.
    """
    texts = sorted({choice.text for choice in choices})
    with progress_bar() as bar:
        functions = [_function(text) for text in bar.track(texts, description="Writing programs")]
    table = [f"    {content_hash(text)!r}: {_name(text)}," for text in texts]
    heads = [f"    {(c.model, c.layer, c.head, c.choice)!a}: {c.program_hash!r}," for c in choices]
    example = content_hash(texts[0]) if texts else ""
    return "\n".join(
        [
            HEADER.format(name=name, example=example),
            *_runtime(),
            *functions,
            "PROGRAMS = {",
            *table,
            "}",
            "HEADS = {",
            *heads,
            "}",
            "",
        ]
    )


def _runtime() -> list[str]:
    """The lines of the modules without their docstrings and what they import from one another."""
    whole, parts = set[str](), dict[str, set[str]]()
    kept: list[str] = []
    for module in MODULES:
        source = inspect.getsource(module)
        lines = source.split("\n")
        for node in reversed(ast.parse(source).body):
            if _left_out(node):
                del lines[node.lineno - 1 : node.end_lineno]
            elif isinstance(node, ast.Import):
                del lines[node.lineno - 1 : node.end_lineno]
                whole.add(ast.unparse(node))
            elif isinstance(node, ast.ImportFrom):
                del lines[node.lineno - 1 : node.end_lineno]
                names = parts.setdefault(str(node.module), set())
                names.update(alias.name for alias in node.names)
        kept += ["", *"\n".join(lines).strip().split("\n"), ""]
    listed = [
        f"from {module} import {', '.join(sorted(parts[module]))}" for module in sorted(parts)
    ]
    return [*sorted(whole), *listed, *kept]


def _left_out(node: ast.stmt) -> bool:
    match node:
        case ast.ImportFrom(module=str(module)):
            return module.split(".")[0] in ("grammar", "synth")
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.Expr(value=ast.Constant()):
            return True
    return False


def _name(text: str) -> str:
    return f"program_{content_hash(text)}"


def _function(text: str) -> str:
    *guarded, last = verified(text).children
    rules = [f"({_code(rule.children[0])}, {_code(rule.children[1])})" for rule in guarded]
    body = ",\n        ".join([*rules, _code(last)])
    return (
        f"\ndef {_name(text)}(f: Facts) -> Array:\n"
        f"    # {text.encode('ascii', 'backslashreplace').decode()}\n"
        f"    return f.rules(\n        {body},\n    )\n"
    )


def _code(node: Node) -> str:
    """The expression in numpy that evaluates a mixture, a score, a selection or a predicate."""
    inner = [_code(child) for child in node.children]
    match node.op:
        case "mixture" | "score":
            return f"f.{node.op}({', '.join(inner)})"
        case "part":
            return f"({node.args[0]}, {inner[0]})"
        case "logit":
            return f"({cast(int, node.args[0]) / 10}, {inner[0]})"
        case "and":
            return f"({' & '.join(inner)})"
        case "or":
            return f"({' | '.join(inner)})"
        case "not":
            return f"~{inner[0]}"
        case "after" | "before":
            return f"f.{node.op}({inner[0]})"
        case "query":
            return f"f.asked({inner[0]})"
    others = [ascii(argument) for argument in node.args if not isinstance(argument, Node)]
    how = "pick" if PRIMITIVES[node.op].kind is Kind.SELECTION else "where"
    return f"f.{how}({', '.join([ascii(node.op), *inner, *others])})"
