"""The `headscript` command: every folder brings its subcommands through entry points."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from grammar.errors import InputError
from grammar.rejection import printable


class Commands(click.Group):
    """Subcommands registered under `headscript.commands`, loaded when they are asked for."""

    def _registered(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group="headscript.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._registered())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._registered().get(cmd_name)
        command: click.Command | None = entry.load() if entry else None
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            # One line that no name out of a strange file can break or colour.
            raise click.ClickException(printable(str(error))) from error


@click.group(cls=Commands)
@click.version_option(package_name="headscript")
def main() -> None:
    """Explain the attention heads of pretrained transformers as programs."""
