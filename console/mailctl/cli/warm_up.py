"""Warm-up: how far members that are warming have come at each provider."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mailctl.cli.options import as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.command(name="warm-up")
@selectors
@click.option("--days", is_flag=True, help="List the days behind each course, too.")
@as_json
@pass_setup
def warm_up(setup: Setup, selection: Sequence[str], days: bool, as_json: bool) -> None:
    """List how far members that are warming are at each provider.

    The plan stands under `warm_up` in the fleet file; the days that went well are counted by the agents.

    \b
    Examples:
      mailctl warm-up
      mailctl warm-up pool:marketing provider:gmail
      mailctl warm-up vmta:mkt-3 --days
    """
    from mailagent.api.ids import HostName
    from mailagent.api.warm_up import WarmUpCourse, WarmUpRequest, WarmUps
    from mailctl.cli import warm_up_tables
    from mailctl.cli.narrow import narrow
    from mailctl.cli.show import Shown, show
    from mailctl.ops import TermKind
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        known = [
            (row.host, row.view.pool, WarmUpCourse(vmta=row.view.name, now=view))
            for row in fleet.state.vmtas
            for view in row.view.warm_up
        ]
        kinds = {
            TermKind.VMTA: lambda row: (row[2].vmta,),
            TermKind.POOL: lambda row: (row[1],),
            TermKind.PROVIDER: lambda row: (row[2].now.provider,),
        }
        rows: list[tuple[HostName, WarmUpCourse]] = [
            (host, course)
            for host, _, course in narrow(known, selection, kinds, view="warm-up")
            if not selection.hosts or host in selection.hosts
        ]
        failed = {}
        if days:
            past = {}
            for vmta in dict.fromkeys(one.vmta for _, one in rows):  # an answer has no room for the days of all
                hosts = {host for host, one in rows if one.vmta == vmta and host not in failed}
                request = WarmUpRequest(vmta=vmta)
                answers = await fleet.ask_all("warm_up", request, hosts=hosts, deadline_s=setup.timeout_s)
                for host, answer in answers.items():
                    if isinstance(answer, WarmUps):
                        past.update({(host, one.vmta, one.now.provider): one for one in answer.courses})
                    else:
                        failed[host] = str(answer)
            rows = [(host, past.get((host, one.vmta, one.now.provider), one)) for host, one in rows]
        text = warm_up_tables.course_table(rows, width())
        if days:
            text += "".join(f"\n\n{warm_up_tables.day_table(host, one, width())}" for host, one in rows if one.past)
        return Shown([at_host(host, course) for host, course in rows], text, failed=failed)

    show(setup, "warm-up", selection, look, as_json=as_json)
