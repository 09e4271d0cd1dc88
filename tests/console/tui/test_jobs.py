"""Jobs: one row over all hosts, its causes, and the keys that pause, resume and cancel."""

from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from mailctl.ops.plan import Verb
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S
from mailctl.tui.screens.jobs import JobsView
from mailctl.tui.screens.view import View
from mailctl.tui.widgets.table import FleetTable
from tests.console.tui.doubles import NOW, StillFleet, StillOperator
from tests.console.tui.test_confirm import Clock
from tests.console.tui.test_screens import shown, table
from tests.console.tui.waiting import is_asked, until


async def opened(pilot: Pilot[Any]) -> None:
    """The jobs, with their rows."""
    await until(pilot, lambda: isinstance(pilot.app.screen, View) and bool(pilot.app.screen.query(FleetTable)))
    await pilot.press("7")
    await until(pilot, lambda: isinstance(pilot.app.screen, JobsView) and table(pilot).row_count == 2)


def app_with(operator: StillOperator, clock: Clock) -> ConsoleApp:
    return ConsoleApp(StillFleet(), operator, now=lambda: NOW, clock=clock)


async def test_a_job_is_summed_over_hosts_and_shows_why_it_is_not_done() -> None:
    for size in ((80, 24), (120, 36)):
        async with app_with(StillOperator(), Clock()).run_test(size=size) as pilot:
            await opened(pilot)
            await until(pilot, lambda: "36,000" in shown(pilot) and "9.6/s" in shown(pilot))
            await until(pilot, lambda: "5 of 5 connections to gmail" in shown(pilot))
            assert "late" in shown(pilot)
            assert "‖ paused" in shown(pilot)


async def test_enter_shows_the_messages_of_the_job() -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=(120, 36)) as pilot:
        await opened(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: str(getattr(pilot.app.screen, "filter", "")) == "job:spring-sale")


async def test_a_job_is_paused_after_a_question() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await opened(pilot)
        await pilot.press("S")
        await until(pilot, lambda: is_asked(pilot))
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: [plan.title for plan in operator.executed] == ["job pause spring-sale"])


async def test_a_job_is_cancelled_only_by_typing_its_name() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("X")
        await until(pilot, lambda: is_asked(pilot))
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: "-open" in pilot.app.screen.query_one(Input).classes)
        assert pilot.app.screen.query_one(Input).placeholder == "type spring-sale to confirm"
        await pilot.press("y", "enter")
        assert not operator.executed
        await pilot.press(*"spring-sale", "enter")
        await until(pilot, lambda: [plan.verb for plan in operator.executed] == [Verb.JOB_CANCEL])
