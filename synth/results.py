"""What a run found, as numbers: the table that is printed, and the JSON."""

from collections import Counter
from dataclasses import dataclass

from grammar.parser import parse_or_raise
from interpreter.statistics import bootstrap_ci95
from synth.library import Library, Run, Score
from synth.library_rows import BEST_TRIVIAL, Baseline, Choice
from synth.library_view import terms


@dataclass(frozen=True)
class HeadResult:
    """The chosen program of one head with its scores on the test documents."""

    layer: int
    head: int
    program: str
    terms: int
    iou: float
    iou_ci95: tuple[float, float]
    iou_no_sink: float | None
    jsd: float | None
    output_error: float | None
    best_trivial: str
    best_trivial_iou: float
    proposed: int
    rejected: int
    duplicates: int
    stage: str
    proposer: str


@dataclass(frozen=True)
class RunResults:
    """All heads of one run; counts are of everything that was proposed in it."""

    model: str
    run: int
    documents: int
    heads: list[HeadResult]
    total: dict[str, int]
    reject_codes: dict[str, int]


def run_results(library: Library, run: Run) -> RunResults:
    """Reads a finished run back from the library."""
    counts = library.counts(run)
    heads = []
    documents = 0
    for choice in library.choices(run.model):
        if choice.run_id != run.id:
            continue
        score = test_score(library, run, choice)
        name, baseline = best_trivial(library, run, choice.layer, choice.head)
        here = counts.heads[choice.layer, choice.head]
        documents = score.documents
        origin = library.proposals(run, program_hash=choice.program_hash)[0]
        heads.append(
            HeadResult(
                layer=choice.layer,
                head=choice.head,
                program=choice.text,
                terms=terms(parse_or_raise(choice.text)),
                iou=score.iou,
                iou_ci95=bootstrap_ci95(score.iou_per_document),
                iou_no_sink=score.iou_no_sink,
                jsd=score.jsd,
                output_error=score.output_error,
                best_trivial=name,
                best_trivial_iou=baseline.iou,
                proposed=here.proposed,
                rejected=here.rejected,
                duplicates=here.duplicates,
                stage=origin.stage,
                proposer=origin.proposer,
            )
        )
    total = counts.total
    return RunResults(
        model=run.model,
        run=run.id,
        documents=documents,
        heads=heads,
        total={
            "proposed": total.proposed,
            "rejected": total.rejected,
            "duplicates": total.duplicates,
        },
        reject_codes=dict(Counter(total.codes)),
    )


def test_score(library: Library, run: Run, choice: Choice) -> Score:
    """The choice's score on the test documents of its run."""
    (score,) = library.scores(
        program_hash=choice.program_hash,
        model=choice.model,
        model_revision=choice.model_revision,
        layer=choice.layer,
        head=choice.head,
        texts_sha256=run.texts_sha256,
        split="test",
    )[-1:]
    return score


def best_trivial(library: Library, run: Run, layer: int, head: int) -> tuple[str, Baseline]:
    """The best trivial program's text, and its score on the test documents."""
    found = library.baselines(run.id, layer, head)
    (best,) = (b for b in found if b.name == BEST_TRIVIAL and b.split == "test")
    names = (b.name for b in found if b.name != BEST_TRIVIAL and b.split == "test")
    values = {b.name: b.iou_per_document for b in found if b.split == "test"}
    return next(n for n in names if values[n] == best.iou_per_document), best
