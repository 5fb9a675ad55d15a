"""A library as a full run leaves it, of any size, made through the library's own interface."""

import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from grammar.canonical import canonical_text, content_hash
from synth.library import Baseline, Choice, Library, Proposal, Run, Score, StoredExample, run_key
from synth.library_rows import BEST_TRIVIAL, Split
from synth.report_entries import HeadEntry, OtherChoice, Proposed, ReportData

STORY = (
    "Once upon a time there was a little fox named Pip .\n Every morning Pip ran to the river . "
    '"Good morning , fish !" he said . One day the river was quiet , and the fox sat down '
    "beside it and began to wait ."
)
TOKENS = re.findall(r"^\w+|\n| ?[\w]+| ?[^\w\s]+", STORY)[:48]
DOCUMENTS = 3
TRIVIAL = ("first", "any", "back(1)", "self")
PROGRAMS = (
    "first",
    "62 first + 20 back(1) + 18 near(noun, 8)",
    "when newline: self; 60 first + 40 score(2.0 noun + 1.5 same_sentence)",
    'when digit: 80 first + 20 self; 45 first + 30 first(word("the")) + 15 near(content, 4)',
    '37 first(word("the")) + 24 first(word("the"), 2) + 21 earliest(word("the"), 2) + 18 first',
    "77 first + 23 near(after(same_token), 32)",
)
REJECTED = Proposal(
    raw="frist", text=None, code="syntax", message="no", line=1, column=2, proposer="hand", seed=3
)


def program(number: int) -> str:
    """One of `PROGRAMS` with other weights: every sixth head has `first`, the rest vary."""
    text = PROGRAMS[number % len(PROGRAMS)]
    varied = re.sub(r"\b(\d\d) (?=first)", lambda m: f"{10 + (int(m[1]) + number) % 80} ", text)
    canonical = canonical_text(varied)
    assert isinstance(canonical, str)
    return canonical


def pattern(sink: float, fade: float, seed: int) -> bytes:
    """A causal matrix over TOKENS: a sink, a fade by distance and some noise."""
    n = len(TOKENS)
    distance = np.subtract.outer(np.arange(n), np.arange(n))
    noise = np.random.default_rng(seed).gamma(0.3, size=(n, n))
    weights = np.where(distance >= 0, np.exp(-distance / fade) * (0.2 + noise), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    weights *= 1 - sink
    weights[:, 0] += sink
    return np.round(255 * weights).astype(np.uint8).tobytes()


def made_run(library: Library, layers: int, heads: int) -> Run:
    return library.start_run(
        key=run_key(layers=layers, heads=heads),
        model="made-up",
        model_revision="r1",
        texts_sha256="0f3a9b21" * 8,
        settings={
            "layers": layers,
            "model_heads": heads,
            "texts": "stories",
            "documents": 60,
            "seed": 0,
            "proposer": "hand",
        },
    )


def ious(mean: float, seed: int) -> list[float]:
    """IoUs of 15 documents around `mean`."""
    drawn = np.random.default_rng(seed).normal(mean, 0.05, 15)
    return [float(iou) for iou in np.clip(drawn, 0, 1)]


def add_head(library: Library, run: Run, layer: int, head: int) -> None:
    """A head with proposals, a refined choice, scores, baselines and examples."""
    number = 9 * layer + head
    text = program(number)
    written = [Proposal(raw=t, text=t, proposer="trivial", seed=0) for t in TRIVIAL]
    drafts = [
        Proposal(
            raw="3 first + 2 back(1)",
            text="3 first + 2 back(1)",
            proposer="made-up-lm",
            seed=number,
            prompt_sha256="ab" * 32,
            tokens=23,
            seconds=4.1,
        ),
        REJECTED,
    ]
    parents = [content_hash("3 first + 2 back(1)")]
    fitted = Proposal(raw=text, text=text, proposer="fit", seed=0, parents=parents)
    library.record_batch(run, layer, head, "trivial", 0, written)
    library.record_batch(run, layer, head, "language model", 0, drafts)
    library.record_batch(run, layer, head, "fit", 0, [fitted])
    iou = 0.25 + 0.7 * ((number * 37) % 100) / 100
    library.record_scores(
        [
            scored(run, layer, head, text, "test", iou),
            scored(run, layer, head, text, "select", iou + 0.01),
            scored(run, layer, head, "3 first + 2 back(1)", "select", iou * 0.9),
        ]
    )
    library.set_choice(
        Choice(
            model=run.model,
            model_revision=run.model_revision,
            layer=layer,
            head=head,
            text=text,
            run_id=run.id,
            select_iou=iou + 0.01,
        )
    )
    levels = {t: iou * (0.8 if t == "first" else 0.1 + 0.07 * len(t)) for t in TRIVIAL}
    splits: tuple[Split, ...] = ("select", "test")
    library.record_baselines(
        Baseline(
            run_id=run.id,
            layer=layer,
            head=head,
            name=name,
            split=split,
            iou=fmean(ious(levels[trivial], number)),
            iou_per_document=ious(levels[trivial], number),
        )
        for name, trivial in [*((t, t) for t in TRIVIAL), (BEST_TRIVIAL, "first")]
        for split in splits
    )
    sink = ((number * 61) % 90) / 100
    library.record_examples(
        StoredExample(
            program_hash=content_hash(text),
            model=run.model,
            model_revision=run.model_revision,
            layer=layer,
            head=head,
            document=f"test document {i + 1}",
            tokens=TOKENS,
            real=pattern(sink, 3 + head, DOCUMENTS * number + i),
            predicted=pattern(0.9 * sink, 3 + head, 10_000 + DOCUMENTS * number + i),
        )
        for i in range(DOCUMENTS)
    )


def scored(run: Run, layer: int, head: int, text: str, split: Split, iou: float) -> Score:
    return Score(
        program_hash=content_hash(text),
        model=run.model,
        model_revision=run.model_revision,
        layer=layer,
        head=head,
        texts_sha256=run.texts_sha256,
        split=split,
        metric_version=1,
        documents=15,
        iou=fmean(ious(iou, head)),
        iou_per_document=ious(iou, head),
        iou_no_sink=iou * 0.8,
        jsd=0.3,
        output_error=None if layer == 0 and head == 3 else 1.2 - iou,
    )


def full_library(path: Path, layers: int = 6, heads: int = 9) -> None:
    """Writes a library with every head but L0H1."""
    with Library.open(path, create=True) as library:
        run = made_run(library, layers, heads)
        for layer in range(layers):
            for head in range(heads):
                if (layer, head) != (0, 1):
                    add_head(library, run, layer, head)
        library.finish_run(run)


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "\"'><img src=x onerror=alert(1)>",
    "]]>&lt;\u2028",
    "\ud800",
]


def hostile(data: ReportData) -> ReportData:
    """The data with every text that comes from outside trying to become HTML."""
    everything = " ".join(HOSTILE)
    return replace(
        data,
        model=everything,
        revision=everything,
        texts=everything,
        created=everything,
        version=everything,
        entries=[_hostile_entry(e, HOSTILE[e.head % len(HOSTILE)]) for e in data.entries],
    )


def _hostile_entry(entry: HeadEntry, text: str) -> HeadEntry:
    tokens = (HOSTILE * len(TOKENS))[: len(TOKENS)]
    return replace(
        entry,
        program=text,
        program_hash=text,
        sentence=text,
        shape=text,
        baseline=replace(entry.baseline, program=text),
        trivial=[replace(t, program=text) for t in entry.trivial],
        candidates=[replace(c, program=text) for c in entry.candidates],
        lineage=[
            replace(s, program=text, by=text, stage=text, prompt_sha256=text, raw=text)
            for s in entry.lineage
        ],
        first_seen=text,
        run=replace(entry.run, started=text, proposer=text, texts=text, version=text),
        proposed=Proposed(7, 1, 1, {text: 1}),
        others=[OtherChoice(text, text, 3, 0.5, 0.5, 0.5, None)],
        examples=[replace(x, document=text, tokens=tokens) for x in entry.examples],
    )
