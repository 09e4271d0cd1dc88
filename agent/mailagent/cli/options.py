"""Options that several commands have."""

from pathlib import Path

import click

DEFAULT_CONFIG = "/etc/mailagent/agent.yaml"
DEFAULT_DEADLINE_S = 30.0

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
    "--timeout", default=DEFAULT_DEADLINE_S, show_default=True, metavar="SECONDS", help="Wait so long."
)
