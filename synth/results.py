"""What a run found, as numbers: the table that is printed, and the JSON."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, TypeVar

from grammar.errors import InputError
from interpreter.statistics import bootstrap_ci95
from synth.budget import STAGE, Limits, Spent, batches, spent
from synth.heads import head_name
from synth.library import Library, Run, Score
from synth.library_rows import BEST_TRIVIAL, Baseline, Choice, Counts, RunCounts, Split
from synth.library_view import program_tree, terms

if TYPE_CHECKING:
    from interpreter.capture import Head

Found = TypeVar("Found")

ELSEWHERE = "another run"


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
    """All heads of one run; counts are of everything that was proposed in it.

    `spent` is what a proposer's batches took, `stopped_by` the limit that left no room for more.
    """

    model: str
    run: int
    documents: int
    heads: list[HeadResult]
    left_out: list[str]
    """Heads that were asked for and hold NaN on some text, as L3H5."""
    total: dict[str, int]
    reject_codes: dict[str, int]
    spent: Spent
    stopped_by: str | None


def run_results(library: Library, run: Run) -> RunResults:
    """The programs that the library now has for the heads of a finished run.

    A later run may have found better ones; on other texts than those of this run they have no
    score to show, and are left out.
    """
    counts = library.counts(run)
    asked = {tuple(head) for head in run.settings["heads"]}
    searched = set(counts.heads)
    heads = []
    documents = 0
    for choice in library.choices(run.model):
        if (choice.layer, choice.head) not in asked:
            continue
        if choice.model_revision != run.model_revision:
            continue
        score = newest_test_score(library, run, choice)
        if score is None and choice.run_id != run.id:
            continue
        score = required(library, score, f"test score {_of(choice)}")
        name, baseline = best_trivial(library, run, choice)
        here = counts_of(library, counts, choice)
        documents = score.documents
        stage, proposer = origin_of(library, run, choice)
        heads.append(
            HeadResult(
                layer=choice.layer,
                head=choice.head,
                program=choice.text,
                terms=terms(program_tree(library, choice)),
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
                stage=stage,
                proposer=proposer,
            )
        )
    total = counts.total
    taken = spent(library.proposals(run, stage=STAGE))
    return RunResults(
        model=run.model,
        run=run.id,
        documents=documents,
        heads=heads,
        left_out=[head_name(*head) for head in sorted(asked - searched)],
        total={
            "proposed": total.proposed,
            "rejected": total.rejected,
            "duplicates": total.duplicates,
        },
        reject_codes=total.codes,
        spent=taken,
        stopped_by=stopped_by(library, run, searched, taken),
    )


def stopped_by(library: Library, run: Run, heads: Iterable["Head"], taken: Spent) -> str | None:
    """The limit that left no room for a batch of these heads; None where none is missing."""
    done = all(
        library.batch_done(run, layer, head, STAGE, batch)
        for layer, head in heads
        for batch in batches(run.settings["budget"])
    )
    # Whatever the batch was to cost, what was spent had to leave it room.
    full = None if done else taken.over(Limits(**run.settings["limits"]), inf)
    return full and full[0]


def required(library: Library, found: Found | None, what: str) -> Found:
    """What was found; InputError where the library lacks it."""
    if found is None:
        raise InputError(f"{library.path} lacks a {what}: restore it from a copy")
    return found


def _of(choice: Choice) -> str:
    return f"of the choice for {head_name(choice.layer, choice.head)}"


def scores_of(
    library: Library, run: Run, choice: Choice, split: Split, program_hash: str | None = None
) -> list[Score]:
    """What programs, or one of them, score on the choice's head and on a split of the run."""
    return library.scores(
        program_hash=program_hash,
        model=choice.model,
        model_revision=choice.model_revision,
        layer=choice.layer,
        head=choice.head,
        texts_sha256=run.texts_sha256,
        split=split,
    )


def newest_test_score(library: Library, run: Run, choice: Choice) -> Score | None:
    """The choice's score on the test documents of its run, where there is one."""
    scores = scores_of(library, run, choice, "test", choice.program_hash)
    return scores[-1] if scores else None


def test_score(library: Library, run: Run, choice: Choice) -> Score:
    """The choice's score on the test documents of its run; InputError where there is none."""
    found = newest_test_score(library, run, choice)
    return required(library, found, f"test score {_of(choice)}")


def best_trivial(library: Library, run: Run, choice: Choice) -> tuple[str, Baseline]:
    """The best trivial program's text, and its score on the test documents."""
    stored = library.baselines(run.id, choice.layer, choice.head)
    tests = {b.name: b for b in stored if b.split == "test"}
    best = required(library, tests.pop(BEST_TRIVIAL, None), f"baseline {_of(choice)}")
    same = (name for name, b in tests.items() if b.iou_per_document == best.iou_per_document)
    return required(library, next(same, None), f"trivial program {_of(choice)}"), best


def counts_of(library: Library, counts: RunCounts, choice: Choice) -> Counts:
    """What became of a run's proposals for the choice's head."""
    found = counts.heads.get((choice.layer, choice.head))
    return required(library, found, f"proposal {_of(choice)}")


def origin_of(library: Library, run: Run, choice: Choice) -> tuple[str, str]:
    """Stage and proposer of the chosen program; `ELSEWHERE` where another run found it."""
    proposals = library.proposals(run, program_hash=choice.program_hash)
    return (proposals[0].stage, proposals[0].proposer) if proposals else (ELSEWHERE, ELSEWHERE)
