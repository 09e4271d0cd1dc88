"""Find on the screen: it asks, searches when the line is whole, opens the message, and says which hosts are missing."""

from typing import Any

import pytest
from textual.events import Key
from textual.pilot import Pilot

from mailagent.api.terms import Field
from mailctl.tui.screens.deferred import DeferredView
from mailctl.tui.screens.find import FindView
from mailctl.tui.screens.message import MessageView
from mailctl.tui.screens.messages import MessagesView
from mailctl.tui.widgets.filterbar import FilterBar
from mailctl.tui.widgets.status import StatusLine
from tests.console.tui.doubles import NOW, StillFleet, healthy, troubled
from tests.console.tui.test_screens import SIZES, app_over, ready, shown, table
from tests.console.tui.waiting import until


async def opened(pilot: Pilot[Any]) -> FindView:
    """The screen with its line open."""
    await ready(pilot)
    await pilot.press("ctrl+f")
    await until(pilot, lambda: isinstance(pilot.app.screen, FindView))
    screen = pilot.app.screen
    assert isinstance(screen, FindView)
    await until(pilot, lambda: isinstance(screen.focused, FilterBar))
    return screen


@pytest.mark.parametrize("size", SIZES)
async def test_one_line_gives_one_timeline_and_enter_opens_the_message(size: tuple[int, int]) -> None:
    fleet = StillFleet(healthy())
    async with app_over(fleet).run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press(*"user1@gmail.com", "enter")
        await until(pilot, lambda: table(pilot).row_count == 82)  # 40 that wait, 40 arrivals, 2 attempts
        text = shown(pilot)
        assert "received" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert {request.filter.terms[0].field for request in fleet.sought} == {Field.ADDRESS}
        assert len(fleet.sought) == 3  # one for each host, none while typing
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, MessageView))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, FindView))
        assert table(pilot).row_count == 82
        assert len(fleet.sought) == 3


async def test_what_is_typed_right_behind_the_key_is_another_search_where_one_stands_too() -> None:
    fleet = StillFleet(healthy())
    async with app_over(fleet).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot)
        await pilot.press(*"job:spring", "enter")
        await until(pilot, lambda: len(fleet.sought) == 3)
        await pilot.press("escape", "1")
        for elsewhere in ("1", ""):  # from another screen, then on the screen itself
            await pilot.press(*elsewhere)
            await until(pilot, lambda at=elsewhere: isinstance(pilot.app.screen, FindView) is not bool(at))  # type: ignore[misc]
            for key in ("ctrl+f", *"queue"):
                pilot.app.post_message(Key(key, key if len(key) == 1 else None))
            await until(pilot, lambda: screen.is_typing and screen.query_one(FilterBar).value == "queue")
            assert pilot.app.is_running
            await pilot.press("enter")
            await until(pilot, lambda: str(screen.filter) == "queue")
        await pilot.press("enter")


async def test_coming_back_to_a_search_asks_for_no_other() -> None:
    fleet = StillFleet(healthy())
    async with app_over(fleet).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot)
        await pilot.press(*"job:spring", "enter")
        await until(pilot, lambda: table(pilot).row_count > 0)
        await pilot.press("1", "-")
        await until(pilot, lambda: isinstance(pilot.app.screen, FindView))
        assert not screen.is_typing


async def test_a_longer_span_and_another_time_search_again() -> None:
    fleet = StillFleet(healthy())
    async with app_over(fleet).run_test(size=(120, 36)) as pilot:
        await opened(pilot)
        await pilot.press(*"job:spring", "enter")
        await until(pilot, lambda: len(fleet.sought) == 3)
        await pilot.press("h")
        await until(pilot, lambda: len(fleet.sought) == 6)
        assert {(NOW - request.since).days for request in fleet.sought} == {1, 3}
        await pilot.press("r")
        await until(pilot, lambda: len(fleet.sought) == 9)


async def test_a_host_that_is_lost_is_named() -> None:
    async with app_over(StillFleet(troubled())).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot)
        await pilot.press(*"spring", "enter")
        await until(pilot, lambda: "without mx2" in screen.query_one(StatusLine).message)


@pytest.mark.parametrize(
    ("line", "why"), [("provider:gmail", "names whom or what"), ("spring code:4.7.x", "a reply code")]
)
async def test_a_line_that_says_too_little_or_nothing_asks_no_host(line: str, why: str) -> None:
    fleet = StillFleet(healthy())
    async with app_over(fleet).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot)
        await pilot.press(*line, "enter")
        await until(pilot, lambda: why in screen.query_one(StatusLine).message)
        assert fleet.sought == []


async def test_typing_narrows_messages_that_are_here_and_hosts_are_asked_for_the_whole_line() -> None:
    fleet = StillFleet(healthy())
    async with app_over(fleet).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: isinstance(pilot.app.screen, DeferredView) and table(pilot).row_count > 0)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, MessagesView) and table(pilot).row_count == 40)
        before = fleet.asked.count("messages")
        await pilot.press("slash", *" anna.39@")
        await until(pilot, lambda: table(pilot).row_count == 1)
        assert fleet.asked.count("messages") == before
        await pilot.press("enter")
        await until(pilot, lambda: fleet.asked.count("messages") > before)
