"""Shards as tasks of a Ray cluster: on the cores of this machine, or of many.

A task takes as many cores as this process has threads, and computes with as many, so that sums are
rounded alike here and there: `OMP_NUM_THREADS=1` runs a task on every core.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from grammar.errors import InputError
from interpreter.engine import Item, Result, Shard
from interpreter.threads import use_threads

WAITING = 2
"""Tasks that are handed out per core: enough that none is idle, few that results do not pile up."""


class RayEngine:
    """A cluster; one of this machine's cores is started where no address is given."""

    in_process = False

    def __init__(self, address: str | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise InputError(
                "--engine ray needs `pip install -c constraints.txt -e '.[ray]'`"
            ) from error
        self._ray: Any = ray
        self._threads = torch.get_num_threads()
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"no Ray cluster at {address}: {error}; check --ray-address"
            ) from error
        self._task: Any = ray.remote(num_cpus=self._threads, max_retries=0)(_with_threads)
        self._at_once = max(1, WAITING * int(ray.cluster_resources()["CPU"]) // self._threads)

    def map(
        self, work: Callable[[Shard[Item]], Result], shards: Sequence[Shard[Item]]
    ) -> Iterator[Result]:
        """The result of each shard, in their order; InputError for a shard that fails twice."""
        shared = self._ray.put(work)
        waiting: deque[tuple[Shard[Item], Any]] = deque()
        for shard in shards:
            if len(waiting) == self._at_once:
                yield self._result(shared, *waiting.popleft())
            waiting.append((shard, self._task.remote(shared, shard, self._threads)))
        while waiting:
            yield self._result(shared, *waiting.popleft())

    def _result(self, shared: Any, shard: Shard[Item], running: Any) -> Any:
        failed = (self._ray.exceptions.RayError, InputError)
        try:
            return self._ray.get(running)
        except failed:
            # The worker may have been killed, or its machine: the work itself is done anew.
            again = self._task.remote(shared, shard, self._threads)
        try:
            return self._ray.get(again)
        except failed as error:
            last = str(error).strip().splitlines()[-1]
            raise InputError(f"{shard.name} failed twice, at last with: {last}") from error

    def close(self) -> None:
        """Lets go of the cluster; one that was started here ends."""
        self._ray.shutdown()


def _with_threads(
    work: Callable[[Shard[Item]], Result], shard: Shard[Item], threads: int
) -> Result:
    use_threads(threads)
    return work(shard)
