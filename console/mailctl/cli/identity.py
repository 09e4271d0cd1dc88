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
        answers = await fleet.ask_all(
            "identity",
            IdentityRequest(all=every, now=now),
            hosts=[one.name for one in hosts],
            deadline_s=setup.timeout_s,
        )
        views = [row.view for row in table_rows.vmtas(fleet.state, selection)]
        vmtas, pools = {view.name for view in views}, {view.pool for view in views}
        rows: list[tuple[HostName, IdentityCheck]] = []
        failed = {}
        asked = 0
        for host, answer in answers.items():
            if isinstance(answer, IdentityChecks):
                asked += answer.asked
                rows += [(host, one) for one in answer.checks if one.vmta in vmtas or pools & set(one.pools)]
            else:
                failed[host] = str(answer)
        rows = [(host, one) for host, one in rows if one.vmta is None or one.vmta in vmtas]
        states = list(IdentityState)
        rows.sort(key=lambda row: (states.index(row[1].state), row[1].vmta or "", row[1].domain, row[1].kind))
        text = listings.identity_table(rows, width(), asked=asked)
        return Shown([at_host(host, row) for host, row in rows], text, failed=failed)

    show(setup, "identity", selection, look, as_json=as_json)
