"""Evacuation on the Fleet screen: where to, a question, and a bar while other work goes on."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from mailagent.api.evacuation import (
    Direction,
    Evacuations,
    EvacuationSource,
    EvacuationState,
    EvacuationView,
    Leaving,
    Parcel,
)
from mailagent.api.ids import HostName, OpId, PoolName, StreamName
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S, ConfirmDialog
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.evacuation import STILL_S, Carried, hosts_in, takes_mail, under_way_of
from mailctl.tui.evacuation import Evacuations as Evacuating
from mailctl.tui.widgets.status import StatusLine
from mailctl.tui.widgets.table import FleetTable
from tests.console.tui.doubles import NOW, StillFleet, StillOperator, mixed
from tests.console.tui.test_confirm import Clock
from tests.console.tui.test_screens import shown
from tests.console.tui.waiting import is_asked, until

NEWS = StreamName("news")
LEAVING = EvacuationView(
    id=OpId("01j9qev00000000"),
    direction=Direction.OUT,
    state=EvacuationState.OPEN,
    peers=(HostName("mx3"),),
    streams=(NEWS,),
    author="bob\x1b[2J",
    reason="new disk",
    at=NOW,
    moved=700,
)


def app_with(operator: StillOperator, clock: Clock) -> ConsoleApp:
    return ConsoleApp(StillFleet(), operator, now=lambda: NOW, clock=clock)


async def asked_where(pilot: Pilot[Any]) -> None:
    """The cursor is on mx1, and V was pressed."""
    await until(
        pilot,
        lambda: bool(pilot.app.screen.query(FleetTable)) and pilot.app.screen.query_one(FleetTable).cursor == "mx1",
    )
    await pilot.press("V")
    await until(pilot, lambda: isinstance(pilot.app.screen, PromptDialog) and bool(pilot.app.screen.query(Input)))


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_a_host_is_evacuated_after_a_question_and_shows_how_far_it_is(size: tuple[int, int]) -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=size) as pilot:
        await asked_where(pilot)
        await pilot.press(*"mx2,mx3", "enter")
        await until(pilot, lambda: is_asked(pilot))
        question = pilot.app.screen
        assert isinstance(question, ConfirmDialog)
        assert (question.plan.messages, question.plan.steps[0].detail) == (
            12_000,
            "evacuation begins: 12,000 recipients may leave to mx2, mx3",
        )
        assert "7 of otp: mx2 has no stream otp" in question.plan.untouched
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: len(operator.evacuated) == 1)
        await until(pilot, lambda: "moved 9,000, 2,800 wait, 200 in parcels" in shown(pilot))
        await pilot.press("V")
        await until(pilot, lambda: "being evacuated by this console" in pilot.app.screen.query_one(StatusLine).message)
        operator.arrival.set()
        await until(pilot, lambda: "evacuate host:mx1: done" in pilot.app.screen.query_one(StatusLine).message)
        await pilot.press("j")
        await until(pilot, lambda: "in parcels" not in shown(pilot))


async def test_enter_held_down_evacuates_nothing() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await asked_where(pilot)
        await pilot.press("enter")  # to the hosts that take mail: they are proposed
        await until(pilot, lambda: is_asked(pilot))
        assert isinstance(pilot.app.screen, ConfirmDialog)
        assert pilot.app.screen.plan.steps[0].detail.endswith("may leave to mx2, mx3")
        clock.now += DEAF_S
        await pilot.press(*["enter"] * 3)
        await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
        assert operator.evacuated == []


async def test_a_host_that_is_not_there_is_named_at_once() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await asked_where(pilot)
        await pilot.press(*"mx1", "enter")
        await until(pilot, lambda: "no other host mx1; there are mx2, mx3" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, PromptDialog))
        assert operator.evacuated == []


@pytest.mark.parametrize(
    ("text", "hosts"), [("mx2", ("mx2",)), ("mx2, host:mx3 mx2", ("mx2", "mx3")), ("go on", ()), ("", ())]
)
def test_hosts_are_read_with_commas_or_blanks(text: str, hosts: tuple[str, ...]) -> None:
    assert hosts_in(text) == hosts


async def test_an_evacuation_that_others_carry_shows_how_far_it_is() -> None:
    def evacuations(host: str) -> Evacuations:
        return Evacuations(rows=(LEAVING,) if host == "mx2" else ())

    def waiting(_: str) -> EvacuationSource:
        rows = (Leaving(stream=NEWS, pool=PoolName("marketing"), waiting=300),)
        return EvacuationSource(host=HostName("mx2"), rows=rows, message_bytes=1, in_window=0, accepting=False)

    fleet = StillFleet(answers={"evacuations": evacuations, "evacuation_source": waiting})
    async with ConsoleApp(fleet, StillOperator(), now=lambda: NOW).run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: "mx2 leaves" in shown(pilot))
        await until(pilot, lambda: "moved 700, 300 wait, 0 in parcels" in shown(pilot))
        assert "70%" in shown(pilot)
        assert "to mx3, begun by bob" in shown(pilot)
        assert "\x1b" not in shown(pilot)


def test_an_evacuation_that_nobody_carries_says_so() -> None:
    one = Carried(HostName("mx2"), LEAVING, 100.0)
    one.take(msgspec.structs.replace(LEAVING, moved=720), 280, 110.0)
    assert (one.progress.per_s, one.progress.left) == (2.0, 280)
    assert "nothing moves" not in one.note
    one.take(one.view, 280, 110.0 + STILL_S)
    assert "nothing moves: V, `go on` carries it" in one.note


@pytest.mark.parametrize(
    ("direction", "state", "parcels", "is_shown"),
    [
        (Direction.OUT, EvacuationState.OPEN, (), True),
        (Direction.OUT, EvacuationState.DONE, (), False),
        (Direction.IN, EvacuationState.OPEN, (), False),
    ],
)
def test_an_evacuation_under_way_is_one_that_leaves(
    direction: Direction, state: EvacuationState, parcels: tuple[Parcel, ...], is_shown: bool
) -> None:
    view = msgspec.structs.replace(LEAVING, direction=direction, state=state, parcels=parcels)
    assert (under_way_of((view,)) is view) is is_shown


@pytest.mark.parametrize(("hosts", "most", "looks"), [(3, 1, 3), (40, 4, 10), (1000, 20, 50)])
async def test_a_large_fleet_is_asked_in_turns(hosts: int, most: int, looks: int) -> None:
    names = [HostName(f"mx{n}") for n in range(hosts)]
    asked: list[tuple[str, ...]] = []

    class Source(StillFleet):
        async def ask_all(
            self, method: str, params: Any, *, hosts: Iterable[str] | None = None, deadline_s: float = 5.0
        ) -> dict[HostName, Any]:
            asked.append(tuple(hosts or ()))
            return {}

    seen = Evacuating()
    for _ in range(looks):
        await seen.look(Source(), names, lambda: 0.0)
    assert max(map(len, asked)) == most
    assert {host for some in asked for host in some} == set(names)


async def test_a_host_whose_engine_cannot_is_no_place_to_go_to_and_cannot_be_left() -> None:
    app = ConsoleApp(StillFleet(mixed()), StillOperator(), now=lambda: NOW)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: bool(app.screen.query(FleetTable)))
        assert [str(host.name) for host in app.state.hosts if takes_mail(host)] == ["mx1", "mx2"]
        await pilot.press("G", "V")
        await until(
            pilot, lambda: "`evacuate` is not possible with its engine" in app.screen.query_one(StatusLine).message
        )
