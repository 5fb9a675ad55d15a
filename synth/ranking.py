"""Chooses a program per head on the select texts, and scores the choice on the test texts.

The texts go by in shards.  On each select text every program is evaluated once for all heads; the
few that are kept are evaluated again for the scores other than IoU.
"""

import operator
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from statistics import fmean

import torch
from torch import Tensor

from grammar.parser import parse_or_raise
from interpreter.capture import Head
from interpreter.engine import Engine, tracked
from interpreter.stored_patterns import PatternFile, read_patterns
from synth.choosing import front, smallest_good
from synth.library import Baseline, Choice, Library, Run, StoredExample
from synth.library_rows import BEST_TRIVIAL, Split
from synth.library_view import terms
from synth.scorer import SHOWN_TEXTS, Scorer, ShardScores, mean_ious, rounded
from synth.summary import TRIVIAL

Programs = Sequence[tuple[Head, str]]
"""Programs, each with a head that it is held against."""


def keep_best(
    run: Run,
    heads: Sequence[Head],
    files: Mapping[str, Sequence[PatternFile]],
    library: Library,
    engine: Engine,
) -> None:
    """Chooses on the select texts among all programs of the run, and scores on both splits.

    The library's earlier choices for the model stand beside them: a later run loses nothing.
    The programs of the Pareto front keep their select scores: what a larger or smaller one reaches.
    """
    found = {p.text for p in library.proposals(run) if p.text}
    texts = sorted(found | {choice.text for choice in library.choices(run.model)})
    programs = [parse_or_raise(text) for text in texts]
    sizes = [terms(program) for program in programs]
    ious = mean_ious(texts, files["select"], engine, "Ranking on select texts").T.tolist()
    best = [smallest_good(programs, of_head) for of_head in ious]
    chosen = [(head, texts[i]) for head, i in zip(heads, best, strict=True)]
    kept = [
        (head, texts[i])
        for head, of_head, k in zip(heads, ious, best, strict=True)
        for i in sorted({k, *front(sizes, of_head)})
    ]
    about = {
        "model": run.model,
        "model_revision": run.model_revision,
        "texts_sha256": run.texts_sha256,
    }
    select = _scored(kept, files["select"], engine, "Scoring on select texts")
    test = _scored(chosen, files["test"], engine, "Scoring on test texts")
    parts: list[tuple[Split, Programs, ShardScores]] = [
        ("select", kept, select),
        ("test", chosen, test),
    ]
    library.record_scores(
        measures.score(text, head, about, split)
        for split, pairs, found in parts
        for (head, text), measures in zip(pairs, found.measures, strict=True)
    )
    shown = [file for file in files["test"] if file.start < SHOWN_TEXTS]
    for examples in tracked(engine, partial(_examples, chosen, about), shown, "Examples"):
        library.record_examples(examples)
    for index, head in enumerate(heads):
        trivial = {
            split: {t: torch.tensor(found.baselines[t])[:, index] for t in sorted(TRIVIAL)}
            for split, _, found in parts
        }
        _record_baselines(run, head, trivial, library)
        library.set_choice(
            Choice(
                model=run.model,
                model_revision=run.model_revision,
                layer=head[0],
                head=head[1],
                text=chosen[index][1],
                run_id=run.id,
                select_iou=ious[index][best[index]],
            )
        )


def _scored(
    pairs: Programs, files: Sequence[PatternFile], engine: Engine, description: str
) -> ShardScores:
    """All scores of the programs, and the trivial ones' IoUs, on the texts of all files."""
    return reduce(operator.add, tracked(engine, partial(_file_scores, pairs), files, description))


def _file_scores(pairs: Programs, file: PatternFile) -> ShardScores:
    (path,) = file.items
    return Scorer(read_patterns(path)).shard_scores(pairs)


def _examples(pairs: Programs, about: Mapping[str, str], file: PatternFile) -> list[StoredExample]:
    (path,) = file.items
    scorer = Scorer(read_patterns(path))
    return [
        example
        for head, text in pairs
        for example in scorer.examples(text, head, about, "test document", file.start)
    ]


def _record_baselines(
    run: Run, head: Head, ious: Mapping[Split, Mapping[str, Tensor]], library: Library
) -> None:
    """Each trivial program, and the best of them as chosen on the select texts.

    `ious` holds for each split and trivial program the IoU with this head, [text].
    """
    select = ious["select"]
    best = max(select, key=lambda text: float(select[text].mean()))
    library.record_baselines(
        [
            Baseline(
                run_id=run.id,
                layer=head[0],
                head=head[1],
                name=name,
                split=split,
                iou=fmean(rounded(found[text])),
                iou_per_document=rounded(found[text]),
            )
            for name, text in [*((t, t) for t in select), (BEST_TRIVIAL, best)]
            for split, found in ious.items()
        ]
    )
