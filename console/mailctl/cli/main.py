"""`mailctl`: the group of commands, its global options, and what errors become."""

import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mailagent.version import __version__
from mailctl.cli import (
    alerts,
    automation,
    block_lists,
    check,
    checks,
    completion,
    credentials,
    demo,
    dkim,
    evacuate,
    export,
    feedback,
    files,
    find,
    identity,
    jobs,
    lists,
    lock,
    metrics,
    playbook,
    reads,
    records,
    replay,
    report,
    rollout,
    routine,
    suppression,
    timeline,
    trace,
    verbs,
    warm_up,
    watch,
)
from mailctl.cli.exits import Exit
from mailctl.cli.options import Decimal
from mailctl.cli.setup import Setup, complain

DEFAULT_TIMEOUT_S = 10.0


class _Sections(click.Group):
    """Lists its commands by what they are for, in the order in which an operator learns them."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of a pipe (`| head`) has seen enough; click would make it a failure
            _write_no_more()
            raise click.exceptions.Exit(Exit.DONE) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(command.name or "", command.get_short_help_str(100)) for command in commands])


@click.group(
    cls=_Sections,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--fleet",
    "fleet_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The fleet file, or on a host its agent.yaml. [default: $MAILCTL_FLEET, ./fleet.yaml, ~/.config/mailctl/, "
    "/etc/mailctl/, /etc/mailagent/agent.yaml]",
)
@click.option(
    "--as", "role", type=click.Choice(["viewer", "operator", "admin"]), help="Act with at most this role; only lowers."
)
@click.option(
    "--read-only/--read-write",
    "read_only",
    default=None,
    help="Change nothing, whatever the role. [default: read_only of ~/.config/mailctl/config.yaml, else --read-write]",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Decimal(0.1, 600),
    metavar="SECONDS",
    help="How long to wait for hosts, and then for each answer of one. [default: "
    f"{DEFAULT_TIMEOUT_S:g}, and for answers what the command needs]",
)
@click.version_option(__version__, "--version", prog_name="mailctl", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    context: click.Context, fleet_file: Path | None, role: str | None, read_only: bool | None, timeout_s: float | None
) -> None:
    """Operate a fleet of mail-sending hosts. Without a command: open the console.

    Selections are one grammar everywhere: pool:marketing, vmta:mkt-1, host:mx1, provider:gmail, queue:gmail/mkt-1,
    stream:news. Several narrow; no host: means all hosts.

    \b
    Examples:
      mailctl                                    the console
      mailctl status
      mailctl drain pool:marketing host:mx1 --reason "Gmail throttles us" --wait
      mailctl rotate vmta:mkt-1 --dry-run
      mailctl undo 1q7p3k2m9x4a8bc
    """
    setup = Setup(
        fleet_file=fleet_file,
        role=role,
        timeout_s=timeout_s or DEFAULT_TIMEOUT_S,
        answer_s=timeout_s,
        wants_read_only=read_only,
    )
    context.obj = setup
    if context.invoked_subcommand is None:
        config = setup.load()
        if not sys.stdout.isatty():
            raise click.UsageError("the console needs a terminal; for scripts there is `mailctl status --json`")
        from mailagent.api.requests import Role
        from mailctl.tui.start import run

        as_role = Role(role) if role else None
        context.exit(run(config, setup.path(), as_role=as_role, read_only=setup.read_only))


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"mailctl {__version__}")


_LOOK = (
    *(
        "alarms",
        "status",
        "hosts",
        "pools",
        "ips",
        "destinations",
        "why",
        "queues",
        "deferred",
        "messages",
        "message",
        "find",
        "ages",
    ),
    *(
        "directives",
        "automation",
        "block-lists",
        "identity",
        "warm-up",
        "operations",
        "operation",
        "jobs",
        "history",
        "timeline",
        "trace",
        "events",
        "feedback",
        "checks",
        "in-doubt",
    ),
)


def _in_order(commands: Sequence[click.Command], names: Sequence[str]) -> tuple[click.Command, ...]:
    """`commands` in the order of `names`; those without a place come last."""
    return tuple(sorted(commands, key=lambda one: names.index(one.name) if one.name in names else len(names)))


SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Look": _in_order(
        (
            *reads.COMMANDS,
            *automation.COMMANDS,
            block_lists.block_lists,
            identity.identity,
            warm_up.warm_up,
            *lists.COMMANDS,
            find.find,
            jobs.jobs,
            *records.COMMANDS,
            *feedback.COMMANDS,
            checks.checks,
            *timeline.COMMANDS,
            trace.trace,
        ),
        _LOOK,
    ),
    "From cron": (
        check.check,
        report.report,
        routine.routine,
        alerts.alerts,
        playbook.playbook,
        watch.watch,
        metrics.metrics,
    ),
    "Act": (
        *verbs.COMMANDS,
        timeline.note,
        lock.lock,
        evacuate.evacuate,
        jobs.job,
        suppression.suppression,
        dkim.dkim,
        credentials.credentials,
    ),
    "Files and demo": (
        *files.COMMANDS,
        *rollout.COMMANDS,
        *replay.COMMANDS,
        export.export,
        completion.completion,
        demo.demo,
        version,
    ),
}
for _commands in SECTIONS.values():
    for _command in _commands:
        cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Leaves with one of the codes of `Exit`; an error is a sentence on stderr, not a traceback."""
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of another encoding shows \u2014, and ends nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = [_text(word) for word in (sys.argv[1:] if arguments is None else arguments)]
        code = cli.main(args=arguments, prog_name="mailctl", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else Exit.DONE)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message(), err=True)
        sys.exit(Exit.USAGE)
    except click.NoSuchOption as exc:
        _complain_of_option(exc)
        sys.exit(Exit.USAGE)
    except click.ClickException as exc:
        complain(" ".join(exc.format_message().split()))  # click writes choices below each other
        _point_to_help(exc)
        sys.exit(Exit.USAGE)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(Exit.INTERRUPTED)
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        _write_no_more()
        complain(f"the result could not be written: {exc.strerror}")
        sys.exit(Exit.INCOMPLETE)
    except Exception as exc:
        if not _is_ours(exc):
            raise
        complain(str(exc))
        sys.exit(Exit.USAGE)


def _complain_of_option(exc: click.NoSuchOption) -> None:
    """Say that there is no such option; of one that all commands have, where it stands."""
    ours = next((one for one in cli.params if exc.option_name in (*one.opts, *one.secondary_opts)), None)
    if ours is None or exc.ctx is None or exc.ctx.parent is None:
        complain(exc.format_message())
    else:
        command = exc.ctx.command_path.split(" ")[1]
        value = "" if isinstance(ours, click.Option) and ours.is_flag else " …"
        place = f"it stands before the command: mailctl {exc.option_name}{value} {command}"
        complain(f"No such option '{exc.option_name}'; {place}")
    _point_to_help(exc)


def _point_to_help(exc: click.ClickException) -> None:
    if isinstance(exc, click.UsageError) and exc.ctx is not None:
        click.echo(f"mailctl: see {exc.ctx.command_path} --help", err=True)


def _text(word: str) -> str:
    """An argument as text, also of UTF-8 in a locale that has none: what is no text can be told to no host.

    Raises:
        click.UsageError: it is no text.
    """
    if word.isprintable() or not any("\udc80" <= char <= "\udcff" for char in word):
        return word
    try:
        return os.fsencode(word).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"an argument is not UTF-8: {os.fsencode(word)[:100]!r}") from exc


def _write_no_more() -> None:
    """Let what stdout still holds go nowhere: Python would complain once more when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed() -> None:
    """Put /dev/null in the place of standard streams that are closed (`>&-`), as cron or a daemon may start us."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end


def _is_ours(exc: Exception) -> bool:
    """Whether the error speaks for itself: a bad file or a bad selection. Its class is loaded if it was raised."""
    ours = [
        kind
        for module, name in (("mailagent.config.errors", "ConfigError"), ("mailctl.ops.errors", "OpsError"))
        if (loaded := sys.modules.get(module)) and (kind := getattr(loaded, name))
    ]
    return isinstance(exc, tuple(ours))
