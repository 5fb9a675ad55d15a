"""Attention of all heads captured to disk and scored from there, within a bounded memory.

    python -m experiments.streaming --documents 64 --programs 200

Texts go by in shards: the model reads one, its attention is written to a file (see
`interpreter.stored_patterns`) and let go; then one file after the other is mapped and every program
scored against every head of it.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

from experiments.bench_command import library_programs
from experiments.memory import peak_memory_mb
from experiments.results import FOLDER, about_texts, write
from experiments.tables import table
from grammar.printer import to_text
from interpreter.capture import Head, captured
from interpreter.engine import TEXTS, InProcess, Shard, shards
from interpreter.models import LoadedModel, load_model
from interpreter.stored_patterns import read_patterns, save_patterns
from interpreter.texts import OWN_CORPUS, Texts, load_texts
from synth.scorer import Scorer

CLAIM = "Capture and scoring stream: the memory that they take does not grow with the texts."


def long_texts(source: str, count: int, tokens: int) -> Texts:
    """So many documents, each made of enough of the source's to fill `tokens` tokens."""
    found = load_texts(source).documents
    each = 1 + tokens // 40
    documents = [" ".join([*found[k:], *found[:k]][:each]) for k in range(count)]
    return Texts(f"{source}, joined", tuple(documents))


def stored(
    loaded: LoadedModel, heads: Sequence[Head], tokens: int, folder: Path, shard: Shard[str]
) -> Path:
    """Captures a shard into a file."""
    path = folder / f"{shard.start:06}.safetensors"
    save_patterns(captured(loaded, Texts(shard.name, shard.items), heads, tokens), path)
    return path


def scored(path: Path, programs: Sequence[str]) -> torch.Tensor:
    """[program, head]: IoUs of every program with every head, summed over the texts of a file."""
    return torch.stack([ious.sum(0) for ious in Scorer(read_patterns(path)).ious(programs)])


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the seconds that it takes."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def streamed(
    loaded: LoadedModel, texts: Texts, tokens: int, count: int, folder: Path
) -> dict[str, Any]:
    """Seconds, bytes and memory of capture, and of scoring from the files."""
    heads = [(layer, head) for layer in range(loaded.layers) for head in range(loaded.heads)]
    parts = shards("texts", texts.documents, TEXTS)
    work = partial(stored, loaded, heads, tokens, folder)
    result: dict[str, Any] = {"documents": len(texts.documents), "heads": len(heads)}
    result["loaded_mb"] = peak_memory_mb()
    paths, result["capture_seconds"] = timed(lambda: list(InProcess().map(work, parts)))
    result["capture_peak_mb"] = peak_memory_mb()
    result["bytes"] = sum(path.stat().st_size for path in paths)
    first = read_patterns(paths[0])
    programs = [to_text(program) for program in library_programs(count, first.tokens)]
    lengths = [len(text) for path in paths for text in read_patterns(path).tokens]
    result |= {"tokens": max(lengths), "tokens_read": sum(lengths)}
    sums, result["score_seconds"] = timed(lambda: sum(scored(path, programs) for path in paths))
    result["scores_per_second"] = sums.numel() * len(texts.documents) / result["score_seconds"]
    result["best_mean_iou"] = float((sums / len(texts.documents)).amax(0).mean())
    result["peak_mb"] = peak_memory_mb()
    return result | {"programs": count}


def streaming_block(records: Sequence[dict[str, Any]]) -> str:
    """What was captured and scored, how fast, and in how much memory."""
    (record,) = records
    r = record["results"]
    size = f"{r['documents']} texts of {r['tokens']} tokens, {r['heads']} heads"
    whole = r["bytes"] * 1000 / r["documents"] / 2**30
    captured_a_second = r["documents"] / r["capture_seconds"]
    rows = {
        "on disk, GiB": f"{r['bytes'] / 2**30:.2f}",
        "captured and written, texts a second": f"{captured_a_second:.2f}",
        f"IoUs a second, of {r['programs']:,} programs": f"{r['scores_per_second']:,.0f}",
        "memory with the model loaded, MB at most": f"{r['loaded_mb']:,}",
        "after capture, MB at most": f"{r['capture_peak_mb']:,}",
        "after scoring, MB at most": f"{r['peak_mb']:,}",
        "on disk for 1,000 such texts, GiB": f"{whole:.0f}",
    }
    return table([size, "measured"], [[name, value] for name, value in rows.items()])


BLOCKS = {"memory": streaming_block}


@click.command()
@click.option("--model", default="smollm2-135m", show_default=True)
@click.option("--texts", default=OWN_CORPUS, show_default=True)
@click.option("--documents", default=64, show_default=True)
@click.option("--tokens", default=256, show_default=True)
@click.option("--programs", default=200, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER)
def main(model: str, texts: str, documents: int, tokens: int, programs: int, output: Path) -> None:
    """Capture to disk, score from disk, and measure the memory."""
    loaded = load_model(model)
    source = long_texts(texts, documents, tokens)
    with TemporaryDirectory() as folder:
        results = streamed(loaded, source, tokens, programs, Path(folder))
    about = [about_texts(source, []) | {"tokens": results["tokens_read"]}]
    path = write(
        "streaming", claim=CLAIM, results=results, loaded=loaded, texts=about, folder=output
    )
    click.echo(path)


if __name__ == "__main__":
    main()
