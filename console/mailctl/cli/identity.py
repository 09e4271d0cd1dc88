"""What receivers find when they look up who we are: names of addresses, SPF, DKIM, DMARC, MX."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mailctl.cli.options import as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    from mailagent.api.ids import HostName
    from mailagent.api.reputation import IdentityCheck
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.command()
@selectors
@click.option("--all", "every", is_flag=True, help="List what is good, too.")
@click.option("--now", is_flag=True, help="Have the agents look again first.")
@as_json
@pass_setup
def identity(setup: Setup, selection: Sequence[str], every: bool, now: bool, as_json: bool) -> None:
    """List what receivers mind about who the hosts say they are.

    Agents look up what receivers look up: the name of each address (PTR), its EHLO name, SPF for the domains that it
    sends for, DKIM keys, DMARC, and whether the domains take mail. Every 6 hours, and after each change of theirs.

    \b
    Examples:
      mailctl identity
      mailctl identity --all vmta:mkt-1
      mailctl identity --now pool:marketing --json
    """
    from mailagent.api.reputation import IdentityChecks, IdentityRequest, IdentityState
    from mailctl.cli import listings
    from mailctl.cli import rows as table_rows
    from mailctl.cli.show import Shown, selected, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        hosts = selected(fleet.state, selection)
        views = [row.view for row in table_rows.vmtas(fleet.state, selection)]
        vmtas = tuple(dict.fromkeys(view.name for view in views))
        pools = tuple(dict.fromkeys(view.pool for view in views))
        request = IdentityRequest(all=every, now=now, vmtas=vmtas, pools=pools)
        names = [host.name for host in hosts]
        answers = await fleet.ask_all("identity", request, hosts=names, deadline_s=setup.timeout_s)
        rows: list[tuple[HostName, IdentityCheck]] = []
        failed = {}
        asked = 0
        for host, answer in answers.items():
            if not isinstance(answer, IdentityChecks):
                failed[host] = str(answer)
                continue
            asked += answer.asked
            rows += [(host, one) for one in answer.checks]
            if not answer.looked:
                failed[host] = "has not looked again yet: what is shown was known before"
            elif answer.left_out:
                failed[host] = f"{answer.left_out:,} more have no room: narrow by vmta: or pool:"
        states = list(IdentityState)
        rows.sort(key=lambda row: (states.index(row[1].state), row[1].vmta or "", row[1].domain, row[1].kind))
        text = listings.identity_table(rows, width(), asked=asked)
        return Shown([at_host(host, row) for host, row in rows], text, failed=failed)

    show(setup, "identity", selection, look, as_json=as_json)
