"""`headscript report`: one self-contained HTML page about a library."""

from pathlib import Path

import click

from grammar.errors import InputError
from grammar.parser import parse_or_raise
from interpreter.statistics import bootstrap_ci95
from synth.library import Choice, Library, Run
from synth.library_view import terms
from synth.report import Example, HeadEntry, ReportData, render_report
from synth.results import best_trivial, test_score


@click.command(epilog="Example: headscript report --library heads.sqlite -o heads.html")
@click.option(
    "--library",
    "path",
    type=click.Path(path_type=Path),
    default="headscript.sqlite",
    show_default=True,
    help="The library file.",
)
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
        page = render_report(report_data(library, path, model))
    try:
        # Written whole or not at all: a page cut off by a full disk would look like a page.
        draft = output.with_name(output.name + ".part")
        draft.write_text(page, encoding="utf-8")
        draft.replace(output)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    click.echo(f"{output}: {len(page.encode()) / 1e6:.1f} MB")


def report_data(library: Library, path: Path, model: str | None) -> ReportData:
    """Everything that the page shows, read from the library."""
    names = sorted({chosen.model for chosen in library.models()})
    if model is None and len(names) > 1:
        raise InputError(f"{path} holds {', '.join(names)}: choose one with --model")
    shown = model or (names[0] if names else None)
    choices = library.choices(shown) if shown else []
    if not choices:
        raise InputError(f"{path} has no chosen programs to show; `headscript synth` finds some")
    runs = {run.id: run for run in library.runs()}
    latest = runs[max(choice.run_id for choice in choices)]
    settings = latest.settings
    return ReportData(
        model=latest.model,
        revision=latest.model_revision,
        layers=int(settings["layers"]),
        heads=int(settings["model_heads"]),
        texts=f"{settings['texts']}: {settings['documents']} documents, "
        f"sha256 {latest.texts_sha256[:12]}",
        seed=int(settings["seed"]),
        created=latest.finished or latest.started,
        version=latest.headscript_version,
        entries=[_entry(library, runs[choice.run_id], choice) for choice in choices],
    )


def _entry(library: Library, run: Run, choice: Choice) -> HeadEntry:
    score = test_score(library, run, choice)
    name, baseline = best_trivial(library, run, choice.layer, choice.head)
    counts = library.counts(run).heads[choice.layer, choice.head]
    origin = library.proposals(run, program_hash=choice.program_hash)[0]
    stored = library.examples(
        choice.program_hash, choice.model, choice.model_revision, choice.layer, choice.head
    )
    return HeadEntry(
        layer=choice.layer,
        head=choice.head,
        program=choice.text,
        sentence="",
        iou=score.iou,
        iou_ci=bootstrap_ci95(score.iou_per_document),
        iou_no_sink=score.iou_no_sink if score.iou_no_sink is not None else float("nan"),
        jsd=score.jsd if score.jsd is not None else float("nan"),
        output_error=score.output_error,
        baseline_name=name,
        baseline_iou=baseline.iou,
        proposer=origin.proposer,
        stage=origin.stage,
        size=terms(parse_or_raise(choice.text)),
        proposals=counts.proposed,
        rejected=counts.rejected,
        duplicates=counts.duplicates,
        examples=[Example(e.document, e.tokens, e.real, e.predicted) for e in stored],
    )
