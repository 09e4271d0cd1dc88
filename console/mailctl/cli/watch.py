"""`mailctl watch`: the fleet as a stream of JSON lines."""

import asyncio
import select
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mailctl.cli.options import Duration, Number, selectors
from mailctl.cli.setup import Setup, leave, narrate, pass_setup, run

if TYPE_CHECKING:
    from mailctl.fleet import FleetState
    from mailctl.ops import Selection
    from mailctl.ops.news import RowKind

KINDS = ("link", "host", "pool", "vmta", "provider", "destination", "directive")


@click.command()
@selectors
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only such rows; more than once: any.")
@click.option(
    "--every", "every_s", type=Duration(), default=1, metavar="DURATION", help="How often to look.  [default: 1s]"
)
@click.option("--count", type=Number(1), help="End after so many lines.")
@click.option("--for", "for_s", type=Duration(), metavar="DURATION", help="End after that time.")
@pass_setup
def watch(
    setup: Setup,
    selection: Sequence[str],
    kinds: Sequence[str],
    every_s: int,
    count: int | None,
    for_s: int | None,
) -> None:
    """Follow the fleet as JSON lines: what is, then what changes.

    One object a line: `at`, `host`, `event` (snapshot, change, gone), `kind`, `key`, and the `row` as the wire has it.
    Links are told whatever is selected. Ends with ctrl+c, with its reader, and by --count or --for.

    \b
    Examples:
      mailctl watch --kind link --kind directive
      mailctl watch pool:marketing --every 10s --for 1h > marketing.jsonl
      mailctl watch --kind host --count 3 | jq .row.waiting
    """
    from mailctl.cli.exits import of_read
    from mailctl.cli.show import why
    from mailctl.ops import parse
    from mailctl.ops.news import RowKind

    wanted = tuple(RowKind(kind) for kind in kinds)
    state = run(_follow(setup, parse(selection), wanted, every_s=every_s, count=count, for_s=for_s))
    for host in state.hosts:
        if not host.state.is_fresh:
            narrate(f"{host.name}: {why(host, setup.timeout_s)}")
    leave(of_read(state))


async def _follow(
    setup: Setup,
    selection: "Selection",
    kinds: "Sequence[RowKind]",
    *,
    every_s: float,
    count: int | None,
    for_s: float | None,
) -> "FleetState":
    """Print what is new until one of the ends; the state then."""
    from mailagent.api import codec
    from mailctl.ops.news import news
    from mailctl.ops.targets import check_names

    clock = asyncio.get_running_loop().time
    async with setup.fleet(selection.hosts) as fleet:
        after = await fleet.settled(setup.timeout_s)
        check_names(after, fleet.config, selection)
        before: FleetState | None = None
        end = None if for_s is None else clock() + for_s
        while True:
            found = news(before, after, at=codec.now(), kinds=kinds, selection=selection)[:count]
            if found:
                click.echo(b"\n".join(codec.encode(one) for one in found))
            elif _is_unread():
                raise BrokenPipeError
            if count is not None and not (count := count - len(found)):
                return after
            rest_s = every_s if end is None else min(every_s, end - clock())
            if rest_s <= 0:
                return after
            await asyncio.sleep(rest_s)
            before, after = after, fleet.state


def _is_unread() -> bool:
    """Whether nobody will read stdout any more; a quiet fleet would not notice by writing."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))
