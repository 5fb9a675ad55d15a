"""A small library and the rows in it, for the tests."""

from collections.abc import Sequence
from pathlib import Path

from grammar.canonical import content_hash
from interpreter.texts import load_texts
from synth.library import (
    Baseline,
    Choice,
    Library,
    Proposal,
    Run,
    Score,
    StoredExample,
    run_key,
)
from tests.tiny_models import HEADS, LAYERS

SMALL, LARGE = "first", 'when noun: 3 first + 1 word("don\'t"); 2 self + 1 score(2.5 noun)'


def start(library: Library, seed: int = 0) -> Run:
    return library.start_run(
        key=run_key(model_revision="r1", texts_sha256="t1", seed=seed),
        model="small",
        model_revision="r1",
        texts_sha256="t1",
        settings={"seed": seed, "proposer": "hand"},
    )


def written(text: str) -> Proposal:
    return Proposal(raw=text, text=text, proposer="hand", seed=3, parents=[content_hash("self")])


REJECTED = Proposal(
    raw="frist", text=None, code="syntax", message="no", line=1, column=2, proposer="hand", seed=3
)


def score(text: str = LARGE, iou: float = 0.5) -> Score:
    return Score(
        program_hash=content_hash(text),
        model="small",
        model_revision="r1",
        layer=5,
        head=4,
        texts_sha256="t1",
        split="test",
        metric_version=1,
        documents=2,
        iou=iou,
        iou_per_document=[0.4, 0.6],
        jsd=0.25,
    )


def chosen(run: Run, text: str = LARGE, head: int = 4) -> Choice:
    return Choice(
        model="small",
        model_revision="r1",
        layer=5,
        head=head,
        text=text,
        run_id=run.id,
        select_iou=0.7,
    )


def baseline(run: Run) -> Baseline:
    return Baseline(
        run_id=run.id,
        layer=5,
        head=4,
        name="best_trivial",
        split="test",
        iou=0.3,
        iou_per_document=[0.2, 0.4],
    )


def small_library(path: Path) -> None:
    """Writes a library with one run: three proposals, a score, a baseline, two choices."""
    with Library.open(path, create=True) as library:
        run = start(library)
        library.record_batch(run, 5, 4, "fit", 0, [written(SMALL), written(LARGE), REJECTED])
        library.record_scores([score()])
        library.set_choice(chosen(run))
        library.set_choice(chosen(run, SMALL, head=3))
        library.record_baselines([baseline(run)])


def example(text: str = LARGE) -> StoredExample:
    return StoredExample(
        program_hash=content_hash(text),
        model="small",
        model_revision="r1",
        layer=5,
        head=4,
        document="test document 1",
        tokens=["A", " cat"],
        real=bytes([255, 0, 100, 155]),
        predicted=bytes([255, 0, 255, 0]),
    )


def full_library(path: Path) -> None:
    """The small library with one row of every kind."""
    small_library(path)
    with Library.open(path) as library:
        library.record_examples([example()])
        library.finish_run(start(library))


def choose(library: Library, run: Run, head: tuple[int, int], text: str) -> None:
    library.set_choice(
        Choice(
            model=run.model,
            model_revision=run.model_revision,
            layer=head[0],
            head=head[1],
            text=text,
            run_id=run.id,
            select_iou=0.5,
        )
    )


def choose_all(library: Library, programs: Sequence[str]) -> None:
    """Chooses programs in turn for every head of the tiny Llama."""
    library.add_programs(programs)
    run = library.start_run(
        key="k",
        model="tiny-llama",
        model_revision="0" * 40,
        texts_sha256=load_texts("stories").sha256,
        settings={},
    )
    for number in range(LAYERS * HEADS):
        choose(library, run, divmod(number, HEADS), programs[number % len(programs)])
