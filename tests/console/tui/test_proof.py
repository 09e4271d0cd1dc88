"""A path that somebody holds says that nothing leaves on it any more."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from mailagent.api.directives import DirectiveKind
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.views import MemberState
from mailctl.fleet.state import FleetState
from tests.console.ops.test_alarms import QUIET, with_cells
from tests.console.tui.doubles import StillFleet, order
from tests.console.tui.test_screens import SIZES, app_over, ready, shown, table
from tests.console.tui.waiting import until

CELL = "gmail/mkt-1"


async def look(pilot: Pilot[Any]) -> None:
    await ready(pilot)
    await pilot.press("3")
    await until(pilot, lambda: table(pilot).row_count == 36)
    table(pilot).point_at((CELL,))
    await until(pilot, lambda: f"{CELL}" in shown(pilot))


def quarantined(connections: int) -> FleetState:
    state = with_cells(QUIET, "gmail", ("mkt-1",), binding=None, connections=connections, ready=0, deferred=0)
    first, *others = state.hosts
    assert first.snapshot is not None
    vmtas = tuple(
        msgspec.structs.replace(view, state=MemberState.QUARANTINED) if view.name == "mkt-1" else view
        for view in first.snapshot.vmtas
    )
    first = replace(first, snapshot=msgspec.structs.replace(first.snapshot, vmtas=vmtas))
    return replace(state, hosts=(first, *others))


@pytest.mark.parametrize("size", SIZES)
async def test_an_address_that_was_rotated_away_says_so_and_what_still_runs(size: tuple[int, int]) -> None:
    source = StillFleet(quarantined(3))
    async with app_over(source).run_test(size=size) as pilot:
        await look(pilot)
        await until(pilot, lambda: "3 connections still at work" in shown(pilot))
        assert "◆ quarantined" in shown(pilot)
        source.state = replace(quarantined(0), tick=8)
        await until(pilot, lambda: "✓ nothing leaves here: no connection is open" in shown(pilot))


def suspended(**order_of: str) -> FleetState:
    by = order(DirectiveKind.SUSPEND, f"cell:{CELL}", **order_of)
    state = with_cells(QUIET, "gmail", ("mkt-1",), binding=None, connections=0, ready=0, deferred=0)
    first, *others = state.hosts
    assert first.snapshot is not None
    first = replace(first, snapshot=msgspec.structs.replace(first.snapshot, directives=(by,)))
    return replace(state, hosts=(first, *others))


async def test_a_suspended_path_says_it_also_without_mail_and_one_that_runs_does_not() -> None:
    source = StillFleet(QUIET)
    async with app_over(source).run_test(size=(120, 36)) as pilot:
        await look(pilot)
        assert "nothing leaves" not in shown(pilot)
        source.state = replace(suspended(), tick=9)
        await until(pilot, lambda: "nothing leaves here" in shown(pilot) and "‖ suspended by alice" in shown(pilot))
        source.state = replace(suspended(rule="gmail.ip-reputation", author="automation"), tick=10)
        await until(pilot, lambda: "‖ suspended by automation" in shown(pilot))
        by_order = WaitReason(kind=ReasonKind.DIRECTIVE, detail="pool marketing is suspended by alice")
        held = with_cells(QUIET, "gmail", ("mkt-1",), binding=by_order, connections=0)
        source.state = replace(held, tick=11)
        await until(pilot, lambda: "nothing leaves here" in shown(pilot) and "‖ pool marketing is" in shown(pilot))


async def test_what_only_automation_suspended_a_person_may_suspend() -> None:
    by_rule = order(DirectiveKind.SUSPEND, f"cell:{CELL}", rule="gmail.ip-reputation", author="automation")
    first, *others = QUIET.hosts
    assert first.snapshot is not None
    first = replace(first, snapshot=msgspec.structs.replace(first.snapshot, directives=(by_rule,)))
    async with app_over(StillFleet(replace(QUIET, hosts=(first, *others)))).run_test(size=(120, 36)) as pilot:
        await look(pilot)
        await pilot.press("S")
        await until(pilot, lambda: "suspend cell:gmail/mkt-1" in shown(pilot))
