"""A trace and the ages of waiting mail, from Destinations."""

from typing import Any

import pytest
from textual.pilot import Pilot

from mailctl.tui.screens.ages import AgesView
from mailctl.tui.screens.deferred import MessagesView
from mailctl.tui.screens.destinations import DestinationsView
from mailctl.tui.screens.trace import TraceView
from mailctl.tui.widgets.status import StatusLine
from tests.console.tui.doubles import StillFleet
from tests.console.tui.test_screens import SIZES, app_over, ready, shown, table
from tests.console.tui.waiting import until


async def on_destinations(pilot: Pilot[Any]) -> None:
    await ready(pilot)
    await pilot.press("3")
    await until(pilot, lambda: isinstance(pilot.app.screen, DestinationsView) and table(pilot).row_count > 0)


@pytest.mark.parametrize("size", SIZES)
async def test_w_follows_the_cell_under_the_cursor_and_shows_hostile_lines_harmless(size: tuple[int, int]) -> None:
    fleet = StillFleet()
    async with app_over(fleet).run_test(size=size) as pilot:
        await on_destinations(pilot)
        cell = table(pilot).cursor
        await pilot.press("w")
        await until(pilot, lambda: isinstance(pilot.app.screen, TraceView) and table(pilot).row_count == 3)
        assert any(one.startswith(f"trace cell:{cell} on mx") for one in fleet.asked)
        assert "\x1b" not in shown(pilot)
        assert "its 300 s are over" in pilot.app.screen.query_one(StatusLine).message
        await pilot.press("slash", *"ehlo", "enter")
        await until(pilot, lambda: table(pilot).row_count == 1)
        await pilot.press("f", "w")
        await until(pilot, lambda: len([one for one in fleet.asked if one.startswith("trace")]) == 2)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, DestinationsView))
        assert "on record" not in pilot.app.screen.query_one(StatusLine).message


@pytest.mark.parametrize("size", SIZES)
async def test_ages_are_summed_over_hosts_and_lead_to_messages(size: tuple[int, int]) -> None:
    async with app_over(StillFleet()).run_test(size=size) as pilot:
        await on_destinations(pilot)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(pilot.app.screen, AgesView) and table(pilot).row_count == 1)
        await until(pilot, lambda: all(word in shown(pilot) for word in ("1280", "gmail", "21", "12", "9", "more")))
        assert "STREAM" not in shown(pilot)
        await pilot.press("f")
        await until(pilot, lambda: "STREAM" in shown(pilot) and "news" in shown(pilot))
        assert table(pilot).cursor is not None
        await until(pilot, lambda: table(pilot).source.key(0) == "gmail/news")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, MessagesView))
        assert str(pilot.app.screen.filter) == "provider:gmail stream:news"  # type: ignore[attr-defined]
