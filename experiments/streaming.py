"""Attention of all heads captured to disk and scored from there, within a bounded memory.

    python -m experiments.streaming

Texts go by in shards: the model reads one, its attention is written to a file (see
`interpreter.stored_patterns`) and let go; the file is mapped, every program scored against every
head of it, and the file removed, or kept until all is done.  A run that was cut off goes on after
the last shard that was scored.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from experiments.bench_command import library_programs
from experiments.memory import peak_memory_mb
from experiments.results import FOLDER, about_texts, write
from experiments.sources import CODE, long_texts
from experiments.tables import table
from grammar.printer import to_text
from interpreter.capture import Head, captured
from interpreter.engine import TEXTS, InProcess, Shard, shards, tracked
from interpreter.fetch import cache_folder
from interpreter.models import LoadedModel, load_model, load_spacy
from interpreter.stored_patterns import save_patterns
from interpreter.texts import Texts
from interpreter.tokens import read_tokens
from synth.library import run_key
from synth.scorer import summed_ious

CLAIM = "Capture and scoring stream: the memory that they take does not grow with the texts."
SHARES = (8, 4, 2, 1)
"""Memory is told after one part in so many of the texts."""


@dataclass(frozen=True)
class Stream:
    """What is captured, scored and kept of every shard of texts."""

    loaded: LoadedModel
    heads: Sequence[Head]
    tokens: int
    programs: Sequence[str]
    folder: Path
    keep: bool
    """Files of attention stay until all is done."""

    def shard(self, shard: Shard[str]) -> dict[str, Any]:
        """What was measured of a shard, now or before the run was cut off."""
        done = self.folder / f"scores-{shard.start:06}.safetensors"
        if not done.exists():
            sums, measured = self._measured(shard)
            unfinished = done.with_suffix(".part")
            save_file({"sums": sums}, unfinished, metadata={"measured": json.dumps(measured)})
            unfinished.replace(done)
        with safe_open(done, framework="pt") as file:
            measured = json.loads(file.metadata()["measured"])
            return dict(measured) | {"sums": file.get_tensor("sums")}

    def _measured(self, shard: Shard[str]) -> tuple[torch.Tensor, dict[str, Any]]:
        path = self.folder / f"attention-{shard.start:06}.safetensors"
        started = time.perf_counter()
        texts = Texts(shard.name, shard.items)
        patterns = captured(self.loaded, texts, self.heads, self.tokens)
        lengths = list(map(len, patterns.tokens))
        save_patterns(patterns, path)
        del patterns
        middle = time.perf_counter()
        sums, _ = summed_ious(self.programs, Shard(shard.name, shard.start, (path,)))
        measured = {
            "lengths": lengths,
            "capture_seconds": middle - started,
            "score_seconds": time.perf_counter() - middle,
            "bytes": path.stat().st_size,
            "peak_mb": peak_memory_mb(),
        }
        if not self.keep:
            path.unlink()
        return sums, measured


def streamed(
    loaded: LoadedModel, texts: Texts, tokens: int, count: int, folder: Path, keep: bool
) -> dict[str, Any]:
    """Seconds, bytes and memory of capture and scoring; the folder holds what is done."""
    folder.mkdir(parents=True, exist_ok=True)
    heads = loaded.all_heads
    parts = shards("texts", texts.documents, TEXTS)
    first = read_tokens(parts[0].items, loaded.tokenizer, load_spacy(), tokens)
    programs = [to_text(program) for program in library_programs(count, first)]
    result: dict[str, Any] = {"documents": len(texts.documents), "heads": len(heads)}
    result |= {"programs": count, "kept": keep, "loaded_mb": peak_memory_mb()}
    stream = Stream(loaded, heads, tokens, programs, folder, keep)
    total, measured = torch.zeros(count, len(heads)), []
    for of_shard in tracked(InProcess(), stream.shard, parts, "Streaming texts"):
        total += of_shard.pop("sums")
        measured.append(of_shard)
    lengths = [length for of_shard in measured for length in of_shard["lengths"]]
    for name in ("capture_seconds", "score_seconds", "bytes"):
        result[name] = sum(of_shard[name] for of_shard in measured)
    scores = count * len(heads) * len(texts.documents)
    return result | {
        "tokens": min(lengths),
        "tokens_read": sum(lengths),
        "bytes_at_once": result["bytes"] if keep else max(m["bytes"] for m in measured),
        "scores_per_second": scores / result["score_seconds"],
        "best_mean_iou": float((total / len(texts.documents)).amax(0).mean()),
        "memory": memory(measured),
    }


def memory(measured: Sequence[dict[str, Any]]) -> list[dict[str, int]]:
    """The most memory held up to an eighth, a quarter, half and all of the shards.

    Of a run that was cut off it is that of any of its processes.
    """
    ends = sorted({max(1, len(measured) // share) for share in SHARES})
    return [
        {
            "texts": sum(len(m["lengths"]) for m in measured[:end]),
            "peak_mb": max(m["peak_mb"] for m in measured[:end]),
        }
        for end in ends
    ]


def streaming_block(records: Sequence[dict[str, Any]]) -> str:
    """What was captured and scored of each model, how fast, and in how much memory."""
    titles = [
        *("", "heads", "texts", "tokens", "attention and values, GiB", "on disk at once, GiB"),
        *("texts captured a second", "programs", "IoUs a second", "MB with the model loaded"),
        "MB at most after so many texts",
    ]
    rows = []
    for record in records:
        r = record["results"]
        rows.append(
            [
                record["model"]["name"],
                str(r["heads"]),
                f"{r['documents']:,}",
                str(r["tokens"]),
                f"{r['bytes'] / 2**30:.2f}",
                f"{r['bytes_at_once'] / 2**30:.2f}",
                f"{r['documents'] / r['capture_seconds']:.2f}",
                str(r["programs"]),
                f"{r['scores_per_second']:,.0f}",
                f"{r['loaded_mb']:,}",
                ", ".join(f"{at['texts']:,}: {at['peak_mb']:,}" for at in r["memory"]),
            ]
        )
    return table(titles, rows)


BLOCKS = {"memory": streaming_block}


@click.command()
@click.option("--model", default="smollm2-135m", show_default=True)
@click.option("--texts", default=CODE, show_default=True)
@click.option("--documents", default=1000, show_default=True, help="How many texts.")
@click.option("--tokens", default=256, show_default=True, help="Of every text.")
@click.option("--programs", default=100, show_default=True)
@click.option(
    "--keep", is_flag=True, help="Files of attention stay until the end: 84 MB a text of SmolLM2."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where files are until the end; without it in the cache.",
)
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER)
def main(
    model: str,
    texts: str,
    documents: int,
    tokens: int,
    programs: int,
    keep: bool,
    folder: Path | None,
    output: Path,
) -> None:
    """Capture to disk, score from disk, and measure the memory; the same again goes on."""
    loaded = load_model(model)
    source = long_texts(loaded, texts, documents, tokens)
    key = run_key(
        model=loaded.revision, texts=source.sha256, tokens=tokens, programs=programs, keep=keep
    )
    place = (folder or cache_folder() / "streaming") / key
    results = streamed(loaded, source, tokens, programs, place, keep)
    shutil.rmtree(place)
    about = [about_texts(source, []) | {"tokens": results["tokens_read"]}]
    write(
        "streaming",
        claim=CLAIM,
        blocks=BLOCKS,
        results=results,
        loaded=loaded,
        texts=about,
        folder=output,
    )


if __name__ == "__main__":
    main()
