"""The timeline on the screen: it follows, stands still, narrows, goes to a file. Notes stand on the Fleet screen."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from mailagent.api.directives import DirectiveKind
from mailagent.api.replies import OperationPage
from mailctl.fleet.state import FleetState
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.screens.timeline import TimelineView
from mailctl.tui.widgets.status import StatusLine
from tests.console.tui.doubles import NOW, StillFleet, healthy, operations, order, troubled
from tests.console.tui.test_screens import SIZES, app_over, ready, shown, table
from tests.console.tui.waiting import until


async def opened(pilot: Pilot[Any]) -> TimelineView:
    """The timeline, with its rows."""
    await ready(pilot)
    await pilot.press("t")
    await until(pilot, lambda: isinstance(pilot.app.screen, TimelineView) and table(pilot).row_count > 0)
    screen = pilot.app.screen
    assert isinstance(screen, TimelineView)
    return screen


def noted() -> FleetState:
    """A note stands on mx1, written by somebody hostile."""
    note = order(DirectiveKind.NOTE, "host:mx1", expires_at=NOW + timedelta(hours=8))
    words = msgspec.structs.replace(note.directive, reason="ticket 4711 \x1b[2J is open", author="bob")
    state = healthy()
    first = state.hosts[0]
    assert first.snapshot is not None
    view = msgspec.structs.replace(note, directive=words)
    changed = replace(first, snapshot=msgspec.structs.replace(first.snapshot, directives=(view,)))
    return replace(state, hosts=(changed, *state.hosts[1:]))


@pytest.mark.parametrize("size", SIZES)
async def test_operations_rates_and_lost_hosts_stand_in_one_list(size: tuple[int, int]) -> None:
    async with app_over(StillFleet(troubled())).run_test(size=size) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "host:mx2" in shown(pilot) and "rotate: gmail throttles" in shown(pilot))


async def test_a_row_has_room_for_who_did_it_and_says_no_name_twice() -> None:
    (shape, *_) = [one for one in operations("mx1") if one.verb == "shape"]
    shape = msgspec.structs.replace(shape, detail="gmail/mkt-1: connections 5 -> 2")
    pages = {"mx1": OperationPage(rows=(shape,))}
    fleet = StillFleet(healthy(), answers={"operations": lambda host: pages.get(host, OperationPage(rows=()))})
    async with app_over(fleet).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "shape: connections 5" in shown(pilot))
        assert "automati…" not in shown(pilot)


async def test_80_columns_have_room_for_the_hosts() -> None:
    async with app_over(StillFleet(troubled())).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "HOSTS" in shown(pilot))
        assert "  2 hosts" in shown(pilot)


async def test_it_follows_the_newest_event_and_stands_still_on_f() -> None:
    async with app_over(StillFleet(troubled())).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot)
        assert table(pilot).cursor == table(pilot).source.key(table(pilot).row_count - 1)
        await pilot.press("f")
        assert "stands still" in screen.query_one(StatusLine).message
        await pilot.press("g")
        first = table(pilot).cursor
        screen.show(screen.desk.state, NOW)
        assert table(pilot).cursor == first


async def test_the_filter_narrows_by_host_and_by_words() -> None:
    async with app_over(StillFleet(troubled())).run_test(size=(120, 36)) as pilot:
        screen = await opened(pilot)
        whole = table(pilot).row_count
        await pilot.press("slash", *"host:mx2", "enter")
        await until(pilot, lambda: 0 < table(pilot).row_count < whole)
        assert "host:mx2" in (table(pilot).cursor or "")
        screen.narrow(type(screen.filter).parse("nonsense"))
        await until(pilot, lambda: table(pilot).row_count == 0)


async def test_the_export_is_what_the_command_prints(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    async with app_over(StillFleet(troubled())).run_test(size=(120, 36)) as pilot:
        await opened(pilot)
        rows = table(pilot).row_count
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, PromptDialog) and pilot.app.screen.is_mounted)
        dialog = pilot.app.screen
        assert isinstance(dialog, PromptDialog)
        dialog.dismiss(str(path))
        await until(pilot, path.exists)
        await until(pilot, lambda: len(path.read_text().splitlines()) == rows)


@pytest.mark.parametrize("size", SIZES)
async def test_a_note_stands_above_the_hosts(size: tuple[int, int]) -> None:
    async with app_over(StillFleet(noted())).run_test(size=size) as pilot:
        await ready(pilot)
        await until(pilot, lambda: all(word in shown(pilot) for word in ("✎", "bob", "ticket 4711")))
        assert "\x1b" not in shown(pilot)
