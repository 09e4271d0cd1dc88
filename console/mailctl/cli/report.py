"""`mailctl report`: which destinations defer, what a day was, and which host is nearest to whom."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from mailctl.cli.options import Day, Duration, Listed, Number, as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    from mailagent.api.ids import HostName
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection
    from mailctl.ops.checkup import Unchecked
    from mailctl.ops.reports import DayReport, DeferralReport


@click.group(cls=Listed)
def report() -> None:
    """Report deferrals, a day, or how near providers are.

    From what all hosts know: history, accounting files, connections. Each report says what it does not know.
    """


@report.command()
@selectors
@click.option("--last", type=Duration(), default=3600, metavar="DURATION", help="How far back, to 1d.  [default: 1h]")
@click.option("--worst", type=Number(1, 500), default=10, show_default=True, help="Rows of each table.")
@as_json
@pass_setup
def deferrals(setup: Setup, selection: Sequence[str], last: int, worst: int, as_json: bool) -> None:
    """Show the destinations that defer most.

    Per provider and domain: t / (t + d) of deferred attempts and deliveries, of more than `thresholds.least` events
    (100), domains with nothing but deferrals among them. The level is that of `thresholds.deferrals`.

    \b
    Examples:
      mailctl report deferrals
      mailctl report deferrals provider:gmail --last 6h --worst 30 --json
    """
    from mailctl.cli.report_text import deferral_text
    from mailctl.cli.show import show
    from mailctl.ops import SelectorError, TermKind

    if last > 86_400:
        raise click.UsageError("deferrals are reported of the last 1d at most")

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        if set(selection.kinds) - {TermKind.PROVIDER}:
            raise SelectorError("report deferrals is narrowed by host: and provider:")
        found = await deferrals_of(
            setup, fleet, selection, last_s=last, worst=worst, providers=selection.names(TermKind.PROVIDER)
        )
        return _shown(fleet, found, deferral_text(found, width()))

    show(setup, "report-deferrals", selection, look, as_json=as_json)


@report.command()
@selectors
@click.option(
    "--day",
    "date",
    type=Day(),
    metavar="DATE",
    help="That day, UTC.  [default: the last 24 hours]",
)
@as_json
@pass_setup
def day(setup: Setup, selection: Sequence[str], date: datetime | None, as_json: bool) -> None:
    """Show what a day was.

    Received, delivered, deferred and bounced by stream, pool, provider and host; bounces by category; complaints; what
    automation did; operations.

    \b
    Examples:
      mailctl report day
      mailctl report day --day 2026-11-21 --json
    """
    from mailctl.cli.narrow import narrow
    from mailctl.cli.report_text import day_text
    from mailctl.cli.show import show

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        narrow((), selection, {}, view="report day")
        _, found = await day_of(setup, fleet, selection, date)
        return _shown(fleet, found, day_text(found, width()))

    show(setup, "report-day", selection, look, as_json=as_json)


@report.command()
@selectors
@as_json
@pass_setup
def connect(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """Show how long hosts take to connect to providers.

    Per provider, the nearest host first: the median of its last 64 TCP connections. Which host or region should send to
    whom shows here.

    \b
    Examples:
      mailctl report connect
      mailctl report connect provider:gmail --json
    """
    from mailctl.cli.report_text import connect_text
    from mailctl.cli.show import Shown, selected, show
    from mailctl.ops import SelectorError, TermKind
    from mailctl.ops.reports import connect_report

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        if set(selection.kinds) - {TermKind.PROVIDER}:
            raise SelectorError("report connect is narrowed by host: and provider:")
        rows = connect_report(selected(fleet.state, selection), selection.names(TermKind.PROVIDER))
        return Shown(rows, connect_text(rows, width()))

    show(setup, "report-connect", selection, look, as_json=as_json)


async def deferrals_of(
    setup: Setup, fleet: "Fleet", selection: "Selection", *, last_s: int, worst: int, providers: Sequence[str] = ()
) -> "DeferralReport":
    """The report over the last `last_s` seconds, to the last whole minute."""
    from mailctl.cli.show import chosen
    from mailctl.ops.facts import gather_outcomes
    from mailctl.ops.reports import deferral_report

    since, until = _period(timedelta(seconds=max(60, last_s)))
    sums, outcomes = await gather_outcomes(
        fleet, chosen(fleet.state, selection), since, until, deadline_s=setup.timeout_s
    )
    return deferral_report(
        sums,
        outcomes,
        since=since,
        until=until,
        thresholds=fleet.config.thresholds,
        worst=worst,
        providers=providers,
    )


async def day_of(
    setup: Setup, fleet: "Fleet", selection: "Selection", date: datetime | None
) -> "tuple[DeferralReport, DayReport]":
    """Both reports over a day (UTC), or over the last 24 hours, from one count of the accounting files."""
    from datetime import UTC

    from mailctl.cli.show import chosen
    from mailctl.ops.facts import gather_outcomes, operations_since
    from mailctl.ops.reports import day_report, deferral_report

    since, until = _period(timedelta(days=1))
    if date is not None:
        since = date.replace(tzinfo=UTC)
        until = min(until, since + timedelta(days=1))
        if until <= since:
            raise click.UsageError(f"{date:%Y-%m-%d} has not begun (UTC)")
    hosts = chosen(fleet.state, selection)
    sums, outcomes = await gather_outcomes(fleet, hosts, since, until, deadline_s=setup.timeout_s)
    operations = await operations_since(fleet, hosts, since, deadline_s=setup.timeout_s)
    return (
        deferral_report(sums, outcomes, since=since, until=until, thresholds=fleet.config.thresholds),
        day_report(sums, outcomes, operations, since=since, until=until),
    )


def partial_of(fleet: "Fleet", unchecked: "Sequence[Unchecked]") -> "dict[HostName, str]":
    """Connected hosts that a report lacks something of; the others are named anyway."""
    fresh = {host.name for host in fleet.state.hosts if host.state.is_fresh}
    return {one.host: one.why for one in unchecked if one.host in fresh}


def _shown(fleet: "Fleet", report: "DayReport | DeferralReport", text: str) -> "Shown":
    """A report; connected hosts that answered nothing count as those that cannot be reached."""
    from mailctl.cli.show import Shown

    lacking = partial_of(fleet, report.unchecked)
    return Shown(
        [report],
        text,
        failed={host: why for host, why in lacking.items() if host not in report.hosts},
        partial={host: why for host, why in lacking.items() if host in report.hosts},
    )


def _period(length: timedelta) -> tuple[datetime, datetime]:
    from mailagent.api import codec

    until = codec.now().replace(second=0, microsecond=0)
    return until - length, until
