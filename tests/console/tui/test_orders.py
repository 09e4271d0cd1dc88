"""Orders of automation: visible where operators look, and ended, pinned or shortened by key."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from mailagent.api import codec
from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import HostName
from mailagent.api.operations import Result
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.replies import OperationPage
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailctl.fleet.state import FleetState, LinkState
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S, ConfirmDialog
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.screens.operations import OperationsView, logged
from mailctl.tui.screens.orders import limited
from mailctl.tui.widgets.status import StatusLine
from mailctl.tui.widgets.table import FleetTable
from tests.console.ops.test_alarms import with_cells
from tests.console.tui.doubles import NOW, StillFleet, StillOperator, healthy, operations, order, shaped, troubled
from tests.console.tui.test_confirm import Clock
from tests.console.tui.test_screens import SIZES, ready, shown, table
from tests.console.tui.waiting import is_asked, until

ORDER = "d-limit-gmail/mkt-1"


async def orders(pilot: Pilot[Any]) -> None:
    """Operations, with the order under the cursor."""
    await ready(pilot)
    await pilot.press("6")
    await until(pilot, lambda: isinstance(pilot.app.screen, OperationsView) and table(pilot).row_count == 1)


def app_with(operator: StillOperator, clock: Clock) -> ConsoleApp:
    return ConsoleApp(StillFleet(shaped()), operator, now=lambda: NOW, clock=clock)


@pytest.mark.parametrize("size", SIZES)
async def test_an_order_of_automation_shows_value_rule_and_reply(size: tuple[int, int]) -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=size) as pilot:
        await orders(pilot)
        await until(pilot, lambda: "gmail.unusual-rate" in shown(pilot))
        assert "421 4.7.28 Gmail has detected" in shown(pilot)
        assert "in 52m" in shown(pilot)
        assert "provider_connections 5 → 2" in shown(pilot)
        assert "gmail/mkt-1 5 → 2" in shown(pilot)


async def test_the_pane_has_all_of_the_operation_under_the_cursor_of_the_log() -> None:
    """At 80 columns RESULT is cut, and id and reason have no column."""
    app = ConsoleApp(StillFleet(troubled()), StillOperator(), now=lambda: NOW, clock=Clock())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("6")
        log = app.screen.query_one("#log", FleetTable)
        await until(pilot, lambda: log.row_count == 3)
        assert "01j9qm00aaaaaaa" not in shown(pilot)
        await pilot.press("tab")
        await until(pilot, lambda: "01j9qm00aaaaaaa" in shown(pilot) and "mx1, mx3" in shown(pilot))
        assert "gmail throttles, ticket 4711" in shown(pilot)
        await pilot.press("j", "j")
        await until(pilot, lambda: "01j9pa77hq2r5ab" in shown(pilot) and "undone by 01j9pb" in shown(pilot))
        await pilot.press("tab")
        await until(pilot, lambda: "d-drain-cold" in shown(pilot) and "01j9pa77hq2r5ab" not in shown(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_the_pane_has_the_whole_progress_of_a_drain(size: tuple[int, int]) -> None:
    app = ConsoleApp(StillFleet(troubled()), StillOperator(), now=lambda: NOW, clock=Clock())
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("6")
        await until(pilot, lambda: "▽ 2 conn, 14 ready, 1 in doubt, 310 waiting" in shown(pilot))


async def test_an_order_on_a_host_that_is_lost_says_so_whatever_its_kind() -> None:
    first, *others = shaped().hosts
    fleet = StillFleet(FleetState(hosts=(replace(first, state=LinkState.LOST), *others)))
    async with ConsoleApp(fleet, StillOperator(), now=lambda: NOW).run_test(size=(80, 24)) as pilot:
        await orders(pilot)
        await until(pilot, lambda: "~ a host is lost" in shown(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_a_destination_shows_that_automation_lowered_its_limit(size: tuple[int, int]) -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await until(pilot, lambda: table(pilot).row_count == 36)
        await until(pilot, lambda: "↓ provider_connections 5 → 2" in shown(pilot))
        assert "gmail.unusual-rate" in shown(pilot)


async def test_of_two_lowered_limits_the_one_that_binds_stands_first() -> None:
    connections = order(DirectiveKind.LIMIT, "cell:gmail/mkt-1", limit="provider_connections", value="2", base="5")
    rate = order(DirectiveKind.LIMIT, "cell:gmail/mkt-1", limit="provider_rate", value="9/m", base="90/m")
    bound = WaitReason(kind=ReasonKind.RULE, detail="used up", key="provider_rate", value="9/m", origin="automation")
    first, *others = with_cells(healthy(), "gmail", ("mkt-1",), binding=bound).hosts
    assert first.snapshot is not None
    for directives in ((connections, rate), (rate, connections)):
        host = replace(first, snapshot=msgspec.structs.replace(first.snapshot, directives=directives))
        fleet = StillFleet(FleetState(hosts=(host, *others)))
        async with ConsoleApp(fleet, StillOperator(), now=lambda: NOW).run_test(size=(80, 24)) as pilot:
            await ready(pilot)
            await pilot.press("3")
            await until(pilot, lambda: "↓ provider_rate 90/m → 9/m" in shown(pilot))


async def test_an_order_is_cancelled_pinned_and_shortened_after_a_question() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        for press in (("X",), ("P",), ("T", "1", "0", "m", "enter")):
            await orders(pilot)
            await pilot.press(press[0])
            if len(press) > 1:
                await until(pilot, lambda: isinstance(pilot.app.screen, PromptDialog) and pilot.app.screen.is_mounted)
                await pilot.press(*press[1:])
            await until(pilot, lambda: is_asked(pilot))
            clock.now += DEAF_S
            await pilot.press("y")
            done = len(operator.executed)
            await until(pilot, lambda done=done: len(operator.executed) >= max(1, done))  # type: ignore[misc]
            await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
        assert operator.cancelled == [ORDER]
        assert [(one, options.pin, options.ttl_s) for one, options in operator.edited] == [
            (ORDER, True, None),
            (ORDER, None, 600),
        ]
        assert len(operator.executed) == 3


async def test_what_is_no_time_is_said_and_asked_again() -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=(80, 24)) as pilot:
        await orders(pilot)
        await pilot.press("T")
        await until(pilot, lambda: isinstance(pilot.app.screen, PromptDialog) and pilot.app.screen.is_mounted)
        await pilot.press(*"soon", "enter")
        await until(pilot, lambda: "is no time" in shown(pilot))
        assert pilot.app.screen.query_one(Input).value == "soon"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, OperationsView))


async def test_keys_of_orders_in_the_log_say_where_orders_are() -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=(80, 24)) as pilot:
        await orders(pilot)
        log = pilot.app.screen.query_one("#log", FleetTable)
        await until(pilot, lambda: log.row_count > 0)
        await pilot.press("tab", "X")
        await until(pilot, lambda: "choose a standing order above" in pilot.app.screen.query_one(StatusLine).message)


async def test_the_log_hides_what_agents_did_by_themselves_until_asked() -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=(120, 36)) as pilot:
        await orders(pilot)
        log = pilot.app.screen.query_one("#log", FleetTable)
        await until(pilot, lambda: log.row_count == 3)
        await pilot.press("a")
        await until(pilot, lambda: log.row_count == 4)
        await pilot.press("a")
        await until(pilot, lambda: log.row_count == 3)


class Applying(StillFleet):
    """A fleet whose drain was a `mailctl apply`."""

    async def ask_all(self, method: str, params: msgspec.Struct, **how: Any) -> dict[HostName, Any]:
        answers = await super().ask_all(method, params, **how)
        if method == "operations":
            told = {host: codec.encode(page).replace(b'"drain"', b'"config_apply"') for host, page in answers.items()}
            return {host: codec.decode(page, OperationPage) for host, page in told.items()}
        return answers


async def test_the_log_has_the_words_of_operators_and_is_narrowed_by_them() -> None:
    app = ConsoleApp(Applying(shaped()), StillOperator(), now=lambda: NOW, clock=Clock())
    async with app.run_test(size=(120, 36)) as pilot:
        await orders(pilot)
        await until(pilot, lambda: "apply" in shown(pilot))
        assert "config_apply" not in shown(pilot)
        await pilot.press("slash", *"apply", "enter")
        await until(pilot, lambda: pilot.app.screen.query_one("#log", FleetTable).row_count == 1)


async def test_the_log_is_narrowed_to_a_host() -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=(80, 24)) as pilot:
        await orders(pilot)
        log = pilot.app.screen.query_one("#log", FleetTable)
        await until(pilot, lambda: log.row_count == 3)  # one of them on mx1 alone
        await pilot.press("slash", *"host:mx3", "enter")
        await until(pilot, lambda: log.row_count == 2)


def test_an_operation_is_told_by_the_hosts_where_it_did_something() -> None:
    (done, *_), nothing = operations("mx3"), Result.NOTHING_TO_DO
    pages = {
        "mx1": OperationPage(rows=(msgspec.structs.replace(done, target=None, result=nothing),)),
        "mx3": OperationPage(rows=(done,)),
    }
    (row,) = logged(pages)
    assert (row.hosts, row.record.result, row.others) == (("mx3",), Result.APPLIED, 0)
    (row,) = logged({"mx1": pages["mx1"]})
    assert (row.hosts, row.record.result) == (("mx1",), nothing)


async def test_the_log_says_what_a_verb_on_mail_was_about() -> None:
    (done, *_), group = operations("mx3"), "group:25f8060476c2"
    retry = msgspec.structs.replace(done, verb="retry", target=None, filter=MessageFilter(group="25f8060476c2"))
    on_postfix = msgspec.structs.replace(retry, filter=None, target=Target(kind=TargetKind.MAIL, name=group))
    pages = {"mx1": OperationPage(rows=(retry,)), "mx3": OperationPage(rows=(on_postfix,))}
    (row,) = logged(pages)
    assert (row.hosts, row.others) == (("mx1", "mx3"), 0)
    fleet = StillFleet(healthy(), answers={"operations": lambda host: pages.get(host, OperationPage(rows=()))})
    async with ConsoleApp(fleet, StillOperator(), now=lambda: NOW).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("6")
        await until(pilot, lambda: group in shown(pilot) and "2 hosts" in shown(pilot))
        assert "messages" not in shown(pilot)
        assert "mail:group" not in shown(pilot)


def test_a_retry_that_stands_says_how_far_it_is_spread() -> None:
    one = order(DirectiveKind.RETRY, "mail:group:25f8", value="60")
    assert limited(one.directive) == "within 60 s"


async def test_all_of_mine_since_a_time_is_one_question() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await orders(pilot)
        await pilot.press("M")
        await until(pilot, lambda: isinstance(pilot.app.screen, PromptDialog))
        await pilot.press("2", "h", "enter")
        await until(pilot, lambda: is_asked(pilot))
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: len(operator.executed) == 1)
        assert operator.undone == ["01:14"]


async def test_undo_before_anything_was_done_here_is_about_the_last_of_mine() -> None:
    operator = StillOperator()
    async with app_with(operator, Clock()).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("U")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        assert operator.undone == ["last"]


async def test_undo_after_an_undo_goes_one_step_further_back() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        for done in (1, 2):
            await pilot.press("U")
            await until(pilot, lambda: is_asked(pilot))
            clock.now += DEAF_S
            await pilot.press("y")
            await until(pilot, lambda done=done: len(operator.executed) == done)  # type: ignore[misc]
            await until(pilot, lambda: not is_asked(pilot))
        assert operator.undone == ["last", "last"]
