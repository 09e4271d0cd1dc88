"""The incident timeline: what people, automation and hosts did, and how rates answered, merged over all hosts. Pure.

Operations stand once, with all hosts that executed them. A host that is away has a line of its own at the time when it
was last heard: what it did since is not known.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Final

import msgspec

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.operations import OperationRecord, Result
from mailagent.api.targets import TargetKind
from mailagent.api.views import EngineState, Series
from mailagent.api.words import command
from mailctl.fleet.state import FleetState, HostState, LinkState
from mailctl.ops.acts import CONSOLE, OF_HOSTS, by_operation, is_act

BASE_STEPS: Final = 10
"""Minutes before a change that it is measured against."""
LEAST_RATE: Final = 30
"""Recipients a minute below which rates are noise."""
RISE: Final = 2.0
FALL: Final = 0.5
FAILING: Final = 0.30
"""Share of failed attempts from which on a minute is bad; it is good again below a third of it."""


class EventKind(StrEnum):
    """Where an event comes from."""

    OPERATOR = "operator"
    AUTOMATION = "automation"
    RELOAD = "reload"
    HOST = "host"
    RATE = "rate"
    NOTE = "note"


class Weight(StrEnum):
    """What an event means for mail."""

    PLAIN = "plain"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the timeline."""

    at: datetime
    kind: EventKind
    hosts: tuple[str, ...]
    subject: str  # target, host or provider: `pool:marketing`
    text: str  # what happened; may hold text from outside
    by: str = ""
    op_id: str = ""
    weight: Weight = Weight.PLAIN

    @property
    def key(self) -> str:
        """Tells it from all others, also when it is read again."""
        return f"{self.op_id or self.at.timestamp()}/{self.kind}/{self.subject}/{self.text}"


def merged(*parts: Iterable[TimelineEvent], since: datetime) -> tuple[TimelineEvent, ...]:
    """All events from `since` on, oldest first, each once."""
    found = {event.key: event for part in parts for event in part if event.at >= since}
    return tuple(sorted(found.values(), key=lambda event: (event.at, event.kind, event.subject)))


def of_operations(records: Iterable[tuple[str, OperationRecord]]) -> list[TimelineEvent]:
    """Executed verbs; the steps of one operation that say the same of the same target are one event."""
    return [_operation(parts) for parts in by_operation(records)]


def _operation(parts: Sequence[tuple[str, OperationRecord]]) -> TimelineEvent:
    host, record = min(parts, key=lambda part: part[1].at)
    hosts = tuple(dict.fromkeys(name for name, _ in parts))
    text = record.detail
    if record.reason and record.reason not in text:
        text = f"{text} ({record.reason})" if text else record.reason
    if record.result is Result.NOTHING_TO_DO:
        text = f"nothing to do: {text}"
    if record.undone_by:
        text += "; undone later"
    kind = _kind(record)
    if kind is not EventKind.NOTE:
        text = ": ".join(filter(None, (command(record.verb, record.target), text)))
    return TimelineEvent(
        at=record.at,
        kind=kind,
        hosts=hosts,
        subject=_subject(record, host if len(hosts) == 1 else "", kind),
        text=text,
        by=record.author,
        op_id=record.op_id if len(hosts) == 1 else record.op_id.partition(".")[0],
        weight=Weight.WARN if record.verb in OF_HOSTS - {CONSOLE} else Weight.PLAIN,
    )


def _subject(record: OperationRecord, host: str, kind: EventKind) -> str:
    """What it is about; of what is about each host itself, the host if it is one."""
    target = record.target
    if kind in (EventKind.HOST, EventKind.RELOAD) or (target is not None and target.kind is TargetKind.HOST):
        return f"host:{host}" if host else ""
    return str(target or record.undoes or "")


def _kind(record: OperationRecord) -> EventKind:
    if record.verb in OF_HOSTS:
        return EventKind.HOST
    if record.verb == "reload":
        return EventKind.RELOAD
    if record.verb == "note_add":
        return EventKind.NOTE
    return EventKind.OPERATOR if is_act(record) else EventKind.AUTOMATION


def of_orders(orders: Iterable[tuple[str, Directive]], known: Iterable[str]) -> list[TimelineEvent]:
    """Orders that stand, of operations which are no longer in any log (kept for seven days)."""
    seen = {op_id.partition(".")[0] for op_id in known}
    return [
        TimelineEvent(
            at=order.created_at,
            kind=EventKind.NOTE if order.kind is DirectiveKind.NOTE else EventKind.OPERATOR,
            hosts=(host,),
            subject=str(order.target),
            text=f"{order.kind}: {order.reason}" if order.reason else str(order.kind),
            by=order.author,
            op_id=order.op_id,
        )
        for host, order in orders
        if order.op_id.partition(".")[0] not in seen
    ]


def of_links(hosts: Iterable[HostState], now: datetime) -> list[TimelineEvent]:
    """Hosts that are away or stopped for good now, at the time when they were last heard."""
    events = []
    for host in hosts:
        heard = now - timedelta(seconds=host.age_s) if host.age_s is not None else now
        if host.state not in (LinkState.LIVE, LinkState.LATE, LinkState.CONNECTING):
            text = f"{host.state}: {host.error}; what it does since is not known"
            events.append(_of_host(host, heard.replace(microsecond=0), text, Weight.BAD))
        elif host.view is not None and host.view.state is EngineState.FAILED:
            events.append(_of_host(host, heard, "storage failed: intake and delivery stopped", Weight.BAD))
    return events


def _of_host(host: HostState, at: datetime, text: str, weight: Weight) -> TimelineEvent:
    return TimelineEvent(
        at=at, kind=EventKind.HOST, hosts=(host.name,), subject=f"host:{host.name}", text=text, weight=weight
    )


def of_series(subject: str, hosts: Sequence[str], series: Series) -> list[TimelineEvent]:
    """Notable changes of a history in minutes: deliveries that fall or rise, and failures that begin or end.

    Deliveries are measured against the median of the ten minutes before. After a change the next one has to be one
    against the new level, so that a fall that lasts is one event.
    """
    events: list[TimelineEvent] = []
    base: list[int] = []
    failing = False

    def note(step: int, text: str, weight: Weight) -> None:
        at = series.start + timedelta(seconds=step * series.step_s)
        events.append(
            TimelineEvent(
                at=at.astimezone(UTC),
                kind=EventKind.RATE,
                hosts=tuple(hosts),
                subject=subject,
                text=text,
                weight=weight,
            )
        )

    for step, (delivered, deferred, bounced) in enumerate(
        zip(series.delivered, series.deferred, series.bounced, strict=True)
    ):
        attempts = delivered + deferred + bounced
        share = deferred / attempts if attempts else 0.0
        if attempts >= LEAST_RATE and not failing and share >= FAILING:
            failing = True
            note(step, f"{share:.0%} of {attempts:,} attempts a minute are deferred", Weight.BAD)
        elif failing and share < FAILING / 3:
            failing = False
            note(step, f"deferrals are down to {share:.0%} of {attempts:,} attempts a minute", Weight.GOOD)
        if len(base) == BASE_STEPS:
            usual = median(base)
            notable = max(usual, delivered) >= LEAST_RATE
            if notable and delivered < usual * FALL:
                note(step, f"deliveries fall from {usual:,.0f} to {delivered:,} a minute", Weight.WARN)
                base.clear()
            elif notable and delivered > usual * RISE:
                note(step, f"deliveries rise from {usual:,.0f} to {delivered:,} a minute", Weight.PLAIN)
                base.clear()
            else:
                base.pop(0)
        base.append(delivered)
    return events


def as_lines(events: Iterable[TimelineEvent], clean: Callable[[str], str]) -> str:
    """The timeline as text for a ticket: a line for each event."""
    return "\n".join(line(event, clean) for event in events)


def line(event: TimelineEvent, clean: Callable[[str], str]) -> str:
    """`2026-09-01 12:00:07Z  operator    alice  pool:marketing  drain: …  [mx1,mx2]`."""
    stamp = event.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    parts = (
        stamp,
        f"{event.kind:<10}",
        event.by or "-",
        event.subject or "-",
        event.text,
        f"[{','.join(event.hosts)}]",
    )
    return "  ".join(clean(part) for part in parts)


def live_notes(state: FleetState) -> Mapping[str, Directive]:
    """Handover notes that live, by op_id, newest first; one over several hosts is one."""
    return {
        row.op_id.partition(".")[0]: row.directive
        for row in state.directives
        if row.directive.kind is DirectiveKind.NOTE
    }
