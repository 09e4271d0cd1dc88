"""What a cron job runs each hour and each day, as one value with one level. Pure."""

from enum import StrEnum

import msgspec

from mailctl.ops.checkup import Level, Unchecked, Verdict, worst_of
from mailctl.ops.reports import DayReport, DeferralReport


class RoutineName(StrEnum):
    """Which one."""

    HOURLY = "hourly"
    DAILY = "daily"


class Routine(msgspec.Struct, frozen=True, kw_only=True):
    """The checkup and the reports of one run."""

    name: RoutineName
    level: Level  # of the worst finding
    verdicts: tuple[Verdict, ...]
    deferrals: DeferralReport
    day: DayReport | None  # of the daily one

    @property
    def is_crossed(self) -> bool:
        """Whether anything needs a person."""
        return self.level in (Level.WARNING, Level.CRITICAL)


def routine(
    name: RoutineName, verdicts: tuple[Verdict, ...], deferrals: DeferralReport, day: DayReport | None = None
) -> Routine:
    """One run; what could not be looked at is `unknown`, unless something worse is known."""
    gaps: tuple[Unchecked, ...] = (*deferrals.unchecked, *(day.unchecked if day else ()))
    levels = [*(one.level for one in verdicts), deferrals.level, *([Level.UNKNOWN] if gaps else [])]
    return Routine(name=name, level=worst_of(levels), verdicts=verdicts, deferrals=deferrals, day=day)
