"""The same time before: asked for seldom, of the scope that is looked at, and laid under the chart."""

from datetime import timedelta

import msgspec

from mailagent.api.requests import HistoryRequest, HistoryScope
from mailctl.tui.desk import Scope
from mailctl.tui.past import Past
from tests.console.tui.doubles import NOW, StillFleet
from tests.console.tui.test_screens import app_over, ready, shown
from tests.console.tui.waiting import until

MX1 = Scope("mx1", HistoryScope.HOST, "", ("mx1",))
MX2 = Scope("mx2", HistoryScope.HOST, "", ("mx2",))


class Noting(StillFleet):
    """Keeps the ends of the histories that were asked for."""

    def _answer(self, host: str, method: str, params: msgspec.Struct) -> object:
        if isinstance(params, HistoryRequest) and params.until is not None:
            self.asked.append(f"until {NOW - params.until}")
        return super()._answer(host, method, params)


async def test_the_same_time_of_two_days_is_asked_for_once_a_scope() -> None:
    fleet, past = Noting(), Past()
    assert past.wants(MX1)
    await past.ask(fleet, MX1, 900, NOW)
    assert [one for one in fleet.asked if one.startswith("until")] == [
        f"until {timedelta(days=1)}",
        f"until {timedelta(days=7)}",
    ]
    assert [words for words, _ in past.found] == ["yesterday", "last week"]
    assert not past.wants(MX1)
    assert past.wants(MX2)
    assert past.found == ()


async def test_the_legend_names_what_lies_below() -> None:
    async with app_over(Noting()).run_test(size=(150, 40)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "yesterday" in shown(pilot) and "last week" in shown(pilot))
        await pilot.press("h")
        await until(pilot, lambda: "8 days" in shown(pilot) and "yesterday" not in shown(pilot))
