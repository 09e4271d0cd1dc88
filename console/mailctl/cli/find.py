"""`mailctl find`: what became of a recipient, a message, a job or a sender, over the whole fleet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mailctl.cli.options import Duration, Number, as_json
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    from mailagent.api.find import Found
    from mailagent.api.ids import HostName
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection

ROWS = 1000


@click.command()
@click.argument("terms", nargs=-1, required=True, metavar="TERM...")
@click.option("--since", "since_s", type=Duration(), default="24h", show_default=True, help="How far back.")
@click.option("--limit", type=Number(1, 10_000), default=ROWS, show_default=True, help="Newest rows to show.")
@as_json
@pass_setup
def find(setup: Setup, terms: Sequence[str], since_s: int, limit: int, as_json: bool) -> None:
    """Tell what became of a recipient, message, job or sender.

    Searches the queues and the accounting files of all hosts and shows one timeline; what still waits comes last, at
    the time of its next try. A term is an address, a message id, a word, or one of a filter: to:, from:, job:, code: …

    \b
    Examples:
      mailctl find alice@example.com
      mailctl find 01K4B2T9QX3F7M2PA --json
      mailctl find 'to:*@example.com' state:bounced --since 3d
      mailctl find job:spring 'code:4.7.*' '!pool:cold'
    """
    from datetime import UTC, datetime, timedelta

    from mailctl.cli.show import Shown, admitted, show
    from mailctl.ops.find import find, sought
    from mailctl.ops.grammar import token
    from mailctl.output.document import at_host

    wanted = sought(map(token, terms))

    async def look(fleet: "Fleet", _: "Selection") -> "Shown":
        now = datetime.now(UTC)
        hosts = admitted(fleet.state, wanted)
        found = await find(fleet, wanted, since=now - timedelta(seconds=since_s), now=now, limit=limit, hosts=hosts)
        missing = "" if found.rows or found.failed else f"nothing of {wanted} in that time on {', '.join(hosts)}"
        rows = [at_host(host, row) for host, row in found.rows]
        return Shown(rows, _table(found.rows), found.truncated, found.failed, missing)

    hosts = wanted.selection.hosts
    exact = () if any("*" in name for name in hosts) else [f"host:{name}" for name in hosts]
    show(setup, "find", exact, look, as_json=as_json)


def _table(rows: "Sequence[tuple[HostName, Found]]") -> str:
    from mailctl.ops.find import said, when
    from mailctl.output.human import NOTHING, clock
    from mailctl.output.tables import Column, table

    columns = [
        Column("TIME"),
        Column("HOST", late=1),
        Column("STATE"),
        Column("MESSAGE", spare=2),
        Column("RECIPIENT", flex=True),
        Column("TRY", right=True, spare=3),
        Column("VMTA", spare=1),
        Column("PROVIDER", spare=4),
        Column("REPLY", flex=True),
    ]
    cells = [
        [
            clock(at) if (at := when(row)) is not None else NOTHING,
            host,
            row.state,
            f"{row.message_id}.{row.n}",
            row.recipient,
            str(row.attempt) if row.attempt else "",
            row.vmta,
            row.provider,
            said(row),
        ]
        for host, row in rows
    ]
    return table(columns, cells, width=width()) if cells else ""
