"""Where a command finds a host's files: by the host's own file or by the folder itself."""

from pathlib import Path

import click

from mailagent.cli.failure import load

config_option = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), metavar="FILE", help="The host's own file."
)
state_option = click.option("--state-dir", type=click.Path(path_type=Path), metavar="DIR", help="The agent's folder.")


def place(config_path: Path | None, state_dir: Path | None) -> Path:
    """The `state_dir` that the options name."""
    if (config_path is None) == (state_dir is None):
        raise click.UsageError("name the spool by --config FILE or by --state-dir DIR, one of them")
    return state_dir if state_dir is not None else load(config_path or Path()).state_dir
