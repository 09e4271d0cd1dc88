"""Keys on waiting mail: groups, marked messages and one message are held, released, bounced and deleted."""

from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from mailagent.api.ids import HostName
from mailagent.api.replies import DeferredGroups, MessagePage
from mailctl.cli import listings
from mailctl.ops.plan import Verb
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S, ConfirmDialog
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.screens import messages
from mailctl.tui.screens.deferred import DeferredView
from mailctl.tui.screens.message import MessageView, explained
from mailctl.tui.screens.messages import MessagesView
from tests.console.tui.doubles import NOW, StillFleet, StillOperator, detail
from tests.console.tui.test_confirm import Clock
from tests.console.tui.test_screens import ready, shown, table
from tests.console.tui.waiting import is_asked, until


class HeldFleet(StillFleet):
    """The last of its messages is held."""

    def _answer(self, host: str, method: str, params: msgspec.Struct) -> Any:
        answer = super()._answer(host, method, params)
        if isinstance(answer, MessagePage) and answer.rows:
            *others, last = answer.rows
            return MessagePage(rows=(*others, msgspec.structs.replace(last, held="op-1")))
        return answer


def app_with(operator: StillOperator, clock: Clock) -> ConsoleApp:
    return ConsoleApp(HeldFleet(), operator, now=lambda: NOW, clock=clock)


async def asked(pilot: Pilot[Any], clock: Clock) -> None:
    await until(pilot, lambda: is_asked(pilot))
    clock.now += DEAF_S


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_a_group_is_held_in_three_keys(size: tuple[int, int]) -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: table(pilot).cursor == "g1")
        await pilot.press("H")
        await asked(pilot, clock)
        await pilot.press("y")
        await until(pilot, lambda: [plan.title for plan in operator.executed] == ["hold group:g1"])


async def test_marked_groups_are_given_up_together_and_only_by_typing_it() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: table(pilot).cursor == "g1")
        await pilot.press("space", "j", "space", "X")
        await asked(pilot, clock)
        await pilot.press("enter")  # Cancel has the focus
        await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
        await pilot.press("X")
        await asked(pilot, clock)
        await pilot.press("y")
        await until(pilot, lambda: "-open" in pilot.app.screen.query_one(Input).classes)
        await pilot.press(*"delete", "enter")  # 3,930 messages want their number
        assert not operator.executed
        await pilot.press(*"delete", "space", *"3930", "enter")
        await until(pilot, lambda: len(operator.executed) == 1)
        (plan,) = operator.executed
        assert plan.verb is Verb.DELETE
        assert len(plan.selection.split()) == 2


async def test_one_recipient_is_bounced_and_a_held_one_released() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: table(pilot).cursor == "g1")
        await pilot.press("enter")
        await until(pilot, lambda: table(pilot).row_count == 40 and table(pilot).cursor is not None)
        await pilot.press("B")
        await asked(pilot, clock)
        assert operator.plans[-1].selection.startswith("message:")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
        await pilot.press("G")
        await until(pilot, lambda: "‖held" in shown(pilot))
        await pilot.press("E")
        await asked(pilot, clock)
        assert [plan.verb for plan in operator.plans] == [Verb.BOUNCE, Verb.RELEASE]
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
        await pilot.press("S")  # the destination of that mail, whoever sends there
        await asked(pilot, clock)
        assert (operator.plans[-1].verb, operator.plans[-1].selection) == (Verb.SUSPEND, "queue:gmail/")


async def on_a_message(pilot: Pilot[Any]) -> None:
    """Go down to the first message of the first group."""
    await ready(pilot)
    await pilot.press("4")
    await until(pilot, lambda: table(pilot).cursor == "g1")
    await pilot.press("enter")
    await until(pilot, lambda: table(pilot).row_count == 40 and table(pilot).cursor is not None)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, MessageView) and "Why it waits" in shown(pilot))


@pytest.mark.parametrize(
    ("key", "verb"), [("T", Verb.RETRY), ("H", Verb.HOLD), ("B", Verb.BOUNCE), ("X", Verb.DELETE), ("S", Verb.SUSPEND)]
)
async def test_the_message_that_is_looked_at_is_acted_on(key: str, verb: Verb) -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(80, 24)) as pilot:
        await on_a_message(pilot)
        await pilot.press(key)
        await asked(pilot, clock)
        assert [plan.verb for plan in operator.plans] == [verb]


def test_a_message_that_is_held_has_no_next_try() -> None:
    one = detail()
    assert "next try in" in str(explained(one, "mx1", NOW, 76))
    held = msgspec.structs.replace(one, summary=msgspec.structs.replace(one.summary, held="op-1"))
    assert "next try none while it is held" in str(explained(held, "mx1", NOW, 76))
    assert "none while it is held" in listings.message_detail(HostName("mx1"), held, None)


async def test_a_message_has_no_rows_to_narrow_or_order_and_the_keys_say_so() -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=(80, 24)) as pilot:
        await on_a_message(pilot)
        assert "/ filter" not in shown(pilot)
        await pilot.press("slash")
        await until(pilot, lambda: "no rows to narrow here" in shown(pilot))
        await pilot.press("o")
        await until(pilot, lambda: "no rows to order here" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, MessagesView))


async def test_a_group_is_moved_to_a_pool_that_there_is() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: table(pilot).cursor == "g1")
        await pilot.press("M")
        await until(pilot, lambda: isinstance(pilot.app.screen, PromptDialog) and pilot.app.screen.is_mounted)
        await pilot.press(*"nowhere", "enter")
        assert not operator.plans
        for _ in "nowhere":
            await pilot.press("backspace")
        await pilot.press(*"cold", "enter")
        await asked(pilot, clock)
        (plan,) = operator.plans
        assert (plan.verb, plan.options.pool) == (Verb.REBIND, "cold")


async def test_one_path_is_probed_from_destinations() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await until(pilot, lambda: table(pilot).cursor is not None)
        await pilot.press("P")
        await asked(pilot, clock)
        (plan,) = operator.plans
        assert plan.verb is Verb.PROBE
        assert plan.selection.startswith("cell:")


class LeavingFleet(StillFleet):
    """Its first message leaves."""

    gone = False

    def _answer(self, host: str, method: str, params: msgspec.Struct) -> Any:
        answer = super()._answer(host, method, params)
        if isinstance(answer, MessagePage) and self.gone:
            return MessagePage(rows=answer.rows[1:], cursor=answer.cursor)
        return answer


async def test_a_message_that_has_left_leaves_the_list_and_the_others_keep_their_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = LeavingFleet()
    app = ConsoleApp(fleet, StillOperator(), now=lambda: NOW, clock=Clock())
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: table(pilot).cursor == "g1")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MessagesView) and table(pilot).row_count > 2)
        screen = app.screen
        assert isinstance(screen, MessagesView)
        before = [row.key for row in screen.rows]
        fleet.gone = True
        monkeypatch.setattr(messages, "AGAIN_S", 0.0)
        await until(pilot, lambda: len(screen.rows) < len(before))
        left = [row.key for row in screen.rows]
        assert left == [key for key in before if key in left]
        assert table(pilot).row_count == len(left)


class ShiftingFleet(StillFleet):
    """What was its smallest group becomes its largest."""

    has_shifted = False

    def _answer(self, host: str, method: str, params: msgspec.Struct) -> Any:
        answer = super()._answer(host, method, params)
        if isinstance(answer, DeferredGroups) and self.has_shifted:
            *others, last = answer.groups
            return DeferredGroups(groups=(*others, msgspec.structs.replace(last, count=90_000)))
        return answer


@pytest.mark.parametrize("keys", ["", "c"])
async def test_groups_stand_still_while_a_question_is_open(keys: str) -> None:
    fleet, clock = ShiftingFleet(), Clock()
    app = ConsoleApp(fleet, StillOperator(), now=lambda: NOW, clock=clock)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: table(pilot).cursor == "g1")
        screen = app.screen
        await pilot.press(*keys)
        await until(pilot, lambda: table(pilot).cursor == ("rate-limit" if keys else "g1"))
        groups = table(pilot)
        first, last = groups.source.key(0), groups.source.key(len(groups.source) - 1)
        await pilot.press("T")
        await asked(pilot, clock)
        fleet.has_shifted = True
        assert isinstance(screen, DeferredView)
        screen.poll()
        await until(
            pilot,
            lambda: any("270,0" in cell.text for cell in groups.source.row(groups.source.index_of(last) or 0).cells),
        )
        assert (groups.source.key(0), groups.cursor) == (first, first)
        await pilot.press("escape")
        await until(pilot, lambda: groups.source.key(0) == last)
        assert groups.cursor == first
