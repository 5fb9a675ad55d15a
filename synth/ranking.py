"""Chooses a program per head on the select texts, and scores the choice on the test texts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from grammar.canonical import content_hash
from grammar.parser import parse_or_raise
from grammar.token_facts import Token
from interpreter import scores
from interpreter.capture import Captured, Head
from interpreter.cost import check_cost
from interpreter.evaluate import Evaluator
from interpreter.overlap import HeadIoU
from interpreter.progress import progress_bar
from synth.choosing import front, smallest_good
from synth.library import Baseline, Choice, Library, Run, Score, StoredExample
from synth.library_rows import BEST_TRIVIAL, Split
from synth.library_view import terms

SCORED_AT_ONCE = 32
"""Programs: so many matrices are held together."""

SHOWN_TOKENS = 48
SHOWN_TEXTS = 3


@dataclass(frozen=True)
class Measures:
    """How well a program predicts a head, on each of some documents."""

    iou: list[float]
    iou_no_sink: list[float]
    jsd: list[float]
    output_error: list[float]

    def __add__(self, others: "Measures") -> "Measures":
        """Those of these documents, and then of the others."""
        return Measures(
            self.iou + others.iou,
            self.iou_no_sink + others.iou_no_sink,
            self.jsd + others.jsd,
            self.output_error + others.output_error,
        )

    def score(self, text: str, head: Head, about: Mapping[str, str], split: Split) -> Score:
        """The means, as a library stores them."""
        return Score(
            program_hash=content_hash(text),
            model=about["model"],
            model_revision=about["model_revision"],
            layer=head[0],
            head=head[1],
            texts_sha256=about["texts_sha256"],
            split=split,
            metric_version=scores.METRIC_VERSION,
            documents=len(self.iou),
            iou=fmean(self.iou),
            iou_per_document=self.iou,
            iou_no_sink=fmean(self.iou_no_sink),
            iou_no_sink_per_document=self.iou_no_sink,
            jsd=fmean(self.jsd),
            jsd_per_document=self.jsd,
            output_error=fmean(self.output_error),
            output_error_per_document=self.output_error,
        )


class Scorer:
    """Scores programs against captured heads; what programs share is computed once."""

    def __init__(self, patterns: Captured) -> None:
        self.patterns = patterns
        self.evaluator = Evaluator(patterns.facts())
        self._heads = HeadIoU(patterns.attention, self.evaluator.facts.visible)
        self._lengths = torch.tensor([len(tokens) for tokens in patterns.tokens])

    def matrices(self, text: str) -> Tensor:
        """[text, query, key] float32; InputError for no program, or one that costs too much."""
        tree = parse_or_raise(text)
        check_cost(tree, max(map(len, self.patterns.tokens)))
        return self.evaluator.matrices(tree)

    def ious(self, texts: Sequence[str]) -> Iterator[Tensor]:
        """For each program [text, head] float32: its IoU with every captured head."""
        for start in range(0, len(texts), SCORED_AT_ONCE):
            some = texts[start : start + SCORED_AT_ONCE]
            yield from self._heads.ious(torch.stack([self.matrices(text) for text in some]))

    def measures(self, text: str, head: Head) -> Measures:
        """All scores of one program on one head, for each text."""
        index = self.patterns.heads.index(head)
        real = self.patterns.attention[:, index]
        predicted = self.matrices(text)
        values = self.patterns.values[:, index]
        return Measures(
            iou=_rounded(scores.iou(real, predicted)),
            iou_no_sink=_rounded(scores.iou_no_sink(real, predicted)),
            jsd=_rounded(scores.jsd(real, predicted, self._lengths)),
            output_error=_rounded(scores.output_error(real, predicted, values)),
        )

    def score(self, text: str, head: Head, about: Mapping[str, str], split: Split) -> Score:
        """All scores of one program on one head; `about` holds model, revision and texts."""
        return self.measures(text, head).score(text, head, about, split)

    def examples(
        self, text: str, head: Head, about: Mapping[str, str], name: str
    ) -> list[StoredExample]:
        """The first texts with the head's pattern and the program's, cut to be looked at.

        They are called by `name` and their number.
        """
        real = self.patterns.head(head)
        predicted = self.matrices(text)
        found = []
        for number, tokens in enumerate(self.patterns.tokens[:SHOWN_TEXTS]):
            n = min(len(tokens), SHOWN_TOKENS)
            found.append(
                StoredExample(
                    program_hash=content_hash(text),
                    model=about["model"],
                    model_revision=about["model_revision"],
                    layer=head[0],
                    head=head[1],
                    document=f"{name} {number + 1}",
                    tokens=[_shown(token) for token in tokens[:n]],
                    real=_bytes(real[number, :n, :n]),
                    predicted=_bytes(predicted[number, :n, :n]),
                )
            )
        return found


def _shown(token: Token) -> str:
    """The token as a reader sees it; the text of one of white space alone is empty."""
    return "<special>" if token.special else token.text or " "


def _rounded(values: Tensor) -> list[float]:
    """As a library keeps them: float32 has hardly more digits, and files of them are read."""
    return [round(value, 6) for value in values.tolist()]


def _bytes(matrix: Tensor) -> bytes:
    return bytes((matrix * 255).round().to(torch.uint8).flatten().tolist())


def keep_best(run: Run, patterns: Mapping[str, Captured], library: Library) -> None:
    """Chooses on the select texts among all programs of the run, and scores on both splits.

    The programs of the Pareto front keep their select scores: what a larger or smaller one reaches.
    """
    about = {
        "model": run.model,
        "model_revision": run.model_revision,
        "texts_sha256": run.texts_sha256,
    }
    proposals = library.proposals(run)
    trivial = sorted({p.text for p in proposals if p.stage == "trivial" and p.text})
    texts = sorted({p.text for p in proposals if p.text})
    programs = [parse_or_raise(text) for text in texts]
    sizes = [terms(program) for program in programs]
    select, test = Scorer(patterns["select"]), Scorer(patterns["test"])
    with progress_bar() as bar:
        found = bar.track(select.ious(texts), total=len(texts), description="Ranking")
        ious = [iou.mean(0) for iou in found]
    of_trivial: dict[Split, dict[str, Tensor]] = {
        "select": dict(zip(trivial, select.ious(trivial), strict=True)),
        "test": dict(zip(trivial, test.ious(trivial), strict=True)),
    }
    for index, head in enumerate(patterns["select"].heads):
        here = [float(iou[index]) for iou in ious]
        chosen = smallest_good(programs, here)
        kept = sorted({chosen, *front(sizes, here)})
        library.record_scores(
            [
                *(select.score(texts[i], head, about, "select") for i in kept),
                test.score(texts[chosen], head, about, "test"),
            ]
        )
        library.record_examples(test.examples(texts[chosen], head, about, "test document"))
        here_trivial = {
            split: {text: values[:, index] for text, values in found.items()}
            for split, found in of_trivial.items()
        }
        _record_baselines(run, head, here_trivial, library)
        library.set_choice(
            Choice(
                model=run.model,
                model_revision=run.model_revision,
                layer=head[0],
                head=head[1],
                text=texts[chosen],
                run_id=run.id,
                select_iou=here[chosen],
            )
        )


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
                iou=fmean(_rounded(found[text])),
                iou_per_document=_rounded(found[text]),
            )
            for name, text in [*((t, t) for t in select), (BEST_TRIVIAL, best)]
            for split, found in ious.items()
        ]
    )
