"""The timeline: one line for each thing that happened, over all hosts."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import DirectiveId, HostName, OpId
from mailagent.api.operations import OperationRecord, Result
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import Series
from mailctl.fleet.state import HostState, LinkState
from mailctl.ops import timeline
from mailctl.ops.timeline import EventKind, Weight
from mailctl.output.human import printable

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
POOL = Target(kind=TargetKind.POOL, name="marketing")
DRAIN = OperationRecord(
    op_id=OpId("op1"),
    verb="drain",
    target=POOL,
    filter=None,
    author="alice",
    reason="Gmail throttles",
    at=NOON,
    result=Result.APPLIED,
    detail="marketing drains",
)


def series(delivered: Sequence[int], deferred: Sequence[int] = ()) -> Series:
    failed = tuple(deferred) or (0,) * len(delivered)
    return Series(
        start=NOON,
        step_s=60,
        received=tuple(delivered),
        delivered=tuple(delivered),
        deferred=failed,
        bounced=(0,) * len(delivered),
    )


def test_a_verb_over_three_hosts_is_one_event() -> None:
    later = msgspec.structs.replace(DRAIN, at=NOON + timedelta(seconds=1))
    [event] = timeline.of_operations([("mx2", later), ("mx1", DRAIN), ("mx3", later)])
    assert (event.at, event.hosts, event.by) == (NOON, ("mx2", "mx1", "mx3"), "alice")
    assert event.kind is EventKind.OPERATOR
    assert event.text == "drain: marketing drains (Gmail throttles)"


def test_steps_of_one_operation_about_two_targets_stay_two_events() -> None:
    other = msgspec.structs.replace(
        DRAIN, op_id=OpId("op1.1"), target=Target(kind=TargetKind.POOL, name="cold"), detail="cold drains"
    )
    events = timeline.merged(timeline.of_operations([("mx1", DRAIN), ("mx1", other)]), since=NOON)
    assert {event.subject for event in events} == {"pool:marketing", "pool:cold"}


def test_what_nobody_ordered_is_told_apart() -> None:
    def kind(verb: str, author: str) -> EventKind:
        record = msgspec.structs.replace(DRAIN, verb=verb, author=author, target=None)
        return timeline.of_operations([("mx1", record)])[0].kind

    assert kind("shape", "automation") is EventKind.AUTOMATION
    assert kind("expire", "mailagent") is EventKind.AUTOMATION
    assert kind("start", "mailagent") is EventKind.HOST
    assert kind("reload", "SIGHUP") is EventKind.RELOAD
    assert kind("note_add", "alice") is EventKind.NOTE


def test_an_order_older_than_the_log_is_still_told() -> None:
    order = Directive(
        id=DirectiveId("d1"),
        kind=DirectiveKind.SUSPEND,
        target=POOL,
        author="bob",
        reason="",
        created_at=NOON,
        expires_at=None,
        op_id=OpId("old"),
    )
    assert timeline.of_orders([("mx1", order)], ["old.1"]) == []
    [event] = timeline.of_orders([("mx1", order)], ["op1"])
    assert (event.by, event.subject, event.text) == ("bob", "pool:marketing", "suspend")


def test_a_lost_host_stands_where_it_was_last_heard() -> None:
    lost = HostState(name=HostName("mx2"), state=LinkState.LOST, age_s=90.0, error="connection refused")
    [event] = timeline.of_links([lost, HostState(name=HostName("mx1"), state=LinkState.LIVE)], NOON)
    assert event.at == NOON - timedelta(seconds=90)
    assert (event.subject, event.weight) == ("host:mx2", Weight.BAD)


def test_a_fall_that_lasts_is_one_event_and_its_end_another() -> None:
    found = timeline.of_series("host:mx1", ("mx1",), series([600] * 12 + [40] * 12 + [600] * 12))
    assert [event.text for event in found] == [
        "deliveries fall from 600 to 40 a minute",
        "deliveries rise from 40 to 600 a minute",
    ]
    assert found[0].at == NOON + timedelta(minutes=12)


def test_deferrals_begin_and_end_once() -> None:
    found = timeline.of_series("provider:gmail", (), series([100] * 9, [0, 0, 60, 80, 20, 60, 5, 0, 0]))
    assert [event.text for event in found] == [
        "38% of 160 attempts a minute are deferred",
        "deferrals are down to 5% of 105 attempts a minute",
    ]


@given(st.lists(st.integers(0, 14), max_size=200))
def test_small_rates_are_no_news(delivered: list[int]) -> None:
    assert timeline.of_series("host:mx1", (), series(delivered, [14] * len(delivered))) == []


def test_a_line_keeps_hostile_text_harmless() -> None:
    record = msgspec.structs.replace(DRAIN, reason="\x1b[2J\nforged line")
    text = timeline.as_lines(timeline.of_operations([("mx1", record)]), printable)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 1
