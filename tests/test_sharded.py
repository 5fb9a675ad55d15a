"""Shards give what one process gives, wherever they run."""

import importlib.util
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from grammar.errors import InputError
from interpreter.engine import Engine, InProcess, Shard, shards
from synth import proposing, scoring, sharded
from synth.library import Library
from synth.library_records import Record
from synth.pipeline import Settings, synthesize
from synth.sharded import Job, synthesize_sharded
from tests.test_pipeline import TEXTS, FixedProposer
from tests.tiny_models import tiny

pytestmark = pytest.mark.usefixtures("tagger")

HEADS = ((0, 1), (0, 2), (1, 0), (1, 2), (1, 3))
NAMED = "L0H1-2,L1H0,L1H2-3"
SETTINGS = Settings(heads=HEADS, budget=8, seed=3, max_tokens=24)
TIMES = ("first_seen", "started", "finished", "seconds")


def timeless(value: Any) -> Any:
    """The same without the times at which things were written."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def content(library: Library) -> list[Record]:
    return [timeless(record) for record in library.records()]


@pytest.fixture(scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposing, "HEADS", 2)
        patch.setattr(sharded, "HEADS", 2)
        patch.setattr(sharded, "TEXTS", 1)
        yield


@pytest.fixture(scope="module")
def whole(small_shards: None) -> list[Record]:
    with Library.in_memory("whole") as library:
        synthesize(tiny("llama"), TEXTS, FixedProposer(), library, SETTINGS)
        return content(library)


def job(folder: Path, proposer: Callable[[], Any] = FixedProposer) -> Job:
    return Job(partial(tiny, "llama"), proposer, SETTINGS, folder)


def sharded_content(folder: Path, engine: Engine, made: Job | None = None) -> list[Record]:
    with Library.in_memory("sharded") as library:
        synthesize_sharded(made or job(folder), NAMED, TEXTS, library, engine)
        return content(library)


def test_shards_of_anything() -> None:
    assert [(s.name, s.start, s.items) for s in shards("texts", "abcde", 2)] == [
        ("texts 1-2", 0, ("a", "b")),
        ("texts 3-4", 2, ("c", "d")),
        ("texts 5-5", 4, ("e",)),
    ]


def test_the_same_library_in_this_process(tmp_path: Path, whole: list[Record]) -> None:
    assert any(record["kind"] == "choice" for record in whole)
    assert sharded_content(tmp_path, InProcess()) == whole
    assert not [*tmp_path.iterdir()]


def test_what_was_captured_before_is_not_captured_again(
    tmp_path: Path, whole: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stops(InProcess):
        def map(self, work: Any, parts: Any) -> Any:
            if parts[0].name.startswith("heads"):
                raise InputError("cut off")
            return super().map(work, parts)

    with Library.in_memory("cut off") as library:
        with pytest.raises(InputError, match="cut off"):
            synthesize_sharded(job(tmp_path), NAMED, TEXTS, library, Stops())
        monkeypatch.setattr(sharded, "captured", None)
        synthesize_sharded(job(tmp_path), NAMED, TEXTS, library, InProcess())
        assert content(library) == whole


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
    assert sharded_content(tmp_path, ray_engine) == whole


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
    made = job(tmp_path / "patterns", partial(Killed, tmp_path))
    assert sharded_content(tmp_path, ray_engine, made) == whole
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


def scored_tiny(chosen: Any, shard: Shard[str]) -> scoring.ShardScores:
    return scoring.score_shard(partial(tiny, "llama"), chosen, 24, shard)
