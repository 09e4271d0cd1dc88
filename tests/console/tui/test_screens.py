"""The screens, over a fleet that stands still."""

import re
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs
from rich.cells import cell_len
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Static

from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.smtp import SmtpReply
from mailagent.api.views import MemberState
from mailagent.api.warm_up import WarmUpState
from mailctl.ops.filters import Filter
from mailctl.ops.plan import Verb
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.screens.destinations import DestinationsView
from mailctl.tui.screens.help import HelpScreen, page
from mailctl.tui.screens.jobs import JobsView
from mailctl.tui.screens.view import View
from mailctl.tui.widgets.chart import Chart
from mailctl.tui.widgets.filterbar import FilterBar
from mailctl.tui.widgets.status import StatusLine
from mailctl.tui.widgets.table import FleetTable
from mailctl.tui.widgets.topbar import TABS, Tabs, Vitals
from tests.console.ops.test_alarms import with_cells
from tests.console.records import warming
from tests.console.tui.doubles import NOW, StillFleet, StillOperator, asleep, healthy, mixed, troubled
from tests.console.tui.waiting import until

SIZES = [(80, 24), (120, 36)]


def app_over(fleet: StillFleet | None = None) -> ConsoleApp:
    return ConsoleApp(fleet or StillFleet(), StillOperator(), now=lambda: NOW)


def shown(pilot: Pilot[Any]) -> str:
    """The text on the terminal."""
    svg = pilot.app.export_screenshot(simplify=True)
    lines = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return " ".join(lines).replace("&#160;", " ")


def table(pilot: Pilot[Any]) -> FleetTable:
    return pilot.app.screen.query(FleetTable).first()


async def ready(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, View) and bool(pilot.app.screen.query(FleetTable)))
    await until(pilot, lambda: table(pilot).row_count > 0)


@pytest.mark.parametrize("size", SIZES)
async def test_hosts_stand_in_one_table_with_their_sum(size: tuple[int, int]) -> None:
    async with app_over().run_test(size=size) as pilot:
        await ready(pilot)
        await until(
            pilot, lambda: all(word in shown(pilot) for word in ("mx1", "mx2", "mx3", "total", "3 of 3", "2,303"))
        )


@pytest.mark.parametrize("size", SIZES)
async def test_a_lost_host_shows_its_reason_and_is_not_in_the_sum(size: tuple[int, int]) -> None:
    async with app_over(StillFleet(troubled())).run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("j")
        await until(pilot, lambda: "connection refused by 192.0.2.2" in shown(pilot))
        assert "2 of 3 hosts" in shown(pilot)
        assert "~207" in shown(pilot)
        assert "lost" in shown(pilot)


async def test_agents_of_one_machine_are_one_host_that_opens_with_enter() -> None:
    state = healthy()
    hosts = tuple(replace(host, machine="" if host.name == "mx2" else "box") for host in state.hosts)
    async with app_over(StillFleet(replace(state, hosts=hosts))).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "▸ box (2)" in shown(pilot))
        assert (table(pilot).row_count, table(pilot).cursor) == (2, "box/")
        view = pilot.app.screen
        assert isinstance(view, View)
        subject = view.subject(Verb.DRAIN)
        assert subject is not None
        assert subject.names == ("mx1", "mx3")
        await pilot.press("enter")
        await until(pilot, lambda: table(pilot).row_count == 4)
        await pilot.press("j")
        await until(pilot, lambda: table(pilot).cursor == "mx1")
        await pilot.press("k", "enter")
        await until(pilot, lambda: table(pilot).row_count == 2)


async def test_the_first_frame_needs_no_host() -> None:
    async with app_over(StillFleet(asleep())).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "connecting to 3 hosts" in shown(pilot))


async def test_enter_goes_down_to_a_message_and_escape_comes_back_up() -> None:
    async with app_over().run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: table(pilot).cursor == "pool:cold")
        await pilot.press("g", "enter")
        await until(pilot, lambda: (table(pilot).cursor or "").endswith("cold-1"))
        await pilot.press("enter")
        await until(pilot, lambda: table(pilot).cursor == "g1")
        await pilot.press("enter")
        await until(pilot, lambda: (table(pilot).cursor or "").startswith("0g5t2k9mz000"))
        await pilot.press("enter")
        await until(pilot, lambda: "attempt 5 is due" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: bool(pilot.app.screen.query(FleetTable)) and table(pilot).row_count == 40)
        await pilot.press("escape", "escape", "escape", "escape")
        await until(pilot, lambda: bool(pilot.app.screen.query(FleetTable)) and table(pilot).cursor == "mx1")
        assert not pilot.app.screen.filter  # type: ignore[attr-defined]


async def test_headers_and_replies_reach_the_screen_without_escapes_or_markup() -> None:
    async with app_over().run_test(size=(120, 60)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: table(pilot).cursor == "g1")
        await pilot.press("enter")
        await until(pilot, lambda: table(pilot).row_count == 40)
        await pilot.press("enter")
        await until(pilot, lambda: "[20% off]" in shown(pilot))
        assert "\x1b" not in shown(pilot)


async def test_typing_a_filter_narrows_at_once_and_escape_takes_it_away() -> None:
    async with app_over().run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await until(pilot, lambda: table(pilot).row_count == 36)
        await pilot.press("slash", *"provider:gmail")
        await until(pilot, lambda: table(pilot).row_count == 9)
        await pilot.press("escape")
        await until(pilot, lambda: table(pilot).row_count == 36)


async def test_marks_that_a_filter_hides_are_dropped_and_said() -> None:
    async with app_over().run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await until(pilot, lambda: table(pilot).row_count == 36)
        table(pilot).move_to("yahoo/mkt-1")
        await pilot.press("space", "slash", *"provider:gmail", "enter")
        await until(pilot, lambda: table(pilot).marks == set())
        await until(pilot, lambda: "its mark is gone" in pilot.app.screen.query_one(StatusLine).message)


async def test_a_verb_that_is_not_possible_says_why() -> None:
    async with app_over().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("R")
        await until(pilot, lambda: "rotate takes a virtual MTA" in pilot.app.screen.query_one(StatusLine).message)


async def test_worst_destination_stands_on_top() -> None:
    async with app_over().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await until(pilot, lambda: table(pilot).row_count == 36)
        assert table(pilot).source.key(0) == "gmail/mkt-1"


@pytest.mark.parametrize("size", SIZES)
async def test_destinations_say_how_much_has_no_destination_yet(size: tuple[int, int]) -> None:
    """While DNS fails mail is deferred that was never looked up."""
    state = healthy()
    first, *others = state.hosts
    assert first.snapshot is not None
    host = structs.replace(first.snapshot.host, deferred=first.snapshot.host.deferred + 7215)
    more = replace(first, snapshot=structs.replace(first.snapshot, host=host))
    async with app_over(StillFleet(replace(state, hosts=(more, *others)))).run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await until(pilot, lambda: "+7,215 in no row" in shown(pilot))
        await pilot.press("/", *"gmail", "enter")
        await until(pilot, lambda: "in no row" not in shown(pilot) and "total" in shown(pilot))


async def test_minus_goes_to_the_screen_before() -> None:
    async with app_over().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("6")
        await until(pilot, lambda: bool(pilot.app.screen.query("#log")))
        await pilot.press("minus")
        await until(pilot, lambda: not pilot.app.screen.query("#log") and table(pilot).cursor == "mx1")


async def test_operations_of_one_id_are_one_row_and_undo_takes_the_selected() -> None:
    fleet, operator = StillFleet(troubled()), StillOperator()
    app = ConsoleApp(fleet, operator, now=lambda: NOW)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("6")
        await until(pilot, lambda: bool(pilot.app.screen.query("#log")))
        log = pilot.app.screen.query_one("#log", FleetTable)
        await until(pilot, lambda: log.row_count == 3)
        await pilot.press("tab", "j", "U")
        await until(pilot, lambda: operator.undone == ["01j9qk2m7x4c0de"])


async def test_a_filter_of_an_unknown_kind_names_the_known_ones() -> None:
    async with app_over().run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3", "slash", *"provder:gmail", "enter")
        await until(
            pilot,
            lambda: pilot.app.screen.query_one(StatusLine).message.startswith(
                "no kind 'provder'; did you mean provider? There are host, pool, vmta, provider"
            ),
        )


@pytest.mark.parametrize(("columns", "zone"), [(80, ""), (100, " UTC")])
async def test_the_time_has_one_form_whatever_the_figures_leave(columns: int, zone: str) -> None:
    for fleet in (StillFleet(), StillFleet(troubled()), StillFleet(asleep())):
        async with app_over(fleet).run_test(size=(columns, 24)) as pilot:
            await until(pilot, lambda: bool(pilot.app.screen.query(Vitals)))
            await until(pilot, lambda: str(pilot.app.screen.query_one(Vitals).render()).endswith(f"  03:14:07{zone}"))


async def test_help_lists_keys_and_closes_with_the_same_key() -> None:
    async with app_over().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        await until(pilot, lambda: "rotate to standby" in shown(pilot))
        await pilot.press("question_mark")
        await until(pilot, lambda: not isinstance(pilot.app.screen, HelpScreen))


@pytest.mark.parametrize("lines", [24, 22])
async def test_no_line_of_the_help_wraps_even_beside_a_scroll_bar(lines: int) -> None:
    async with app_over().run_test(size=(80, lines)) as pilot:
        await ready(pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda: "rotate to" in shown(pilot))
        text = pilot.app.screen.query_one(Static)
        await until(pilot, lambda: text.size.height == text.get_content_height(text.size, text.size, 200))


@pytest.mark.parametrize("theme", ["harbour", "daylight", "sixteen"])
async def test_every_screen_draws_in_every_theme(theme: str) -> None:
    async with app_over(StillFleet(troubled())).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        pilot.app.theme = theme
        for key, word in zip(
            "12345678",
            ("HOST", "POOL / IP", "WAITS FOR", "REPLY", "no message", "ORDER", "JOB", "ADDRESS"),
            strict=True,
        ):
            await pilot.press(key)
            await until(pilot, lambda word=word: word in shown(pilot))  # type: ignore[misc]


async def test_states_are_readable_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with app_over(StillFleet(troubled())).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "● live" in shown(pilot) and "✕ lost" in shown(pilot))


async def test_q_leaves() -> None:
    app = app_over()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running)


@pytest.mark.parametrize("size", SIZES)
async def test_every_tab_is_on_the_first_line(size: tuple[int, int]) -> None:
    async with app_over().run_test(size=size) as pilot:
        await ready(pilot)
        line = str(pilot.app.screen.query_one(Tabs).render())
        assert len(line) <= size[0] - 2
        for number in range(1, len(TABS) + 1):
            assert f" {number} " in line


async def test_h_goes_through_the_histories_that_hosts_keep() -> None:
    fleet = StillFleet()
    async with app_over(fleet).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        for words, step_s in (("8 days", 60), ("400 days", 3600), ("15 min", 1)):
            await pilot.press("h")
            assert pilot.app.screen.query_one(StatusLine).message == f"history of {words}"
            await until(pilot, lambda step_s=step_s: fleet.steps[-1:] == [step_s])  # type: ignore[misc]


async def test_the_chart_follows_the_cursor_once_it_rests() -> None:
    fleet = StillFleet()
    async with app_over(fleet).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3", "j", "j")
        view = pilot.app.screen
        assert isinstance(view, View)
        chart = view.query_one(Chart)
        await until(pilot, lambda: (scope := view.scope()) is not None and scope.title in str(chart.legend()))


async def test_a_chart_says_how_many_hosts_are_in_it() -> None:
    async with app_over(StillFleet(troubled())).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        table(pilot).move_to("mx2")  # which is lost
        await until(pilot, lambda: "no history: no answer from mx2" in shown(pilot))
        await pilot.press("2")
        await until(pilot, lambda: "cold on 2 of 3 hosts" in shown(pilot))


async def test_c_adds_replies_up_by_category_and_enter_goes_into_one() -> None:
    async with app_over().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: table(pilot).cursor == "g1")
        assert "rate-limit" in shown(pilot)
        await pilot.press("c")
        await until(pilot, lambda: table(pilot).row_count == 4)
        await until(pilot, lambda: "1,396" in shown(pilot))  # gmail on one host, yahoo on three
        await pilot.press("enter")
        await until(pilot, lambda: table(pilot).row_count == 2)
        assert str(pilot.app.screen.filter) == "rate-limit"  # type: ignore[attr-defined]
        await pilot.press("escape")
        await until(pilot, lambda: table(pilot).row_count == 5)


@pytest.mark.parametrize("size", SIZES)
async def test_a_message_shows_category_rule_and_tls_of_its_attempts(size: tuple[int, int]) -> None:
    async with app_over().run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: table(pilot).cursor == "g1")
        await pilot.press("enter")
        await until(pilot, lambda: table(pilot).row_count == 40)
        await pilot.press("enter")
        await until(pilot, lambda: "attempt 5 is due" in shown(pilot))
        await pilot.press(*"jjjjjjjjjj")
        await until(pilot, lambda: "rate-limit: backoff (rule gmail.unusual-rate)" in shown(pilot))
        assert "TLSv1.3" in shown(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_a_pool_shows_its_dkim_keys_and_what_came_back(size: tuple[int, int]) -> None:
    async with app_over().run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("2")
        await until(pilot, lambda: table(pilot).cursor == "pool:cold")
        table(pilot).move_to("pool:marketing")
        await until(pilot, lambda: "DKIM mkt1" in shown(pilot) and "due for a new one" in shown(pilot))
        await until(pilot, lambda: "12 of 4,000 delivered (0.30%)" in shown(pilot))
        table(pilot).move_to("vmta:mkt-1")
        await until(pilot, lambda: "DKIM mkt1" not in shown(pilot))
        await until(pilot, lambda: "12 of 4,000 delivered (0.30%)" in shown(pilot))


async def test_a_limit_of_a_cell_is_typed_and_then_planned() -> None:
    operator = StillOperator()
    async with ConsoleApp(StillFleet(), operator, now=lambda: NOW).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await until(pilot, lambda: table(pilot).cursor == "gmail/mkt-1")
        await pilot.press("L")
        await until(pilot, lambda: isinstance(pilot.app.screen, PromptDialog) and pilot.app.screen.is_mounted)
        await pilot.press(*"slow", "enter")
        await until(pilot, lambda: "is not KEY=VALUE" in shown(pilot))
        await pilot.press(*["backspace"] * 4, *"connections=2", "enter")
        await until(pilot, lambda: bool(operator.plans))
        plan = operator.plans[0]
        assert (plan.title, plan.options.limit, plan.options.value) == ("limit cell:gmail/mkt-1", "connections", "2")


async def test_hosts_have_no_limit_and_the_key_says_so() -> None:
    async with app_over().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("L")
        await until(pilot, lambda: "a host has no limits" in pilot.app.screen.query_one(StatusLine).message)


@pytest.mark.parametrize("width", [30, 50, 71])
def test_the_page_of_keys_fits_into_its_width(width: int) -> None:
    text = page({}, width).plain
    assert all(cell_len(line.rstrip()) <= width for line in text.split("\n")[:-1])
    for word in ("go into the row", "find mail", "evacuate a host", "to:", "category:"):
        assert word in text


async def test_a_sign_that_is_no_key_does_nothing() -> None:
    async with app_over().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("2", "@", "7", "@")  # Textual looks for a handler named after it
        await until(pilot, lambda: isinstance(pilot.app.screen, JobsView))


@pytest.mark.parametrize(
    ("screen", "key", "where"),
    [("2", "V", "Fleet"), ("1", "P", "Destinations, Operations, Suppression"), ("3", "c", "Fleet, Deferred")],
)
async def test_a_key_of_other_screens_says_where_it_does_something(screen: str, key: str, where: str) -> None:
    async with app_over().run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press(screen, key)
        said = f"{key} does nothing here; it is a key of {where}"
        await until(pilot, lambda: pilot.app.screen.query_one(StatusLine).message == said)


async def test_a_key_of_ones_own_is_told_by_that_key() -> None:
    app = ConsoleApp(StillFleet(healthy()), StillOperator(), now=lambda: NOW, keys={"verb.evacuate": "Q"})
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("2", "Q")
        said = "Q does nothing here; it is a key of Fleet"
        await until(pilot, lambda: pilot.app.screen.query_one(StatusLine).message == said)


async def test_what_is_typed_behind_a_filter_that_stands_is_a_term_of_its_own() -> None:
    async with app_over().run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, View)
        screen.narrow(Filter.parse("!vmta:mkt-1"))
        await pilot.press("slash", *"host:mx1", "enter")
        await until(pilot, lambda: str(screen.filter) == "host:mx1 !vmta:mkt-1")


async def test_a_mistaken_filter_leaves_the_one_before_and_is_there_to_be_mended() -> None:
    """While it was typed, `code` was a word: the half of a filter that nobody asked for."""
    async with app_over().run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3", "slash", *"provider:gmail", "enter")
        screen = pilot.app.screen
        assert isinstance(screen, View)
        await until(pilot, lambda: str(screen.filter) == "provider:gmail" and table(pilot).row_count == 9)
        await pilot.press("slash", *"cod:4", "enter")
        await until(pilot, lambda: screen.query_one(StatusLine).message.startswith("no kind 'cod'"))
        assert str(screen.filter) == "provider:gmail"
        assert table(pilot).row_count == 9
        await pilot.press("slash")
        await until(pilot, lambda: screen.query_one(FilterBar).value == "provider:gmail cod:4 ")
        await pilot.press(*["backspace"] * 6, *"mkt-1", "enter")
        await until(pilot, lambda: str(screen.filter) == "provider:gmail mkt-1")
        await pilot.press("slash")
        await until(pilot, lambda: screen.query_one(FilterBar).value == "provider:gmail mkt-1 ")


async def test_keys_right_behind_the_enter_of_a_filter_are_not_lost() -> None:
    async with app_over().run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("slash", *"mx1")
        for key, character in (("enter", "\r"), ("3", "3")):  # in one go, as a hand on the keys sends them
            pilot.app.post_message(Key(key, character))
        await until(pilot, lambda: isinstance(pilot.app.screen, DestinationsView))
        assert str(pilot.app.get_screen("Fleet").filter) == "mx1"  # type: ignore[attr-defined]


async def test_keys_right_behind_the_one_that_opens_the_filter_are_for_the_filter() -> None:
    """Over a slow link `/queue:` arrives in one go, and its q quit the console."""
    async with app_over().run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, View)
        for key, character in (("slash", "/"), *((sign, sign) for sign in "queueD")):
            pilot.app.post_message(Key(key, character))
        await until(pilot, lambda: screen.query_one(FilterBar).value == "queueD")
        assert screen.is_current
        await pilot.press("escape")
        await until(pilot, lambda: not screen.query_one(FilterBar).has_class("-open"))
        for key, character in (("slash", "/"), *((sign, sign) for sign in "mx1"), ("enter", "\r"), ("3", "3")):
            pilot.app.post_message(Key(key, character))
        await until(pilot, lambda: isinstance(pilot.app.screen, DestinationsView))
        assert str(screen.filter) == "mx1"


async def test_an_empty_message_screen_says_where_messages_are_found() -> None:
    async with app_over().run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("5")
        await until(pilot, lambda: "find one (ctrl+f)" in shown(pilot))


async def test_what_another_engine_does_by_other_means_leaves_room_for_the_chart() -> None:
    state = mixed()
    *others, last = state.hosts
    assert last.hello is not None
    much = dict.fromkeys(Verb, "by maps; the active queue is routed anew by a reload, sessions that are open finish")
    last = replace(last, hello=structs.replace(last.hello, emulated=much))
    async with app_over(StillFleet(replace(state, hosts=(*others, last)))).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("G")
        await until(pilot, lambda: "does not tell (–)" in shown(pilot))
        assert pilot.app.screen.query_one(Chart).region.height > 3


@pytest.mark.parametrize("size", SIZES)
async def test_all_that_another_engine_does_by_other_means_is_named_in_pools(size: tuple[int, int]) -> None:
    state = mixed()
    *others, last = state.hosts
    assert last.hello is not None
    verbs = ("drain", "resume", "rotate", "suppression_add", "suspend")
    much = dict.fromkeys(verbs, "by maps; the active queue is routed anew by a reload, sessions that are open finish")
    last = replace(last, hello=structs.replace(last.hello, emulated=much))
    async with app_over(StillFleet(replace(state, hosts=(*others, last)))).run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("2", "G")
        await until(pilot, lambda: "postfix 3.7.11" in shown(pilot))
        said = " ".join(shown(pilot).split())
        if size == (80, 24):
            assert "emulated drain, resume, rotate, suppression add, suspend" in said
        else:
            assert "emulated: drain by maps" in said


async def test_a_reply_that_binds_is_not_said_twice() -> None:
    reply = SmtpReply(code=450, enhanced="4.2.1", text="The user you are trying to contact is busy")
    bound = WaitReason(kind=ReasonKind.REPLY, detail=reply.line(), value="450", reply=reply)
    state = with_cells(healthy(), "gmail", ("mkt-1",), binding=bound, last_reply=reply)
    async with app_over(StillFleet(state)).run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await until(pilot, lambda: "✉ 450 4.2.1 The user" in shown(pilot))
        assert "last reply" not in shown(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_a_host_with_another_engine_is_marked_and_its_dashes_are_explained(size: tuple[int, int]) -> None:
    async with app_over(StillFleet(mixed())).run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("G")
        await until(pilot, lambda: "postfix 3.7.11" in shown(pilot))
        text = " ".join(shown(pilot).split())
        for part in (
            "mx3 ≈",
            "does not tell (–)",
            "first figures",
            "emulated: suspend",
        ):
            assert part in text
        await pilot.press("2")
        await until(pilot, lambda: "mx3 ≈" in shown(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_a_member_that_is_warming_shows_how_far_it_is_at_each_provider(size: tuple[int, int]) -> None:
    courses = (
        warming("gmail", day=3, ceiling=1_260, used=700),
        warming("outlook", day=2, state=WarmUpState.PAUSED, why="paused for a day: 4 of 44 recipients refused"),
    )
    state = healthy()
    first, *others = state.hosts
    assert first.snapshot is not None
    vmtas = tuple(
        structs.replace(one, state=MemberState.WARMING, warm_up=courses) if one.name == "cold-1" else one
        for one in first.snapshot.vmtas
    )
    first = replace(first, snapshot=structs.replace(first.snapshot, vmtas=vmtas))
    async with app_over(StillFleet(replace(state, hosts=(first, *others)))).run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("2", "j")
        await until(pilot, lambda: "0 of 100 paused" in " ".join(shown(pilot).split()))
        text = " ".join(shown(pilot).split())
        assert "outlook day 2 of 42" in text
        assert "4 of 44 recipients" in text
        assert ("gmail day 3 of 42 700 of 1,260" in text) == (size != (80, 24))
