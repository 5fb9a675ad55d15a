"""`headscript library search`, `diff`, `stats` and `compress`."""

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.text import Text

from grammar.printer import to_text
from grammar.rejection import printable
from synth.heads import head_name
from synth.library import Library
from synth.library_compress import compress
from synth.library_options import (
    cells,
    decimal,
    json_option,
    library_option,
    model_option,
    table_of,
    terminal,
)
from synth.library_search import search
from synth.library_view import program_trees

if TYPE_CHECKING:
    from synth.library_diff import LibraryDiff, ProgramDiff
    from synth.library_stats import Stats

SHOWN_GROUPS = 10


@click.command("search", epilog="Example: headscript library search 'first(word(\"the\"))'")
@click.argument("part", required=False)
@click.option("--text", help="Only programs whose text holds this.")
@click.option("--like", metavar="L5H4|HASH|PROGRAM", help="Those that behave most like this first.")
@click.option("--choice", help="Only this choice of each head, as iou or tuned.")
@click.option("--all", "everything", is_flag=True, help="Also programs chosen for no head.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@library_option
@model_option
@json_option
def search_command(
    part: str | None,
    text: str | None,
    like: str | None,
    choice: str | None,
    everything: bool,
    limit: int,
    path: str,
    model: str | None,
    as_json: bool,
) -> None:
    """Find programs that hold PART: a primitive (near), or any selection or predicate.

    Behaviour is compared on a fixed probe batch of six short texts: the mean IoU of the two
    patterns, under causal and bidirectional attention.

    \b
    JSON: {"found" (how many), "programs" (the first of them): [{"program_hash", "program",
    "category", "heads": [[model, name]], "similarity" (null without --like)}]}
    """
    if part is None and text is None and like is None:
        raise click.UsageError("Name a PART, --text or --like.")
    with Library.open(path) as opened:
        found = search(
            opened,
            primitive=part,
            text=text,
            like=like,
            model=model,
            kind=choice,
            everything=everything,
        )
    if as_json:
        shown = [asdict(program) for program in found[:limit]]
        click.echo(json.dumps({"found": len(found), "programs": shown}, indent=2))
        return
    alike = ("like",) if like else ()
    table = table_of(*alike, "heads", "category", "program", right=alike, wide="program")
    for program in found[:limit]:
        names = [name for _, name in program.heads]
        heads = " ".join(names[:4]) + (f" +{len(names) - 4}" if len(names) > 4 else "")
        similarity = (decimal(program.similarity),) if like else ()
        row = cells(*similarity, heads or None, program.category)
        table.add_row(*row, Text(printable(program.program)))
    terminal().print(table)
    click.echo(f"{len(found)} programs" + (f", {limit} shown" if len(found) > limit else ""))


@click.command("diff", epilog="Example: headscript library diff L5H4 L7H1 --library heads.sqlite")
@click.argument("one")
@click.argument("other")
@library_option
@model_option
@json_option
def diff_command(one: str, other: str, path: str, model: str | None, as_json: bool) -> None:
    """Compare two heads (L5H4), two programs (hash or text), or two libraries (files, URLs).

    \b
    JSON for heads and programs: {"one", "other" (canonical texts), "similarity" (IoU on the probe
    batch), "terms": [{"rule" (its guard), "term", "one", "other" (shares of the rule's weight)}]}
    JSON for libraries: {"heads": [{"model", "model_revision" (null where each library holds one),
    "name", "choice", "one", "other", "one_iou", "other_iou"}], "same_heads", "programs_in_one",
    "programs_in_other", "programs_in_both"}
    """
    from synth.library_diff import ProgramDiff, diff_libraries, diff_programs

    found: LibraryDiff | ProgramDiff
    if _is_place(one) and _is_place(other):
        with Library.open(one) as first, Library.open(other) as second:
            found = diff_libraries(first, second, model)
    else:
        with Library.open(path) as opened:
            found = diff_programs(opened, one, other, model)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    elif isinstance(found, ProgramDiff):
        _print_programs(found)
    else:
        _print_libraries(found)


def _is_place(name: str) -> bool:
    return "://" in name or name.endswith((".jsonl", ".sqlite")) or os.path.exists(name)


def _print_programs(found: "ProgramDiff") -> None:
    console = terminal()
    console.print(Text(f"one:   {found.one}\nother: {found.other}"), soft_wrap=True)
    table = table_of("one", "other", "rule", "term", right=("one", "other"), wide="term")
    for term in found.terms:
        shares = (f"{share:.0%}" if share else None for share in (term.one, term.other))
        table.add_row(*cells(*shares, term.rule or "last"), Text(term.term))
    console.print(table)
    console.print(f"They share {found.similarity:.3f} of their weight (IoU on the probe batch).")


def _print_libraries(found: "LibraryDiff") -> None:
    table = table_of("head", "choice", "IoU", "programs", right=("IoU",), wide="programs")
    for head in found.heads:
        ious = "\n".join(cells(decimal(head.one_iou), decimal(head.other_iou)))
        programs = "\n".join(cells(head.one, head.other))
        table.add_row(*cells(head.name, head.choice), ious, Text(programs))
    console = terminal()
    console.print(table)
    first = sum(head.other is None for head in found.heads)
    second = sum(head.one is None for head in found.heads)
    console.print(
        f"{len(found.heads) - first - second} choices differ, {found.same_heads} are the same, "
        f"{first} are in the first alone, {second} in the second; programs: "
        f"{found.programs_in_both} in both, {found.programs_in_one} in the first alone, "
        f"{found.programs_in_other} in the second"
    )


@click.command("stats", epilog="Example: headscript library stats --library heads.sqlite")
@library_option
@json_option
def stats_command(path: str, as_json: bool) -> None:
    """Count what a library holds, what of it is the same, and the kinds of heads by layer.

    Two kinds of sameness: a proposal whose canonical text the library held before, and programs
    of different texts that do the same on the probe batch.

    \b
    JSON: {"programs", "runs", "proposals", "scores", "choices", "chosen_programs",
    "text_duplicates", "behaviour_duplicates", "behaviour_groups": [[text, ...]] (the
    representative first), "rejects": {code: number}, "layers": [{"model", "layer",
    "categories": {category: heads}}]}
    """
    from synth.library_stats import stats

    with Library.open(path) as opened:
        found = stats(opened)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        _print_stats(found)


def _print_stats(found: "Stats") -> None:
    console = terminal()
    rejects = ", ".join(f"{code} {number}" for code, number in found.rejects.items()) or "none"
    proposed = (
        f"{found.proposals} proposals: {found.text_duplicates} texts that were there; "
        f"rejected: {rejects}."
        if found.proposals
        else "It holds no proposals, as one that was exported with --chosen."
    )
    console.print(
        printable(
            f"{found.programs} programs in {found.runs} runs; {found.choices} choices of "
            f"{found.chosen_programs} programs; {found.scores} scores. {proposed} "
            f"{found.behaviour_duplicates} programs do what a shorter one does on the probe batch, "
            f"in {len(found.behaviour_groups)} groups."
        )
    )
    if found.behaviour_groups:
        groups = table_of("number", "the same behaviour", wide="the same behaviour")
        largest = sorted(found.behaviour_groups, key=len, reverse=True)
        for group in largest[:SHOWN_GROUPS]:
            groups.add_row(str(len(group)), Text("\n".join(map(printable, group[:3]))))
        console.print(groups)
    layers = table_of(
        "model",
        "layer",
        "heads",
        "share of each category",
        right=("layer", "heads"),
        wide="share of each category",
    )
    for layer in found.layers:
        total = sum(layer.categories.values())
        shares = ", ".join(f"{kind} {n / total:.0%}" for kind, n in layer.categories.items())
        layers.add_row(*cells(layer.model, layer.layer, total, shares))
    if found.layers:
        console.print(layers)


@click.command("compress", epilog="Example: headscript library compress --library heads.sqlite")
@library_option
@model_option
@json_option
def compress_command(path: str, model: str | None, as_json: bool) -> None:
    """Read all chosen programs at once: common sub-mixtures are named and told once.

    D1(60, 40) stands for the terms of D1 with these weights. Length is counted in symbols: a word
    of the language, a number or a name each count one.

    \b
    JSON: {"symbols_before", "symbols_after", "definitions": [{"name", "terms", "uses"}],
    "programs": [{"text", "heads": [[model, name]]}]}
    """
    heads: dict[str, list[tuple[str, str]]] = {}
    with Library.open(path) as opened:
        choices = opened.choices(model)
        trees = program_trees(opened, choices)
    for choice in choices:
        place = (choice.model, head_name(choice.layer, choice.head))
        heads.setdefault(choice.text, []).append(place)
    found = compress(list(trees.values()))
    definitions = [
        {"name": d.name, "terms": [to_text(term) for term in d.terms], "uses": d.uses}
        for d in found.definitions
    ]
    programs = [
        {"text": text, "heads": heads[original]}
        for original, text in zip(trees, found.texts, strict=True)
    ]
    if as_json:
        sizes = {"symbols_before": found.symbols_before, "symbols_after": found.symbols_after}
        result = sizes | {"definitions": definitions, "programs": programs}
        click.echo(json.dumps(result, indent=2))
        return
    console = terminal()
    named = table_of("name", "uses", "terms", right=("uses",), wide="terms")
    for d in found.definitions:
        named.add_row(d.name, str(d.uses), Text(" + ".join(to_text(term) for term in d.terms)))
    table = table_of("heads", "program", wide="program")
    for original, text in zip(trees, found.texts, strict=True):
        names = [name for _, name in heads[original]]
        lines = [" ".join(names[i : i + 4]) for i in range(0, len(names), 4)]
        table.add_row("\n".join(lines), Text(text))
    console.print(named, table)
    console.print(f"{found.symbols_before:,} symbols, {found.symbols_after:,} with the names")
