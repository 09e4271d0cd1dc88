"""The fleet lock: while one operator holds it, verbs of others are refused."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Duration, Listed, as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width
from mailctl.cli.verbs import common

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.group(cls=Listed)
def lock() -> None:
    """Keep others from changing the fleet for a time.

    Each host keeps the lock with owner, reason and end, and refuses verbs of others with these. It binds people:
    automation and the flow of mail go on.
    """


@lock.command("take")
@selectors
@click.option("--for", "ttl_s", type=Duration(), help="How long, 24h at most. [default: 30m]")
@common
@pass_setup
def take(setup: Setup, /, selection: Sequence[str], **given: Any) -> None:
    """Take the lock of all hosts, or of those named.

    Taken again, it gets another end. A host that others hold refuses; --break-lock takes it over.

    \b
    Examples:
      mailctl lock take --reason "moving pools" --for 1h
      mailctl lock take host:mx1 --reason "repair"
    """
    from mailagent.api.ids import OpId
    from mailagent.api.lock import LockTake

    _order(setup, "lock_take", selection, LockTake(op_id=OpId("")), **given)


@lock.command("release")
@selectors
@common
@pass_setup
def release(setup: Setup, /, selection: Sequence[str], **given: Any) -> None:
    """Give the lock back.

    That of others with --break-lock and a reason.

    \b
    Example:
      mailctl lock release
    """
    from mailagent.api.ids import OpId
    from mailagent.api.lock import LockRelease

    _order(setup, "lock_release", selection, LockRelease(op_id=OpId("")), **given)


@lock.command("show")
@selectors
@as_json
@pass_setup
def show_locks(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """Show who holds the lock of which host, why and how long.

    \b
    Example:
      mailctl lock show --json
    """
    from mailagent.api.directives import DirectiveKind
    from mailctl.cli.rows import lock_table
    from mailctl.cli.show import Shown, selected, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = [
            (host.name, view.directive)
            for host in selected(fleet.state, selection)
            for view in (host.snapshot.directives if host.snapshot else ())
            if view.directive.kind is DirectiveKind.LOCK
        ]
        return Shown([at_host(host, one) for host, one in found], lock_table(found, width()))

    show(setup, "lock", selection, look, as_json=as_json, kinds=())


def _order(
    setup: Setup,
    verb: str,
    words: Sequence[str],
    request: Any,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    from mailctl.cli.act import Asked, Manner, act
    from mailctl.ops import Options, Verb

    manner = Manner(dry_run=dry_run, yes=yes, as_json=as_json, wait_s=None)
    act(setup, Verb(verb), words, "", Options(**options), manner, Asked(request, "lock", ()))
