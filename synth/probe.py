"""What programs do on a fixed probe batch: the texts are the project's, no model is needed.

    python -m synth.probe        writes probe.jsonl again, from the project's own stories

The batch is stored as facts about tokens, so that behaviour is compared alike everywhere.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files

import torch
from torch import Tensor

from grammar.token_facts import Token
from grammar.tree import Node
from interpreter import scores
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.progress import progress_bar
from interpreter.texts import OWN_CORPUS, load_texts

TEXTS, TOKENS = 6, 40
"""The first tokens of every tenth story."""

PROJECTIONS = 16
EQUAL = 1e-3
"""Programs are equal in behaviour where no projection of their matrices differs by more.

A projection sums all weights with fixed random signs: rounding moves it by about 1e-5, a weight
that is given to another token by twice that weight in half of the projections.
"""

KEPT = 100
"""Programs after which what the evaluators keep is dropped, to bound memory."""


@cache
def probe_tokens() -> list[list[Token]]:
    """The token facts of the probe batch: 6 texts of 40 tokens of SmolLM2."""
    stored = files("synth").joinpath("probe.jsonl").read_text(encoding="utf-8")
    return [[Token(**token) for token in json.loads(line)] for line in stored.splitlines()]


def behaviours(trees: Sequence[Node]) -> Iterator[Tensor]:
    """[2, text, query, key] float32 of each program: on the batch as causal, as bidirectional."""
    with progress_bar() as bar:
        for number, tree in enumerate(bar.track(trees, description="Programs on the probe batch")):
            if number % KEPT == 0:
                evaluators = [
                    Evaluator(make_facts(probe_tokens(), causal=causal)) for causal in (True, False)
                ]
            yield torch.stack([evaluator.matrices(tree) for evaluator in evaluators])


def similarity(one: Tensor, other: Tensor) -> float:
    """Mean IoU of two behaviours over the texts."""
    return float(scores.iou(one, other).mean())


def groups_of_equals(trees: Sequence[Node]) -> list[list[int]]:
    """The indices of programs that behave alike, each group and all of them in order."""
    generator = torch.Generator().manual_seed(0)
    size = 2 * TEXTS * TOKENS * TOKENS
    signs = torch.randint(0, 2, (size, PROJECTIONS), generator=generator).double() * 2 - 1
    seen = [behaviour.flatten().double() @ signs for behaviour in behaviours(trees)]
    groups: dict[int, list[int]] = {}
    # In this order a program's equals stand right before it.
    for i in sorted(range(len(trees)), key=lambda i: (float(seen[i][0]), i)):
        for first in reversed(groups):
            if seen[i][0] - seen[first][0] > EQUAL:
                groups[i] = [i]
                break
            if (seen[i] - seen[first]).abs().max() <= EQUAL:
                groups[first].append(i)
                break
        else:
            groups[i] = [i]
    return sorted(sorted(group) for group in groups.values())


def lines(batch: Iterable[Sequence[Token]]) -> Iterator[str]:
    """The probe batch as it is stored."""
    for tokens in batch:
        yield json.dumps([asdict(token) for token in tokens]) + "\n"


def main() -> None:
    """Writes the probe batch."""
    from interpreter.models import load_model, load_spacy
    from interpreter.tokens import read_tokens

    documents = load_texts(OWN_CORPUS).documents[:: 60 // TEXTS][:TEXTS]
    loaded = load_model("smollm2-135m")
    batch = read_tokens(documents, loaded.tokenizer, load_spacy(), TOKENS)
    with open(str(files("synth").joinpath("probe.jsonl")), "w", encoding="utf-8") as file:
        file.writelines(lines(batch))


if __name__ == "__main__":
    main()
