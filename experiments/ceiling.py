"""How far the primitives could reach: all of them at once, with freely fitted weights, per head.

    python -m experiments.ceiling --texts stories --json ceiling.json

Every head gets g * score + (1 - g) * mixture over all features, fitted by gradient to IoU on the
train documents, with its own weights for each kind of query token (what guards can do).  The
strength of the L2 penalty is chosen on the select documents, and the IoU of the test documents is
reported: a bound for what synthesis can reach with these primitives, not a program.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from grammar.canonical import canonical
from grammar.parser import parse_or_raise
from grammar.primitives import Kind, primitives
from grammar.printer import to_text
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter.capture import Captured, capture
from interpreter.evaluate import Evaluator
from interpreter.models import load_model
from interpreter.progress import progress_bar
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import load_texts
from synth.growing import predicate_of
from synth.heads import parse_heads

GUARDS = ("newline", "stop", "punctuation", "noun or name", "verb or auxiliary", "content")
"""Kinds of query tokens; the first that holds counts, all others are one more kind."""

WAYS = (
    *("{p}", "first({p})", "first({p}, 2)", "recent({p})", "recent({p}, 2)", "last({p})"),
    *("near({p}, 2)", "near({p}, 8)", "near({p}, 32)", "newest({p}, 2)", "earliest({p}, 2)"),
)
FEW_WAYS = ("{p}", "first({p})", "near({p}, 4)", "near({p}, 32)")
FREQUENT_WORDS = 24
PENALTIES = (1e-4, 1e-3)
STEPS = 120
HEADS_AT_ONCE = 90


def features(tokens: Sequence[Sequence[Token]], *, causal: bool) -> list[Node]:
    """Selections over all primitives, and over the most frequent words of the texts."""
    counts = Counter(t.word for document in tokens for t in document if t.word)
    words = [w for w, _ in counts.most_common(FREQUENT_WORDS) if w.isalpha()]
    classes = [p.name for p in primitives(Kind.TOKEN_CLASS) if not p.parameters]
    relations = [p.name for p in primitives(Kind.RELATION) if not p.parameters]
    texts = ["distance(any)", *(f"near(any, {k})" for k in (1, 4, 16, 64))]
    texts += [f"back({k})" for k in range(1, 9)] + [f"within({k})" for k in (2, 5)]
    texts += [way.format(p=p) for p in classes for way in WAYS]
    texts += [way.format(p=f'word("{w}")') for w in words for way in WAYS]
    texts += [way.format(p=p) for p in relations for way in FEW_WAYS]
    texts += [f"after({p})" for p in (*classes, *relations)] + [f"before({p})" for p in classes]
    texts += [f"recent(after({p}))" for p in relations]
    texts += [f"near({p} and same_sentence, 16)" for p in classes]
    texts += [f"{p} and not same_sentence" for p in classes]
    if not causal:
        texts += [f"ahead({k})" for k in range(1, 6)]
        texts += [f"next({p})" for p in classes]
    terms = [canonical(parse_or_raise(t)).children[0].children[0].children[0] for t in texts]
    return sorted(set(terms), key=to_text)


@dataclass
class Packed:
    """Features and targets on the visible pairs of some texts, rows of one kind side by side.

    `raw` and `shares` are [feature, pair]; `target` is [head, pair]; `spans` lists for each kind
    of query token its pairs, and its blocks (rows, keys per row) in the order of the pairs.
    """

    raw: Tensor
    shares: Tensor
    target: Tensor
    spans: list[tuple[slice, list[tuple[int, int]]]]
    row_text: Tensor
    text_rows: Tensor


def pack(captured: Captured, terms: Sequence[Node]) -> Packed:
    """Evaluates the features, and lays out everything by kind of query and by row length."""
    facts = captured.facts()
    evaluator = Evaluator(facts)
    kinds = torch.full(facts.real.shape, len(GUARDS))
    for number in range(len(GUARDS) - 1, -1, -1):
        condition = predicate_of(parse_or_raise(GUARDS[number]).children[0].children[0].children[0])
        assert condition is not None
        kinds[evaluator.guard(condition)] = number
    visible = facts.visible.sum(-1)
    text, query = facts.real.nonzero(as_tuple=True)
    order = torch.tensor(
        sorted(
            range(len(text)),
            key=lambda r: (int(kinds[text[r], query[r]]), int(visible[text[r], query[r]]), r),
        )
    )
    text, query = text[order], query[order]
    lengths, row_kinds = visible[text, query], kinds[text, query]
    width = facts.visible.shape[-1]
    rows = (text * width + query) * width
    pairs = torch.cat(
        [
            row + facts.visible[t, q].nonzero()[:, 0]
            for row, t, q in zip(rows, text, query, strict=True)
        ]
    )

    spans, start = [], 0
    for kind in range(len(GUARDS) + 1):
        here = lengths[row_kinds == kind]
        blocks = [(int((here == n).sum()), int(n)) for n in here.unique()]
        total = int(here.sum())
        spans.append((slice(start, start + total), blocks))
        start += total
    return Packed(
        raw=torch.stack([evaluator.weights(t).flatten()[pairs] for t in terms]),
        shares=torch.stack([evaluator.shares(t).flatten()[pairs] for t in terms]),
        target=captured.attention.transpose(0, 1).flatten(1)[:, pairs],
        spans=spans,
        row_text=text,
        text_rows=torch.bincount(text).float(),
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
    overlaps = []
    for kind, (span, blocks) in enumerate(packed.spans):
        # The last slot is shared by all kinds; a kind's own weights are what differs from it.
        own = torch.softmax(weights.mixture[:, kind] + weights.mixture[:, -1], -1)
        mixed = own @ packed.shares[:, span]
        logits = (weights.logits[:, kind] + weights.logits[:, -1]) @ packed.raw[:, span]
        gate = torch.sigmoid(weights.gate[:, kind])[:, None, None]
        start = 0
        for rows, keys in blocks:
            block = slice(start, start + rows * keys)
            start += rows * keys
            shape = (len(target), rows, keys)
            score = torch.softmax(logits[:, block].reshape(shape), -1)
            total = gate * score + (1 - gate) * mixed[:, block].reshape(shape)
            real = target[:, span][:, block].reshape(shape)
            overlaps.append(torch.minimum(total, real).sum(-1))
    by_row = torch.cat(overlaps, dim=1)
    by_text = torch.zeros(len(target), len(packed.text_rows)).index_add(1, packed.row_text, by_row)
    return by_text / (2 * packed.text_rows - by_text)


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
    terms = features(captured["train"].tokens, causal=loaded.causal)
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
