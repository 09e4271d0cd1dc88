"""`mailctl routine`: what a cron job runs each hour and each day."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mailctl.cli.options import Listed, as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection
    from mailctl.ops.reports import DayReport
    from mailctl.ops.routine import RoutineName

quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing when all is well and nothing is missing.")


@click.group(cls=Listed)
def routine() -> None:
    """Run what belongs into cron, each hour or each day.

    Checks and reports in one go. Exit 5: something was crossed; 1: something could not be looked at.
    """


@routine.command()
@selectors
@quiet
@as_json
@pass_setup
def hourly(setup: Setup, selection: Sequence[str], quiet: bool, as_json: bool) -> None:
    """Check the thresholds and report deferrals.

    Of the last hour; what `mailctl check` and `mailctl report deferrals` say.

    \b
    Examples:
      mailctl routine hourly --quiet
      mailctl routine hourly --json
    """
    from mailctl.ops.routine import RoutineName

    _routine(setup, RoutineName.HOURLY, selection, quiet=quiet, as_json=as_json)


@routine.command()
@selectors
@quiet
@as_json
@pass_setup
def daily(setup: Setup, selection: Sequence[str], quiet: bool, as_json: bool) -> None:
    """Check the thresholds and report the day.

    Complaints and the deferrals of the last 24 hours among them. Postmaster Tools and SNDS are not looked at yet.

    \b
    Examples:
      mailctl routine daily
      mailctl --timeout 18 routine daily --json
    """
    from mailctl.ops.routine import RoutineName

    _routine(setup, RoutineName.DAILY, selection, quiet=quiet, as_json=as_json)


def _routine(setup: Setup, name: "RoutineName", selection: Sequence[str], *, quiet: bool, as_json: bool) -> None:
    from mailctl.cli.check import verdicts_of
    from mailctl.cli.narrow import narrow
    from mailctl.cli.report import day_of, deferrals_of, partial_of
    from mailctl.cli.report_text import routine_text
    from mailctl.cli.show import Shown, show
    from mailctl.ops.checkup import Level
    from mailctl.ops.reports import WORST, complaint_verdict
    from mailctl.ops.routine import RoutineName, routine

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        narrow((), selection, {}, view=f"routine {name}")
        verdicts, partial = await verdicts_of(setup, fleet, selection)
        day: DayReport | None = None
        if name is RoutineName.DAILY:
            deferrals, day = await day_of(setup, fleet, selection, None)
        else:
            period_s = int(fleet.config.thresholds.period.total_seconds())
            deferrals = await deferrals_of(setup, fleet, selection, last_s=period_s, worst=WORST)
        if day:
            verdicts = (*verdicts, complaint_verdict(day, fleet.config.thresholds))
            partial |= partial_of(fleet, day.unchecked)
        found = routine(name, tuple(verdicts), deferrals, day)
        text = "" if quiet and found.level is Level.OK else routine_text(found, width())
        partial |= partial_of(fleet, deferrals.unchecked)
        return Shown([found], text, partial=partial, crossed=found.is_crossed)

    show(setup, f"routine-{name}", selection, look, as_json=as_json)
