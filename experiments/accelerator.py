"""How fast a device evaluates and scores, beside what its memory and arithmetic allow.

    HEADSCRIPT_DEVICE=cuda python -m experiments.accelerator

Programs are those of the shipped library of SmolLM2 and mutants of them, texts are pieces of
Python's standard library, and the heads are random: their number is what matters to time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from experiments.bench_command import library_programs
from experiments.bench_models import timed
from experiments.results import FOLDER, about_texts, machine, write
from experiments.sources import CODE, long_texts
from experiments.tables import table
from grammar.errors import InputError
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter import overlap_cores
from interpreter.capture import captured
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.models import LoadedModel, chosen_device, load_model, load_spacy
from interpreter.overlap import HeadIoU
from interpreter.progress import progress_bar
from interpreter.scores import iou_with_each
from interpreter.texts import Texts
from interpreter.tokens import read_tokens

CLAIM = "Programs are evaluated and scored at a good share of what a device allows."
TEXTS_AT_ONCE = 32
"""One step of a program on so many is work enough for a large accelerator."""
PLAIN_PROGRAMS = 8
"""Scored by torch alone, which takes long."""
COMPARED = 100
"""Programs whose scores by the kernel and by torch must agree: more than go into one tile."""
COPIED = 2**28
"""Numbers of a copy by which the memory is measured."""
REPEATS = 10
CAPTURED_TEXTS = 8


def bandwidth(device: str) -> float:
    """Bytes a second, read and written, of a copy within the device's memory."""
    source = torch.zeros(COPIED, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    shortest = min(timed(lambda: target.copy_(source))[0] for _ in range(REPEATS))
    return 2 * source.nbytes / shortest


class Shard:
    """Some texts, and random heads on them."""

    def __init__(self, tokens: Sequence[Sequence[Token]], heads: int, device: str) -> None:
        self.facts = make_facts(tokens, causal=True, device=device)
        visible = self.facts.visible[:, None]
        shape = (len(tokens), heads, *visible.shape[2:])
        self.real = torch.rand(shape, device=device) * visible
        self.real /= self.real.sum(-1, keepdim=True).clamp_min(1e-9)

    def evaluated(self, programs: Sequence[Node]) -> list[Tensor]:
        """[text, query, key] of each program; only they know what they share."""
        evaluator = Evaluator(self.facts)
        return [evaluator.matrices(program) for program in programs]

    def scored(self, matrices: Sequence[Tensor]) -> list[Tensor]:
        """[text, head] of each: IoU with every head, by the device's own kernel."""
        return list(HeadIoU(self.real, self.facts.visible).ious(matrices))

    def scored_plainly(self, matrices: Sequence[Tensor]) -> list[Tensor]:
        """The same by torch alone."""
        return [iou_with_each(self.real, one) for one in matrices]


def measured(
    programs: Sequence[Node], tokens: Sequence[Sequence[Token]], heads: int, device: str
) -> dict[str, Any]:
    """Seconds of evaluating and scoring all programs on all texts, and their shares of limits."""
    starts = range(0, len(tokens), TEXTS_AT_ONCE)
    memory, limit = bandwidth(device), min_add_limit(device)
    rate, moved = beside_torch(Shard(tokens[:TEXTS_AT_ONCE], heads, device), programs)
    steps = []
    with progress_bar() as bar:
        for start in bar.track(starts, description="Evaluating and scoring"):
            shard = Shard(tokens[start : start + TEXTS_AT_ONCE], heads, device)
            steps.append(_step(shard, programs))
    evaluating, scoring, written, cells = map(sum, zip(*steps, strict=True))
    scores = len(programs) * len(tokens) * heads
    min_adds = len(programs) * heads * cells
    return {
        "evaluate_seconds": evaluating,
        "evaluate_us_per_program_text": 1e6 * evaluating / len(programs) / len(tokens),
        "evaluate_bytes": written,
        "evaluate_share_of_bandwidth": written / evaluating / memory,
        "score_seconds": scoring,
        "scores_per_second": scores / scoring,
        "min_adds": min_adds,
        "score_share_of_limit": min_adds / scoring / limit,
        "plain_scores_per_second": rate,
        "plain_share_of_bandwidth": moved / memory,
        "bytes_per_second": memory,
        "min_add_per_second": limit,
    }


def _step(shard: Shard, programs: Sequence[Node]) -> tuple[float, float, int, int]:
    """Seconds of evaluating and of scoring, bytes of results, visible cells."""
    evaluating, matrices = timed(lambda: shard.evaluated(programs))
    scoring, _ = timed(lambda: shard.scored(matrices))
    return evaluating, scoring, sum(m.nbytes for m in matrices), int(shard.facts.visible.sum())


def min_add_limit(device: str) -> float:
    """Minima added a second, of the device's own kernel on what lies in registers or caches."""
    if device == "cpu":
        return overlap_cores.overlap_limit()
    # Triton comes with the torch that has CUDA.
    from interpreter.overlap_cuda import overlap_limit

    return overlap_limit(device)


def beside_torch(shard: Shard, programs: Sequence[Node]) -> tuple[float, float]:
    """IoUs and bytes a second of torch alone; it must agree with the kernel on more programs."""
    matrices = shard.evaluated(programs[:COMPARED])
    expected = shard.scored_plainly(matrices)
    torch.testing.assert_close(shard.scored(matrices), expected, atol=1e-5, rtol=1e-5)
    few = matrices[:PLAIN_PROGRAMS]
    seconds, _ = timed(lambda: shard.scored_plainly(few))
    scores = len(few) * shard.real.shape[0] * shard.real.shape[1]
    # A head is read, its minima with a prediction that stays near are written, and read again.
    moved = 3 * len(few) * shard.real.nbytes
    return scores / seconds, moved / seconds


def capturing(loaded: LoadedModel, texts: Texts, tokens: int) -> float:
    """Texts a second whose attention reaches this process, all heads."""
    heads = loaded.all_heads
    few = Texts(texts.name, texts.documents[:CAPTURED_TEXTS])
    captured(loaded, few, heads, tokens)
    return len(few.documents) / timed(lambda: captured(loaded, few, heads, tokens))[0]


def rates_block(records: Sequence[dict[str, Any]]) -> str:
    """What was measured on the device, beside its limits."""
    (record,) = records
    r, c = record["results"], record["configuration"]
    size = (
        f"{c['programs']:,} programs, {c['texts']:,} texts of {c['tokens']} tokens, "
        f"{c['heads']:,} heads; {r['device']}"
    )
    rows = [
        ["all programs evaluated on all texts, s", f"{r['evaluate_seconds']:.1f}"],
        ["a program on a text, µs", f"{r['evaluate_us_per_program_text']:.1f}"],
        ["results written, of the memory's bandwidth", f"{r['evaluate_share_of_bandwidth']:.3f}"],
        ["all scored against all heads, s", f"{r['score_seconds']:.1f}"],
        ["IoUs a second", f"{r['scores_per_second']:,.0f}"],
        ["of what the device's minima and sums allow", f"{r['score_share_of_limit']:.2f}"],
        ["IoUs a second by torch alone", f"{r['plain_scores_per_second']:,.0f}"],
        ["torch alone, of the memory's bandwidth", f"{r['plain_share_of_bandwidth']:.2f}"],
        ["minima and sums a second", f"{r['min_add_per_second']:.2e}"],
        ["bytes copied a second", f"{r['bytes_per_second']:.2e}"],
        [
            f"texts captured a second, {r['captured_heads']} heads",
            f"{r['capture_texts_per_second']:.1f}",
        ],
    ]
    return table([size, "measured"], rows)


BLOCKS = {"rates": rates_block}


@click.command()
@click.option("--model", default="smollm2-135m", show_default=True)
@click.option("--programs", default=1000, show_default=True)
@click.option("--texts", default=1000, show_default=True)
@click.option("--tokens", default=256, show_default=True, help="Of every text.")
@click.option("--heads", default=704, show_default=True, help="Of TinyLlama: 22 layers of 32.")
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER)
def main(model: str, programs: int, texts: int, tokens: int, heads: int, output: Path) -> None:
    """Measure the device that HEADSCRIPT_DEVICE names: cpu or cuda."""
    device = chosen_device()
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"HEADSCRIPT_DEVICE={device}: this measures cpu or cuda")
    loaded = load_model(model)
    source = long_texts(loaded, CODE, texts, tokens)
    read = read_tokens(source.documents, loaded.tokenizer, load_spacy(), tokens)
    results = {
        "device": machine()["cpu" if device == "cpu" else "gpu"],
        "captured_heads": loaded.layers * loaded.heads,
        "capture_texts_per_second": capturing(loaded, source, tokens),
    } | measured(library_programs(programs, read), read, heads, device)
    about = [about_texts(source, read)]
    write("accelerator", claim=CLAIM, blocks=BLOCKS, results=results, texts=about, folder=output)


if __name__ == "__main__":
    main()
