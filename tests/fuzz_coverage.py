"""The parser under atheris: inputs that reach new code are kept and varied.  See `tests.fuzz`."""

import os
import sys
import tempfile
from pathlib import Path

import atheris
import click

# Only what is imported here is watched for new coverage.
with atheris.instrument_imports(include=["grammar", "lark"]):
    from grammar.grammar_file import PATH as GRAMMAR
    from tests.fuzz import COUNT, SECONDS, SEED, Run, attack_parser, examples


@click.command()
@COUNT
@SECONDS
@SEED
def main(count: int, seconds: float, seed: int) -> None:
    """Parse what coverage says is worth trying."""
    run = Run("coverage", "parser, coverage-guided (atheris)", seed)

    def one_input(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        run.guarded(text, attack_parser, text, run.tried)
        if run.tried["executions"] >= count or run.seconds > seconds:
            run.write()
            sys.stdout.flush()
            # libFuzzer ends the process its own way, past every handler of Python's.
            os._exit(1 if run.findings else 0)

    with tempfile.TemporaryDirectory() as folder:
        corpus, words = Path(folder) / "corpus", Path(folder) / "words"
        corpus.mkdir()
        for number, text in enumerate(examples()):
            (corpus / str(number)).write_bytes(text.encode("utf-8", "surrogatepass"))
        literals = sorted(set(GRAMMAR.read_text(encoding="utf-8").split('"')[1::2]))
        known = (word for word in literals if word.isascii() and word.isprintable())
        words.write_text("".join(f'"{word}"\n' for word in known if "\\" not in word and word))
        # A hang is far longer than a pause of a busy machine.
        options = [f"-seed={seed + 1}", f"-dict={words}", "-max_len=300", "-timeout=1000"]
        atheris.Setup(["fuzz", *options, f"-artifact_prefix={folder}/", str(corpus)], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
