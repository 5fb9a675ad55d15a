"""The options that say where shards run, for every command that works on many."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import click

from interpreter.engine import Engine, InProcess


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --engine and --ray-address."""
    address = click.option(
        "--ray-address",
        metavar="HOST:PORT",
        help="A running Ray cluster; without it one of this machine's cores is started.",
    )
    engine = click.option(
        "--engine",
        type=click.Choice(["process", "ray"]),
        default="process",
        show_default=True,
        help="Where shards of texts and heads are worked on: in this process, or by Ray's workers.",
    )
    return engine(address(command))


@contextmanager
def opened_engine(engine: str, ray_address: str | None) -> Iterator[Engine]:
    """The engine of these options."""
    if engine == "process":
        if ray_address is not None:
            raise click.UsageError("--ray-address needs --engine ray")
        yield InProcess()
        return
    from synth.ray_engine import RayEngine

    with closing(RayEngine(ray_address)) as opened:
        yield opened
