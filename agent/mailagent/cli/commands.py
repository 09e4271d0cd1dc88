"""The commands. Each imports what it needs itself, so that `--help` stays quick."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailagent.version import __version__

if TYPE_CHECKING:
    from mailagent.config import AgentConfig, ConfigError

FAILED, USAGE, UNREACHABLE, REFUSED, UNKNOWN, INTERRUPTED = 1, 2, 3, 4, 6, 130
"""Exit codes beside 0; the console uses the same ones."""
DEFAULT_CONFIG = "/etc/mailagent/agent.yaml"
DEFAULT_DEADLINE_S = 30.0

_config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    metavar="FILE",
    help="The host's own file.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="mailagent")
def cli() -> None:
    """A durable queue and delivery engine for one mail-sending host.

    \b
    Examples:
      mailagent validate --config agent.yaml
      mailagent run --config agent.yaml
      mailagent reload --config agent.yaml
      mailagent spool list --state-dir /var/lib/mailagent --limit 20
    """


@cli.command()
@_config_option
def run(config_path: Path) -> None:
    """Run the agent in the foreground.

    SIGTERM and SIGINT stop it gracefully, a second one at once. SIGHUP loads the file again and reopens the logs.
    """
    from mailagent.config import ConfigError
    from mailagent.daemon import TwoOwners
    from mailagent.daemon import run as run_agent
    from mailagent.spool.errors import StorageError

    try:
        code = run_agent(config_path)
    except ConfigError as exc:
        raise _unusable(exc) from exc
    except (TwoOwners, StorageError, OSError) as exc:
        raise _Failure(str(exc), FAILED) from exc
    sys.exit(code)


@cli.command()
@_config_option
def validate(config_path: Path) -> None:
    """Check a host's file: every mistake at once, with file, line and key."""
    config = _load(config_path)
    counts = (
        _count(len(config.virtual_mtas), "virtual MTA"),
        _count(len(config.pools), "pool"),
        _count(len(config.streams), "stream"),
        _count(len(config.routes), "route"),
    )
    click.echo(f"{config_path}: valid: host {config.host}, {', '.join(counts)}")


@cli.command()
@_config_option
@click.option(
    "--socket", type=click.Path(path_type=Path), metavar="PATH", help="The agent's socket, if not the file's."
)
@click.option("--reason", default="", metavar="TEXT", help="Goes into the audit log.")
@click.option("--timeout", default=DEFAULT_DEADLINE_S, show_default=True, metavar="SECONDS", help="Wait so long.")
def reload(config_path: Path, socket: Path | None, reason: str, timeout: float) -> None:
    """Make the running agent load its file again: whole, or not at all with the reason."""
    import secrets

    from mailagent.api.errors import ApiError, InvalidRequest, Refused, RoleRefused
    from mailagent.api.ids import OpId
    from mailagent.api.operations import OperationResult
    from mailagent.api.requests import Reload
    from mailagent.cli.call import AgentCalls, AgentSilent

    path = socket or _load(config_path).rpc.socket
    try:
        with AgentCalls(path, timeout) as agent:
            result = agent.call("reload", Reload(op_id=OpId(f"reload-{secrets.token_hex(8)}"), reason=reason))
    except AgentSilent as exc:
        raise _Failure(str(exc), UNKNOWN if exc.sent else UNREACHABLE) from exc
    except PermissionError as exc:
        raise _Failure(
            f"{path}: this user may not open the agent's socket; join a group of rpc.roles", REFUSED
        ) from exc
    except OSError as exc:
        raise _Failure(f"no agent answers at {path}: {exc.strerror}; is it running?", UNREACHABLE) from exc
    except (Refused, RoleRefused) as exc:
        raise _Failure(exc.message, REFUSED) from exc
    except InvalidRequest as exc:
        raise _Failure(exc.message, USAGE) from exc
    except ApiError as exc:
        raise _Failure(exc.message, FAILED) from exc
    assert isinstance(result, OperationResult)  # noqa: S101 - the method table says so
    click.echo(f"{result.result}: {result.detail}")
    for warning in result.warnings:
        click.echo(f"mailagent: warning: {warning}", err=True)


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(f"mailagent {__version__}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: every error is a sentence on stderr and an exit code."""
    try:
        cli.main(args=arguments, prog_name="mailagent", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message(), err=True)
        sys.exit(USAGE)
    except click.UsageError as exc:
        if exc.ctx:
            click.echo(exc.ctx.get_usage(), err=True)
        _fail(exc.format_message(), USAGE)
    except _Failure as exc:
        _fail(str(exc), exc.code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)


class _Failure(Exception):
    """An end with a message and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _fail(message: str, code: int) -> None:
    click.echo(f"mailagent: error: {message}", err=True)
    sys.exit(code)


def _unusable(error: "ConfigError") -> _Failure:
    """Print every mistake of a file; the failure to raise."""
    if len(error.errors) == 1 and not error.errors[0].line:
        return _Failure(str(error), USAGE)
    click.echo(str(error), err=True)
    return _Failure(f"{_count(len(error.errors), 'mistake')} in {error.errors[0].file}", USAGE)


def _load(path: Path) -> "AgentConfig":
    from mailagent.config import ConfigError, load_agent

    try:
        return load_agent(path)
    except ConfigError as exc:
        raise _unusable(exc) from exc


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
