"""Results as tables in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synth.budget import Spent
from synth.heads import head_name
from synth.results import RunResults


def print_results(results: RunResults) -> None:
    """One row per head, then what became of the proposals."""
    table = Table(
        title=f"{results.model}: IoU on {results.documents} test documents (95% interval)",
        title_justify="left",
        show_lines=True,
    )
    table.add_column("head")
    table.add_column("program", ratio=1, overflow="fold")
    table.add_column("IoU", justify="right", no_wrap=True)
    table.add_column("best trivial", justify="right", no_wrap=True)
    table.add_column("proposed\nrejected\nduplicates", justify="right", no_wrap=True)
    for head in results.heads:
        low, high = head.iou_ci95
        table.add_row(
            head_name(head.layer, head.head),
            Text(head.program.replace("; ", ";\n")),
            f"{head.iou:.3f}\n{low:.3f}–{high:.3f}",
            f"{head.best_trivial_iou:.3f}\n{head.best_trivial}",
            f"{head.proposed}\n{head.rejected}\n{head.duplicates}",
        )
    console = Console()
    console.print(table)
    if results.left_out:
        console.print(f"left out, for their attention holds NaN: {', '.join(results.left_out)}")
    total = results.total
    codes = ", ".join(f"{code} {number}" for code, number in results.reject_codes.items())
    console.print(
        f"{total['proposed']} proposals, refined programs among them: "
        f"{total['duplicates']} duplicates, "
        f"{total['rejected']} rejected" + (f" ({codes})" if codes else "")
    )
    spent = results.spent
    if spent != Spent():
        stopped = f"; stopped by the limit on {results.stopped_by}" if results.stopped_by else ""
        console.print(
            f"spent: {spent.tokens:,} tokens, {spent.seconds:,.1f} seconds, "
            f"{spent.evaluations:,} evaluations, {spent.dollars:,.4f} dollars{stopped}"
        )


def print_scores(result: dict[str, Any]) -> None:
    """One row per head, then the mean with its interval and the baselines."""
    about = result["texts"]
    table = Table(
        title=f"{result['model']} on {about['documents']} documents, {about['tokens']:,} tokens",
        title_justify="left",
        show_lines=True,
    )
    table.add_column("head")
    table.add_column("program", ratio=1, overflow="fold")
    scores = {"iou": "IoU", "iou_no_sink": "without the\nfirst token", "jsd": "JSD"}
    scores |= {"output_error": "output error", "damage": "damage"}
    if all(head["damage"] is None for head in result["heads"]):
        del scores["damage"]
    for title in scores.values():
        table.add_column(title, justify="right")
    for head in result["heads"]:
        numbers = [head[key] for key in scores]
        table.add_row(
            head_name(head["layer"], head["head"]),
            Text(head["program"].replace("; ", ";\n")),
            *(f"{number:.3f}" for number in numbers),
        )
    console = Console()
    console.print(table)
    low, high = result["mean_iou_ci95"]
    console.print(
        f"mean IoU {result['mean_iou']:.3f} (95% {low:.3f}–{high:.3f}), "
        f"without the first token {result['mean_iou_no_sink']:.3f}; "
        f"{result['distinct_programs']} distinct programs, {result['rejected']} rejected"
    )
    baselines = ", ".join(f"{name} {value:.3f}" for name, value in result["baselines"].items())
    console.print(Text(f"baselines: {baselines}"))


def print_replacement(result: dict[str, Any], model: str) -> None:
    """One row per share of replaced heads, then the controls."""
    table = Table(
        title=f"{model}, heads replaced in the order of {result['order']}: perplexity on "
        f"{result['tokens']:,} predicted tokens (95% interval)",
        title_justify="left",
    )
    for name in ("share", "heads", "perplexity", "rise", ""):
        table.add_column(name, justify="right")
    table.add_row("0%", "0", f"{result['base_perplexity']:.3f}", "", "")
    for point in result["curve"]:
        low, high = point["ci95"]
        table.add_row(
            f"{point['fraction']:.0%}",
            str(point["heads"]),
            f"{point['perplexity']:.3f}",
            f"{point['increase_percent']:+,.2f}%",
            f"{low:+,.2f} – {high:+,.2f}%",
        )
    console = Console()
    console.print(table)
    controls = ", ".join(
        f"{name.removesuffix('_increase_percent').replace('_', ' ')} {value:+,.2f}%"
        for name, value in result["controls"].items()
        if value is not None
    )
    most = max(point["heads"] for point in result["curve"])
    console.print(f"controls at {most} {'head' if most == 1 else 'heads'}: {controls}")
