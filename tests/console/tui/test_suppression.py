"""Suppression: a window over all hosts, what narrows it, and the keys that change the list."""

from typing import Any

import pytest
from textual.pilot import Pilot

from mailagent.api.suppression import SuppressionAdd, SuppressionPending, SuppressionReason, SuppressionRemove
from mailctl.ops.filters import Filter
from mailctl.ops.plan import Verb
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.screens.suppression import SuppressionView, asked_of
from tests.console.tui.doubles import NOW, StillFleet, StillOperator, frozen, healthy
from tests.console.tui.test_confirm import Clock
from tests.console.tui.test_screens import SIZES, ready, shown, table
from tests.console.tui.waiting import is_asked, until


def app_with(operator: StillOperator, clock: Clock, *, freeze: bool = False) -> ConsoleApp:
    return ConsoleApp(StillFleet(frozen() if freeze else healthy()), operator, now=lambda: NOW, clock=clock)


async def opened(pilot: Pilot[Any]) -> None:
    """The list, with the first page of each host."""
    await ready(pilot)
    await pilot.press("8")
    await until(pilot, lambda: isinstance(pilot.app.screen, SuppressionView) and table(pilot).row_count == 201)


async def agree(pilot: Pilot[Any], clock: Clock) -> None:
    await until(pilot, lambda: is_asked(pilot))
    clock.now += DEAF_S
    await pilot.press("y")
    await until(pilot, lambda: isinstance(pilot.app.screen, SuppressionView))


async def prompted(pilot: Pilot[Any], *keys: str) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, PromptDialog) and pilot.app.screen.is_mounted)
    await pilot.press(*keys, "enter")


@pytest.mark.parametrize("size", SIZES)
async def test_entries_of_all_hosts_are_one_list_with_counts_and_evidence(size: tuple[int, int]) -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=size) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "897" in shown(pilot) and "hard-bounce" in shown(pilot))
        await until(pilot, lambda: "she asked" in shown(pilot))


async def test_the_window_grows_when_one_comes_near_its_end() -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("G")
        await until(pilot, lambda: table(pilot).row_count == 301)


async def test_an_address_or_a_reason_narrows_at_the_hosts() -> None:
    async with app_with(StillOperator(), Clock()).run_test(size=(120, 36)) as pilot:
        await opened(pilot)
        await pilot.press("slash", *"user299@example.com", "enter")
        await until(pilot, lambda: table(pilot).row_count == 1)
        await pilot.press("escape")
        await until(pilot, lambda: table(pilot).row_count == 201)
        await pilot.press("slash", *"complaint", "enter")
        await until(pilot, lambda: table(pilot).row_count == 100)


def test_words_that_hosts_do_not_know_narrow_what_is_here() -> None:
    query, words = asked_of(Filter.parse("stream:news pending complaint user00"))
    assert (query.stream, query.pending, query.reason, query.address) == ("news", True, "complaint", "")
    assert words == ("user00",)
    assert asked_of(Filter.parse("anna@"))[1] == ("anna@",)
    assert asked_of(Filter.parse("@example.com"))[1] == ("@example.com",)


async def test_an_address_is_added_with_a_reason_after_a_question() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await opened(pilot)
        await pilot.press("A")
        await prompted(pilot, *"nobody")
        assert isinstance(pilot.app.screen, PromptDialog)
        await pilot.press(*"@example.com", "space", *"complaint", "enter")
        await agree(pilot, clock)
        verb, request, words = operator.requests[0]
        assert isinstance(request, SuppressionAdd)
        assert request.entries[0].reason is SuppressionReason.COMPLAINT
        assert (verb, words) == (Verb.SUPPRESSION_ADD, ("nobody@example.com", "--because", "complaint"))
        await until(pilot, lambda: len(operator.executed) == 1)


async def test_marked_addresses_are_removed_after_a_question() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("space", "space", "X")
        await agree(pilot, clock)
        request = operator.requests[0][1]
        assert isinstance(request, SuppressionRemove)
        assert request.addresses == ("anna@example.com", "user000@example.com")


async def test_f_freezes_a_provider_and_ends_a_freeze_that_stands() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await opened(pilot)
        await pilot.press("F")
        await prompted(pilot, *"gmail")
        await agree(pilot, clock)
        await until(pilot, lambda: [plan.title for plan in operator.executed] == ["suppression freeze provider:gmail"])
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock, freeze=True).run_test(size=(120, 36)) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "❄ frozen: gmail on mx1" in shown(pilot))
        await pilot.press("F")
        await agree(pilot, clock)
        await until(
            pilot, lambda: [plan.title for plan in operator.executed] == ["suppression thaw provider:gmail host:mx1"]
        )


async def test_what_is_pending_is_decided_by_a_word() -> None:
    operator, clock = StillOperator(), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await opened(pilot)
        await pilot.press("P")
        await prompted(pilot, *"discard", "space", *"gmail")
        await agree(pilot, clock)
        request = operator.requests[0][1]
        assert isinstance(request, SuppressionPending)
        assert (request.apply, request.provider) == (False, "gmail")
