"""A trace and the ages of waiting mail, from Destinations."""

from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from mailagent.api.ages import AgeTable
from mailagent.api.ids import StreamName
from mailctl.ops.filters import Filter
from mailctl.tui.screens.ages import AgesView, bucket_terms, bucket_words
from mailctl.tui.screens.destinations import DestinationsView
from mailctl.tui.screens.messages import MessagesView
from mailctl.tui.screens.trace import TraceView
from mailctl.tui.widgets.status import StatusLine
from tests.console.tui.doubles import StillFleet
from tests.console.tui.test_confirm import said
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


@pytest.mark.parametrize("size", SIZES)
async def test_a_bucket_of_age_leads_to_its_messages(size: tuple[int, int]) -> None:
    async with app_over(StillFleet()).run_test(size=size) as pilot:
        await on_destinations(pilot)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(pilot.app.screen, AgesView) and table(pilot).row_count == 1)
        await pilot.press("left")
        await until(pilot, lambda: said(pilot) == "all ages")
        await pilot.press(*["right"] * 3)
        await until(pilot, lambda: said(pilot) == "mail that waits 10 to 20 minutes")
        await pilot.press("f", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, MessagesView))
        assert str(pilot.app.screen.filter) == "provider:gmail stream:news age:>10m age:<20m"  # type: ignore[attr-defined]
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, AgesView))
        await pilot.press(*["right"] * 12)
        await until(pilot, lambda: said(pilot) == "mail that waits more than 1280 minutes")


@pytest.mark.parametrize(
    ("n", "terms", "words"),
    [
        (0, "age:<5m", "at most 5 minutes"),
        (1, "age:>5m age:<10m", "5 to 10 minutes"),
        (9, "age:>1280m", "more than 1280 minutes"),
    ],
)
def test_a_bucket_is_two_ages(n: int, terms: str, words: str) -> None:
    wanted = Filter().having(*bucket_terms(n))
    assert (str(wanted), bucket_words(n)) == (terms, words)
    assert Filter.parse(terms) == wanted


@pytest.mark.parametrize(
    ("keys", "traced"),
    [
        ((), ["trace host:mx1 on mx1"]),
        (("2", "j"), ["trace vmta:cold-1 on mx1"]),
        (("4",), ["trace provider:gmail on mx1"]),
        (("3", "a"), [f"trace provider:gmail on {host}" for host in ("mx1", "mx2", "mx3")]),
    ],
    ids=["host", "ip", "reply", "provider"],
)
async def test_w_follows_a_host_an_ip_and_a_provider(keys: tuple[str, ...], traced: list[str]) -> None:
    fleet = StillFleet()
    async with app_over(fleet).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        for key in keys:
            await pilot.press(key)
            await ready(pilot)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(pilot.app.screen, TraceView))
        await until(pilot, lambda: [one for one in fleet.asked if one.startswith("trace")] == traced)
        await until(pilot, lambda: table(pilot).row_count == 3 * len(traced))
        assert "\x1b" not in shown(pilot)


@pytest.mark.parametrize(("key", "why"), [("2", "a pool is not traced"), ("6", "no SMTP sessions to follow here")])
async def test_w_says_why_there_is_nothing_to_follow(key: str, why: str) -> None:
    fleet = StillFleet()
    async with app_over(fleet).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press(key)
        await until(
            pilot,
            lambda: type(pilot.app.screen).__name__ != "FleetView" and bool(pilot.app.screen.query("#log, FleetTable")),
        )
        await pilot.press("w")
        await until(pilot, lambda: why in said(pilot))
        assert not [one for one in fleet.asked if one.startswith("trace")]


class StreamlessFleet(StillFleet):
    """Its engine knows no streams."""

    def _answer(self, host: str, method: str, params: msgspec.Struct) -> Any:
        answer = super()._answer(host, method, params)
        if isinstance(answer, AgeTable):
            rows = tuple(msgspec.structs.replace(row, stream=StreamName("")) for row in answer.rows)
            return msgspec.structs.replace(answer, rows=rows)
        return answer


async def test_a_stream_that_is_not_told_is_a_dash_and_no_gap() -> None:
    async with app_over(StreamlessFleet()).run_test(size=(80, 24)) as pilot:
        await on_destinations(pilot)
        await pilot.press("a", "f")
        await until(pilot, lambda: isinstance(pilot.app.screen, AgesView) and table(pilot).row_count == 1)
        await until(pilot, lambda: [cell.text for cell in table(pilot).source.row(0).cells[:2]] == ["gmail", "–"])
