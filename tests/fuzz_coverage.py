"""The parser and the library's import under atheris: inputs that reach new code are varied further.

    python -m tests.fuzz_coverage parser --count 1000000
    python -m tests.fuzz_coverage library --count 100000

See `tests.fuzz`.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris
import click

# Only what is imported here is watched for new coverage.
with atheris.instrument_imports(
    include=["grammar", "lark", "synth.library", "synth.library_merge", "synth.library_records"]
):
    import synth.library_merge
    from grammar.grammar_file import PATH as GRAMMAR
    from tests.fuzz import COUNT, SECONDS, SEED, Run, attack_parser, examples
    from tests.fuzz_library import Target

assert synth.library_merge


def fuzz(
    run: Run,
    one_input: Callable[[bytes], None],
    begin: Sequence[bytes],
    words: Sequence[str],
    longest: int,
    count: int,
    seconds: float,
    seed: int,
) -> None:
    """Varies the inputs to begin with until there were `count` executions; ends the process."""

    def counted(data: bytes) -> None:
        one_input(data)
        if run.tried["executions"] >= count or run.seconds > seconds:
            run.write()
            sys.stdout.flush()
            # libFuzzer ends the process its own way, past every handler of Python's.
            os._exit(1 if run.findings else 0)

    with tempfile.TemporaryDirectory() as folder:
        corpus, known = Path(folder) / "corpus", Path(folder) / "words"
        corpus.mkdir()
        for number, data in enumerate(begin):
            (corpus / str(number)).write_bytes(data)
        known.write_text("".join(f'"{word}"\n' for word in words))
        # A hang is far longer than a pause of a busy machine.
        options = [f"-seed={seed + 1}", f"-dict={known}", f"-max_len={longest}", "-timeout=1000"]
        atheris.Setup(["fuzz", *options, f"-artifact_prefix={folder}/", str(corpus)], counted)
        atheris.Fuzz()


@click.group()
def main() -> None:
    """Attack what reads strangers' input, guided by coverage; see the module."""


@main.command()
@COUNT
@SECONDS
@SEED
def parser(count: int, seconds: float, seed: int) -> None:
    """Parse what coverage says is worth trying."""
    run = Run("coverage", "parser, coverage-guided (atheris)", seed)

    def one_input(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        run.guarded(text, attack_parser, text, run.tried)

    begin = [text.encode("utf-8", "surrogatepass") for text in examples()]
    literals = sorted(set(GRAMMAR.read_text(encoding="utf-8").split('"')[1::2]))
    printed = (word for word in literals if word.isascii() and word.isprintable())
    words = [word for word in printed if "\\" not in word and word]
    fuzz(run, one_input, begin, words, 300, count, seconds, seed)


@main.command()
@COUNT
@SECONDS
@SEED
def library(count: int, seconds: float, seed: int) -> None:
    """Merge exports that coverage says are worth trying."""
    with tempfile.TemporaryDirectory() as folder:
        target = Target(Path(folder))
        run = Run("library coverage", "library exports, merged, coverage-guided (atheris)", seed)

        def one_input(data: bytes) -> None:
            run.guarded(ascii(data[:200]), target.merge, "m.jsonl", data, run.tried)

        first, *others = target.exported.splitlines(keepends=True)
        begin = [target.exported, *(first + line for line in others)]
        words = [f'\\"{name}\\":' for name in ("kind", "text", "program", "hash", "format")]
        longest = len(target.exported) + 100
        fuzz(run, one_input, begin, words, longest, count, seconds, seed)


if __name__ == "__main__":
    main()
