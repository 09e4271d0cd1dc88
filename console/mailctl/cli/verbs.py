"""Verbs that change something: plan, confirm, execute, report. What they mean stands in `mailctl.ops`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.completion import complete_pool, complete_selection, complete_vmta
from mailctl.cli.options import Command, Duration, Number, Since, Words, as_json
from mailctl.cli.setup import Setup, pass_setup

if TYPE_CHECKING:
    from datetime import datetime

WAIT_S = "30m"
"""What `--wait` alone waits."""


_REASON = click.option("--reason", type=Words(), default="", help="Why; kept with the operation and shown to others.")
_ASKING = (
    click.option("--dry-run", is_flag=True, help="Print the plan, change nothing."),
    click.option("--yes", is_flag=True, help="Do not ask; needed when nobody is at the terminal."),
    as_json,
)


def resumed(command: Command) -> Command:
    """Options of a verb that goes on when it is run again, and so needs no key."""
    return _with(command, _REASON, *_ASKING)


def common(command: Command) -> Command:
    """Options of every other verb."""
    return _with(
        command,
        _REASON,
        click.option(
            "--key", type=Words(), default="", help="Name of this act: with the same one it is done once (7 days)."
        ),
        click.option("--break-lock", is_flag=True, help="Act although others hold the lock; wants --reason."),
        *_ASKING,
    )


def _with(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def targets(command: Command) -> Command:
    """The selection, and `--all` instead of one."""
    command = click.option("--all", "everything", is_flag=True, help="Allow an empty selection: everything.")(command)
    return click.argument("selection", nargs=-1, metavar="SELECTOR...", shell_complete=complete_selection)(command)


filtered = click.option(
    "--filter",
    default="",
    metavar="LINE",
    help="Narrow by a filter: code:4.7.* age:>2h to:*@example.com !pool:cold words.",
)
override = click.option(
    "--override", is_flag=True, help="Act although a guard or a pre-flight refuses; wants --reason."
)


def _lasting(default: str) -> Callable[[Command], Command]:
    return click.option("--for", "ttl_s", type=Duration(), help=f"How long, such as 30m or 4h. [default: {default}]")


_wait = click.option(
    "--wait",
    "wait_s",
    type=Duration(),
    is_flag=False,
    flag_value=WAIT_S,
    help=f"Wait until empty, at most so long; alone {WAIT_S}. Exit 1 on time-out.",
)


@click.command()
@targets
@click.option("--refuse", is_flag=True, help="Pool: answer 451 to new mail instead of keeping it.")
@_lasting("until undone")
@override
@_wait
@common
@pass_setup
def drain(setup: Setup, /, **given: Any) -> None:
    """Send nothing new, finish, then be idle.

    Acts on pool:, vmta: and host:.

    \b
    Examples:
      mailctl drain pool:marketing --reason "Gmail throttles us"
      mailctl drain vmta:mkt-1 --for 2h --yes --wait=10m --json
      mailctl drain host:mx1 --dry-run
    """
    hand_over(setup, "drain", **given)


@click.command()
@targets
@common
@pass_setup
def undrain(setup: Setup, /, **given: Any) -> None:
    """End a drain.

    Acts on pool:, vmta: and host:.

    \b
    Example:
      mailctl undrain pool:marketing
    """
    hand_over(setup, "undrain", **given)


@click.command()
@targets
@_lasting("30m; a job until it is resumed")
@override
@common
@pass_setup
def suspend(setup: Setup, /, **given: Any) -> None:
    """Hold delivery for a stated time.

    Acts on pool:, vmta:, provider:, queue:, stream:, job:, cell:PROVIDER/VMTA and traffic:PROVIDER/STREAM. A queue
    without a virtual MTA, queue:SITE/, is the whole site; of a job it is `mailctl job pause`.

    \b
    Examples:
      mailctl suspend provider:gmail --for 15m --reason "their incident"
      mailctl suspend queue:gmail/mkt-1
      mailctl suspend queue:mx.example.com/
    """
    hand_over(setup, "suspend", **given)


@click.command()
@targets
@common
@pass_setup
def resume(setup: Setup, /, **given: Any) -> None:
    """End a suspension.

    Acts on pool:, vmta:, provider:, queue:, stream:, job:, cell:PROVIDER/VMTA and traffic:PROVIDER/STREAM.

    \b
    Example:
      mailctl resume provider:gmail
    """
    hand_over(setup, "resume", **given)


@click.command()
@targets
@click.option(
    "--standby",
    default="",
    shell_complete=complete_vmta,
    help="The virtual MTA to take over. [default: the first fit one]",
)
@_lasting("until undone")
@override
@_wait
@common
@pass_setup
def rotate(setup: Setup, /, **given: Any) -> None:
    """Swap a virtual MTA for a warm standby.

    The standby is of the same pool on the same host; mail that was deferred by the old address leaves from the new one.

    \b
    Examples:
      mailctl rotate vmta:mkt-1 --reason "throttled by Gmail"
      mailctl rotate vmta:mkt-1 --standby mkt-2 --dry-run
    """
    hand_over(setup, "rotate", **given)


@click.command()
@targets
@_lasting("4h")
@common
@pass_setup
def limit(setup: Setup, /, selection: tuple[str, ...], **given: Any) -> None:
    """Lower one limit for a time.

    Acts on vmta:, provider:, queue: and cell:. KEY=VALUE stands beside the selectors; keys are connections,
    messages_per_connection, recipients_per_connection, recipients_per_transaction, rate, connect_rate, bytes_rate,
    provider_connections, provider_rate, vmta_connections and vmta_rate.

    \b
    Example:
      mailctl limit provider:gmail provider_rate=10/s --for 1h
    """
    settings = [word for word in selection if "=" in word and ":" not in word.partition("=")[0]]
    if len(settings) != 1:
        raise click.UsageError("limit wants one KEY=VALUE, such as connections=2")
    key, _, value = settings[0].partition("=")
    rest = tuple(word for word in selection if word not in settings)
    hand_over(setup, "limit", selection=rest, limit=key, value=value, **given)


@click.command()
@targets
@filtered
@click.option(
    "--spread", "spread_s", type=Duration(), default="1m", show_default=True, help="Spread the attempts over this."
)
@click.option("--max-affected", type=Number(1), help="Refuse when more recipients match.")
@common
@pass_setup
def retry(setup: Setup, /, **given: Any) -> None:
    """Make deferred mail due now, paced.

    All selectors narrow; the attempts are spread so that they do not clump.

    \b
    Examples:
      mailctl retry provider:gmail pool:marketing
      mailctl retry domain:example.com --yes --max-affected 500
      mailctl retry provider:gmail --filter 'code:4.7.* age:>2h !"mailbox full"'
    """
    hand_over(setup, "retry", **given)


_most = click.option("--max-affected", type=Number(1), help="Refuse when more recipients match.")


@click.command()
@targets
@filtered
@_lasting("30m")
@_most
@override
@common
@pass_setup
def hold(setup: Setup, /, **given: Any) -> None:
    """Keep waiting mail back for a time.

    All selectors narrow. What matches now is meant: mail that arrives later is not held. Mail that is on its way is
    left alone and counted in the report.

    \b
    Examples:
      mailctl hold group:1f0a33b7c2d4e5f6 --for 2h --reason "wrong link in it"
      mailctl hold message:01K4B2T9QX3F7M2PA
    """
    hand_over(setup, "hold", **given)


@click.command()
@targets
@filtered
@_most
@common
@pass_setup
def release(setup: Setup, /, **given: Any) -> None:
    """Let held mail go.

    All selectors narrow; only mail that a hold has is meant. What is overdue leaves spread over a minute.

    \b
    Example:
      mailctl release provider:gmail
    """
    hand_over(setup, "release", **given)


@click.command()
@targets
@filtered
@click.option(
    "--to", "pool", required=True, shell_complete=complete_pool, metavar="POOL", help="The pool to send from."
)
@_most
@common
@pass_setup
def rebind(setup: Setup, /, **given: Any) -> None:
    """Send waiting mail from another pool.

    It is signed anew with that pool's keys and keeps its age, its attempts and its next try. A host without the pool
    refuses.

    \b
    Example:
      mailctl rebind pool:marketing provider:gmail --to marketing-b
    """
    hand_over(setup, "rebind", **given)


@click.command()
@targets
@filtered
@_most
@common
@pass_setup
def requeue(setup: Setup, /, **given: Any) -> None:
    """Put waiting mail through a Postfix queue anew.

    Addresses are rewritten and routes looked up again, as after a change of its maps; each message gets a new queue id.
    Held mail is left alone. Only hosts that run Postfix have this.

    \b
    Example:
      mailctl requeue domain:moved.example --reason "new transport"
    """
    hand_over(setup, "requeue", **given)


@click.command()
@targets
@common
@pass_setup
def probe(setup: Setup, /, **given: Any) -> None:
    """Send one waiting message through a suspended path.

    Acts on queue:SITE/VMTA and cell:PROVIDER/VMTA. The report has the reply; the suspension stays as it is.

    \b
    Example:
      mailctl probe cell:gmail/mkt-1 --reason "are we forgiven?"
    """
    hand_over(setup, "probe", **given)


@click.command()
@targets
@filtered
@_most
@common
@pass_setup
def bounce(setup: Setup, /, **given: Any) -> None:
    """Give waiting mail up, with a DSN to its senders.

    It waits for five minutes first, in which `mailctl undo` takes it back.

    \b
    Example:
      mailctl bounce domain:gone.example --reason "the company is no more"
    """
    hand_over(setup, "bounce", **given)


@click.command()
@targets
@filtered
@_most
@common
@pass_setup
def delete(setup: Setup, /, **given: Any) -> None:
    """Delete waiting mail; nobody is told.

    It waits for five minutes first, in which `mailctl undo` takes it back. Each recipient is a line in accounting.

    \b
    Example:
      mailctl delete sender:loop@example.com --dry-run
    """
    hand_over(setup, "delete", **given)


@click.command()
@click.argument("directive", metavar="DIRECTIVE")
@override
@common
@pass_setup
def cancel(setup: Setup, /, directive: str, **given: Any) -> None:
    """End one standing order by its id.

    `mailctl directives` lists them.

    \b
    Example:
      mailctl cancel 01k4b2t9qx3f7m2p
    """
    hand_over(setup, "cancel", subject=directive, **given)


@click.command()
@click.argument("directive", metavar="DIRECTIVE")
@click.option("--for", "ttl_s", type=Duration(), help="End so long from now, such as 10m.")
@click.option("--pin/--unpin", default=None, help="Automation leaves it alone, or may change and end it again.")
@override
@common
@pass_setup
def edit(setup: Setup, /, directive: str, **given: Any) -> None:
    """Shorten, extend or pin one standing order by its id.

    `mailctl directives` and `mailctl automation` list them.

    \b
    Examples:
      mailctl edit auto-1795366084000-3-1 --for 10m
      mailctl edit auto-1795366084000-3-1 --pin --reason "they asked for it"
    """
    hand_over(setup, "edit", subject=directive, **given)


@click.command()
@click.argument("operation", metavar="OPERATION | last", required=False)
@click.option("--mine", is_flag=True, help="All that I did since --since, newest first.")
@click.option("--since", type=Since(), help="14:00 (UTC), 2h ago, or 2026-07-01T09:00:00Z.")
@override
@common
@pass_setup
def undo(setup: Setup, /, operation: str | None, mine: bool, since: "datetime | None", **given: Any) -> None:
    """Undo an operation on every host that executed it.

    `last` is the last thing you did that stands; undos do not count, so each call goes one step further back. What
    cannot be undone is refused with the reason.

    \b
    Examples:
      mailctl undo 1q7p3k2m9x4a8bc
      mailctl undo last
      mailctl undo --mine --since 14:00
    """
    if (operation is not None) == mine or mine != (since is not None):
        raise click.UsageError("name an operation or `last`, or give --mine with --since")
    hand_over(setup, "undo", subject=operation or "", since=since, **given)


COMMANDS = (
    drain,
    undrain,
    suspend,
    resume,
    rotate,
    limit,
    retry,
    hold,
    release,
    rebind,
    probe,
    bounce,
    delete,
    requeue,
    cancel,
    edit,
    undo,
)


def hand_over(
    setup: Setup,
    verb: str,
    *,
    selection: Sequence[str] = (),
    subject: str = "",
    dry_run: bool,
    yes: bool,
    as_json: bool,
    wait_s: int | None = None,
    since: "datetime | None" = None,
    **options: Any,
) -> None:
    """Hand a verb over to `act`, which loads what verbs need."""
    from mailctl.cli.act import Manner, act
    from mailctl.ops import Options, Verb

    manner = Manner(dry_run=dry_run, yes=yes, as_json=as_json, wait_s=wait_s)
    act(setup, Verb(verb), selection, subject, Options(**options), manner, since=since)
