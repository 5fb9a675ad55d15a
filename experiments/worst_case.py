"""The most expensive programs that pass the limits, measured: seconds and memory on one core.

    python -m experiments.worst_case --json

Each program is filled up to the limits on characters and nodes with one dear term in many forms,
and cut to the limit on cost for the text's length; each runs alone in a fresh process, on one
thread.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from experiments.memory import peak_memory_mb
from grammar import limits
from grammar.parser import parse
from grammar.rejection import Rejection
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter.cost import program_cost

TERMS = (
    "newest(self, {k})",
    "newest(within({k}), 9)",
    "newest(same_word and within({k}), {k})",
    "newest(self or query(noun), {k})",
    "earliest(same_word or query(verb), {k})",
    "distance(within({k}))",
    "near(any, {k})",
    "near(same_word and not within({k}), {k})",
    "recent(self, {k})",
    "recent(self or query(noun), {k})",
    "first(any, {k})",
    "after(within({k}))",
    "before(not within({k}))",
    "within({k})",
    "same_word and query(noun) or within({k})",
)
"""Dear for their length, each in its own way; what is equal would be computed once."""


def scores(term: str, count: int) -> str:
    """A program of `count` logits that are all different, as many to a score as can be."""
    terms = [f"9.9 {term.format(k=k)}" for k in range(1, count + 1)]
    most = limits.MAX_LOGITS
    groups = [terms[start : start + most] for start in range(0, count, most)]
    return _mixtures([f"1 score({' + '.join(group)})" for group in groups])


def kept(count: int) -> str:
    """A program of `count` selections that are all different, and kept: the most memory."""
    return _mixtures([f"1 not back({i + 1}) or self" for i in range(count)])


def _mixtures(parts: list[str]) -> str:
    most = limits.MAX_PARTS
    mixtures = [" + ".join(parts[i : i + most]) for i in range(0, len(parts), most)]
    guards = ("noun", "verb", "name", "stop")[: len(mixtures) - 1]
    rules = [f"when {g}: {m}; " for g, m in zip(guards, mixtures, strict=False)]
    return "".join(rules) + mixtures[-1]


def allowed(text: str, tokens: int, *, free: bool = False) -> bool:
    """Whether the parser and, unless `free`, the limit on cost let the program pass."""
    tree = parse(text)
    if isinstance(tree, Rejection):
        return False
    return free or program_cost(tree, tokens) <= limits.MAX_EVALUATION_COST


def candidates(tokens: int, *, free: bool = False) -> Iterator[str]:
    """The largest allowed program of each kind."""
    makers = [lambda count, term=term: scores(term, count) for term in TERMS]
    for maker in (*makers, kept):
        texts = (maker(count) for count in range(limits.MAX_NUMBER, 0, -1))
        found = next((text for text in texts if allowed(text, tokens, free=free)), None)
        if found is not None:
            yield found


def text_of(tokens: int) -> list[Token]:
    """A text of so many tokens, of 50 word types, in sentences of 16 tokens."""
    pos = ("DET", "NOUN", "VERB", "PUNCT")
    return [
        Token(
            token_id=i % 50,
            text=f"w{i % 50}",
            word=f"w{i % 50}",
            word_index=i,
            lemma=f"w{i % 50}",
            pos=pos[i % 4],
            role="nsubj",
            governor=i - 1,
            sentence=i // 16,
            sentence_start=i % 16 == 0,
            sentence_end=i % 16 == 15,
            clause=i // 4,
            repeated=i >= 50,
            continuation=False,
            quoted=False,
            special=False,
        )
        for i in range(tokens)
    ]


def measured(text: str, tokens: int) -> dict[str, Any]:
    """Processor seconds and memory above the start of one evaluation, in this process."""
    import torch

    from interpreter.evaluate import Evaluator
    from interpreter.facts import make_facts

    torch.set_num_threads(1)
    tree = parse(text)
    assert isinstance(tree, Node)
    # A first small evaluation loads what torch loads late.
    Evaluator(make_facts([text_of(8)], causal=False)).matrices(tree)
    words = text_of(tokens)
    before, start = peak_memory_mb(), time.process_time()
    Evaluator(make_facts([words], causal=False)).matrices(tree)
    return {
        "program": text,
        "tokens": tokens,
        "seconds": round(time.process_time() - start, 3),
        "peak_memory_mb": peak_memory_mb() - before,
        "cost": program_cost(tree, tokens),
    }


def measured_alone(text: str, tokens: int) -> dict[str, Any]:
    """The same in a fresh process."""
    command = [sys.executable, "-m", "experiments.worst_case", "--one", "--tokens", str(tokens)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@click.command()
@click.option("--tokens", default=1024, show_default=True)
@click.option("--free", is_flag=True, help="Without the limit on cost: how dear could it be?")
@click.option("--json", "as_json", is_flag=True)
@click.option("--one", is_flag=True, help="Measure the program on standard input here.")
def main(tokens: int, free: bool, as_json: bool, one: bool) -> None:
    """Measure the worst programs that pass."""
    if one:
        click.echo(json.dumps(measured(sys.stdin.read(), tokens)))
        return
    found = [measured_alone(text, tokens) for text in candidates(tokens, free=free)]
    found.sort(key=lambda row: row["seconds"], reverse=True)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for row in found:
        click.echo(
            f"{row['seconds']} s  {row['peak_memory_mb']} MB  cost {row['cost']:,}  "
            f"{row['program'][:60]}..."
        )


if __name__ == "__main__":
    main()
