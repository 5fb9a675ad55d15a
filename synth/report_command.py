"""`headscript report`: one self-contained HTML page about a library."""

from dataclasses import dataclass, fields
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import click

from grammar.english import sentence
from grammar.errors import InputError
from interpreter.statistics import bootstrap_ci95
from synth.library import Choice, Library, Run
from synth.library_command import library_option
from synth.library_rows import Row, RunCounts
from synth.library_view import program_tree, terms
from synth.report import Example, HeadEntry, ReportData, render_report
from synth.results import best_trivial, counts_of, origin_of, required, test_score


@click.command(epilog="Example: headscript report --library heads.sqlite -o heads.html")
@library_option
@click.option("--model", help="The model to show, where the library holds several.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="headscript.html",
    show_default=True,
    help="The page to write.",
)
def report(path: Path, model: str | None, output: Path) -> None:
    """Write a page with the head grid and, for each head, real and predicted attention."""
    with Library.open(path) as library:
        page = render_report(report_data(library, model))
    try:
        # Written whole or not at all: a page cut off by a full disk would look like a page.
        draft = output.with_name(output.name + ".part")
        draft.write_text(page, encoding="utf-8")
        draft.replace(output)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    click.echo(f"{output}: {len(page.encode()) / 1e6:.1f} MB")


@dataclass(frozen=True, kw_only=True)
class _About(Row):
    """What the page says about a run, of its settings."""

    layers: int
    model_heads: int
    texts: str
    documents: int
    seed: int


def report_data(library: Library, model: str | None) -> ReportData:
    """Everything that the page shows, read from the library; the revision is the latest run's."""
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
    entries = []
    by_run = attrgetter("run_id")
    for run_id, chosen in groupby(sorted(choices, key=by_run), key=by_run):
        run = required(library, runs.get(run_id), "run")
        counts = library.counts(run)
        entries += [_entry(library, run, counts, choice) for choice in chosen]
    try:
        known: dict[str, Any] = {f.name: latest.settings.get(f.name) for f in fields(_About)}
        about = _About(**known)
        return ReportData(
            model=latest.model,
            revision=latest.model_revision,
            layers=about.layers,
            heads=about.model_heads,
            texts=f"{about.texts}: {about.documents} documents, sha256 {latest.texts_sha256[:12]}",
            seed=about.seed,
            created=latest.finished or latest.started,
            version=latest.headscript_version,
            entries=entries,
        )
    except ValueError as error:
        raise InputError(f"{path} does not tell what the page needs: {error}") from error


def _entry(library: Library, run: Run, run_counts: RunCounts, choice: Choice) -> HeadEntry:
    tree = program_tree(library, choice)
    score = test_score(library, run, choice)
    name, baseline = best_trivial(library, run, choice)
    counts = counts_of(library, run_counts, choice)
    origin = origin_of(library, run, choice)
    stored = library.examples(
        choice.program_hash, choice.model, choice.model_revision, choice.layer, choice.head
    )
    return HeadEntry(
        layer=choice.layer,
        head=choice.head,
        program=choice.text,
        sentence=sentence(tree),
        iou=score.iou,
        iou_ci=bootstrap_ci95(score.iou_per_document),
        iou_no_sink=score.iou_no_sink if score.iou_no_sink is not None else float("nan"),
        jsd=score.jsd if score.jsd is not None else float("nan"),
        output_error=score.output_error,
        baseline_name=name,
        baseline_iou=baseline.iou,
        proposer=origin.proposer,
        stage=origin.stage,
        size=terms(tree),
        proposals=counts.proposed,
        rejected=counts.rejected,
        duplicates=counts.duplicates,
        examples=[Example(e.document, e.tokens, e.real, e.predicted) for e in stored],
    )
