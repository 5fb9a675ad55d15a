"""How far the primitives could reach: all of them at once, with freely fitted weights, per head.

    python -m experiments.ceiling --texts stories --json ceiling.json

Every head gets g * score + (1 - g) * mixture over all features, fitted by gradient to IoU on the
train documents, with its own weights for each kind of query token (what guards can do).  The
strength of the L2 penalty is chosen on the select documents, and the IoU of the test documents is
reported: a bound for what synthesis can reach with these primitives, not a program.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from grammar.tree import Node
from interpreter.capture import Captured, capture
from interpreter.evaluate import Evaluator
from interpreter.models import load_model
from interpreter.progress import progress_bar
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import load_texts
from synth.heads import parse_heads
from synth.vocabulary import selections, term

GUARDS = ("newline", "stop", "punctuation", "noun or name", "verb or auxiliary", "content")
"""Kinds of query tokens; the first that holds counts, all others are one more kind."""

PENALTIES = (1e-3, 3e-3, 1e-2)
STEPS = 120
HEADS_AT_ONCE = 90


@dataclass
class Packed:
    """Features and targets on the visible pairs of some texts, rows of one kind side by side."""

    raw: Tensor
    """[feature, pair] float32."""
    shares: Tensor
    """[feature, pair] float32."""
    target: Tensor
    """[head, pair] float32."""
    spans: list[slice]
    """The pairs whose query is of each kind."""
    slot: Tensor
    """[pair] int64: its place in a table of rows that are all of the same width."""
    width: int
    text: Tensor
    """[pair, text] float32: 1 where the pair is of the text."""
    rows: Tensor
    """[text] float32: how many rows each text has."""


def pack(captured: Captured, terms: Sequence[Node]) -> Packed:
    """Evaluates the features, and lays out everything by kind of query."""
    facts = captured.facts()
    evaluator = Evaluator(facts)
    kinds = torch.full(facts.real.shape, len(GUARDS))
    for number in range(len(GUARDS) - 1, -1, -1):
        kinds[evaluator.guard(term(GUARDS[number]))] = number
    width = facts.visible.shape[-1]
    text, query, key = facts.visible.nonzero(as_tuple=True)
    order = kinds[text, query].argsort(stable=True)
    text, query, key = text[order], query[order], key[order]
    ends = kinds[text, query].bincount(minlength=len(GUARDS) + 1).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    pairs = (text * width + query) * width + key
    raw, shares = (torch.empty(len(terms), len(pairs)) for _ in range(2))
    for k, node in enumerate(terms):
        raw[k] = evaluator.weights(node).flatten()[pairs]
        shares[k] = evaluator.fresh_shares(node).flatten()[pairs]
    return Packed(
        raw=raw,
        shares=shares,
        target=captured.attention.transpose(0, 1).flatten(1)[:, pairs],
        spans=[slice(start, end) for start, end in zip(starts, ends, strict=True)],
        slot=pairs,
        width=width,
        text=torch.nn.functional.one_hot(text, len(captured.tokens)).float(),
        rows=facts.real.sum(1).float(),
    )


@dataclass
class Weights:
    """Free weights of some heads: [head, kind, feature] twice, and the gate [head, kind]."""

    mixture: Tensor
    logits: Tensor
    gate: Tensor

    @classmethod
    def even(cls, heads: int, count: int) -> "Weights":
        kinds = len(GUARDS) + 1
        parts = (torch.zeros(heads, kinds + 1, count), torch.zeros(heads, kinds + 1, count))
        return cls(*(p.requires_grad_(True) for p in (*parts, torch.zeros(heads, kinds))))


def predicted_iou(weights: Weights, packed: Packed, target: Tensor) -> Tensor:
    """[head, text]: IoU of the gated sum with the target [head, pair]."""
    mixed, logits, gates = [], [], []
    for kind, span in enumerate(packed.spans):
        # The last slot is shared by all kinds; a kind's own weights are what differs from it.
        own = torch.softmax(weights.mixture[:, kind] + weights.mixture[:, -1], -1)
        mixed.append(own @ packed.shares[:, span])
        logits.append((weights.logits[:, kind] + weights.logits[:, -1]) @ packed.raw[:, span])
        gate = torch.sigmoid(weights.gate[:, kind, None])
        gates.append(gate.expand(-1, span.stop - span.start))
    gate = torch.cat(gates, 1)
    table = torch.full((len(target), len(packed.rows) * packed.width**2), -torch.inf)
    table = table.index_copy(1, packed.slot, torch.cat(logits, 1))
    rows = table.unflatten(1, (-1, packed.width))
    # Rows of padding hold nothing; a finite number keeps their softmax free of NaN.
    rows = torch.where(rows.isneginf().all(-1, keepdim=True), 0.0, rows)
    score = torch.softmax(rows, -1).flatten(1)[:, packed.slot]
    total = gate * score + (1 - gate) * torch.cat(mixed, 1)
    overlap = torch.minimum(total, target) @ packed.text
    return overlap / (2 * packed.rows - overlap)


def fit(packed: Packed, target: Tensor, penalty: float) -> Weights:
    """Weights of all heads of `target`, fitted by gradient to mean IoU."""
    weights = Weights.even(len(target), len(packed.raw))
    optimizer = torch.optim.Adam([weights.mixture, weights.logits, weights.gate], lr=0.1)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - step / STEPS)
        optimizer.zero_grad()
        loss = (1 - predicted_iou(weights, packed, target).mean(1)).sum()
        size = weights.logits.square().sum() + 0.1 * weights.mixture.square().sum()
        (loss + penalty * size).backward()
        optimizer.step()
    return weights


@click.command()
@click.option("--model", default="smollm2-135m", show_default=True)
@click.option("--texts", default="stories", show_default=True)
@click.option("--other-texts", multiple=True, help="Other texts, scored with the same weights.")
@click.option("--max-tokens", default=96, show_default=True)
@click.option("--limit", default=100, show_default=True, help="At most so many documents.")
@click.option("--heads", "selected", default="all", show_default=True, help="all, or L3H5,L4H0-8.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Where the results go.")
def ceiling(
    model: str,
    texts: str,
    other_texts: Sequence[str],
    max_tokens: int,
    limit: int,
    selected: str,
    output: Path | None,
) -> None:
    """Fit all primitives freely to every head, and report IoU on held-out documents."""
    started = time.monotonic()
    torch.manual_seed(0)
    loaded = load_model(model)
    heads = parse_heads(selected, loaded.layers, loaded.heads)
    source = load_texts(texts, limit)
    captured = {n: capture(loaded, t, heads, max_tokens) for n, t in source.split().items()}
    for name in other_texts:
        captured[name] = capture(loaded, load_texts(name, limit), heads, max_tokens)
    terms = selections(captured["train"].tokens, causal=loaded.causal)
    packed = {name: pack(c, terms) for name, c in captured.items()}
    ious: dict[str, list[Tensor]] = {name: [] for name in packed}
    with progress_bar() as bar:
        chunks = range(0, len(heads), HEADS_AT_ONCE)
        task = bar.add_task(f"{len(terms)} features", total=len(chunks) * len(PENALTIES))
        for start in chunks:
            some = slice(start, start + HEADS_AT_ONCE)
            tried = []
            for penalty in PENALTIES:
                tried.append(fit(packed["train"], packed["train"].target[some], penalty))
                bar.advance(task)
            with torch.no_grad():
                found = {
                    name: torch.stack([predicted_iou(w, p, p.target[some]) for w in tried])
                    for name, p in packed.items()
                }
                best = found["select"].mean(-1).argmax(0)
                for name, values in found.items():
                    ious[name].append(values[best, torch.arange(len(best))])
    result: dict[str, Any] = {
        "model": model,
        "revision": loaded.revision,
        "texts": {"name": texts, "sha256": source.sha256, "documents": len(source.documents)},
        "max_tokens": max_tokens,
        "features": len(terms),
        "heads": len(heads),
        "seconds": round(time.monotonic() - started, 1),
        "mean_iou": {},
    }
    for name, parts in ious.items():
        values = torch.cat(parts)
        result["mean_iou"][name] = {
            "mean": round(float(values.mean()), 4),
            "ci95": [round(x, 4) for x in bootstrap_ci95(values.mean(0).tolist())],
            "documents": values.shape[1],
        }
    click.echo(json.dumps(result, indent=2))
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    ceiling()
