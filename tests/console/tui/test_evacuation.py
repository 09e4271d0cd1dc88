"""Evacuation on the Fleet screen: where to, a question, and a bar while other work goes on."""

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S, ConfirmDialog
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.evacuation import hosts_in
from mailctl.tui.widgets.status import StatusLine
from mailctl.tui.widgets.table import FleetTable
from tests.console.tui.doubles import NOW, StillFleet, StillOperator
from tests.console.tui.test_confirm import Clock
from tests.console.tui.test_screens import shown
from tests.console.tui.waiting import is_asked, until


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
        await pilot.press(*["enter"] * 3)
        assert isinstance(pilot.app.screen, PromptDialog)
        await pilot.press(*"mx2", "enter")
        await until(pilot, lambda: is_asked(pilot))
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
