"""Safety and speed in two tables.

    python -m experiments.safety_and_speed

Safety: what was thrown at the parser, the evaluators and the library (docs/fuzzing.json, which
`make fuzz` writes), and the most expensive programs that pass the limits.  Speed: what `headscript
bench` measures.  Both claims are about time, so nothing else should run meanwhile.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from experiments.bench_command import measure, sizes_text
from experiments.results import FOLDER, ROOT, write
from experiments.tables import table
from experiments.worst_case import candidates, measured_alone

CLAIM = (
    "Strange programs can neither crash nor stall the interpreter, and it evaluates and scores "
    "programs in microseconds."
)
FUZZING = ROOT / "docs" / "fuzzing.json"
NO_COUNTS = ("what", "seconds", "findings")


def fuzzing(path: Path = FUZZING) -> list[dict[str, Any]]:
    """What was tried of each kind, all runs together."""
    found: dict[str, dict[str, Any]] = {}
    for run in json.loads(path.read_text(encoding="utf-8")).values():
        kind = found.setdefault(run["what"], {"what": run["what"], "runs": 0, "findings": 0})
        kind["runs"] += 1
        kind["findings"] += len(run["findings"])
        for name in run.keys() - set(NO_COUNTS):
            kind[name] = kind.get(name, 0) + run[name]
    return list(found.values())


def worst_programs(tokens: int) -> list[dict[str, Any]]:
    """The dearest programs that pass, each alone on one core, the slowest first."""
    found = [measured_alone(text, tokens) for text in candidates(tokens)]
    return sorted(found, key=lambda row: -row["seconds"])


def safety_block(records: Sequence[Mapping[str, Any]]) -> str:
    """What was tried, and what the worst program costs."""
    (record,) = records
    rows = []
    for kind in record["results"]["fuzzing"]:
        tried = kind.get("executions") or kind.get("evaluations") or 0
        rows.append([kind["what"], f"{tried:,}", str(kind["findings"])])
    worst = record["results"]["worst_programs"]
    slow, large = (max(worst, key=lambda row: row[of]) for of in ("seconds", "peak_memory_mb"))
    return "\n".join(
        [
            table(["attacked", "executions", "findings"], rows),
            "",
            f"The dearest programs that pass, on one core and {slow['tokens']:,} tokens: "
            f"{slow['seconds']:.1f} s, and {large['peak_memory_mb']:,} MB.",
        ]
    )


SPEED = {
    "evaluate_us_per_program_text": "a program on a text, µs",
    "reference_us_per_program_text": "the same by the definition, a loop in Python, µs",
    "evaluate_speedup": "times as fast",
    "torch_us_per_program_text": "a program written by hand in torch on a text, µs",
    "evaluate_times_torch": "the same programs evaluated, times that",
    "scores_per_second": "IoUs a second",
    "scoring_share_of_limit": "of what the machine's minima and sums allow",
    "mask_us_p50": "a token mask of the grammar, median, µs",
    "mask_us_p99": "the same, 99th percentile, µs",
    "first_mask_ms": "the first mask, compiling included, ms",
    "grammar_share_of_generation": "the grammar's share of the time in which SmolLM2 writes",
    "tokens_per_second_together": "eight answers written together, tokens a second",
    "tokens_per_second_one_by_one": "one after the other, tokens a second",
    "together_speedup": "times as fast together",
    "capture_texts_per_second": "texts captured a second, all heads",
    "capture_times_forward": "capture, times a plain eager pass",
    "peak_memory_mb": "memory, MB",
}


def speed_block(records: Sequence[Mapping[str, Any]]) -> str:
    """What `headscript bench` measured, and on what."""
    (record,) = records
    bench = record["results"]["bench"]
    sizes = sizes_text(bench["sizes"])
    rows = [[title, f"{bench[name]:,}"] for name, title in SPEED.items()]
    about = record["machine"]
    return f"{table(['', 'measured'], rows)}\n\n{about['cpu']}, {about['cores']} cores; {sizes}."


BLOCKS = {"safety": safety_block, "speed": speed_block}


@click.command()
@click.option("--quick", is_flag=True, help="Fewer programs and texts, for a first look.")
@click.option("--tokens", default=1024, show_default=True, help="Length of the worst case.")
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER)
def main(quick: bool, tokens: int, output: Path) -> None:
    """Measure the worst programs and the speed of this machine."""
    results = {
        "fuzzing": fuzzing(),
        "worst_programs": worst_programs(tokens),
        "bench": measure(quick),
    }
    write("safety_and_speed", claim=CLAIM, blocks=BLOCKS, results=results, folder=output)


if __name__ == "__main__":
    main()
