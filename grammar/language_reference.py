"""Writes the tables of primitives and limits into `docs/language.md`, between their markers.

`python -m grammar.language_reference` rewrites the page; a test checks that it is fresh.
"""

import re
from pathlib import Path

from grammar import limits
from grammar.primitives import Kind, primitives

PATH = Path(__file__).parent.parent / "docs" / "language.md"


def _table(kind: Kind) -> str:
    lines = ["| write | it means | for example | cost |", "|---|---|---|---|"]
    for p in primitives(kind):
        signature = p.signature.replace("|", "\\|")
        lines.append(f"| `{signature}` | {p.doc} | `{p.example}` | {p.cost} |")
    return "\n".join(lines)


def _limits() -> str:
    source = Path(limits.__file__).read_text(encoding="utf-8")
    found = re.findall(r'^(MAX_\w+) = ([\d_.]+)\n"""(.*?)"""', source, re.MULTILINE | re.DOTALL)
    lines = ["| limit | value | what it bounds |", "|---|---|---|"]
    for name, value, doc in found:
        lines.append(f"| `{name}` | {value.replace('_', ',')} | {' '.join(doc.split())} |")
    return "\n".join(lines)


def rendered(page: str) -> str:
    """The page with everything between its markers written anew."""
    parts = {kind.value: _table(kind) for kind in Kind} | {"limits": _limits()}
    for name, text in parts.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        head, rest = page.split(begin)
        page = f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    PATH.write_text(rendered(PATH.read_text(encoding="utf-8")), encoding="utf-8")
