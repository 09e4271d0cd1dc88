"""What happened in the fleet since the console opened: differences between two states. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from mailagent.api.directives import DirectiveKind
from mailagent.api.views import EngineState
from mailctl.fleet.state import DirectiveRow, FleetState, HostState, LinkState
from mailctl.tui.text import clean
from mailctl.tui.theme import Tone


class Event(NamedTuple):
    """One thing that an operator should know of."""

    at: datetime
    subject: str  # host or target
    text: str
    tone: Tone


_LINKS = {
    LinkState.LIVE: ("is live", Tone.GOOD),
    LinkState.LATE: ("is late", Tone.WARN),
    LinkState.LOST: ("is lost", Tone.BAD),
    LinkState.DENIED: ("refuses us", Tone.BAD),
    LinkState.INCOMPATIBLE: ("speaks another protocol", Tone.WARN),
}
_ORDERS = {
    DirectiveKind.DRAIN: "drained",
    DirectiveKind.SUSPEND: "suspended",
    DirectiveKind.ROTATE: "rotated away",
    DirectiveKind.LIMIT: "limited",
    DirectiveKind.LOCK: "locked",
    DirectiveKind.JOB_START: "given a start",
    DirectiveKind.JOB_END: "given an end",
    DirectiveKind.JOB_CANCEL: "cancelled",
    DirectiveKind.FREEZE_SUPPRESSION: "frozen for suppression",
    DirectiveKind.HOLD: "held",
    DirectiveKind.RELEASE: "being released",
    DirectiveKind.REBIND: "being moved to another pool",
    DirectiveKind.BOUNCE: "to be bounced",
    DirectiveKind.DELETE: "to be deleted",
    DirectiveKind.RETRY: "being tried again",
    DirectiveKind.REQUEUE: "being requeued",
    DirectiveKind.DKIM_PREPARE: "given a new DKIM key",
    DirectiveKind.DKIM_SIGN: "signed with another selector",
    DirectiveKind.DKIM_KEEP: "out of use with its old selector",
    DirectiveKind.NOTE: "given a note",
}


def events_between(before: FleetState, after: FleetState, now: datetime) -> Iterator[Event]:
    """Changes of hosts and of standing orders from `before` to `after`."""
    for host in after.hosts:
        old = before.host(host.name)
        if old is not None:
            yield from _host_events(old, host, now)
    if before.coverage.fresh == 0:
        return  # the first picture is no news
    old_orders = {row.key: row for row in before.directives}
    new_orders = {row.key: row for row in after.directives}
    was_about, is_about = (set(map(_about, orders.values())) for orders in (old_orders, new_orders))
    for key, row in new_orders.items():
        order = row.directive
        if key not in old_orders:
            if _about(row) not in was_about:  # else one takes the place of another, as automation does step by step
                yield Event(now, str(order.target), f"{_ORDERS[order.kind]} by {clean(order.author)}", Tone.WARN)
        elif row.progress and row.progress.empty and (was := old_orders[key].progress) and not was.empty:
            yield Event(now, str(order.target), "is empty", Tone.GOOD)
    for key, row in old_orders.items():
        if key not in new_orders and _about(row) not in is_about:
            yield Event(now, str(row.directive.target), f"no longer {_ORDERS[row.directive.kind]}", Tone.GOOD)


def _about(row: DirectiveRow) -> tuple[str, ...]:
    """What an order does to what, whoever gave it."""
    return (row.directive.kind, str(row.directive.target))


def _host_events(old: HostState, new: HostState, now: datetime) -> Iterator[Event]:
    flutter = {old.state, new.state} == {LinkState.LIVE, LinkState.LATE}
    if old.state is not new.state and new.state in _LINKS and not flutter:
        text, tone = _LINKS[new.state]
        yield Event(now, new.name, f"{text}: {clean(new.error)}" if new.error else text, tone)
    if old.view is None or new.view is None:
        return
    if old.view.started_at != new.view.started_at:
        yield Event(now, new.name, "agent restarted", Tone.WARN)
    if old.view.state is not new.view.state and new.view.state is EngineState.FAILED:
        yield Event(now, new.name, "storage failed: intake and delivery stopped", Tone.BAD)
    if old.view.accepting and not new.view.accepting:
        yield Event(now, new.name, f"intake refuses: {clean(new.view.intake_reason)}", Tone.WARN)
    if not old.view.accepting and new.view.accepting:
        yield Event(now, new.name, "intake accepts again", Tone.GOOD)
