"""`mailctl trace`: what goes over the wire, live."""

import asyncio
from typing import TYPE_CHECKING

import click

from mailctl.cli.completion import complete_host, complete_selection
from mailctl.cli.exits import Exit
from mailctl.cli.options import Duration
from mailctl.cli.setup import Setup, leave, narrate, pass_setup, run

if TYPE_CHECKING:
    from mailagent.api.trace import TraceRequest
    from mailctl.fleet import Fleet


@click.command()
@click.argument("what", metavar="KIND:NAME", shell_complete=complete_selection)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    shell_complete=complete_host,
    help="Only this host; may be given again. [default: all]",
)
@click.option("--for", "for_s", type=Duration(), help="End after that time, at most 1h. [default: 5m]")
@click.option("--addresses", is_flag=True, help="Show local parts of addresses.")
@click.option("--match", "words", multiple=True, help="Only lines with this text; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, an object on each line.")
@pass_setup
def trace(
    setup: Setup,
    what: str,
    hosts: tuple[str, ...],
    for_s: int | None,
    addresses: bool,
    words: tuple[str, ...],
    as_json: bool,
) -> None:
    """Follow SMTP sessions live, without secrets and message texts.

    KIND is provider, queue, vmta, cell, host or listener (ADDRESS:PORT of intake). > is the client, < the server, *
    what nobody says. Wants the role operator, and goes on record in the audit log. Ends with ctrl+c and after its time.

    \b
    Examples:
      mailctl trace provider:gmail --host mx1 --for 60s
      mailctl trace queue:gmail/mkt-1 --match 421
      mailctl trace listener:127.0.0.1:25 --addresses --json
    """
    from mailctl.ops import trace as ops

    request = ops.request(what, seconds=for_s, addresses=addresses)
    if request.kind == "host":
        hosts = (request.name,)
    leave(run(_follow(setup, request, hosts, tuple(word.lower() for word in words), as_json=as_json)))


async def _follow(
    setup: Setup, request: "TraceRequest", hosts: tuple[str, ...], words: tuple[str, ...], *, as_json: bool
) -> Exit:
    """Print lines of all hosts as they come, until every trace has ended."""
    from mailctl.cli.show import why
    from mailctl.ops import trace as ops

    async with setup.fleet(hosts) as fleet:
        state = await fleet.settled(setup.timeout_s)
        names = ops.followed(state, fleet.inventory, request)
        away = {host.name: why(host, setup.timeout_s) for host in state.hosts if not host.state.is_fresh}
        for name in names:
            if name in away:
                narrate(f"{name}: {away[name]}")
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_one(fleet, host, request, words, as_json=as_json), name=f"trace:{host}")
                for host in names
                if host not in away
            ]
        results = [task.result() for task in tasks] + [Exit.UNREACHABLE for name in names if name in away]
    codes = {one for one in results if one is not None}  # an engine that has no traces leaves none out
    if Exit.DONE in codes:
        return Exit.DONE if codes == {Exit.DONE} else Exit.INCOMPLETE
    if codes == {Exit.USAGE} and state.coverage.is_whole:
        return Exit.USAGE
    return Exit.REFUSED if state.coverage.fresh else Exit.UNREACHABLE


async def _one(
    fleet: "Fleet", host: str, request: "TraceRequest", words: tuple[str, ...], *, as_json: bool
) -> Exit | None:
    """Print one host's lines; done when its trace came to its own end, usage where nothing has that name, None where
    the engine has no traces.
    """
    from mailagent.api import codec
    from mailagent.api.errors import ApiError, NotFound
    from mailagent.api.ids import HostName
    from mailctl.fleet.errors import LinkError
    from mailctl.fleet.lists import reason
    from mailctl.ops import trace as ops
    from mailctl.output.human import of_host, printable

    try:
        async for batch in fleet.trace(host, request):
            for line in batch.lines:
                if ops.admits(line, words):
                    row = codec.encode(ops.HostTraceLine(host=HostName(host), line=line)) if as_json else b""
                    click.echo(row or f"{host} {printable(ops.text(line))}")
            if batch.dropped:
                narrate(f"{host}: {batch.dropped} lines found no room")
            if batch.ended:
                narrate(f"{host}: {batch.ended}")
    except (LinkError, ApiError) as exc:
        narrate(of_host(host, reason(exc)))
        known = fleet.state.host(HostName(host))
        if known is not None and known.is_beyond(reason(exc)):
            return None
        return Exit.USAGE if isinstance(exc, NotFound) else Exit.REFUSED
    return Exit.DONE
