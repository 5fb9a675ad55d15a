"""Reads what the report page shows from a library."""

from dataclasses import dataclass, fields
from typing import Any, get_args

from grammar.english import sentence
from grammar.errors import InputError
from grammar.printer import to_text
from interpreter.progress import progress_bar
from interpreter.statistics import bootstrap_ci95
from synth.candidates import candidates
from synth.categories import Category, category
from synth.choosing import TOLERANCE
from synth.heads import head_name
from synth.library import Baseline, Choice, Library, Run
from synth.library_rows import BEST_TRIVIAL, Row, RunCounts, StoredProposal
from synth.library_view import program_tree, terms
from synth.report_entries import (
    Example,
    HeadEntry,
    OtherChoice,
    Proposed,
    ReportData,
    RunFacts,
    Step,
    TrivialScore,
)
from synth.results import best_trivial, newest_test_score, required, test_score
from synth.structure import structure

MOST_STEPS = 8
"""Programs of a lineage that are shown, the chosen one first."""

MOST_RAW = 400
"""Characters of a proposer's own words that are shown."""


@dataclass(frozen=True, kw_only=True)
class _About(Row):
    """What the page says about a run, of its settings."""

    layers: int
    model_heads: int
    texts: str
    documents: int
    seed: int
    proposer: str


def report_data(library: Library, model: str | None) -> ReportData:
    """Everything that the page shows, read from the library; the revision is the latest run's.

    Raises InputError where nothing can be shown, or where it is not said which model to show.
    """
    path = library.path
    names = sorted({chosen.model for chosen in library.models()})
    if model is None and len(names) > 1:
        raise InputError(f"{path} holds {', '.join(names)}: choose one with --model")
    shown = model or (names[0] if names else None)
    choices = library.choices(shown) if shown else []
    if not choices:
        raise InputError(f"{path} has no chosen programs to show; `headscript synth` finds some")
    runs = {run.id: run for run in library.runs()}
    latest = required(library, runs.get(max(choice.run_id for choice in choices)), "run")
    choices = [choice for choice in choices if choice.model_revision == latest.model_revision]
    chosen_in = {
        run_id: _RunReader(library, required(library, runs.get(run_id), "run"))
        for run_id in {choice.run_id for choice in choices}
    }
    try:
        about = _about(latest)
        with progress_bar() as bar:
            entries = [
                _entry(library, chosen_in[choice.run_id], choice)
                for choice in bar.track(choices, description="Heads")
            ]
        return ReportData(
            model=latest.model,
            revision=latest.model_revision,
            layers=about.layers,
            heads=about.model_heads,
            texts=_texts(latest, about),
            seed=about.seed,
            created=latest.finished or latest.started,
            version=latest.headscript_version,
            tolerance=TOLERANCE,
            entries=entries,
            categories=list(get_args(Category)),
        )
    except ValueError as error:
        raise InputError(f"{path} does not tell what the page needs: {error}") from error


class _RunReader:
    """A run with what several of its heads share, read once."""

    def __init__(self, library: Library, run: Run) -> None:
        self._library = library
        self.run = run
        self.counts = library.counts(run)
        self._proposals: dict[str, StoredProposal | None] = {}

    def proposal(self, program_hash: str) -> StoredProposal | None:
        """The first proposal of a program: `first` is proposed for every head."""
        if program_hash not in self._proposals:
            found = self._library.proposals(self.run, program_hash=program_hash)
            self._proposals[program_hash] = next(iter(found), None)
        return self._proposals[program_hash]


def _about(run: Run) -> _About:
    known: dict[str, Any] = {f.name: run.settings.get(f.name) for f in fields(_About)}
    return _About(**known)


def _texts(run: Run, about: _About) -> str:
    return f"{about.texts}: {about.documents} documents, sha256 {run.texts_sha256[:12]}"


def _entry(library: Library, reader: _RunReader, choice: Choice) -> HeadEntry:
    run = reader.run
    tree = program_tree(library, choice)
    score = test_score(library, run, choice)
    stored = library.baselines(run.id, choice.layer, choice.head)
    trivial = [b for b in stored if b.name != BEST_TRIVIAL]
    intervals = {name: bootstrap_ci95(found) for name, found in score.per_document().items()}
    (program,) = library.programs(choice.program_hash)
    examples = library.examples(
        choice.program_hash, choice.model, choice.model_revision, choice.layer, choice.head
    )
    return HeadEntry(
        layer=choice.layer,
        head=choice.head,
        program=choice.text,
        program_hash=choice.program_hash,
        sentence=sentence(tree),
        shape=to_text(structure(tree)),
        terms=terms(tree),
        category=category(tree),
        iou=score.iou,
        iou_ci=intervals["iou"],
        iou_per_document=score.iou_per_document,
        iou_no_sink=score.iou_no_sink,
        iou_no_sink_ci=intervals.get("iou_no_sink"),
        iou_no_sink_per_document=score.iou_no_sink_per_document,
        jsd=score.jsd,
        jsd_ci=intervals.get("jsd"),
        output_error=score.output_error,
        output_error_ci=intervals.get("output_error"),
        damage=score.damage,
        select_iou=choice.select_iou,
        baseline=_trivial(*best_trivial(library, run, choice)) if stored else None,
        trivial=[_trivial(b.name, b) for b in trivial if b.split == "test"],
        candidates=candidates(library, choice),
        lineage=_lineage(library, reader, choice),
        first_seen=program.first_seen,
        run=_run_facts(run),
        proposed=_proposed(reader.counts, choice),
        others=_others(library, choice),
        examples=[Example(e.document, e.tokens, e.real, e.predicted) for e in examples],
    )


def _trivial(name: str, baseline: Baseline) -> TrivialScore:
    return TrivialScore(name, baseline.iou, bootstrap_ci95(baseline.iou_per_document))


def _proposed(counts: RunCounts, choice: Choice) -> Proposed | None:
    found = counts.heads.get((choice.layer, choice.head))
    if found is None:
        return None
    return Proposed(found.proposed, found.duplicates, found.rejected, found.codes)


def _others(library: Library, choice: Choice) -> list[OtherChoice]:
    """The choices for the head by other measures."""
    found = []
    for other in library.choices(choice.model, None, choice.layer, choice.head):
        if other.model_revision != choice.model_revision or other.choice == choice.choice:
            continue
        (run,) = library.runs(other.run_id)
        score = newest_test_score(library, run, other)
        found.append(
            OtherChoice(
                choice=other.choice,
                program=other.text,
                terms=terms(program_tree(library, other)),
                select_iou=other.select_iou,
                iou=score.iou if score else None,
                output_error=score.output_error if score else None,
                damage=score.damage if score else None,
            )
        )
    return found


def _run_facts(run: Run) -> RunFacts:
    about = _about(run)
    return RunFacts(
        id=run.id,
        started=run.started,
        finished=run.finished,
        seed=about.seed,
        proposer=about.proposer,
        texts=_texts(run, about),
        version=run.headscript_version,
    )


def _lineage(library: Library, reader: _RunReader, choice: Choice) -> list[Step]:
    """The chosen program and its ancestors, nearest first."""
    steps: list[Step] = []
    waiting, seen = [choice.program_hash], {choice.program_hash}
    while waiting and len(steps) < MOST_STEPS:
        program_hash = waiting.pop(0)
        proposal = reader.proposal(program_hash)
        if proposal is None:
            steps += [Step(p.text, proposed=False) for p in library.programs(program_hash)]
            continue
        steps.append(_step(proposal))
        waiting += [parent for parent in proposal.parents if parent not in seen]
        seen.update(proposal.parents)
    return steps


def _step(proposal: StoredProposal) -> Step:
    return Step(
        program=proposal.text or "",
        by=proposal.proposer,
        stage=proposal.stage,
        place=head_name(proposal.layer, proposal.head),
        batch=proposal.batch,
        seed=proposal.seed,
        prompt_sha256=proposal.prompt_sha256,
        tokens=proposal.tokens,
        seconds=proposal.seconds,
        raw=_cut(proposal.raw) if proposal.raw != proposal.text else "",
    )


def _cut(text: str) -> str:
    return text if len(text) <= MOST_RAW else text[:MOST_RAW] + " …"
