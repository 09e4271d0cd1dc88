"""Enter held down, read-only mode, and a production fleet."""

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import ModalScreen

from mailctl.ops.plan import Options, Verb
from mailctl.ops.selector import parse
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S, ConfirmDialog
from mailctl.tui.screens.view import View
from mailctl.tui.widgets.status import StatusLine
from mailctl.tui.widgets.table import FleetTable
from tests.console.tui.doubles import NOW, StillFleet, StillOperator, shaped
from tests.console.tui.test_confirm import Clock
from tests.console.tui.test_screens import shown
from tests.console.tui.waiting import is_asked, until

HELD = 3
"""Presses of a key that is held down, before keys are listened to and after."""


async def settled(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: bool(pilot.app.screen.query(FleetTable)))


async def hold_enter(pilot: Pilot[Any], clock: Clock) -> None:
    """Enter, before and after keys are listened to."""
    await pilot.press(*["enter"] * HELD)
    clock.now += DEAF_S
    await pilot.press(*["enter"] * HELD)


CASES: tuple[tuple[Verb, dict[str, str]], ...] = (
    (Verb.DRAIN, {}),
    (Verb.RETRY, {}),
    (Verb.UNDO, {}),
    (Verb.JOB_CANCEL, {}),  # its name is typed
    (Verb.EDIT, {}),
    (Verb.LOCK_TAKE, {}),
    (Verb.SUSPEND, {"guard": "the last eligible IP"}),
    (Verb.ROTATE, {"lock": "locked by bob"}),
)
"""Each form of the question; all verbs share one dialog."""


async def test_enter_held_down_never_confirms_any_form_of_the_question() -> None:
    operator, clock = StillOperator(), Clock()
    app = ConsoleApp(StillFleet(), operator, now=lambda: NOW, clock=clock)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        for verb, hindrance in CASES:
            operator.guard, operator.lock = hindrance.get("guard", ""), hindrance.get("lock", "")
            app.ask_before(verb, parse("pool:marketing"))
            await until(pilot, lambda: is_asked(pilot))
            await hold_enter(pilot, clock)
            await until(pilot, lambda: not isinstance(app.screen, ConfirmDialog))
            assert operator.executed == []
            await pilot.press(*["enter"] * HELD)
            assert operator.executed == []


@pytest.mark.parametrize(
    ("key", "options"),
    [("y", Options(override=True, reason="x")), ("r", Options()), ("t", Options())],
    ids=["name", "reason", "time"],
)
async def test_enter_held_down_on_a_line_of_the_question_never_confirms(key: str, options: Options) -> None:
    operator, clock = StillOperator(), Clock()
    app = ConsoleApp(StillFleet(), operator, now=lambda: NOW, clock=clock)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        app.ask_before(Verb.DRAIN, parse("pool:marketing"), options)
        await until(pilot, lambda: is_asked(pilot))
        clock.now += DEAF_S
        await pilot.press(key)
        await hold_enter(pilot, clock)
        assert operator.executed == []


async def test_enter_held_down_after_the_keys_of_orders_changes_nothing() -> None:
    operator, clock = StillOperator(), Clock()
    app = ConsoleApp(StillFleet(shaped()), operator, now=lambda: NOW, clock=clock)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        for key in "UMXPT":  # questions, and lines before them
            while isinstance(app.screen, ModalScreen):
                clock.now += DEAF_S
                await pilot.press("escape")
            app.action_tab("Operations")
            await until(pilot, lambda: app.screen is app.get_screen("Operations"))
            await settled(pilot)
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.screen, ModalScreen))
            await hold_enter(pilot, clock)
        assert operator.executed == []


async def test_read_only_says_so_draws_verbs_grey_and_plans_nothing() -> None:
    operator = StillOperator()
    app = ConsoleApp(StillFleet(), operator, now=lambda: NOW, read_only=True)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert "read-only" in shown(pilot)
        for key in ("D", "S", "U", "L"):
            app.say("")
            await pilot.press(key)
            await until(pilot, lambda: "read-only mode" in app.screen.query_one(StatusLine).message)
        screen = app.screen
        assert isinstance(screen, View)
        assert screen.verdict(Verb.DRAIN).verb is None
        assert operator.plans == []


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_production_is_named_on_every_screen_and_question(size: tuple[int, int]) -> None:
    operator = StillOperator(environment="production")
    app = ConsoleApp(StillFleet(), operator, now=lambda: NOW, environment="production")
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        assert "PRODUCTION" in shown(pilot)
        assert "Suppr" in shown(pilot)
        app.ask_before(Verb.DRAIN, parse("pool:marketing"))
        await until(pilot, lambda: is_asked(pilot))
        await until(pilot, lambda: "PRODUCTION: drain" in shown(pilot))


async def test_production_asks_for_the_name_when_much_is_touched_for_good() -> None:
    async def word(**more: Any) -> str:
        environment = more.pop("environment", "production")
        plan = await StillOperator(environment=environment).plan(Verb.RETRY, parse("provider:gmail"), Options())
        return replace(plan, **more).word

    assert await word(undoable=False) == "gmail"
    assert await word(undoable=True) == ""  # what can be undone is confirmed with y, whatever its size
    assert await word(undoable=False, environment="staging") == ""
    assert await word(undoable=False, hosts=1, share=0.01, messages=10) == ""
