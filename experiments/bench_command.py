"""`headscript bench`: how fast programs are evaluated, scored and written, and heads captured."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from grammar.token_facts import Token
    from grammar.tree import Node

MAX_TOKENS = 96
SHIPPED = Path(__file__).parent / "libraries" / "smollm2-135m.jsonl"
HEADS = 270
"""As many as SmolLM2-135M has."""
TEXTS_AT_ONCE = 16
"""What programs share is kept for so many texts at a time."""
REPEATS = 10
REFERENCE_PROGRAMS = 8
"""Programs that the reference evaluator, a double loop in Python, runs on one text."""


@click.command(epilog="Example: headscript bench --quick --json")
@click.option(
    "--quick", is_flag=True, help="Under a minute: fewer programs and texts, shorter answers."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(quick: bool, as_json: bool) -> None:
    """Measure evaluation, scoring, writing under the grammar and capture on this machine.

    Programs are those of the shipped library of SmolLM2 and mutants of them, the texts are the
    project's own, cut to 96 tokens of SmolLM2; the patterns that are scored are random. Nothing
    else should run meanwhile.

    \b
    JSON: {"sizes": {"programs", "texts", "tokens", "heads", "masks", "answer_tokens", "threads"},
    "evaluate_us_per_program_text", "reference_us_per_program_text", "evaluate_speedup",
    "torch_us_per_program_text" (programs written by hand in torch), "evaluate_times_torch" (the
    same programs), "scores_per_second", "min_add_per_second" (of this machine, in cache),
    "scoring_share_of_limit", "mask_us_p50", "mask_us_p99", "first_mask_ms",
    "grammar_share_of_generation", "tokens_per_second_together", "tokens_per_second_one_by_one",
    "together_speedup", "capture_texts_per_second", "capture_times_forward" (a plain eager pass),
    "peak_memory_mb"}
    """
    result = measure(quick)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    click.echo(sizes_text(result.pop("sizes")))
    for name, value in result.items():
        click.echo(f"{name:32} {value:>18,}")


def sizes_text(sizes: Mapping[str, int]) -> str:
    """What was measured, in a line."""
    return ", ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in sizes.items())


def measure(quick: bool) -> dict[str, Any]:
    """What `bench` prints as JSON."""
    import torch

    from experiments.bench_models import capturing, generation, masking
    from experiments.memory import peak_memory_mb
    from interpreter.models import load_model, load_spacy
    from interpreter.progress import progress_bar
    from interpreter.texts import OWN_CORPUS, load_texts
    from interpreter.tokens import read_tokens
    from synth.outlines_proposer import OutlinesProposer
    from synth.proposers import MAX_NEW_TOKENS

    texts, count = (16, 300) if quick else (60, 1000)
    masked, passes, longest, alone = (100, 1, 24, 1) if quick else (count, 3, MAX_NEW_TOKENS, 4)
    loaded = load_model("smollm2-135m")
    proposer = OutlinesProposer("smollm2-135m")
    documents = load_texts(OWN_CORPUS, texts).documents
    tokens = read_tokens(documents, loaded.tokenizer, load_spacy(), MAX_TOKENS)
    programs = library_programs(count, tokens)
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "evaluating": lambda: evaluation(programs, tokens),
        "evaluating beside torch": lambda: against_torch(tokens[:TEXTS_AT_ONCE]),
        "scoring": lambda: scoring(programs[: count // 5], tokens),
        "masks of the grammar": lambda: masking(programs[:masked], loaded),
        "capture": lambda: capturing(loaded, tokens, passes),
        "writing": lambda: generation(proposer, longest, alone),
    }
    found: dict[str, Any] = {}
    with progress_bar() as bar:
        task = bar.add_task("", total=len(steps))
        for title, step in steps.items():
            bar.update(task, description=f"Measuring {title}")
            found |= step()
            bar.advance(task)
    sizes = {
        "programs": count,
        "texts": texts,
        "tokens": MAX_TOKENS,
        "heads": HEADS,
        "masks": found.pop("masks"),
        "answer_tokens": longest,
        "threads": torch.get_num_threads(),
    }
    return {"sizes": sizes} | found | {"peak_memory_mb": peak_memory_mb()}


def library_programs(count: int, tokens: Sequence[Sequence["Token"]]) -> list["Node"]:
    """Canonical programs, all different: the shipped ones, then mutants with a fixed seed."""
    from grammar.canonical import canonical
    from grammar.parser import parse_or_raise
    from synth.library import Library
    from synth.mutation import crossed, mutated
    from synth.probabilistic_grammar import Sampler, prior
    from synth.vocabulary import frequent_words

    with Library.open(SHIPPED) as library:
        texts = sorted({choice.text for choice in library.choices("smollm2-135m", "iou")})
    shipped = [parse_or_raise(text) for text in texts]
    random = Random(0)
    sampler = Sampler(prior(causal=True, words=frequent_words(tokens)), random)
    found = dict.fromkeys(random.sample(shipped, min(count, len(shipped))))
    while len(found) < count:
        program, mate = random.sample(shipped, 2)
        child = crossed(program, mate, random) if random.random() < 0.5 else program
        found.setdefault(canonical(mutated(child, sampler, random)))
    return list(found)


def evaluation(programs: Sequence["Node"], tokens: Sequence[Sequence["Token"]]) -> dict[str, Any]:
    """Microseconds per program and text, of the evaluator and of the reference one."""
    from experiments.bench_models import seconds
    from interpreter.evaluate import Evaluator
    from interpreter.facts import make_facts
    from interpreter.reference import Reference

    starts = range(0, len(tokens), TEXTS_AT_ONCE)
    parts = [make_facts(tokens[start : start + TEXTS_AT_ONCE], causal=True) for start in starts]
    Evaluator(parts[0]).matrices(programs[0])  # compiles

    def evaluate() -> None:
        for facts in parts:
            evaluator = Evaluator(facts)
            for program in programs:
                evaluator.matrices(program)

    def refer() -> None:
        reference = Reference(tokens[0], causal=True)
        for program in programs[:REFERENCE_PROGRAMS]:
            reference.matrix(program)

    each = min(seconds(evaluate) for _ in range(2)) / (len(programs) * len(tokens))
    slow = seconds(refer) / REFERENCE_PROGRAMS
    return {
        "evaluate_us_per_program_text": round(1e6 * each, 1),
        "reference_us_per_program_text": round(1e6 * slow, 1),
        "evaluate_speedup": round(slow / each, 1),
    }


def against_torch(tokens: Sequence[Sequence["Token"]]) -> dict[str, Any]:
    """Microseconds per program and text of programs written in torch, and the evaluator's ratio.

    The evaluator is fresh each time: nothing is known from other programs.
    """
    from experiments.bench_models import seconds
    from experiments.handwritten import HANDWRITTEN, handwritten
    from grammar.parser import parse_or_raise
    from interpreter.evaluate import Evaluator
    from interpreter.facts import make_facts

    facts = make_facts(tokens, causal=True)
    programs = [parse_or_raise(text) for text in HANDWRITTEN]

    def evaluate() -> None:
        evaluator = Evaluator(facts)
        for program in programs:
            evaluator.matrices(program)

    evaluate()
    pairs = [(seconds(lambda: handwritten(facts)), seconds(evaluate)) for _ in range(REPEATS)]
    in_torch, evaluated = (min(times) for times in zip(*pairs, strict=True))
    return {
        "torch_us_per_program_text": round(1e6 * in_torch / len(programs) / len(tokens), 1),
        "evaluate_times_torch": round(evaluated / in_torch, 2),
    }


def scoring(programs: Sequence["Node"], tokens: Sequence[Sequence["Token"]]) -> dict[str, Any]:
    """(program, head, text) IoUs a second, beside the minima and sums that the machine can do."""
    import torch

    from experiments.bench_models import seconds
    from interpreter.evaluate import Evaluator
    from interpreter.facts import make_facts
    from interpreter.overlap import HeadIoU
    from interpreter.overlap_cores import overlap_limit

    tokens = tokens[:TEXTS_AT_ONCE]
    facts = make_facts(tokens, causal=True)
    width = facts.visible.shape[-1]
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(len(tokens), HEADS, width, width, generator=generator)
    real *= facts.visible[:, None]
    real /= real.sum(-1, keepdim=True).clamp_min(1e-9)
    evaluator = Evaluator(facts)
    matrices = torch.stack([evaluator.matrices(program) for program in programs])
    heads = HeadIoU(real, facts.visible)
    list(heads.ious(matrices[:1]))  # compiles
    shortest = min(seconds(lambda: list(heads.ious(matrices))) for _ in range(3))
    rate = matrices.shape[0] * HEADS * len(tokens) / shortest
    limit = overlap_limit()
    cells = int(facts.visible.sum()) / len(tokens)
    return {
        "scores_per_second": round(rate),
        "min_add_per_second": round(limit),
        "scoring_share_of_limit": round(rate * cells / limit, 3),
    }
