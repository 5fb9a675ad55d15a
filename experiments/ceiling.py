"""How far the primitives could reach: all of them at once, with freely fitted weights, per head.

    python -m experiments.ceiling --model smollm2-135m --texts stories --other-texts code

Every head gets g * score + (1 - g) * mixture over all features, with weights of its own for each
kind of query token (what guards and `query` can do), fitted by gradient to the IoU of the train
documents.  The strength of the L2 penalty is chosen for each head on the select documents; what is
reported is the IoU of the test documents, and of documents of other sources with the same weights.
It is an estimate of what the best program of any length could reach, not a program, and no proof
that none reaches more.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from experiments.results import about_texts, write
from experiments.scoring import ious_of_chosen, mean_over_heads
from experiments.sources import at_least, chunks, source_texts
from experiments.subject import Programs, load_programs, model_options, opened, sampled
from experiments.tables import table, with_interval
from grammar.printer import to_text
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter.capture import Captured, Head, captured
from interpreter.evaluate import Evaluator
from interpreter.models import LoadedModel
from interpreter.progress import progress_bar
from interpreter.texts import Texts, load_texts
from synth.scorer import Scorer
from synth.vocabulary import plain_classes, selections, term

CLAIM = (
    "All primitives at once, freely weighted for each kind of query, predict heads better than the "
    "programs that were found, and still far from wholly."
)
KINDS = (
    *("newline", "stop", "comma", "punctuation", "determiner", "pronoun", "preposition"),
    *("auxiliary", "verb", "name", "noun", "adjective", "conjunction or subordinator"),
)
"""Of query tokens; the first that holds counts, all others are one more kind."""
WORDS = 64
"""The most frequent words of the train documents."""
WAYS_OF_WORDS = ("{p}", "first({p})", "near({p}, 8)", "near({p}, 32)", "first(query({p}))")
WAYS_OF_LEMMAS = ("{p}", "first({p})")

PENALTIES = (1e-4, 3e-4)
TEXTS_AT_ONCE = 10
"""In one step; also how texts are captured, so that all patterns of a step have one width."""
HEADS_AT_ONCE = 90
LEARNING_RATE = 0.15


def features(tokens: Sequence[Sequence[Token]], *, causal: bool) -> list[Node]:
    """Selections and fades over every primitive, frequent words, and the sink by kind of query."""
    seen = [t for document in tokens for t in document if t.word.isalpha()]
    texts = [
        way.format(p=f'{kind}("{word}")')
        for kind, found, ways in (
            ("word", (t.word for t in seen), WAYS_OF_WORDS),
            ("lemma", (t.lemma for t in seen), WAYS_OF_LEMMAS),
        )
        for word in _frequent(found)
        for way in ways
    ]
    texts += ["distance(any)"]
    for node in plain_classes():
        texts += [f"first(query({node.op}))", f"distance({node.op})"]
    return sorted({*selections(tokens, causal=causal), *map(term, texts)}, key=to_text)


def _frequent(words: Iterable[str]) -> list[str]:
    counts = Counter(words)
    return sorted(counts, key=lambda word: (-counts[word], word))[:WORDS]


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


def pack(patterns: Captured, terms: Sequence[Node]) -> Packed:
    """Evaluates the features, and lays out everything by kind of query."""
    facts = patterns.facts()
    evaluator = Evaluator(facts)
    kinds = torch.full(facts.real.shape, len(KINDS))
    for number in range(len(KINDS) - 1, -1, -1):
        kinds[evaluator.guard(term(KINDS[number]))] = number
    width = facts.visible.shape[-1]
    text, query, key = facts.visible.nonzero(as_tuple=True)
    order = kinds[text, query].argsort(stable=True)
    text, query, key = text[order], query[order], key[order]
    ends = kinds[text, query].bincount(minlength=len(KINDS) + 1).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    pairs = (text * width + query) * width + key
    raw, shares = (torch.empty(len(terms), len(pairs)) for _ in range(2))
    for k, node in enumerate(terms):
        raw[k] = evaluator.weights(node).flatten()[pairs]
        shares[k] = evaluator.fresh_shares(node).flatten()[pairs]
    return Packed(
        raw=raw,
        shares=shares,
        target=patterns.attention.transpose(0, 1).flatten(1)[:, pairs],
        spans=[slice(start, end) for start, end in zip(starts, ends, strict=True)],
        slot=pairs,
        width=width,
        text=torch.nn.functional.one_hot(text, len(patterns.tokens)).float(),
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
        kinds = len(KINDS) + 1
        parts = (torch.zeros(heads, kinds + 1, count), torch.zeros(heads, kinds + 1, count))
        return cls(*(p.requires_grad_(True) for p in (*parts, torch.zeros(heads, kinds))))

    def copy(self) -> "Weights":
        """The same numbers, to be fitted further."""
        tensors = (self.mixture, self.logits, self.gate)
        return Weights(*(p.detach().clone().requires_grad_(True) for p in tensors))

    def only(self, kept: Tensor) -> "Weights":
        """Those of the features that are kept, [feature] bool; the others count for nothing."""
        return Weights(self.mixture + kept.log(), self.logits * kept, self.gate)


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
    lines = torch.full((len(target), len(packed.rows) * packed.width**2), -torch.inf)
    lines = lines.index_copy(1, packed.slot, torch.cat(logits, 1))
    rows = lines.unflatten(1, (-1, packed.width))
    # Rows of padding hold nothing; a finite number keeps their softmax free of NaN.
    rows = torch.where(rows.isneginf().all(-1, keepdim=True), 0.0, rows)
    score = torch.softmax(rows, -1).flatten(1)[:, packed.slot]
    total = gate * score + (1 - gate) * torch.cat(mixed, 1)
    overlap = torch.minimum(total, target) @ packed.text
    return overlap / (2 * packed.rows - overlap)


def fit(
    packs: Sequence[Packed],
    heads: slice,
    penalty: float,
    epochs: int,
    begun: Weights | None = None,
    kept: Tensor | None = None,
) -> Weights:
    """Weights of some heads, fitted to mean IoU by Adam, a pack at a time in random order.

    From `begun` on where it is given, and with the features alone that are `kept`, [feature] bool.
    """
    kept = torch.ones(len(packs[0].raw), dtype=torch.bool) if kept is None else kept
    even = Weights.even(len(packs[0].target[heads]), len(packs[0].raw))
    weights = even if begun is None else begun.copy()
    # What is nearly fitted would be thrown far by the first steps of Adam, which are all as large.
    rate = LEARNING_RATE if begun is None else LEARNING_RATE / 4
    optimizer = torch.optim.Adam([weights.mixture, weights.logits, weights.gate])
    order = torch.Generator().manual_seed(0)
    steps = epochs * len(packs)
    for step in range(steps):
        if step % len(packs) == 0:
            turns = torch.randperm(len(packs), generator=order).tolist()
        packed = packs[turns[step % len(packs)]]
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        used = weights.only(kept)
        loss = (1 - predicted_iou(used, packed, packed.target[heads]).mean(1)).sum()
        size = weights.logits.square().sum() + 0.1 * weights.mixture.square().sum()
        (loss + penalty * size).backward()
        optimizer.step()
    return weights.only(kept)


@dataclass(frozen=True)
class Fitted:
    """Weights of consecutive heads, one set for each penalty."""

    heads: slice
    tried: list[Weights]

    @torch.no_grad()
    def ious(self, packs: Sequence[Packed]) -> Tensor:
        """[penalty, head, text]."""
        return torch.stack(
            [
                torch.cat([predicted_iou(w, p, p.target[self.heads]) for p in packs], 1)
                for w in self.tried
            ]
        )


@dataclass(frozen=True)
class Source:
    """What the heads do on some texts, so many at a time, and what their programs say."""

    texts: Texts
    patterns: list[Captured]
    programs: Tensor
    """[head, text] float32: IoU of the stored programs."""

    def packs(self, terms: Sequence[Node]) -> list[Packed]:
        with progress_bar() as bar:
            what = f"{len(terms):,} features on {self.texts.name}"
            return [pack(p, terms) for p in bar.track(self.patterns, description=what)]


def captured_in_parts(
    loaded: LoadedModel, texts: Texts, heads: Sequence[Head], max_tokens: int
) -> list[Captured]:
    """What the heads do on the texts, so many at a time as a step is fitted on."""
    with progress_bar() as bar:
        some = bar.track(chunks(texts, TEXTS_AT_ONCE), description=f"Attention on {texts.name}")
        return [captured(loaded, part, heads, max_tokens) for part in some]


def read_source(
    loaded: LoadedModel, texts: Texts, heads: Sequence[Head], programs: Programs, max_tokens: int
) -> Source:
    patterns = captured_in_parts(loaded, texts, heads, max_tokens)
    own = [ious_of_chosen(Scorer(part), programs.own)[0] for part in patterns]
    return Source(texts, patterns, torch.cat(own, 1))


def fit_all(sources: dict[str, Source], terms: Sequence[Node], epochs: int) -> list[Fitted]:
    """The weights of all heads."""
    packs = sources["train"].packs(terms)
    count = len(packs[0].target)
    starts = range(0, count, HEADS_AT_ONCE)
    with progress_bar() as bar:
        task = bar.add_task("Fitting freely", total=len(starts) * len(PENALTIES))
        found = []
        for start in starts:
            heads = slice(start, min(start + HEADS_AT_ONCE, count))
            tried = []
            for penalty in PENALTIES:
                tried.append(fit(packs, heads, penalty, epochs))
                bar.advance(task)
            found.append(Fitted(heads, tried))
    return found


def ceiling(sources: dict[str, Source], terms: Sequence[Node], epochs: int) -> dict[str, Any]:
    """Mean IoU on every source, of the free weights and of the stored programs."""
    fitted = fit_all(sources, terms, epochs)
    select = sources["select"].packs(terms)
    best = [part.ious(select).mean(-1).argmax(0) for part in fitted]
    found = []
    for name, source in sources.items():
        packs = select if name == "select" else source.packs(terms)
        free = torch.cat(
            [
                part.ious(packs)[b, torch.arange(len(b))]
                for part, b in zip(fitted, best, strict=True)
            ]
        )
        found.append(
            {
                "part": name,
                "documents": free.shape[1],
                "free": mean_over_heads(free),
                "programs": mean_over_heads(source.programs),
            }
        )
    chosen = torch.cat(best).bincount(minlength=len(PENALTIES)).tolist()
    return {
        "features": len(terms),
        "kinds": len(KINDS) + 1,
        "heads": len(torch.cat(best)),
        "heads_by_penalty": {str(p): n for p, n in zip(PENALTIES, chosen, strict=True)},
        "sources": found,
    }


def sources_block(records: Sequence[dict[str, Any]]) -> str:
    """The ceiling beside what the stored programs reach, on every source but that chosen on."""
    rows = [
        [
            f"{record['model']['name']}, {found['part']}",
            str(found["documents"]),
            *(
                with_interval(found[of]["mean_iou"], found[of]["ci95"])
                for of in ("programs", "free")
            ),
        ]
        for record in records
        for found in record["results"]["sources"]
        if found["part"] != "select"
    ]
    about = "; ".join(
        f"{record['model']['name']}: {record['results']['heads']} heads, "
        f"{record['results']['features']:,} features, {record['results']['kinds']} kinds of query"
        for record in records
    )
    return table(["", "documents", "programs", "all primitives, free"], rows) + f"\n\n{about}."


BLOCKS = {"sources": sources_block}


@click.command()
@model_options
@click.option("--texts", default="stories", show_default=True)
@click.option("--other-texts", multiple=True, help="Scored with the same weights; may be repeated.")
@click.option("--max-tokens", default=96, show_default=True)
@click.option("--epochs", default=40, show_default=True, help="Passes over the train documents.")
def main(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    texts: str,
    other_texts: Sequence[str],
    max_tokens: int,
    epochs: int,
) -> None:
    """Fit all primitives freely to every head, and report IoU on held-out documents."""
    place, loaded = opened(model, library)
    programs = load_programs(place, loaded, max_tokens)
    heads = sampled(programs.own, every)
    parts = load_texts(texts, limit).split()
    for other in map(source_texts, other_texts):
        parts[other.name] = at_least(loaded, other, max_tokens, limit or len(other.documents))
    sources = {
        name: read_source(loaded, part, heads, programs, max_tokens) for name, part in parts.items()
    }
    tokens = {name: [t for p in s.patterns for t in p.tokens] for name, s in sources.items()}
    terms = features(tokens["train"], causal=loaded.causal)
    found = ceiling(sources, terms, epochs)
    write(
        "ceiling",
        claim=CLAIM,
        blocks=BLOCKS,
        results=found,
        loaded=loaded,
        texts=[about_texts(part, tokens[name]) for name, part in parts.items()],
        library=place,
        seed=0,
        rejected=programs.rejected,
        folder=output,
    )


if __name__ == "__main__":
    main()
