"""`headscript replace`: what the model loses when programs stand in for its heads."""

import json
from typing import Any

import click

from grammar.errors import InputError
from synth.library_command import library_option
from synth.tables import print_replacement

ORDERS = ("damage", "iou", "output-error", "greedy")


def parse_fractions(text: str) -> tuple[float, ...]:
    """Shares from `0.1,0.25,1`, each once; InputError where one is not above 0 and at most 1."""
    found = []
    for part in text.split(","):
        try:
            fraction = float(part)
        except ValueError as error:
            raise InputError(f"--fractions: {part!r:.20} is no number, as in 0.1,0.25,1") from error
        if not 0 < fraction <= 1:
            raise InputError(f"--fractions: {part.strip()} is not above 0 and at most 1")
        found.append(fraction)
    return tuple(dict.fromkeys(found))


@click.command(
    epilog="Example: headscript replace --library heads.sqlite --model smollm2-135m "
    "--texts my.jsonl --fractions 0.1,0.5"
)
@library_option
@click.option("--model", default="smollm2-135m", show_default=True, help="Name, hub id or folder.")
@click.option("--texts", default="stories", show_default=True, help="Texts: see `score --help`.")
@click.option(
    "--fractions",
    default="0.1,0.25,0.5,1",
    show_default=True,
    help="Which shares of the library's heads are replaced.",
)
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default="damage",
    show_default=True,
    help="Which heads come first: those that hurt least alone, with the highest IoU, with the "
    "lowest output error, or (slow) that hurt least after the ones before.",
)
@click.option(
    "--order-texts",
    help="Texts whose select documents make the order.  [default: --texts, where the library was "
    "made from them, else `stories`]",
)
@click.option(
    "--choice", help="Which choice of each head.  [default: tuned, else output_error, else iou]"
)
@click.option("--max-tokens", type=click.IntRange(2), default=96, show_default=True)
@click.option(
    "--facts",
    type=click.Choice(["prefix", "text"]),
    help="Whether programs know of each token's prefix alone or of the whole text.  [default: "
    "prefix for causal models, text for others]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replace(
    path: str,
    model: str,
    texts: str,
    fractions: str,
    order: str,
    order_texts: str | None,
    choice: str | None,
    max_tokens: int,
    facts: Any,
    as_json: bool,
) -> None:
    """Put programs in the place of heads inside the model, and measure its perplexity.

    Of the texts that the library was made from only the test documents are used, all documents
    of any other; the order of the heads comes from other documents.  Intervals are 95%, by paired
    bootstrap over documents.  For a masked model it is the pseudo-perplexity.

    The controls replace as many heads as the largest fraction: by their own patterns, which must
    change nothing; by zeros; by the first token; by each other's programs (null for one head).

    \b
    JSON: {"base_perplexity", "tokens", "curve": [{"fraction", "heads", "perplexity",
    "increase_percent", "ci95"}], "order", "controls": {"own_pattern_increase_percent",
    "zeros_increase_percent", "first_token_increase_percent",
    "shuffled_programs_increase_percent"}}
    """
    shares = parse_fractions(fractions)

    from synth.faithfulness import Question, measure_replacement

    question = Question(
        library=path,
        model=model,
        texts=texts,
        fractions=shares,
        order=order,
        order_texts=order_texts,
        choice=choice,
        max_tokens=max_tokens,
        facts=facts,
    )
    result = measure_replacement(question)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        print_replacement(result, model)
