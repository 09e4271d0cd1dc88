"""What is worth a line in the event list."""

from dataclasses import replace

import msgspec
import pytest

from mailagent.api.directives import DirectiveKind
from mailagent.api.views import Snapshot
from mailctl.fleet.state import FleetState, LinkState
from mailctl.tui.events import events_between
from tests.console.tui.doubles import NOW, asleep, healthy, host_state, troubled


def said(before: FleetState, after: FleetState) -> list[str]:
    return [f"{event.subject} {event.text}" for event in events_between(before, after, NOW)]


def test_a_lost_host_is_an_event_with_its_reason() -> None:
    assert "mx2 is lost: connection refused by 192.0.2.2 port 22" in said(healthy(), troubled())


def test_orders_that_appear_and_end_are_events() -> None:
    assert "pool:cold drained by alice" in said(healthy(), troubled())
    assert "pool:cold no longer drained" in said(troubled(), healthy())


@pytest.mark.parametrize("kind", DirectiveKind)
def test_every_kind_of_order_has_words(kind: DirectiveKind) -> None:
    fleet = troubled()
    hosts = tuple(
        replace(host, snapshot=_with_orders_of(host.snapshot, kind)) if host.snapshot is not None else host
        for host in fleet.hosts
    )
    assert any(" by alice" in line for line in said(healthy(), FleetState(hosts=hosts)))


def _with_orders_of(snapshot: Snapshot, kind: DirectiveKind) -> Snapshot:
    orders = tuple(
        msgspec.structs.replace(view, directive=msgspec.structs.replace(view.directive, kind=kind))
        for view in snapshot.directives
    )
    return msgspec.structs.replace(snapshot, directives=orders)


def test_the_first_picture_of_the_fleet_tells_no_orders() -> None:
    assert said(asleep(), troubled()) == [
        "mx1 is live",
        "mx2 is lost: connection refused by 192.0.2.2 port 22",
        "mx3 is live",
    ]


def test_a_host_that_flutters_between_live_and_late_is_no_event() -> None:
    late = FleetState(hosts=(replace(host_state(0), state=LinkState.LATE),))
    assert said(FleetState(hosts=(host_state(0),)), late) == []
