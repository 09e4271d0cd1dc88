"""The book of alerts: what is open, who was told of it, and what is to be told now. Pure; the clock is an argument.

An alert of a look at the fleet (`see`):

    unknown -> waiting   trouble is seen
    waiting -> due       it has lasted `after` of its route
    waiting -> unknown   it is not seen, and nobody was told
    due     -> gone      it is not seen
    gone    -> due       it is seen again
    gone    -> over      it has stayed away for `away`
    over    -> waiting   it is seen again, before all were told of the end

While a host that would have to say so is silent, nothing is gone: the alert is hidden, and neither ends nor
is repeated.

What a receiver knows is what it has confirmed (`confirm`), each for itself. So nothing is told twice but what was not
confirmed, nobody hears of the end of what he was not told of, and a receiver that fails hears it at the next look.
"""

import hashlib
from collections.abc import Collection, Iterator
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from mailagent.config.alerts import AlertRoute, Alerts, Severity
from mailctl.alerts.signals import Sight, Signal

_WORST_LAST = tuple(Severity)


class Event(StrEnum):
    """Why somebody is told, the most urgent first."""

    ESCALATED = "escalated"  # nobody has acknowledged it
    NEW = "new"
    WORSE = "worse"  # of a higher severity, or one more address or host has it
    REMINDER = "reminder"
    RESOLVED = "resolved"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver has confirmed."""

    at: datetime
    severity: Severity
    scope: tuple[str, ...] = ()


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody knows of it: no reminders, no escalation, until it is worse."""

    by: str
    at: datetime
    severity: Severity  # that it had
    reason: str = ""
    until: datetime | None = None  # None: as long as it lasts


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One trouble, from when it was first seen until everybody who was told of it knows that it is over."""

    id: str
    signal: Signal  # as last seen
    worst: Severity = Severity.WARNING  # so far
    since: datetime
    seen_at: datetime
    due_at: datetime | None = None  # from when on it is told, as bad as it was at worst
    hidden_by: tuple[str, ...] = ()  # hosts without an answer to it: whether it lasts is not known
    gone_at: datetime | None = None  # not seen any more since
    is_over: bool = False
    told: dict[str, Told] = {}
    acknowledged: Acknowledgement | None = None

    @property
    def is_seen(self) -> bool:
        """Whether the last look saw it."""
        return not self.hidden_by and self.gone_at is None

    def is_acknowledged(self, now: datetime) -> bool:
        """Whether somebody knows of it as bad as it is."""
        ack = self.acknowledged
        if ack is None or _rank(self.signal.severity) > _rank(ack.severity):
            return False
        return ack.until is None or now < ack.until


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    looked_at: datetime | None = None
    alerts: tuple[Alert, ...] = ()


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """One receiver is to hear of one alert."""

    receiver: str
    event: Event
    alert: Alert


def see(book: Book, sight: Sight, settings: Alerts, now: datetime) -> Book:
    """The book after a look at the fleet."""
    seen = {(one.kind, one.subject): one for one in sight.signals}
    alerts: list[Alert] = []
    for alert in book.alerts:
        kept = {name: told for name, told in alert.told.items() if name in settings.receivers}
        alert = replace(alert, told=kept)
        signal = seen.pop((alert.signal.kind, alert.signal.subject), None)
        after = _again(alert, signal, now) if signal is not None else _unseen(alert, sight, settings, now)
        if after is not None:
            alerts.append(after)
    alerts += [_new(signal, now) for signal in seen.values()]
    return Book(looked_at=now, alerts=tuple(_with_due(alert, settings, now) for alert in alerts))


def _new(signal: Signal, now: datetime) -> Alert:
    digest = hashlib.sha256(f"{signal.kind} {signal.subject} {now.isoformat()}".encode()).hexdigest()
    return Alert(id=digest[:8], signal=signal, worst=signal.severity, since=now, seen_at=now)


def _again(alert: Alert, signal: Signal, now: datetime) -> Alert:
    if alert.is_over:  # who has not heard of the end goes on as if there had been none
        return replace(_new(signal, now), told=alert.told)
    if _rank(signal.severity) > _rank(alert.worst):  # time to acknowledge that begins anew
        alert = replace(alert, worst=signal.severity, due_at=None)
    return replace(alert, signal=signal, seen_at=now, gone_at=None, hidden_by=())


def _unseen(alert: Alert, sight: Sight, settings: Alerts, now: datetime) -> Alert | None:
    if not alert.is_over:
        if hidden_by := sight.hidden_by(alert.signal):
            return replace(alert, hidden_by=hidden_by, gone_at=None)
        gone_at = alert.gone_at or now
        alert = replace(alert, hidden_by=(), gone_at=gone_at, is_over=now - gone_at >= settings.away)
    return alert if alert.told else None


def _with_due(alert: Alert, settings: Alerts, now: datetime) -> Alert:
    if alert.due_at is not None or not alert.is_seen or now - alert.since < route_of(alert.signal, settings).after:
        return alert
    return replace(alert, due_at=now)


def route_of(signal: Signal, settings: Alerts) -> AlertRoute:
    """The first route that matches; one to nobody when none does, one to everybody when there is none."""
    if not settings.routes:
        return AlertRoute(to=tuple(settings.receivers))
    return next((route for route in settings.routes if _matches(route, signal)), AlertRoute(to=()))


def _matches(route: AlertRoute, signal: Signal) -> bool:
    if _rank(signal.severity) < _rank(route.severity):
        return False
    wanted: list[tuple[Collection[str], Collection[str]]] = [
        (route.kinds, (signal.kind,)),
        (route.hosts, signal.hosts),
        (route.pools, signal.pools),
        (route.streams, signal.streams),
        (route.providers, signal.providers),
    ]
    return all(not names or any(name in has for name in names) for names, has in wanted)


def due(book: Book, settings: Alerts, now: datetime) -> tuple[Telling, ...]:
    """What is to be told now, the most urgent first."""
    tellings = [
        Telling(receiver=receiver, event=event, alert=alert)
        for alert in book.alerts
        for receiver, event in _due(alert, settings, now)
    ]
    return tuple(sorted(tellings, key=urgency))


def by_urgency(book: Book) -> tuple[Alert, ...]:
    """All alerts, what is over last, and before that what is critical first."""
    return tuple(sorted(book.alerts, key=lambda one: (one.is_over, -_rank(one.signal.severity), one.since)))


def later(book: Book, settings: Alerts) -> tuple[Telling, ...]:
    """What will be told as new if it lasts."""
    return tuple(
        Telling(receiver=receiver, event=Event.NEW, alert=alert)
        for alert in book.alerts
        if alert.is_seen and alert.due_at is None
        for receiver in route_of(alert.signal, settings).to
    )


def urgency(telling: Telling) -> tuple[int, int, datetime]:
    """Sorts tellings: what is over comes last, and before that what is critical first."""
    events = tuple(Event)
    is_over = telling.event is Event.RESOLVED
    return (
        len(events) if is_over else -_rank(telling.alert.signal.severity),
        events.index(telling.event),
        telling.alert.since,
    )


def _due(alert: Alert, settings: Alerts, now: datetime) -> Iterator[tuple[str, Event]]:
    if alert.is_over:
        yield from ((receiver, Event.RESOLVED) for receiver in alert.told)
    elif alert.is_seen and alert.due_at is not None:
        route = route_of(alert.signal, settings)
        knows = alert.is_acknowledged(now)
        for receiver in route.to:
            if (event := _event(alert, receiver, route, now, knows=knows)) is not None:
                yield receiver, event
        if (escalation := route.escalate) is not None:
            is_late = now - _unacknowledged_since(alert, now) >= escalation.after
            for receiver in escalation.to:
                if receiver in alert.told or is_late:
                    event = _event(alert, receiver, route, now, knows=knows)
                    if event is not None:
                        yield receiver, Event.ESCALATED if event is Event.NEW else event


def _event(alert: Alert, receiver: str, route: AlertRoute, now: datetime, *, knows: bool) -> Event | None:
    told = alert.told.get(receiver)
    if knows:
        return None
    if told is None:
        return Event.NEW
    if _rank(alert.signal.severity) > _rank(told.severity) or set(alert.signal.scope) - set(told.scope):
        return Event.WORSE
    return Event.REMINDER if route.repeat is not None and now - told.at >= route.repeat else None


def _unacknowledged_since(alert: Alert, now: datetime) -> datetime:
    since = alert.due_at or now
    ack = alert.acknowledged
    return max(since, ack.until) if ack is not None and ack.until is not None else since


def confirm(book: Book, tellings: Collection[Telling], now: datetime) -> Book:
    """The book after receivers have taken `tellings`."""
    by_id: dict[str, list[Telling]] = {}
    for telling in tellings:
        by_id.setdefault(telling.alert.id, []).append(telling)
    alerts = [_confirmed(alert, by_id.get(alert.id, ()), now) for alert in book.alerts]
    return replace(book, alerts=tuple(alert for alert in alerts if alert.told or not alert.is_over))


def _confirmed(alert: Alert, tellings: Collection[Telling], now: datetime) -> Alert:
    told = dict(alert.told)
    for telling in tellings:
        if telling.event is Event.RESOLVED:
            told.pop(telling.receiver, None)
            continue
        signal, before = telling.alert.signal, told.get(telling.receiver)
        known = before.scope if before is not None else ()
        worst = max((signal.severity, *((before.severity,) if before is not None else ())), key=_rank)
        told[telling.receiver] = Told(at=now, severity=worst, scope=tuple(dict.fromkeys((*known, *signal.scope))))
    return replace(alert, told=told)


def acknowledge(
    book: Book, wanted: str, *, by: str, now: datetime, reason: str = "", until: datetime | None = None
) -> Book:
    """The book after somebody has taken note of the alert whose id begins with `wanted`.

    Raises:
        LookupError: none does, or several do.
    """
    found = [alert for alert in book.alerts if alert.id.startswith(wanted)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} open alerts have an id that begins with {wanted}; see `mailctl alerts list`")
    severity = found[0].signal.severity
    note = Acknowledgement(by=by, at=now, severity=severity, reason=reason, until=until)
    return replace(
        book,
        alerts=tuple(replace(one, acknowledged=note) if one is found[0] else one for one in book.alerts),
    )


def _rank(severity: Severity) -> int:
    return _WORST_LAST.index(severity)
