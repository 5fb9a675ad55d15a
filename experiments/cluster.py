"""The shards of a scoring run in one process and by several workers of a local Ray cluster.

    python -m experiments.cluster

Both compute with one thread for each worker, after every worker has loaded the model.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click

from experiments.results import FOLDER, about_texts, write
from experiments.sources import long_texts
from experiments.tables import table
from interpreter.engine import TEXTS, Engine, InProcess, Shard, shards
from interpreter.texts import OWN_CORPUS
from interpreter.threads import use_threads
from synth.library import Library
from synth.ray_engine import RayEngine
from synth.scorer import ShardScores
from synth.scoring import known_model, score_shard

CLAIM = "Shards give the same results on a cluster as in one process, to the bit, and sooner."
MODEL = "smollm2-135m"
LIBRARY = Path(__file__).parent / "libraries" / f"{MODEL}.jsonl"


def measured(engine: Engine, work: Any, parts: Sequence[Shard[str]]) -> tuple[Any, float]:
    """The results of all shards, and the seconds that they take when all is loaded."""
    few = [Shard(part.name, part.start, part.items[:1]) for part in parts[: os.cpu_count()]]
    list(engine.map(work, few))
    started = time.perf_counter()
    found: list[ShardScores] = list(engine.map(work, parts))
    return found, time.perf_counter() - started


def cluster_block(records: Sequence[Mapping[str, Any]]) -> str:
    """Seconds here and there."""
    (record,) = records
    r = record["results"]
    what = f"{r['heads']} heads, {r['documents']} texts in {r['shards']} shards"
    rows = [
        ["one process, one thread, s", f"{r['process_seconds']:.1f}"],
        [f"{r['workers']} workers, one thread each, s", f"{r['ray_seconds']:.1f}"],
        ["times as fast", f"{r['process_seconds'] / r['ray_seconds']:.2f}"],
        ["the same to the bit", "yes" if r["same"] else "no"],
    ]
    return table([what, "measured"], rows)


BLOCKS = {"speedup": cluster_block}


@click.command()
@click.option("--documents", default=32, show_default=True)
@click.option("--tokens", default=96, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER)
def main(documents: int, tokens: int, output: Path) -> None:
    """Score the shipped library on shards of texts, in one process and on a local cluster."""
    use_threads(1)
    # As important as this process, to compare them on a machine that does other things too.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    with Library.open(LIBRARY) as library:
        chosen = [((c.layer, c.head), c.text) for c in library.choices(MODEL)]
    texts = long_texts(known_model(MODEL), OWN_CORPUS, documents, tokens)
    parts = shards("texts", texts.documents, TEXTS)
    work = partial(score_shard, partial(known_model, MODEL), chosen, tokens)
    here, process_seconds = measured(InProcess(), work, parts)
    with closing(RayEngine()) as cluster:
        there, ray_seconds = measured(cluster, work, parts)
    results = {
        "heads": len(chosen),
        "documents": documents,
        "shards": len(parts),
        "workers": os.cpu_count(),
        "process_seconds": process_seconds,
        "ray_seconds": ray_seconds,
        "same": here == there,
    }
    about = about_texts(texts, []) | {"tokens": sum(scores.tokens for scores in here)}
    write(
        "cluster",
        claim=CLAIM,
        blocks=BLOCKS,
        results=results,
        loaded=known_model(MODEL),
        texts=[about],
        library=LIBRARY,
        folder=output,
    )


if __name__ == "__main__":
    main()
