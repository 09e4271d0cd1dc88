"""The commands. Each imports what it needs itself, so that `--help` stays quick."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mailagent.cli.credentials import credentials
from mailagent.cli.failure import (
    FAILED,
    INTERRUPTED,
    USAGE,
    Failure,
    count,
    is_of_output,
    load,
    unusable,
)
from mailagent.cli.feedback import feedback
from mailagent.cli.log import log
from mailagent.cli.options import Listed, config_option, socket_option, timeout_option
from mailagent.cli.postfix import postfix
from mailagent.cli.rules import classify, rules
from mailagent.cli.spool import spool
from mailagent.version import __version__, is_compiled


class _Group(Listed):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of a pipe (`| head`) has seen enough; click would make it a failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="mailagent")
def cli() -> None:
    """A durable queue and delivery engine for one mail-sending host.

    \b
    Examples:
      mailagent validate --config agent.yaml
      mailagent run --config agent.yaml
      mailagent reload --config agent.yaml
      mailagent spool list --state-dir /var/lib/mailagent --limit 20
      mailagent classify < replies.csv
    """


@cli.command()
@config_option
def run(config_path: Path) -> None:
    """Run the agent in the foreground.

    SIGTERM and SIGINT stop it gracefully, a second one at once. SIGHUP loads the file again and reopens the logs.
    """
    from mailagent.config import ConfigError
    from mailagent.daemon import TwoOwners
    from mailagent.daemon import run as run_agent
    from mailagent.postfix.errors import PostfixError
    from mailagent.spool.errors import StorageError

    try:
        code = run_agent(config_path)
    except ConfigError as exc:
        raise unusable(exc) from exc
    except (TwoOwners, StorageError, PostfixError, OSError) as exc:
        raise Failure(str(exc), FAILED) from exc
    sys.exit(code)


@cli.command()
@config_option
def validate(config_path: Path) -> None:
    """Check a host's file: every mistake at once, with file, line and key.

    Warnings name what has no effect: entries that are dead, shadowed, or never match.
    """
    from mailagent.config import lint_agent
    from mailagent.config.checks.streams import stream_lines

    config = load(config_path, files=True)
    for warning in lint_agent(config_path):
        click.echo(f"mailagent: warning: {warning}", err=True)
    counts = (
        count(len(config.virtual_mtas), "virtual MTA"),
        count(len(config.pools), "pool"),
        count(len(config.streams), "stream"),
        count(len(config.routes), "route"),
    )
    for line in stream_lines(config):
        click.echo(f"{config_path}: {line}")
    click.echo(f"{config_path}: valid: host {config.host}, {', '.join(counts)}")


@cli.command()
@config_option
@socket_option
@click.option("--reason", default="", metavar="TEXT", help="Goes into the audit log.")
@timeout_option
def reload(config_path: Path, socket: Path | None, reason: str, timeout: float) -> None:
    """Make the running agent load its file again: whole, or not at all with the reason."""
    import secrets

    from mailagent.api.ids import OpId
    from mailagent.api.operations import OperationResult
    from mailagent.api.requests import Reload
    from mailagent.cli.calling import calling

    with calling(socket or load(config_path).rpc.socket, timeout) as agent:
        result = agent.call("reload", Reload(op_id=OpId(f"reload-{secrets.token_hex(8)}"), reason=reason))
    assert isinstance(result, OperationResult)  # noqa: S101 - the method table says so
    click.echo(f"{result.result}: {result.detail}")
    for warning in result.warnings:
        click.echo(f"mailagent: warning: {warning}", err=True)


@cli.command()
@config_option
@socket_option
@timeout_option
def ready(config_path: Path, socket: Path | None, timeout: float) -> None:
    """Whether the agent takes mail: exit 0, or 1 with the reason, or 3 when no agent answers."""
    from mailagent.api.requests import Empty
    from mailagent.api.views import Snapshot
    from mailagent.cli.calling import calling

    with calling(socket or load(config_path).rpc.socket, timeout) as agent:
        found = agent.call("snapshot", Empty())
    assert isinstance(found, Snapshot)  # noqa: S101 - the method table says so
    if not found.host.accepting:
        raise Failure(f"not ready: {found.host.intake_reason}", FAILED)
    click.echo("ready")


@cli.command()
@config_option
@socket_option
@timeout_option
@click.option("--json", "as_json", is_flag=True, help="One document.")
def checks(config_path: Path, socket: Path | None, timeout: float, as_json: bool) -> None:
    """What the checks of streams found since the agent started."""
    from mailagent.api import codec
    from mailagent.api.intake import CheckCounts
    from mailagent.api.requests import Empty
    from mailagent.cli.calling import calling

    with calling(socket or load(config_path).rpc.socket, timeout) as agent:
        found = agent.call("checks", Empty())
    assert isinstance(found, CheckCounts)  # noqa: S101 - the method table says so
    if as_json:
        click.echo(codec.encode(found).decode())
        return
    for row in found.rows:
        click.echo(f"{row.stream:24} {row.check:16} warned {row.warned}, refused {row.refused}, moved {row.moved}")


for _command in (spool, credentials, log, classify, rules, feedback, postfix):
    cli.add_command(_command)


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(f"mailagent {__version__}{', hot path compiled' if is_compiled() else ''}")


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
    except Failure as exc:
        _fail(str(exc), exc.code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except OSError as exc:
        if not is_of_output(exc):
            raise
        # Python would complain once more when it flushes what stdout still holds.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(f"the result could not be written: {exc.strerror}", FAILED)


def _fail(message: str, code: int) -> None:
    click.echo(f"mailagent: error: {message}", err=True)
    sys.exit(code)
