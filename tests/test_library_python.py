"""The exported Python file: its programs agree with the evaluator, its names are values."""

import ast
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import pytest
import torch

from grammar.canonical import canonical_text, content_hash
from grammar.parser import parse_or_raise
from grammar.printer import to_text
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from synth.library import Library
from synth.library_export import export
from synth.library_python import MODULES, python_source
from tests.library_samples import chosen, full_library, start
from tests.random_programs import random_program, random_tokens


@pytest.fixture
def path(tmp_path: Path) -> Path:
    full_library(tmp_path / "l.sqlite")
    return tmp_path / "l.sqlite"


STANDALONE = """
import json, sys
from heads import HEADS, PROGRAMS, Facts, Token
for line in sys.stdin:
    task = json.loads(line)
    facts = Facts([Token(**token) for token in task["tokens"]], causal=task["causal"])
    print(json.dumps({key: program(facts)[0].tolist() for key, program in PROGRAMS.items()}))
loaded = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
loaded = {name for name in loaded if not name.startswith(("_", "sitecustomize"))}
print(json.dumps(sorted(loaded - {"heads"})))
"""


def test_the_python_file_agrees_with_the_evaluator(path: Path) -> None:
    rng = Random(5)
    texts = [canonical_text(to_text(random_program(rng))) for _ in range(100)]
    texts = [text for text in texts if isinstance(text, str)]
    with Library.open(path) as library:
        run = start(library)
        library.add_programs(texts)
        for number, text in enumerate(texts):
            library.set_choice(chosen(run, text, head=number))
        chosen_texts = {choice.text for choice in library.choices(choice=None)}
        export(library, path.with_name("heads.py"))
    tasks = [(random_tokens(rng, 8), causal) for causal in (True, False) for _ in range(5)]
    asked = [{"tokens": [asdict(t) for t in tokens], "causal": c} for tokens, c in tasks]
    done = subprocess.run(
        [sys.executable, "-c", STANDALONE],
        input="".join(json.dumps(task) + "\n" for task in asked),
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    *answers, loaded = map(json.loads, done.stdout.splitlines())
    assert loaded == ["numpy"]
    for (tokens, causal), answer in zip(tasks, answers, strict=True):
        evaluator = Evaluator(make_facts([tokens], causal=causal))
        assert set(answer) == {content_hash(text) for text in chosen_texts}
        for text in chosen_texts:
            expected = evaluator.matrices(parse_or_raise(text))[0]
            found = torch.tensor(answer[content_hash(text)])
            assert (found - expected).abs().max() < 1e-5, text


def test_strangers_names_in_the_python_file(path: Path) -> None:
    """Names are values there too."""
    evil = '"""\nimport os\n\\'
    with Library.open(path) as library:
        choice = replace(chosen(start(library)), model=evil, choice=evil)
    source = python_source("heads", [choice])
    tree = ast.parse(source)
    imported = [node.names[0].name for node in tree.body if isinstance(node, ast.Import)]
    assert imported == ["math", "numpy"]
    assert ast.literal_eval(tree.body[-1].value) == {(evil, 5, 4, evil): choice.program_hash}  # type: ignore[attr-defined]


def test_names_of_the_bundled_modules_differ() -> None:
    names = [
        name
        for module in MODULES
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
    ]
    assert len(names) == len(set(names))
