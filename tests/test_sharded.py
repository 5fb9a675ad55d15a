"""Shards give what one process gives, wherever they run."""

import importlib.util
import os
import pickle
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from grammar.errors import InputError
from interpreter.engine import Engine, InProcess, Shard, shards
from synth import refining, scoring, sharded
from synth.job import Settings
from synth.library import Library
from synth.library_records import Record
from synth.pipeline import synthesize
from synth.prompt import EXAMPLES
from synth.refining import START
from synth.scorer import Scorer, ShardScores
from synth.summary import TRIVIAL
from tests.runs import tiny_job
from tests.test_pipeline import TEXTS, FixedProposer
from tests.tiny_models import tiny

pytestmark = pytest.mark.usefixtures("tagger")

HEADS = ((0, 1), (1, 0), (1, 3))
SETTINGS = Settings(heads=HEADS, budget=8, seed=3, max_tokens=24)
TIMES = ("first_seen", "started", "finished", "seconds")


def timeless(value: Any) -> Any:
    """The same without the times at which things were written."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def content(library: Library) -> list[Record]:
    return [timeless(record) for record in library.records()]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "HEADS", 2)
    monkeypatch.setattr(sharded, "TEXTS", 1)


class Elsewhere:
    """Shares nothing with this process: work and results are sent as bytes."""

    in_process = False

    def map(self, work: Any, parts: Any) -> Iterator[Any]:
        return (sent(sent(work)(sent(part))) for part in parts)


def sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def found(
    folder: Path,
    engine: Engine,
    proposer: Callable[[], Any] = FixedProposer,
    library: Library | None = None,
) -> list[Record]:
    with library or Library.in_memory("found") as kept:
        job = tiny_job(proposer, TEXTS, SETTINGS, folder, engine)
        synthesize(job, TEXTS, kept, engine)
        return content(kept)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """What one process finds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded, "HEADS", 2)
        patch.setattr(sharded, "TEXTS", 1)
        return found(tmp_path_factory.mktemp("whole"), InProcess())


def test_shards_of_anything() -> None:
    assert [(s.name, s.start, s.items) for s in shards("texts", "abcde", 2)] == [
        ("texts 1-2", 0, ("a", "b")),
        ("texts 3-4", 2, ("c", "d")),
        ("texts 5-5", 4, ("e",)),
    ]


def test_the_same_library_elsewhere(tmp_path: Path, whole: list[Record]) -> None:
    assert any(record["kind"] == "choice" for record in whole)
    assert found(tmp_path, Elsewhere()) == whole
    assert not [*tmp_path.iterdir()]


def test_the_same_library_whatever_the_shards_of_texts(
    tmp_path: Path, whole: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded, "TEXTS", 8)
    once = found(tmp_path, InProcess())
    assert len(once) == len(whole)
    for one, other in zip(once, whole, strict=True):
        assert close(one, other)


def close(one: Any, other: Any) -> bool:
    """Equal but for the rounding of sums."""
    if isinstance(one, float):
        return bool(one == pytest.approx(other, abs=2e-6))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return bool(one == other)


class Stops(InProcess):
    """Ends where the named kind of work begins, after some shards of it."""

    def __init__(self, what: str, after: int) -> None:
        self._what, self._after = what, after

    def map(self, work: Any, parts: Any) -> Iterator[Any]:
        for number, part in enumerate(parts):
            if number == self._after and part.name.startswith(self._what):
                raise InputError("cut off")
            yield work(part)


@pytest.mark.parametrize("engine", [InProcess, Elsewhere])
def test_a_run_that_was_cut_off_captures_nothing_again(
    tmp_path: Path, whole: list[Record], engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library.open(tmp_path / "a.sqlite", create=True)
    with pytest.raises(InputError, match="cut off"):
        found(tmp_path, Stops("train texts", 2), library=library)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(kept) == 2
    with pytest.raises(InputError, match="cut off"):
        found(tmp_path, Stops("heads", 0), library=Library.open(tmp_path / "a.sqlite"))
    assert (
        kept.items() <= {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}.items()
    )
    monkeypatch.setattr(sharded, "captured", None)
    assert found(tmp_path, engine(), library=Library.open(tmp_path / "a.sqlite")) == whole
    assert not [*tmp_path.rglob("*.safetensors")]


def test_finished_heads_are_not_refined_again(
    tmp_path: Path, whole: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneMore(refining.Refiner):
        left = 1

        def refined(self, best: Any, target: Any) -> Any:
            if OneMore.left == 0:
                raise InputError("cut off")
            OneMore.left -= 1
            return super().refined(best, target)

    refining.known_refiner.cache_clear()
    monkeypatch.setattr(refining, "Refiner", OneMore)
    with pytest.raises(InputError, match="cut off"):
        found(tmp_path, InProcess(), library=Library.open(tmp_path / "a.sqlite", create=True))
    OneMore.left = len(HEADS) - 1
    assert found(tmp_path, InProcess(), library=Library.open(tmp_path / "a.sqlite")) == whole
    assert OneMore.left == 0
    refining.known_refiner.cache_clear()


def test_every_program_is_evaluated_once_on_each_select_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[tuple[str, str]] = Counter()

    def counted(self: Scorer, texts: Sequence[str]) -> Any:
        asked.update((str(self.patterns.tokens), text) for text in texts)
        return ious(self, texts)

    ious = Scorer.ious
    monkeypatch.setattr(Scorer, "ious", counted)
    records = found(tmp_path, InProcess())
    written = {r["text"] for r in records if r["kind"] == "program"} - {*TRIVIAL, *EXAMPLES, START}
    assert {n for (_, text), n in asked.items() if text in written} == {1}


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with file_sizes_under(10_000), pytest.raises(InputError, match=r"cannot be written.*make room"):
        found(tmp_path, InProcess())
    assert not [*tmp_path.rglob("*.safetensors")]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        found(tmp_path / "file", InProcess())


@contextmanager
def file_sizes_under(count: int) -> Iterator[None]:
    """No file can grow past so many bytes meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: headscript[ray]"
)


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[Engine]:
    from synth.ray_engine import RayEngine

    with pytest.MonkeyPatch.context() as patch:
        # The workers find the tests, and so the tiny models, where this process does.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
        engine = RayEngine()
        yield engine
        engine.close()


@needs_ray
@pytest.mark.ray
def test_the_same_library_on_a_cluster(
    tmp_path: Path, whole: list[Record], ray_engine: Engine
) -> None:
    assert found(tmp_path, ray_engine) == whole


class Killed(FixedProposer):
    """Kills its process, and so a worker, the first time that it is asked in some folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._mark = folder / "killed"

    def propose(self, prompt: Any, count: int, seed: int) -> Any:
        if not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().propose(prompt, count, seed)


@needs_ray
@pytest.mark.ray
def test_nothing_is_lost_with_a_worker(
    tmp_path: Path, whole: list[Record], ray_engine: Engine
) -> None:
    assert found(tmp_path / "patterns", ray_engine, partial(Killed, tmp_path)) == whole
    assert (tmp_path / "killed").exists()


def fails(shard: Shard[int]) -> int:
    if 3 in shard.items:
        raise ValueError("three is too many")
    return sum(shard.items)


@needs_ray
@pytest.mark.ray
def test_a_shard_that_fails_twice_is_named(ray_engine: Engine) -> None:
    assert [*ray_engine.map(fails, shards("numbers", range(3), 2))] == [1, 2]
    with pytest.raises(InputError, match=r"numbers 3-4 failed twice.*three is too many"):
        list(ray_engine.map(fails, shards("numbers", range(6), 2)))


@needs_ray
@pytest.mark.ray
def test_the_same_scores_on_a_cluster(ray_engine: Engine) -> None:
    chosen = [((0, 1), "first"), ((1, 2), "near(noun, 4)")]
    parts = shards("texts", TEXTS.documents, 3)
    work = partial(scored_tiny, chosen)
    assert [*ray_engine.map(work, parts)] == [*InProcess().map(work, parts)]


def scored_tiny(chosen: Any, shard: Shard[str]) -> ShardScores:
    return scoring.score_shard(partial(tiny, "llama"), chosen, 24, shard)
