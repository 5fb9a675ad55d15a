"""`headscript run`: one program on one text."""

import json

import click
from rich.console import Console
from rich.text import Text

from grammar.canonical import canonical_tree, content_hash
from grammar.english import sentence
from grammar.errors import InputError
from grammar.limits import MAX_SEQUENCE_TOKENS
from grammar.printer import to_text
from grammar.rejection import Rejection
from interpreter.cost import check_cost
from interpreter.heat_map import print_heat_map
from interpreter.models import LoadedModel, load_model, load_spacy


@click.command(
    epilog='Example: headscript run "3 first + 1 recent(noun)" --text "A cat saw a cat."'
)
@click.argument("program")
@click.option("--text", required=True, help="The text whose tokens look at one another.")
@click.option(
    "--model",
    "model_name",
    default="smollm2-135m",
    show_default=True,
    metavar="MODEL",
    help="Whose tokens: a name that `headscript models` lists, a hub id or a local folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the matrix as JSON.")
@click.pass_context
def run(ctx: click.Context, program: str, text: str, model_name: str, as_json: bool) -> None:
    """Say what PROGRAM does, evaluate it on one text and draw where each token looks.

    In a terminal with colours as shades, else as digits.

    JSON: {"program" (its canonical text), "hash", "sentence" (the program in English), "model",
    "tokens" (as the model reads them), "causal", "matrix" (row i: the weights that token i gives
    each token, rounded to 6 digits)}
    """
    tree = canonical_tree(program)
    if isinstance(tree, Rejection):
        click.echo(tree.render(program), err=True)
        ctx.exit(1)
    canonical = to_text(tree)
    loaded = load_model(model_name)
    check_cost(tree, _count_tokens(text, loaded))

    # They import torch, which takes seconds, and a rejected program is to be seen at once.
    from interpreter.evaluate import Evaluator
    from interpreter.facts import make_facts
    from interpreter.tokens import read_tokens

    batch = read_tokens([text], loaded.tokenizer, load_spacy())
    matrix = Evaluator(make_facts(batch, causal=loaded.causal)).matrices(tree)[0].tolist()
    names = [str(loaded.tokenizer.decode([token.token_id])) for token in batch[0]]
    if as_json:
        result = {
            "program": canonical,
            "hash": content_hash(canonical),
            "sentence": sentence(tree),
            "model": model_name,
            "tokens": names,
            "causal": loaded.causal,
            "matrix": [[round(weight, 6) for weight in row] for row in matrix],
        }
        click.echo(json.dumps(result))
        return
    console = Console()
    console.print(Text(f"{canonical}\n{sentence(tree)}\n"), soft_wrap=True)
    print_heat_map(console, matrix, names, causal=loaded.causal)


def _count_tokens(text: str, loaded: LoadedModel) -> int:
    """How many tokens the text has; InputError where they are too few or too many to run."""
    if not text.strip():
        raise InputError("--text is empty; give a text of at least two tokens")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError("--text is not valid Unicode; give it in UTF-8")
    most = min(loaded.max_tokens, MAX_SEQUENCE_TOKENS)
    count = len(loaded.tokenizer(text)["input_ids"])
    if not 2 <= count <= most:
        tokens = "token" if count == 1 else "tokens"
        raise InputError(
            f"--text has {count:,} {tokens} for {loaded.name}; give a text of 2 to {most:,} tokens"
        )
    return count
