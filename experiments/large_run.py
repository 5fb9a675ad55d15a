"""What a large run would take, from the rates that were measured on this machine.

    python -m experiments.large_run --programs 100000 --heads 5120 --texts 10000

Scoring and evaluation go by the cells of the matrices, capture by the floating-point operations of
the model's weights.  All of them go over shards that know nothing of each other, so hours are those
of one node divided by the nodes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from experiments.results import FOLDER, read, write
from experiments.tables import table

CLAIM = "A library of 100,000 programs can be scored against all heads of a 70-billion model."
MEASURED_PARAMETERS = 134_515_008
"""Of SmolLM2-135M, whose capture was measured."""
BYTES = 4
"""Of one attention weight, float32."""


def estimate(
    bench: Mapping[str, Any],
    cores: int,
    *,
    programs: int,
    heads: int,
    texts: int,
    tokens: int,
    parameters: float,
    node_cores: int,
) -> dict[str, Any]:
    """Bytes, operations and hours; `bench` was measured on `cores` cores."""
    visible = tokens * (tokens + 1) // 2
    measured_tokens = bench["sizes"]["tokens"]
    measured_visible = measured_tokens * (measured_tokens + 1) // 2
    scale = visible / measured_visible
    scores = programs * heads * texts
    flops = 2 * parameters * tokens * texts
    measured_flops = 2 * MEASURED_PARAMETERS * measured_tokens * bench["capture_texts_per_second"]
    core_hours = {
        "capture": flops / measured_flops * cores / 3600,
        "evaluation": programs
        * texts
        * bench["evaluate_us_per_program_text"]
        * 1e-6
        * scale
        * cores
        / 3600,
        "scoring": scores / bench["scores_per_second"] * scale * cores / 3600,
    }
    return {
        "scores": scores,
        "min_adds": scores * visible,
        "capture_flops": flops,
        "attention_bytes": heads * texts * tokens**2 * BYTES,
        "shard_bytes": heads * 8 * tokens**2 * BYTES,
        "result_bytes": programs * heads * BYTES,
        "weight_bytes": 2 * parameters,
        "core_hours": core_hours,
        "node_hours": sum(core_hours.values()) / node_cores,
    }


def estimate_block(records: Sequence[Mapping[str, Any]]) -> str:
    """Bytes, operations, and hours on some nodes."""
    (record,) = records
    r, c = record["results"], record["configuration"]
    size = (
        f"{c['programs']:,} programs, {c['heads']:,} heads, {c['texts']:,} texts "
        f"of {c['tokens']} tokens"
    )
    hours = r["core_hours"]
    rows = [
        ["IoUs", f"{r['scores']:.2e}"],
        ["minima and sums", f"{r['min_adds']:.2e}"],
        ["floating-point operations of capture", f"{r['capture_flops']:.2e}"],
        ["attention on disk, TB", f"{r['attention_bytes'] / 1e12:.2f}"],
        ["attention of one shard of 8 texts, GB", f"{r['shard_bytes'] / 1e9:.2f}"],
        ["mean IoU of every program and head, GB", f"{r['result_bytes'] / 1e9:.2f}"],
        ["weights of the model in bfloat16, GB", f"{r['weight_bytes'] / 1e9:.0f}"],
        ["capture, core hours", f"{hours['capture']:,.0f}"],
        ["evaluation, core hours", f"{hours['evaluation']:,.0f}"],
        ["scoring, core hours", f"{hours['scoring']:,.0f}"],
        [f"hours on one node of {c['node_cores']} cores", f"{r['node_hours']:,.1f}"],
        ["hours on ten of them", f"{r['node_hours'] / 10:,.1f}"],
        ["nodes for one day", f"{max(1, -(-r['node_hours'] // 24)):,.0f}"],
    ]
    return table([size, "estimated"], rows)


BLOCKS = {"estimate": estimate_block}


@click.command()
@click.option("--programs", default=100_000, show_default=True)
@click.option("--heads", default=5_120, show_default=True, help="Of Llama-70B: 80 layers of 64.")
@click.option("--texts", default=10_000, show_default=True)
@click.option("--tokens", default=96, show_default=True)
@click.option("--parameters", default=70e9, show_default=True)
@click.option("--node-cores", default=64, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER)
def main(output: Path, **sizes: Any) -> None:
    """Estimate a run from the results of experiments.safety_and_speed."""
    (record,) = read("safety_and_speed")
    bench, cores = record["results"]["bench"], record["machine"]["cores"]
    results = estimate(bench, cores, **sizes)
    write("large_run", claim=CLAIM, blocks=BLOCKS, results=results, folder=output)


if __name__ == "__main__":
    main()
