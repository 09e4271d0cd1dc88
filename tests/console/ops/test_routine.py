"""The level of a routine."""

from datetime import UTC, datetime

import msgspec
import pytest

from mailagent.api.ids import HostName
from mailagent.config.thresholds import CountLimits
from mailctl.ops.checkup import Level, Measured, Unchecked, Unit, judge
from mailctl.ops.reports import DayReport, DeferralReport, DeferralRow
from mailctl.ops.routine import RoutineName, routine

AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
CALM = DeferralReport(since=AT, until=AT, least=100, providers=(), domains=())
DAY = DayReport(since=AT, until=AT, flows=(), bounces=(), complaints=(), operations=(), automation=())
GAP = (Unchecked(host=HostName("mx2"), why="lost"),)


def row(level: Level) -> DeferralRow:
    return DeferralRow(name="a.test", provider="", deferred=200, delivered=0, share=1.0, level=level)


@pytest.mark.parametrize(
    ("crossed", "deferrals", "day", "level"),
    [
        (0, CALM, None, "ok"),
        (0, CALM, DAY, "ok"),
        (1, CALM, None, "warning"),
        (0, msgspec.structs.replace(CALM, domains=(row(Level.CRITICAL),)), None, "critical"),
        (0, msgspec.structs.replace(CALM, unchecked=GAP), None, "unknown"),
        (0, CALM, msgspec.structs.replace(DAY, unchecked=GAP), "unknown"),
        (1, msgspec.structs.replace(CALM, unchecked=GAP), None, "warning"),
    ],
)
def test_the_worst_finding_is_the_level(
    crossed: int, deferrals: DeferralReport, day: DayReport | None, level: str
) -> None:
    verdict = judge("waiting", Unit.COUNT, [Measured("host mx1", crossed, CountLimits(warning=1))], {})
    found = routine(RoutineName.DAILY if day else RoutineName.HOURLY, (verdict,), deferrals, day)
    assert found.level == level
    assert found.is_crossed == (level in ("warning", "critical"))
