"""`headscript library show`: all that a library knows of a head's programs, or of one program."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from grammar.canonical import content_hash
from grammar.errors import InputError
from grammar.rejection import printable
from interpreter.heat_map import print_heat_map
from interpreter.statistics import bootstrap_ci95
from synth.candidates import pareto_front
from synth.heads import head_name, parse_head
from synth.library import Library
from synth.library_options import (
    cells,
    decimal,
    json_option,
    library_option,
    model_option,
    table_of,
    terminal,
)
from synth.library_rows import TITLES, StoredExample
from synth.library_view import ShownProgram, shown_programs


@click.command("show", epilog="Example: headscript library show L5H4 --model smollm2-135m")
@click.argument("name", metavar="L5H4|HASH")
@library_option
@model_option
@click.option(
    "--pattern", is_flag=True, help="Draw what the head does on a text, and what is predicted."
)
@json_option
def show_command(name: str, path: str, model: str | None, pattern: bool, as_json: bool) -> None:
    """Show the program of a head, or the program with a hash: meaning, rules, scores, origin.

    Of a head also what size buys: of all programs that were tried on it, those that no other one
    of at most their size reaches on the select documents.

    \b
    JSON: {"programs": [{"program_hash", "program", "sentence" (the program in English),
    "rules", "terms", "first_seen",
    "scores": [{"model", "model_revision", "layer", "head", "texts_sha256", "split",
    "metric_version", "documents", "iou", "iou_no_sink", "jsd", "output_error", a list of the
    documents' values for each ("iou_per_document" ...; null where it is not kept), "damage",
    "best_trivial", "program_hash"}],
    "origins": [{"run_id", "layer", "head", "stage", "batch", "proposer", "seed",
    "prompt_sha256", "parents", "tokens", "seconds", "dollars", "raw"}],
    "repeats", "chosen_by": [{"name", "model", "model_revision", "layer", "head",
    "choice", "select_iou", "run_id"}]}],
    "front": [{"model_revision", "program_hash", "program", "terms", "iou" (on the select
    documents), "chosen" (by iou)}], from the smallest on, empty for a hash}
    """
    with Library.open(path) as opened:
        programs = shown_programs(opened, name, model)
        front = _front(opened, name, model)
        examples = _examples(opened, programs) if pattern else []
    if pattern and not examples:
        raise InputError(
            f"{opened.path} holds no attention of {name} to draw: "
            "`headscript report --texts` runs the model and shows some"
        )
    if as_json:
        told = {"programs": [asdict(p) for p in programs], "front": front}
        click.echo(json.dumps(told, indent=2))
        return
    console = terminal()
    for program in programs:
        _print_program(console, program)
    for revision, of_revision in groupby(front, key=itemgetter("model_revision")):
        _print_front(console, f"{name}, revision {revision[:12]}", of_revision)
    for example in examples:
        _print_pattern(console, example)


def _front(library: Library, name: str, model: str | None) -> list[dict[str, Any]]:
    """The Pareto front of size and IoU of each revision of a head, none for a hash."""
    place = parse_head(name)
    return [
        {
            "model_revision": choice.model_revision,
            "program_hash": content_hash(one.program),
            "program": one.program,
            "terms": one.terms,
            "iou": one.iou,
            "chosen": one.program == choice.text,
        }
        for choice in (library.choices(model, "iou", *place) if place else ())
        for one in pareto_front(library, choice)
    ]


def _print_front(console: Console, place: str, front: Iterable[dict[str, Any]]) -> None:
    console.print(
        printable(f"What size buys for {place}, IoU on select documents:"), soft_wrap=True
    )
    table = table_of("terms", "IoU", "", "program", right=("terms", "IoU"), wide="program")
    for one in front:
        chosen = "chosen" if one["chosen"] else ""
        table.add_row(*cells(one["terms"], decimal(one["iou"]), chosen, one["program"]))
    console.print(table)


def _examples(library: Library, programs: Iterable[ShownProgram]) -> list[StoredExample]:
    """The first text of each head that one of the programs is chosen for."""
    found = []
    for shown in programs:
        for c in shown.chosen_by:
            place = (c["model"], c["model_revision"], c["layer"], c["head"])
            found += library.examples(shown.program_hash, *place)[:1]
    return found


def _print_pattern(console: Console, example: StoredExample) -> None:
    n = len(example.tokens)
    causal = all(
        not any(matrix[i * n + i + 1 : (i + 1) * n])
        for matrix in (example.real, example.predicted)
        for i in range(n)
    )
    place = f"{head_name(example.layer, example.head)} on {example.document}"
    for title, matrix in (("really", example.real), ("predicted", example.predicted)):
        console.print(printable(f"{place}, {title}:"))
        rows = [[weight / 255 for weight in matrix[i * n : (i + 1) * n]] for i in range(n)]
        print_heat_map(console, rows, example.tokens, causal=causal)
        console.print()


def _print_program(console: Console, shown: ShownProgram) -> None:
    def line(text: str) -> None:
        console.print(printable(text), soft_wrap=True)

    line(f"Program {shown.program_hash}, {shown.terms} terms, first seen {shown.first_seen}")
    for rule in shown.rules:
        line(f"    {rule}")
    line(shown.sentence)
    for score in shown.scores:
        place = head_name(score["layer"], score["head"])
        console.print()
        line(f"{place} of {score['model']}, {score['documents']} {score['split']} documents:")
        console.print(_scores_table(score))
    for origin in shown.origins:
        place = head_name(origin["layer"], origin["head"])
        prompt = origin["prompt_sha256"] or "none"
        parents = ", ".join(origin["parents"]) or "none"
        line(f"Proposed for {place} by {origin['proposer']}, stage {origin['stage']}")
        cost = [f"{origin['seconds']:.2f} s"]
        if origin["tokens"] is not None:
            cost.append(f"{origin['tokens']} tokens")
        if origin["dollars"]:
            cost.append(f"{origin['dollars']:.4f} dollars")
        line(f"    seed {origin['seed']}, batch {origin['batch']}, {', '.join(cost)}")
        line(f"    prompt SHA-256 {prompt}; parents {parents}")
    if shown.repeats:
        line(f"Proposed again {shown.repeats} times")
    chosen: dict[tuple[str, str], list[str]] = {}
    for choice in shown.chosen_by:
        chosen.setdefault((choice["model"], choice["choice"]), []).append(choice["name"])
    for (model, by), names in chosen.items():
        line(f"Chosen for {', '.join(names)} of {model} by {by}")
    console.print()


def _scores_table(score: dict[str, Any]) -> Table:
    table = table_of("score", "mean", "95% interval", right=("mean", "95% interval"))
    for name, title in TITLES.items():
        interval = _interval(score[f"{name}_per_document"])
        table.add_row(*cells(title, decimal(score[name]), interval))
    table.add_row(*cells("IoU of the best trivial program", decimal(score["best_trivial"]), None))
    if score["damage"] is not None:
        table.add_row(*cells("damage, nats a token", f"{score['damage']:.4f}", None))
    return table


def _interval(per_document: list[float] | None) -> str | None:
    if per_document is None:
        return None
    low, high = bootstrap_ci95(per_document)
    return f"{low:.3f}–{high:.3f}"
