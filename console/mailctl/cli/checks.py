"""`mailctl checks`: what the checks of streams found at intake."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mailctl.cli.options import as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.command()
@selectors
@as_json
@pass_setup
def checks(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """Count messages that failed a check of their stream.

    Since each agent started.

    \b
    Examples:
      mailctl checks
      mailctl checks stream:news --json
    """
    from mailagent.api.intake import CheckCounts
    from mailagent.api.requests import Empty
    from mailctl.cli.narrow import narrow
    from mailctl.cli.show import Shown, selected, show
    from mailctl.fleet.lists import reason
    from mailctl.ops import TermKind
    from mailctl.output.document import at_host
    from mailctl.output.tables import Column, table

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        hosts = [host.name for host in selected(fleet.state, selection)]
        answers = await fleet.ask_all("checks", Empty(), hosts=hosts, deadline_s=setup.timeout_s)
        rows = [(host, row) for host, one in answers.items() if isinstance(one, CheckCounts) for row in one.rows]
        found = narrow(rows, selection, {TermKind.STREAM: lambda one: (one[1].stream,)}, view="checks")
        failed = {host: reason(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
        columns = [Column("STREAM"), Column("CHECK"), Column("HOST")]
        columns += [Column(name, right=True) for name in ("WARNED", "REFUSED", "MOVED")]
        cells = [[row.stream, row.check, host, *map(str, (row.warned, row.refused, row.moved))] for host, row in found]
        text = table(columns, cells, width=width()) if cells else "no check has failed"
        return Shown([at_host(host, row) for host, row in found], text, failed=failed)

    show(setup, "checks", selection, look, as_json=as_json)
