"""Which program stands for a head once all that is known of it is ranked."""

from dataclasses import replace
from pathlib import Path

from spacy.language import Language

from interpreter.engine import InProcess, Shard
from interpreter.stored_patterns import PatternFile, save_patterns
from interpreter.texts import load_texts
from synth.candidates import pareto_front
from synth.library import Library, Run
from synth.ranking import keep_best
from synth.results import ELSEWHERE, run_results
from synth.summary import TRIVIAL
from tests.exact_heads import doing
from tests.library_samples import written

EXACT = ("67 back(1) + 33 self", "comma")
HEADS = ((0, 0), (0, 1))


def patterns(
    folder: Path, tagger: Language, exact: tuple[str, str] = EXACT
) -> dict[str, list[PatternFile]]:
    documents = load_texts("stories", 8).documents
    found = {}
    for part, some in (("select", documents[:4]), ("test", documents[4:])):
        path = folder / f"{part}.safetensors"
        save_patterns(doing(exact, some, tagger), path)
        found[part] = [Shard(part, 0, (path,))]
    return found


def ranked(
    library: Library, key: str, programs: list[str], files: dict[str, list[PatternFile]]
) -> Run:
    """A run that found these programs, beside the trivial ones, for each of the two heads."""
    run = library.start_run(
        key=key,
        model="small",
        model_revision="r1",
        texts_sha256="t1",
        settings={"heads": [[*head] for head in HEADS], "budget": 0, "limits": {}},
    )
    for head in HEADS:
        library.record_batch(run, *head, "trivial", 0, [*map(written, TRIVIAL)])
        library.record_batch(run, *head, "llm", 0, [*map(written, programs)])
    keep_best(run, HEADS, files, library, InProcess())
    return run


def test_a_later_run_loses_nothing(tmp_path: Path, tagger: Language) -> None:
    """A better program of an earlier run stays, and is shown whichever run is asked for."""
    files = patterns(tmp_path, tagger)
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        first = ranked(library, "first", [EXACT[0]], files)
        found = run_results(library, first)
        assert [head.stage for head in found.heads] == ["llm", "trivial"]
        second = ranked(library, "second", [EXACT[1]], files)
        found = run_results(library, second)
        assert [head.program for head in found.heads] == [*EXACT]
        assert [head.iou for head in found.heads] == [1, 1]
        assert [head.stage for head in found.heads] == [ELSEWHERE, "llm"]
        again = run_results(library, first)
        assert [head.program for head in again.heads] == [*EXACT]
        assert [head.stage for head in again.heads] == ["llm", ELSEWHERE]


def test_a_run_shows_the_programs_of_its_own_weights(tmp_path: Path, tagger: Language) -> None:
    files = patterns(tmp_path, tagger)
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        run = ranked(library, "first", [EXACT[0]], files)
        (_, other) = library.choices(run.model)
        library.set_choice(replace(other, model_revision="r2"))
        assert [(h.layer, h.head) for h in run_results(library, run).heads] == [*HEADS]


def test_what_is_kept_tells_the_front(tmp_path: Path, tagger: Language) -> None:
    """A program of every size that buys something is known with its score, and no other is."""
    stairs = ["back(1)", EXACT[0], "60 back(1) + 28 self + 12 comma"]
    worse = ["noun", "2 self + 1 comma", f"{stairs[2]} + 1 stop", f"{stairs[2]} + 2 quote"]
    files = patterns(tmp_path, tagger, (stairs[2], "comma"))
    with Library.open(tmp_path / "a.sqlite", create=True) as library:
        ranked(library, "first", [*worse, *stairs[1:], "comma"], files)
        fronts = [pareto_front(library, choice) for choice in library.choices()]
        kept = {program.text for program in library.programs()} & {
            program.text
            for score in library.scores(split="select")
            for program in library.programs(score.program_hash)
        }
    assert [[(c.program, c.terms) for c in front] for front in fronts] == [
        [(text, size) for size, text in enumerate(stairs, 1)],
        [("comma", 1)],
    ]
    assert [front[-1].iou for front in fronts] == [1, 1]
    assert kept == {*stairs, "comma"}
