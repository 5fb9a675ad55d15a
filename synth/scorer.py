"""Scores of programs on captured heads: of many at once, or in all ways of one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import fmean

import torch
from torch import Tensor

from grammar.canonical import content_hash
from grammar.parser import parse_or_raise
from grammar.token_facts import Token
from interpreter import scores
from interpreter.capture import Captured, Head
from interpreter.cost import check_cost
from interpreter.engine import Engine, tracked
from interpreter.evaluate import Evaluator
from interpreter.models import chosen_device
from interpreter.overlap import HeadIoU
from interpreter.stored_patterns import PatternFile, read_patterns
from synth.library import Score, StoredExample
from synth.library_rows import Split
from synth.summary import TRIVIAL

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


@dataclass(frozen=True)
class ShardScores:
    """What the texts of a shard give: plain numbers, whatever the size of the matrices was."""

    tokens: int
    measures: list[Measures]
    """Of each chosen program on its head."""
    baselines: dict[str, list[list[float]]]
    """IoU of each trivial and random program, [text][head]."""

    def __add__(self, others: "ShardScores") -> "ShardScores":
        """What these texts give, and then the others."""
        return ShardScores(
            self.tokens + others.tokens,
            [a + b for a, b in zip(self.measures, others.measures, strict=True)],
            {name: ious + others.baselines[name] for name, ious in self.baselines.items()},
        )


class Scorer:
    """Scores programs against captured heads; what programs share is computed once.

    Many programs are scored with every head on the device of `chosen_device`, one on the CPU.
    """

    def __init__(self, patterns: Captured) -> None:
        self.patterns = patterns
        self.evaluator = Evaluator(patterns.facts())
        self._lengths = torch.tensor([len(tokens) for tokens in patterns.tokens])

    @cached_property
    def of_many(self) -> Evaluator:
        """Evaluates many programs, on the device."""
        device = chosen_device()
        return self.evaluator if device == "cpu" else Evaluator(self.patterns.facts(device))

    @cached_property
    def _heads(self) -> HeadIoU:
        visible = self.of_many.facts.visible
        return HeadIoU(self.patterns.attention.to(visible.device), visible)

    def matrices(self, text: str) -> Tensor:
        """[text, query, key] float32; InputError for no program, or one that costs too much."""
        return self._matrices(text, self.evaluator)

    def _matrices(self, text: str, evaluator: Evaluator) -> Tensor:
        tree = parse_or_raise(text)
        check_cost(tree, max(map(len, self.patterns.tokens)))
        return evaluator.matrices(tree)

    def ious(self, texts: Sequence[str]) -> Iterator[Tensor]:
        """For each program [text, head] float32: its IoU with every captured head."""
        matrices = (self._matrices(text, self.of_many) for text in texts)
        yield from (ious.cpu() for ious in self._heads.ious(matrices))

    def measures(self, text: str, head: Head) -> Measures:
        """All scores of one program on one head, for each text."""
        index = self.patterns.heads.index(head)
        real = self.patterns.attention[:, index]
        predicted = self.matrices(text)
        values = self.patterns.values[:, index]
        return Measures(
            iou=rounded(scores.iou(real, predicted)),
            iou_no_sink=rounded(scores.iou_no_sink(real, predicted)),
            jsd=rounded(scores.jsd(real, predicted, self._lengths)),
            output_error=rounded(scores.output_error(real, predicted, values)),
        )

    def shard_scores(self, chosen: Sequence[tuple[Head, str]]) -> ShardScores:
        """All scores of each chosen program on its head, and the trivial ones on every head."""
        return ShardScores(
            sum(map(len, self.patterns.tokens)),
            [self.measures(text, head) for head, text in chosen],
            {t: ious.tolist() for t, ious in zip(TRIVIAL, self.ious(TRIVIAL), strict=True)},
        )

    def score(self, text: str, head: Head, about: Mapping[str, str], split: Split) -> Score:
        """All scores of one program on one head; `about` holds model, revision and texts."""
        return self.measures(text, head).score(text, head, about, split)

    def examples(
        self, text: str, head: Head, about: Mapping[str, str], name: str, start: int = 0
    ) -> list[StoredExample]:
        """The first texts with the head's pattern and the program's, cut to be looked at.

        They are called by `name` and their number; `start` texts stand before those of this shard.
        """
        real = self.patterns.head(head)
        predicted = self.matrices(text)
        found = []
        for number, tokens in enumerate(self.patterns.tokens[: max(0, SHOWN_TEXTS - start)]):
            n = min(len(tokens), SHOWN_TOKENS)
            found.append(
                StoredExample(
                    program_hash=content_hash(text),
                    model=about["model"],
                    model_revision=about["model_revision"],
                    layer=head[0],
                    head=head[1],
                    document=f"{name} {start + number + 1}",
                    tokens=[_shown(token) for token in tokens[:n]],
                    real=_bytes(real[number, :n, :n]),
                    predicted=_bytes(predicted[number, :n, :n]),
                )
            )
        return found


def mean_ious(
    programs: Sequence[str], files: Sequence[PatternFile], engine: Engine, description: str
) -> Tensor:
    """[program, head] float32: mean IoU of every program with every head over all texts.

    Each program is evaluated once on each text; memory is that of one file, and of the result.
    """
    total, count = torch.zeros(()), 0
    for sums, texts in tracked(engine, partial(summed_ious, programs), files, description):
        total, count = total + sums, count + texts
    return total / count


def summed_ious(programs: Sequence[str], file: PatternFile) -> tuple[Tensor, int]:
    """[program, head] float32: IoUs summed over the texts of a file; and how many those are."""
    (path,) = file.items
    scorer = Scorer(read_patterns(path))
    sums = [ious.sum(0) for ious in scorer.ious(programs)]
    return torch.stack(sums), len(scorer.patterns.tokens)


def _shown(token: Token) -> str:
    """The token as a reader sees it; the text of one of white space alone is empty."""
    return "<special>" if token.special else token.text or " "


def rounded(values: Tensor) -> list[float]:
    """As a library keeps them: float32 has hardly more digits, and files of them are read."""
    return [round(value, 6) for value in values.tolist()]


def _bytes(matrix: Tensor) -> bytes:
    return bytes((matrix * 255).round().to(torch.uint8).flatten().tolist())
