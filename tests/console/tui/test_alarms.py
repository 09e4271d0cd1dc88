"""The line of alarms: there while something is wrong, and a key away from where it is made safe."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from mailagent.api.directives import DirectiveKind, DirectiveView
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.reputation import IdentityKind, Weight
from mailctl.fleet.state import FleetState, HostState
from mailctl.ops.alarms import Lookout
from mailctl.ops.plan import Verb
from mailctl.ops.selector import TermKind
from mailctl.tui.alarms import Alarms
from mailctl.tui.screens.destinations import DestinationsView
from mailctl.tui.screens.fleet import FleetView
from mailctl.tui.screens.help import HelpScreen
from mailctl.tui.screens.operations import OperationsView
from mailctl.tui.screens.pools import PoolsView
from mailctl.tui.verdicts import Subject
from mailctl.tui.widgets.alarmline import AlarmLine, alarm_line
from mailctl.tui.widgets.status import Hints
from mailctl.tui.widgets.table import FleetTable
from mailctl.tui.widgets.topbar import Tabs
from tests.console.ops.test_alarms import FAILING, QUIET, at_fault, listed, rule, with_cells
from tests.console.tui.doubles import BUSY, StillFleet, healthy, order, troubled
from tests.console.tui.test_screens import SIZES, app_over, ready, shown, table
from tests.console.tui.waiting import is_asked, until


def with_directives(fleet: FleetState, *directives: DirectiveView) -> FleetState:
    """`fleet` with orders on each host."""

    def change(host: HostState) -> HostState:
        assert host.snapshot is not None
        return replace(host, snapshot=msgspec.structs.replace(host.snapshot, directives=directives))

    return replace(fleet, hosts=tuple(map(change, fleet.hosts)))


def line(pilot: Pilot[Any]) -> str:
    return str(pilot.app.screen.query_one(AlarmLine).render())


@pytest.mark.parametrize("at", ["outlook/mkt-1", "gmail/mkt-1", "yahoo/tx-5", ""])
def test_the_keys_of_the_line_are_never_cut(at: str) -> None:
    fleet = with_cells(healthy(), "yahoo", ("tx-5",), flow=FAILING, last_reply=BUSY)
    fleet = with_cells(fleet, "outlook", ("mkt-1", "mkt-3", "tx-1"), flow=FAILING, last_reply=BUSY)
    alarms = Lookout().see(fleet)
    assert len(alarms) == 3
    for width in (78, 98, 118):
        drawn = alarm_line(alarms, ("Destinations", at), str, width)
        assert drawn.cell_length == width
        assert drawn.plain.endswith(
            ("rotate  +2", "next of 3", "next of 3, 1 worse", "next of 3, 2 worse", "suspend  +2")
        )


@pytest.mark.parametrize("size", SIZES)
async def test_a_key_goes_from_the_alarm_to_its_row_and_says_what_helps(size: tuple[int, int]) -> None:
    async with app_over(StillFleet(healthy())).run_test(size=size) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "gmail throttles mkt-1, 1,598 wait" in shown(pilot))
        assert "! goes there, R rotate" in line(pilot)
        await pilot.press("!")
        await until(pilot, lambda: isinstance(pilot.app.screen, DestinationsView) and "goes there" not in line(pilot))
        assert table(pilot).cursor == "gmail/mkt-1"
        assert line(pilot).endswith("R rotate")


@pytest.mark.parametrize("size", SIZES)
async def test_an_address_on_a_block_list_is_shown_in_its_pool_unfolded(size: tuple[int, int]) -> None:
    async with app_over(StillFleet(listed(Weight.HIGH, "mkt-1"))).run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("2", "f", "down", "f")
        await until(pilot, lambda: isinstance(pilot.app.screen, PoolsView) and "▸ marketing" in shown(pilot))
        await pilot.press("1", "!")
        await until(pilot, lambda: isinstance(pilot.app.screen, PoolsView) and table(pilot).cursor == "vmta:mkt-1")
        assert "mkt-1 is on bl.example (trap)" in line(pilot)
        assert line(pilot).endswith("R rotate")
        await until(pilot, lambda: "listed  bl.example says  trap" in shown(pilot))
        assert shown(pilot).count("on bl.example (trap)") == 1  # in the line of alarms


@pytest.mark.parametrize("size", SIZES)
async def test_what_a_pool_lacks_leads_to_its_row(size: tuple[int, int]) -> None:
    state = at_fault(IdentityKind.SPF, pools=("marketing",))
    async with app_over(StillFleet(state)).run_test(size=size) as pilot:
        await ready(pilot)
        await until(pilot, lambda: line(pilot).startswith("▲ marketing: spf of it: missing"))
        await pilot.press("!")
        await until(pilot, lambda: isinstance(pilot.app.screen, PoolsView) and table(pilot).cursor == "pool:marketing")
        await until(pilot, lambda: shown(pilot).count("spf of it: missing") == 2)  # in the line and in the pane


async def test_without_an_alarm_there_is_no_line() -> None:
    async with app_over(StillFleet(QUIET)).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        assert not pilot.app.screen.query_one(AlarmLine).display
        await pilot.press("!")
        await until(pilot, lambda: "nothing is wrong that this console knows of" in shown(pilot))


async def test_the_key_goes_on_to_the_next_and_escape_comes_back() -> None:
    fleet = with_cells(troubled(), "yahoo", ("tx-5",), flow=FAILING, last_reply=BUSY)
    async with app_over(StillFleet(fleet)).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("6")
        await until(pilot, lambda: isinstance(pilot.app.screen, OperationsView))
        await pilot.press("!")
        await until(pilot, lambda: isinstance(pilot.app.screen, FleetView) and table(pilot).cursor == "mx2")
        assert "! next of 2" in line(pilot)
        await pilot.press("!")
        await until(pilot, lambda: table(pilot).cursor == "yahoo/tx-5")
        await pilot.press("!")
        await until(pilot, lambda: table(pilot).cursor == "mx2")
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, FleetView))


def test_the_key_goes_first_to_what_is_worse_and_new() -> None:
    alarms = Alarms(clock=lambda: 0.0)
    fleet = with_cells(QUIET, "yahoo", ("tx-5",), flow=FAILING, last_reply=BUSY)
    alarms.look(with_cells(fleet, "gmail", ("mkt-1",), binding=WaitReason(kind=ReasonKind.REST, detail="3 failed")))
    throttled, unreachable = alarms.standing
    assert alarms.next(None) is throttled
    assert alarms.next(("Destinations", "yahoo/tx-5")) is unreachable
    alarms = Alarms(clock=lambda: 0.0)
    alarms.look(fleet)
    assert alarms.next(None) is alarms.standing[0]
    alarms.look(with_cells(fleet, "outlook", ("mkt-1", "mkt-3"), binding=rule("suspend outlook.block-list")))
    here = ("Destinations", "yahoo/tx-5")
    worse = alarms.standing[:2]
    assert "2 worse" in alarm_line(alarms.standing, here, str, 100).plain
    assert alarms.next(here) is worse[0]
    assert alarms.next(here) is worse[1]
    assert alarms.next(here) is worse[0]  # round, when nothing is new


async def test_a_provider_that_is_suspended_as_a_whole_is_resumed_as_a_whole() -> None:
    held = with_directives(QUIET, order(DirectiveKind.SUSPEND, "provider:outlook"))
    async with app_over(StillFleet(held)).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3", "/", *"outlook", "enter")
        await until(pilot, lambda: table(pilot).cursor is not None and str(table(pilot).cursor).startswith("outlook"))
        view = pilot.app.screen
        assert isinstance(view, DestinationsView)
        assert view.subject(Verb.RESUME) == Subject(TermKind.PROVIDER, ("outlook",))


async def test_from_anywhere_else_the_key_goes_to_the_worst_again() -> None:
    fleet = with_cells(troubled(), "yahoo", ("tx-5",), flow=FAILING, last_reply=BUSY)
    async with app_over(StillFleet(fleet)).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        for _ in range(2):
            await pilot.press("6")
            await until(pilot, lambda: isinstance(pilot.app.screen, OperationsView))
            await pilot.press("!")
            await until(pilot, lambda: isinstance(pilot.app.screen, FleetView) and table(pilot).cursor == "mx2")


async def test_the_key_opens_the_machine_of_the_agent() -> None:
    state = troubled()
    hosts = tuple(replace(host, machine="box" if host.name != "mx1" else "") for host in state.hosts)
    async with app_over(StillFleet(replace(state, hosts=hosts))).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: table(pilot).row_count == 2)
        await pilot.press("!")
        await until(pilot, lambda: table(pilot).cursor == "mx2")


async def test_what_concerns_many_rows_marks_them_and_takes_the_filter_away() -> None:
    vmtas = ("mkt-1", "mkt-3", "mkt-5", "tx-1", "tx-3")
    fleet = with_cells(QUIET, "outlook", vmtas, flow=FAILING, last_reply=BUSY)
    async with app_over(StillFleet(fleet)).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3", "/", *"gmail", "enter", "!")
        await until(pilot, lambda: len(table(pilot).marks) == len(vmtas))
        view = pilot.app.screen
        assert isinstance(view, DestinationsView)
        subject = view.subject(Verb.SUSPEND)
        assert subject is not None
        assert set(subject.names) == {f"outlook/{vmta}" for vmta in vmtas}


async def test_the_line_goes_when_the_trouble_does() -> None:
    source = StillFleet(healthy())
    async with app_over(source).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: pilot.app.screen.query_one(AlarmLine).display)
        source.state = replace(QUIET, tick=7)
        await until(pilot, lambda: not pilot.app.screen.query_one(AlarmLine).display)


async def test_the_cursor_stays_on_the_row_that_a_verb_was_asked_for() -> None:
    source = StillFleet(healthy())
    async with app_over(source).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await until(pilot, lambda: table(pilot).cursor == "gmail/mkt-1")
        view = pilot.app.screen
        await pilot.press("R")
        await until(pilot, lambda: is_asked(pilot))
        source.state = replace(with_cells(healthy(), "outlook", ("tx-3",), deferred=5000), tick=7)
        await until(pilot, lambda: pilot.app.state.tick == 7)  # type: ignore[attr-defined]
        assert view.query_one(FleetTable).cursor == "gmail/mkt-1"


async def test_tabs_alarm_and_hints_can_be_clicked() -> None:
    async with app_over(StillFleet(healthy())).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        for name in ("Pools", "Suppr", "Fleet"):
            tabs = pilot.app.screen.query_one(Tabs)
            await pilot.click(tabs, offset=(str(tabs.render()).index(name) + 2, 0))
            await until(pilot, lambda name=name: type(pilot.app.screen).__name__.startswith(name))  # type: ignore[misc]
        await until(pilot, lambda: pilot.app.screen.query_one(AlarmLine).display)
        await pilot.click(AlarmLine)
        await until(pilot, lambda: isinstance(pilot.app.screen, DestinationsView))
        hints = pilot.app.screen.query_one(Hints)
        await pilot.click(hints, offset=(str(hints.render()).index("? help") + 3, 0))
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
