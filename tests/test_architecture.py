"""What holds for the whole code: its direction, what it never does, its commands, its size."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parent.parent
ORDER = ["grammar", "interpreter", "synth", "experiments"]
SHIPPED = [path for folder in ORDER for path in sorted((ROOT / folder).rglob("*.py"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAX_LINES = 450


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def imports(node: ast.AST) -> list[str]:
    """The top-level packages that one statement imports, wherever it stands."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.partition(".")[0]]
    return []


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SHIPPED, ids=place)
def test_imports_run_one_way(path: Path) -> None:
    above = {*ORDER[ORDER.index(place(path).split("/")[0]) + 1 :], "tests"}
    assert not above & {name for node in nodes(path) for name in imports(node)}


@pytest.mark.parametrize("path", SHIPPED, ids=place)
def test_imports_are_declared(path: Path) -> None:
    extras = PROJECT["optional-dependencies"]
    optional = [line for name in ("hub", "plots", "qa", "ray") for line in extras[name]]
    requirements = [*PROJECT["dependencies"], *optional]
    declared = {re.match(r"[\w-]+", line)[0] for line in requirements}  # type: ignore[index]
    # vLLM contradicts our requirements, so no extra can name it: it is an environment's own.
    # Triton comes with the torch that has CUDA, and is no part of others.
    known = {*ORDER, *sys.stdlib_module_names, "vllm", "triton"}
    distributions = packages_distributions()
    for node in nodes(path):
        for name in set(imports(node)) - known:
            providers = distributions.get(name, [name])
            assert {provider.lower().replace("_", "-") for provider in providers} & declared


BUILTINS = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
FUNCTIONS = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}
OPTIONS = {"shell", "allow_pickle", "trust_remote_code"}


def runs_what_it_reads(node: ast.AST) -> bool:
    """Whether a node of the tree can run code out of a text or a file."""
    if isinstance(node, ast.Name):
        return node.id in BUILTINS
    if isinstance(node, ast.Attribute):
        return ast.unparse(node) in FUNCTIONS
    if isinstance(node, ast.Call):
        options = {option.arg: ast.unparse(option.value) for option in node.keywords}
        unsafe = any(options.get(name, "False") != "False" for name in OPTIONS)
        loads = ast.unparse(node.func) == "torch.load"
        return unsafe or (loads and options.get("weights_only") != "True")
    if isinstance(node, ast.ImportFrom):
        names = {f"{node.module}.{alias.name}" for alias in node.names}
        return bool(names & (FUNCTIONS | {"torch.load"}) or MODULES & set(imports(node)))
    return bool(MODULES & set(imports(node)))


@pytest.mark.parametrize("path", SHIPPED, ids=place)
def test_runs_nothing_that_it_reads(path: Path) -> None:
    assert not [ast.unparse(node) for node in nodes(path) if runs_what_it_reads(node)]


@pytest.mark.parametrize(
    ("code", "caught"),
    [
        ("eval(text)", True),
        ("run = exec", True),
        ("__import__(name)", True),
        ("def f():\n    from pickle import loads", True),
        ("import numpy, joblib.memory", True),
        ("yaml.load(file)", True),
        ("from yaml import load", True),
        ("torch.load(file)", True),
        ("torch.load(file, weights_only=False)", True),
        ("from torch import load", True),
        ("run(text, shell=True)", True),
        ("run(text, shell=anything)", True),
        ("model.from_pretrained(name, trust_remote_code=True)", True),
        ("model.eval()", False),
        ("re.compile(text)", False),
        ("yaml.safe_load(file)", False),
        ("torch.load(file, weights_only=True)", False),
        ("run(words, shell=False)", False),
        ("model.from_pretrained(name, trust_remote_code=False)", False),
    ],
)
def test_the_check_itself(code: str, caught: bool) -> None:
    assert any(runs_what_it_reads(node) for node in ast.walk(ast.parse(code))) is caught


COMMANDS: dict[str, str] = PROJECT["entry-points"]["headscript.commands"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    module, attribute = COMMANDS[name].split(":")
    assert_help(getattr(import_module(module), attribute), name)


def assert_help(command: click.Command, name: str) -> None:
    result = CliRunner().invoke(command, ["--help"], prog_name=f"headscript {name}")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"headscript {name}" in result.output.partition("Example")[2]
    if isinstance(command, click.Group):
        for child, nested in command.commands.items():
            assert_help(nested, f"{name} {child}")


@pytest.mark.parametrize("path", [*SHIPPED, *sorted((ROOT / "tests").rglob("*.py"))], ids=place)
def test_files_are_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_LINES
