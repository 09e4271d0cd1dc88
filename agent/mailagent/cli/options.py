"""Options that several commands have."""

from pathlib import Path
from typing import Any

import click

DEFAULT_CONFIG = "/etc/mailagent/agent.yaml"
DEFAULT_DEADLINE_S = 30.0


class Listed(click.Group):
    """Lists its commands with their whole first line, over two lines where it does not fit."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them, in order of their names."""
        commands = [(name, found) for name in self.list_commands(ctx) if (found := self.get_command(ctx, name))]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in commands])


class Seconds(click.FloatRange):
    """From a tenth of a second to an hour. `nan` is between none."""

    name = "number"

    def __init__(self) -> None:
        super().__init__(0.1, 3600)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`value`, if it is one."""
        found: float = super().convert(value, param, ctx)
        if found != found:  # nan
            self.fail(f"{value!r} is not a valid number.", param, ctx)
        return found


config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    metavar="FILE",
    help="The host's own file.",
)
socket_option = click.option(
    "--socket", type=click.Path(path_type=Path), metavar="PATH", help="The agent's socket, if not the file's."
)
timeout_option = click.option(
    "--timeout",
    type=Seconds(),
    default=DEFAULT_DEADLINE_S,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long.",
)
