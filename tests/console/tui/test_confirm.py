"""The question before a verb acts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.containers import Vertical, VerticalScroll
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Static

from mailagent.api.operations import Impact
from mailctl.ops.plan import LineResult, Options, StepState, Verb
from mailctl.ops.selector import parse
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S, ConfirmDialog, seconds_in, summary
from mailctl.tui.dialogs.report import ReportDialog
from mailctl.tui.widgets.status import StatusLine
from mailctl.tui.widgets.table import FleetTable
from tests.console.tui.doubles import NOW, StillFleet, StillOperator
from tests.console.tui.waiting import is_asked, until


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def app_with(operator: StillOperator, clock: Callable[[], float]) -> ConsoleApp:
    return ConsoleApp(StillFleet(), operator, now=lambda: NOW, clock=clock)


async def ask(pilot: Pilot[Any]) -> None:
    """Open the question about a drain of the first pool."""
    await until(pilot, lambda: bool(pilot.app.screen.query(FleetTable)))
    await pilot.press("2")
    await until(pilot, lambda: pilot.app.screen.query_one(FleetTable).cursor == "pool:cold")
    await pilot.press("D")
    await until(pilot, lambda: is_asked(pilot))


def said(pilot: Pilot[Any]) -> str:
    return pilot.app.screen.query_one(StatusLine).message


async def test_the_newest_word_about_an_operation_stands_on_every_screen() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: bool(pilot.app.screen.query(FleetTable)))
        pools = pilot.app.get_screen("Pools")
        for key in ("D", "U"):
            if key == "D":
                await ask(pilot)
                assert pools.query_one(StatusLine).message == ""  # planning is over
            else:
                await pilot.press("1", "U")
                await until(pilot, lambda: is_asked(pilot))
            clock.now += DEAF_S
            await pilot.press("y")
            await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
            await until(pilot, lambda: "applied on" in said(pilot))
        assert said(pilot).startswith("undo ")
        assert pools.query_one(StatusLine).message == said(pilot)
        await pilot.press("3")
        await until(pilot, lambda: pilot.app.screen is pilot.app.get_screen("Destinations"))
        await until(pilot, lambda: bool(pilot.app.screen.query(StatusLine)))
        assert said(pilot).startswith("undo ")


def title(pilot: Pilot[Any]) -> str:
    return str(pilot.app.screen.query(Vertical).first().border_title)


async def test_a_question_about_many_says_how_many() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: bool(pilot.app.screen.query(FleetTable)))
        await pilot.press("3")
        await until(pilot, lambda: pilot.app.screen.query_one(FleetTable).cursor is not None)
        table = pilot.app.screen.query_one(FleetTable)
        await pilot.press(*["space"] * 9, "S")
        assert len(table.marks) == 9
        await until(pilot, lambda: is_asked(pilot))
        assert "suspend cell:" in title(pilot)
        assert "and 8 more" in title(pilot)


async def test_the_title_of_a_question_that_is_a_sentence_is_not_shortened() -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: bool(pilot.app.screen.query(FleetTable)))
        await pilot.press("U")
        await until(pilot, lambda: is_asked(pilot))
        assert "undo the last of mine" in title(pilot)


async def test_enter_alone_never_confirms() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ask(pilot)
        clock.now += DEAF_S
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
        assert operator.executed == []
        await until(pilot, lambda: ": not done, nothing changed" in said(pilot))


async def test_keys_in_the_first_moment_are_dropped_and_y_then_confirms() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ask(pilot)
        await pilot.press("y", "enter", "escape")
        assert isinstance(pilot.app.screen, ConfirmDialog)
        assert operator.executed == []
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: len(operator.executed) == 1)
        await until(pilot, lambda: "applied on 3 of 3 hosts" in said(pilot) and "U undoes it" in said(pilot))


async def test_enter_three_times_at_once_answers_one_question_and_takes_no_other_screen_away() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ask(pilot)
        screens = len(pilot.app.screen_stack)
        clock.now += DEAF_S
        for _ in range(3):
            pilot.app.post_message(Key("enter", None))
        await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
        await pilot.pause()
        assert len(pilot.app.screen_stack) == screens - 1
        assert operator.executed == []


async def test_what_is_executed_is_the_plan_that_was_shown() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ask(pilot)
        shown = pilot.app.screen
        assert isinstance(shown, ConfirmDialog)
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: bool(operator.executed))
        assert operator.executed[0] is shown.plan


async def test_a_stale_plan_is_made_and_asked_again() -> None:
    operator, clock = StillOperator(stale_once=True), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ask(pilot)
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: len(operator.plans) == 2 and isinstance(pilot.app.screen, ConfirmDialog))
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: len(operator.executed) == 2)


async def test_a_reason_is_part_of_a_new_plan() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ask(pilot)
        clock.now += DEAF_S
        await pilot.press("r", *"yes", "enter")
        await until(pilot, lambda: len(operator.plans) == 2 and isinstance(pilot.app.screen, ConfirmDialog))
        assert operator.plans[1].options.reason == "yes"
        assert operator.executed == []


async def test_a_host_that_fails_opens_the_report() -> None:
    operator, clock = StillOperator(results={"mx2": LineResult.FAILED}), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ask(pilot)
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, ReportDialog))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ReportDialog))


async def test_a_guard_is_overridden_with_a_reason_and_the_typed_name() -> None:
    operator, clock = StillOperator(guard="the pool keeps no active IP"), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ask(pilot)
        clock.now += DEAF_S
        await pilot.press("y")  # nothing is possible yet
        await pilot.press("o", "enter")
        assert len(operator.plans) == 1
        await pilot.press(*"outage", "enter")
        await until(pilot, lambda: len(operator.plans) == 2 and isinstance(pilot.app.screen, ConfirmDialog))
        assert (operator.plans[1].options.override, operator.plans[1].options.reason) == (True, "outage")
        await until(pilot, lambda: pilot.app.screen.is_mounted)
        clock.now += DEAF_S
        await pilot.press("y", *"cold", "enter")
        await until(pilot, lambda: operator.executed == [operator.plans[1]])


async def test_the_question_names_size_share_undo_and_the_shell_command() -> None:
    plan = await StillOperator().plan(Verb.DRAIN, parse("pool:marketing"), Options(reason="\x1b[31mticket", ttl_s=1800))
    text = summary(plan, 80).plain
    for part in (
        "3 of 3",
        "3,930 waiting messages",
        "38% of the traffic",
        "pools transactional, cold",
        "for        30m",
        "mailctl drain pool:marketing",
    ):
        assert part in text
    assert "\x1b" not in text


async def test_an_effect_that_hosts_share_is_told_once_for_all_of_them() -> None:
    plan = await StillOperator().plan(Verb.DRAIN, parse("pool:marketing"), Options())
    assert summary(plan, 80).plain.count("on each host: new mail is kept and waits") == 1
    named = replace(plan, steps=tuple(replace(step, detail=f"{step.host} refuses new mail") for step in plan.steps))
    assert "on each host: the host refuses new mail" in summary(named, 80).plain
    assert "mx1 refuses" not in summary(named, 80).plain
    alone = replace(named, steps=named.steps[:1])
    text = summary(alone, 80).plain
    assert text.count("mx1 refuses new mail") == 1
    assert "each host" not in text


async def test_what_several_addresses_have_in_common_is_told_once() -> None:
    plan = await StillOperator().plan(Verb.ROTATE, parse("pool:marketing"), Options())
    first, second, third = plan.steps
    rotating = replace(
        plan,
        steps=(
            replace(first, target="vmta:tx-1", detail="tx-2 takes the place of tx-1; tx-1 drains and is quarantined"),
            replace(second, target="vmta:tx-3", detail="tx-4 takes the place of tx-3; tx-3 drains and is quarantined"),
            replace(third, target="vmta:tx-5", state=StepState.NOTHING_TO_DO, detail="tx-5 is already rotated"),
        ),
    )
    text = " ".join(summary(rotating, 200).plain.split())
    assert text.count("drains and is quarantined") == 1
    assert "on each host: each one drains and is quarantined" in text
    for own in ("tx-2 takes the place of tx-1", "tx-4 takes the place of tx-3", "tx-5 is already rotated"):
        assert text.count(own) == 1


async def test_how_much_waits_on_each_host_does_not_part_what_hosts_do_alike() -> None:
    plan = await StillOperator().plan(Verb.DRAIN, parse("pool:marketing"), Options())
    counted = replace(
        plan,
        steps=tuple(
            replace(step, impact=Impact(messages=n), detail=f"{n} recipients: what waits is given up")
            for n, step in enumerate(plan.steps, 3)
        ),
    )
    text = summary(counted, 200).plain
    assert text.count("what waits is given up") == 1
    assert "recipients" not in text
    assert all(f"{n} waiting" in text for n in (3, 4, 5))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("4h", 14_400), ("90s", 90), ("", None), ("0m", None), ("m", None), ("-3m", None)],
)
def test_a_time_is_a_number_and_a_unit(text: str, seconds: int | None) -> None:
    assert seconds_in(text) == seconds


async def test_a_lock_of_others_is_broken_with_a_reason_and_the_typed_name() -> None:
    operator, clock = StillOperator(lock="locked by bob until 04:00 UTC: moving pools"), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await ask(pilot)
        clock.now += DEAF_S
        await pilot.press("b", *"outage", "enter")
        await until(pilot, lambda: len(operator.plans) == 2 and isinstance(pilot.app.screen, ConfirmDialog))
        assert operator.plans[1].options.break_lock
        clock.now += DEAF_S
        await pilot.press("y")
        assert operator.executed == []
        await pilot.press(*"cold", "enter")
        await until(pilot, lambda: len(operator.executed) == 1)


def plan(pilot: Pilot[Any]) -> Static:
    """The words of the question."""
    return pilot.app.screen.query_one(VerticalScroll).query_one(Static)


async def test_nothing_of_a_question_is_beyond_the_edge_of_a_narrow_terminal() -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=(50, 24)) as pilot:
        await ask(pilot)
        box = pilot.app.screen.query_one(Vertical).region
        assert box.x >= 0
        assert box.right <= 50
        labelled = [
            line for line in str(plan(pilot).render()).split("\n") if line.startswith(("effect", "shell", "stays"))
        ]
        assert labelled
        assert all(len(line) <= plan(pilot).size.width for line in labelled)


async def test_a_question_follows_the_size_of_the_terminal_and_keeps_its_keys() -> None:
    clock = Clock()
    async with app_with(StillOperator(), clock).run_test(size=(120, 36)) as pilot:
        await ask(pilot)
        await pilot.resize_terminal(70, 14)
        keys = pilot.app.screen.query_one(".keys")
        await until(pilot, lambda: 0 < keys.region.bottom < 14)
        plan = pilot.app.screen.query_one(VerticalScroll).query_one(Static)
        await until(pilot, lambda: all(len(line) <= 58 for line in str(plan.render()).split("\n")))


async def test_a_long_command_is_cut_in_the_question_and_copied_whole() -> None:
    cells = " ".join(f"cell:gmail/mkt-{n}" for n in range(90))
    plan = await StillOperator().plan(Verb.SUSPEND, parse(cells), Options())
    text = summary(plan, 80).plain
    assert "… c copies all of it" in text
    assert "cell:gmail/mkt-80" not in text[: text.index("copies all")]
    assert "cell:gmail/mkt-80" in plan.command
