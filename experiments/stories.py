"""A story that a model writes with growing shares of its heads as programs.

python -m experiments.stories --beginning "Once upon a time"
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from experiments.results import about_texts, write
from experiments.stand_ins import StandIns, count_of, order_options, stand_ins
from experiments.subject import model_options, opened
from experiments.tables import Block
from grammar.errors import InputError
from interpreter.capture import Head
from interpreter.replacement import replaced
from interpreter.texts import load_texts

CLAIM = "A model goes on writing with its heads replaced by programs; what it writes is shown."
SHARES = (0.0, 0.25, 0.5, 1.0)


@click.command()
@model_options
@click.option("--beginning", default="Once upon a time, there was a little dog", show_default=True)
@click.option("--tokens", type=click.IntRange(1), default=60, show_default=True)
@order_options
def stories(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    beginning: str,
    tokens: int,
    order: str,
    order_texts: str,
    order_tokens: int,
    choice: str | None,
) -> None:
    """Let models with 0, 25, 50 and 100% of their heads replaced go on from one beginning."""
    place, loaded = opened(model, library)
    programs = stand_ins(place, loaded, choice, order_tokens, every)
    ordering = load_texts(order_texts, limit).split()["select"]
    heads = programs.ordered(order, ordering, order_tokens)
    written = []
    for share in SHARES:
        some = heads[: count_of(share, len(heads))]
        story = continued(programs, some, beginning, tokens)
        written.append({"fraction": share, "heads": len(some), "story": story})
    results = {"beginning": beginning, "order": order, "stories": written}
    write(
        "stories",
        claim=CLAIM,
        blocks=BLOCKS,
        loaded=loaded,
        texts=[about_texts(ordering)],
        library=place,
        results=results,
        folder=output,
    )


def shown(records: Sequence[Mapping[str, Any]]) -> str:
    """The stories as quotations, each with its share above it."""
    parts = []
    for record in records:
        results = record["results"]
        parts.append(f"{record['model']['name']}, from: {results['beginning']}")
        for one in results["stories"]:
            parts.append(f"{one['fraction']:.0%} of its heads as programs ({one['heads']}):")
            parts.append("> " + one["story"].strip().replace("\n", "\n> "))
    return "\n\n".join(parts)


BLOCKS: dict[str, Block] = {"shown": shown}


def continued(programs: StandIns, heads: list[Head], beginning: str, tokens: int) -> str:
    """What the model writes greedily after the beginning, with these heads replaced.

    InputError for a beginning without tokens, and a model that writes nothing.
    """
    loaded = programs.loaded
    if not loaded.causal or not loaded.model.can_generate():
        raise InputError(f"{loaded.name} writes no text")
    ids = loaded.tokenizer(beginning, return_tensors="pt")["input_ids"].to(loaded.model.device)
    if not ids.shape[1]:
        raise InputError("--beginning is empty: the model needs a token to go on from")
    model: Any = loaded.model
    how = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": 0}

    def write_on() -> torch.Tensor:
        # The mask tells that no token of the beginning is padding.
        made: torch.Tensor = model.generate(ids, attention_mask=torch.ones_like(ids), **how)
        return made[0, ids.shape[1] :]

    if heads:
        with torch.no_grad(), replaced(loaded, {head: programs.trees[head] for head in heads}):
            new = write_on()
    else:
        new = write_on()
    return str(loaded.tokenizer.decode(new, skip_special_tokens=True))


if __name__ == "__main__":
    stories()
