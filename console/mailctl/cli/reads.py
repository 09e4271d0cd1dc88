"""Reads of what every agent reports by itself: alarms, status, hosts, pools, ips, destinations, directives."""

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
def status(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """Show the fleet: hosts with their sum, pools to notice, standing orders.

    \b
    Examples:
      mailctl status
      mailctl status host:mx1 --json
    """
    from mailctl.cli import rows
    from mailctl.cli.show import Shown, show

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = rows.hosts(fleet.state, selection, view="status")
        return Shown(
            [host.view for host in found if host.view], rows.status(fleet.state, found, width()), of_hosts=True
        )

    show(setup, "status", selection, look, as_json=as_json)


@click.command()
@selectors
@as_json
@pass_setup
def hosts(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """List hosts: link, version, intake, window, disk, memory.

    \b
    Example:
      mailctl hosts --json
    """
    from mailctl.cli import rows
    from mailctl.cli.show import Shown, show

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = rows.hosts(fleet.state, selection, view="hosts")
        return Shown([host.view for host in found if host.view], rows.host_table(found, width()), of_hosts=True)

    show(setup, "hosts", selection, look, as_json=as_json)


@click.command()
@selectors
@as_json
@pass_setup
def pools(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """List pools, each summed over its hosts.

    With --json one row per pool and host.

    \b
    Examples:
      mailctl pools
      mailctl pools pool:marketing host:mx1
    """
    from mailctl.cli import rows
    from mailctl.cli.show import Shown, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = rows.pools(fleet.state, selection)
        parts = [at_host(host, view) for row in found for host, view in row.parts]
        return Shown(parts, rows.pool_table(found, width()))

    show(setup, "pools", selection, look, as_json=as_json)


@click.command()
@selectors
@as_json
@pass_setup
def ips(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """List virtual MTAs: addresses, state, flow.

    \b
    Examples:
      mailctl ips pool:marketing
      mailctl ips vmta:mkt-1 --json
    """
    from mailctl.cli import rows
    from mailctl.cli.show import Shown, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = rows.vmtas(fleet.state, selection)
        return Shown([at_host(row.host, row.view) for row in found], rows.vmta_table(found, width()))

    show(setup, "ips", selection, look, as_json=as_json)


@click.command()
@selectors
@as_json
@pass_setup
def destinations(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """List destinations (provider × IP) and what binds them.

    \b
    Examples:
      mailctl destinations provider:gmail
      mailctl destinations pool:marketing host:mx1 --json
    """
    from mailctl.cli import rows
    from mailctl.cli.show import Shown, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = rows.destinations(fleet.state, selection)
        return Shown([at_host(row.host, row.view) for row in found], rows.destination_table(found, width()))

    show(setup, "destinations", selection, look, as_json=as_json)


@click.command()
@selectors
@as_json
@pass_setup
def directives(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """List standing orders: owner, age, end, progress.

    \b
    Examples:
      mailctl directives
      mailctl directives host:mx1 --json
    """
    from mailctl.cli import rows
    from mailctl.cli.show import Shown, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = rows.directives(fleet.state, selection)
        parts = [at_host(host, view) for row in found for host, view in row.parts]
        return Shown(parts, rows.directive_table(found, width()))

    show(setup, "directives", selection, look, as_json=as_json)


@click.command()
@selectors
@as_json
@pass_setup
def alarms(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """Show what is wrong now, the worst first, and what makes it safe.

    For thresholds of monitoring there is `mailctl check`.

    \b
    Examples:
      mailctl alarms
      mailctl alarms host:mx1 --json
    """
    from mailctl.cli import rows
    from mailctl.cli.show import Shown, show

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = rows.alarms(fleet.state, selection)
        return Shown(found, rows.alarm_table(found, width()))

    show(setup, "alarms", selection, look, as_json=as_json)


COMMANDS = (alarms, status, hosts, pools, ips, destinations, directives)
