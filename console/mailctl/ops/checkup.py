"""Thresholds against facts: what is well, what is not, and what could not be checked. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import HostName
from mailagent.api.reputation import Faults, Weight, matters
from mailagent.api.requests import HistoryScope
from mailagent.api.views import EngineState, MemberState, PoolState, VmtaView
from mailagent.api.warm_up import WarmUpState
from mailagent.config.thresholds import AgeLimits, Limits, RateLimits, SpaceLimits, Thresholds
from mailctl.ops.facts import Answers, Facts

RECENT = timedelta(days=1)
"""Possible duplicates that are older have been seen."""
STANDING = (DirectiveKind.DRAIN, DirectiveKind.SUSPEND, DirectiveKind.ROTATE, DirectiveKind.LIMIT)
"""Orders that somebody may forget; those of jobs and keys have a plan of their own."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"  # not looked at, wholly or on some host, and nothing is known to be bad


_WORST_LAST = (Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL)


class Unit(StrEnum):
    """What a value is, and so on which side of a limit it is bad."""

    COUNT = "count"  # from the limit on
    SHARE = "share"  # above it
    AGE = "s"  # above it
    SPACE = "bytes"  # below it


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One subject, measured."""

    subject: str  # `provider gmail`
    value: float
    level: Level
    warning: float | None
    critical: float | None
    detail: str = ""  # what the number does not say
    look: str = ""  # the command that shows more
    about: str = ""  # the subject as a selection: `provider:gmail`; empty: the fleet


class Unchecked(msgspec.Struct, frozen=True, kw_only=True):
    """A host that one threshold could not be checked on."""

    host: HostName
    why: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One threshold over the whole fleet."""

    name: str  # as in the fleet file
    level: Level
    unit: Unit
    subjects: int  # that were measured
    worst: Reading | None  # None: nothing was there to measure
    crossed: tuple[Reading, ...]  # worst first
    unchecked: tuple[Unchecked, ...]
    beyond: tuple[HostName, ...] = ()  # whose engine has nothing of the kind; no gap


@dataclass(frozen=True, slots=True)
class Measured:
    """One subject before it is judged."""

    subject: str
    value: float
    limits: Limits
    detail: str = ""
    look: str = ""
    least: Level = Level.OK  # whatever the limits say
    about: str = ""  # the subject as a selection


Missing = Mapping[HostName, str]


def worst_of(levels: Iterable[Level]) -> Level:
    """Critical before warning before unknown before ok."""
    return max(levels, key=_WORST_LAST.index, default=Level.OK)


def checkup(facts: Facts, thresholds: Thresholds) -> tuple[Verdict, ...]:
    """A verdict for each threshold, in their order."""
    return tuple(
        judge(name, unit, measure(facts, thresholds), missing(facts), _asked(name, facts).beyond)
        for name, (unit, measure, missing) in CHECKS.items()
    )


def judge(
    name: str, unit: Unit, measured: Iterable[Measured], missing: Missing, beyond: tuple[HostName, ...] = ()
) -> Verdict:
    """The verdict over all subjects of one threshold."""
    readings = []
    for one in measured:
        warning, critical = _pair(one.limits)
        level = worst_of((_level(unit, one.value, warning, critical), one.least))
        readings.append(
            Reading(
                subject=one.subject,
                value=round(one.value, 6),
                level=level,
                warning=warning,
                critical=critical,
                detail=one.detail,
                look=one.look,
                about=one.about,
            )
        )
    sign = 1 if unit is Unit.SPACE else -1
    readings.sort(key=lambda one: (-_WORST_LAST.index(one.level), sign * one.value, one.subject))
    unchecked = tuple(Unchecked(host=host, why=why) for host, why in missing.items())
    crossed = tuple(one for one in readings if one.level is not Level.OK)
    level = worst_of([*(one.level for one in crossed), *([Level.UNKNOWN] if unchecked else [])])
    return Verdict(
        name=name,
        level=level,
        unit=unit,
        subjects=len(readings),
        worst=readings[0] if readings else None,
        crossed=crossed,
        unchecked=unchecked,
        beyond=beyond,
    )


def _pair(limits: Limits) -> tuple[float | None, float | None]:
    """Warning and critical as numbers."""
    warning, critical = (_number(getattr(limits, field)) for field in limits.__struct_fields__[:2])
    return warning, critical


def _number(limit: float | timedelta | None) -> float | None:
    return limit.total_seconds() if isinstance(limit, timedelta) else limit


def _level(unit: Unit, value: float, warning: float | None, critical: float | None) -> Level:
    for level, limit in ((Level.CRITICAL, critical), (Level.WARNING, warning)):
        if limit is not None and _is_bad(unit, value, limit):
            return level
    return Level.OK


def _is_bad(unit: Unit, value: float, limit: float) -> bool:
    match unit:
        case Unit.COUNT:
            return value >= limit
        case Unit.SPACE:
            return value < limit
        case _:
            return value > limit


# -- what is measured --------------------------------------------------------------------------------------------------


def _unreachable(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    names = ", ".join(f"{host} ({why})" for host, why in facts.lost.items())
    yield Measured("fleet", len(facts.lost), thresholds.unreachable, names, "mailctl hosts")


def _refusing(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    views = [host.view for host in facts.fresh if host.view]
    refusing = [view for view in views if not view.accepting]
    failed = any(view.state is EngineState.FAILED for view in refusing)
    names = ", ".join(f"{view.host} ({view.intake_reason or view.state})" for view in refusing)
    least = Level.CRITICAL if failed else Level.OK
    yield Measured("fleet", len(refusing), thresholds.refusing, names, "mailctl hosts", least)


def _stopped(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    fresh = {host.name for host in facts.fresh}
    for row in facts.state.pools:
        parts = [(host, view) for host, view in row.parts if host in fresh]
        # a host on which the file keeps all members in reserve is not meant to send, unless no host does
        parts = [part for part in parts if part[1].state is not PoolState.EMPTY] or parts
        stopped = [(host, view) for host, view in parts if view.state is not PoolState.ACTIVE]
        if parts:
            detail = ", ".join(f"{host}: {view.state} {view.reason}".rstrip() for host, view in stopped)
            about = f"pool:{row.name}"
            look = f"mailctl pools {about}"
            yield Measured(f"pool {row.name}", len(stopped) / len(parts), thresholds.stopped, detail, look, about=about)


def _waiting(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for host in facts.fresh:
        if view := host.view:
            about = f"host:{host.name}"
            look = f"mailctl deferred {about}"
            yield Measured(f"host {host.name}", view.waiting, thresholds.waiting, look=look, about=about)


def _window(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for host in facts.fresh:
        if (view := host.view) and view.window_limit:
            detail = f"{view.window:,} of {view.window_limit:,}"
            about = f"host:{host.name}"
            look, value = f"mailctl destinations {about}", view.window / view.window_limit
            yield Measured(f"host {host.name}", value, thresholds.window, detail, look, about=about)


def _growth(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for name, one in summed(facts.sums, HistoryScope.POOL).items():
        detail = f"{one.received:,} came, {one.delivered + one.bounced:,} left"
        value, about = one.received - one.delivered - one.bounced, f"pool:{name}"
        yield Measured(f"pool {name}", value, thresholds.growth, detail, f"mailctl history {about}", about=about)


def _oldest(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    oldest: dict[tuple[str, str], datetime] = {}
    for table in facts.ages.got.values():
        for row in table.rows:
            key = (row.provider, row.stream)
            oldest[key] = min(oldest.get(key, row.oldest_at), row.oldest_at)
    streams: Mapping[str, AgeLimits] = {str(name): one for name, one in thresholds.oldest.streams.items()}
    for (provider, stream), at in oldest.items():
        limits = streams.get(stream, thresholds.oldest)
        about = " ".join(f"{kind}:{name}" for kind, name in (("provider", provider), ("stream", stream)) if name)
        subject = f"{f'stream {stream}' if stream else 'mail'} to {provider or 'a provider not known yet'}"
        look = f"mailctl messages {about}".rstrip()
        yield Measured(subject, _age_s(at, facts.at), limits, look=look, about=about)


def _deferrals(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for scope, name, one, limits in _rates(facts, thresholds.deferrals):
        events = one.deferred + one.delivered
        if events > thresholds.least:
            detail = f"{one.deferred:,} of {events:,} events"
            about = f"{scope}:{name}"
            look = f"mailctl deferred {about}"
            yield Measured(f"{scope} {name}", one.deferred / events, limits, detail, look, about=about)


def _bounces(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for scope, name, one, limits in _rates(facts, thresholds.bounces):
        events = one.bounced + one.delivered
        if events > thresholds.least:
            detail = f"{one.bounced:,} of {events:,} recipients"
            look, about = "mailctl report day", f"{scope}:{name}"
            yield Measured(f"{scope} {name}", one.bounced / events, limits, detail, look, about=about)


def _rates(facts: Facts, limits: RateLimits) -> Iterator[tuple[HistoryScope, str, "Sum", Limits]]:
    """Each provider, stream and pool with its sums and limits."""
    for scope, own in (
        (HistoryScope.PROVIDER, limits.providers),
        (HistoryScope.STREAM, limits.streams),
        (HistoryScope.POOL, limits.pools),
    ):
        exceptions: Mapping[str, Limits] = {str(name): one for name, one in own.items()}
        for name, one in summed(facts.sums, scope).items():
            yield scope, name, one, exceptions.get(name, limits)


def _listed(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for host in facts.fresh:
        for view in host.snapshot.vmtas if host.snapshot is not None else ():
            detail = ", ".join(one.sentence for one in view.listings)
            least = Level.CRITICAL if matters(view.listings) else Level.OK
            about = f"vmta:{view.name}"
            look = f"mailctl block-lists {about}"
            lists = len({one.zone for one in view.listings if one.weight is not Weight.INFO})
            yield Measured(f"virtual MTA {view.name}", lists, thresholds.listed, detail, look, least, about)


def _unanswered(facts: Facts, count: Callable[[VmtaView], int], of: str, command: str) -> Missing:
    """Hosts that are lost, and those that have no answer about addresses of theirs."""
    found = dict(facts.lost)
    for host in facts.fresh:
        if host.snapshot is not None and (missing := sum(map(count, host.snapshot.vmtas))):
            found[host.name] = f"{missing:,} answers {of} are missing: mailctl {command} host:{host.name}"
    return found


def _lists_unknown(facts: Facts) -> Missing:
    return _unanswered(facts, lambda view: view.lists_unknown, "of block lists", "block-lists")


def _identity_unknown(facts: Facts) -> Missing:
    return _unanswered(facts, lambda view: view.identity_unknown, "about its addresses", "identity")


def _identity(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    limits = thresholds.identity
    of_pools: dict[str, Faults] = {}
    for host in facts.fresh:
        if host.snapshot is None:
            continue
        for view in host.snapshot.vmtas:
            detail = view.faults.sentence
            about = f"vmta:{view.name}"
            look = f"mailctl identity {about}"
            yield Measured(f"virtual MTA {view.name}", view.faults.count, limits, detail, look, about=about)
        for pool in host.snapshot.pools:
            known = of_pools.setdefault(pool.name, pool.faults)  # hosts find the same, and one may not have looked yet
            of_pools[pool.name] = max(known, pool.faults, key=lambda one: one.count)
    for name, faults in of_pools.items():
        about = f"pool:{name}"
        look = f"mailctl identity {about}"
        yield Measured(f"pool {name}", faults.count, limits, faults.sentence, look, about=about)


def _warm_up(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for host in facts.fresh:
        for view in host.snapshot.vmtas if host.snapshot is not None else ():
            paused = [one for one in view.warm_up if one.state is WarmUpState.PAUSED]
            detail = f"{paused[0].provider}: {paused[0].why}" if paused else ""
            if view.warm_up:
                about = f"vmta:{view.name}"
                look = f"mailctl warm-up {about}"
                yield Measured(f"virtual MTA {view.name}", len(paused), thresholds.warm_up, detail, look, about=about)


def _silent(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for host in facts.fresh:
        for view in host.snapshot.vmtas if host.snapshot is not None else ():
            if view.state is MemberState.STANDBY and view.last_at is not None:
                age_s, look = _age_s(view.last_at, facts.at), f"mailctl ips vmta:{view.name}"
                yield Measured(f"standby {view.name}", age_s, thresholds.silent, look=look, about=f"vmta:{view.name}")


def _disk_free(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    limits: SpaceLimits = thresholds.disk_free
    for host in facts.fresh:
        if view := host.view:
            about = f"host:{host.name}"
            look = f"mailctl hosts {about}"
            yield Measured(f"host {host.name}", view.disk_free_bytes, limits, look=look, about=about)


def _orders(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    fresh = {host.name for host in facts.fresh}
    for row in facts.state.directives:
        order = row.directive
        if order.kind in STANDING and not order.rule and fresh & set(row.hosts):
            subject = f"{order.kind} {order.target} by {order.author}"
            detail = f"on {', '.join(row.hosts)}{f': {order.reason}' if order.reason else ''}"
            hosts = " ".join(f"host:{host}" for host in row.hosts)
            look, about = f"mailctl directives {hosts}", f"{order.target} {hosts}"
            yield Measured(subject, _age_s(order.created_at, facts.at), thresholds.orders, detail, look, about=about)


def _in_doubt(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for host, page in facts.in_doubt.got.items():
        found = [row for row in page.rows if row.resolution == "open" and facts.at - row.at < RECENT]
        look, about = f"mailctl in-doubt host:{host}", f"host:{host}"
        yield Measured(f"host {host}", len(found), thresholds.in_doubt, look=look, about=about)


def _events(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for host, sinks in facts.events.got.items():
        for row in sinks.rows:
            age_s = _age_s(row.oldest_at, facts.at) if row.oldest_at else 0.0
            subject, look = f"sink {row.name} of host {host}", f"mailctl events host:{host}"
            yield Measured(subject, age_s, thresholds.events, row.last_error, look, about=f"host:{host}")


def _undecided(facts: Facts, thresholds: Thresholds) -> Iterator[Measured]:
    for host, page in facts.suppressions.got.items():
        look, about = f"mailctl suppression list --pending --host {host}", f"host:{host}"
        yield Measured(f"host {host}", page.pending, thresholds.undecided, look=look, about=about)


def _age_s(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())


Measure = Callable[[Facts, Thresholds], Iterable[Measured]]
CHECKS: Mapping[str, tuple[Unit, Measure, Callable[[Facts], Missing]]] = {
    "unreachable": (Unit.COUNT, _unreachable, lambda _: {}),
    "refusing": (Unit.COUNT, _refusing, lambda facts: facts.lost),
    "stopped": (Unit.SHARE, _stopped, lambda facts: facts.lost),
    "waiting": (Unit.COUNT, _waiting, lambda facts: facts.lost),
    "window": (Unit.SHARE, _window, lambda facts: facts.lost),
    "growth": (Unit.COUNT, _growth, lambda facts: facts.sums.failed),
    "oldest": (Unit.AGE, _oldest, lambda facts: _uncounted(facts.ages)),
    "deferrals": (Unit.SHARE, _deferrals, lambda facts: facts.sums.failed),
    "bounces": (Unit.SHARE, _bounces, lambda facts: facts.sums.failed),
    "listed": (Unit.COUNT, _listed, _lists_unknown),
    "identity": (Unit.COUNT, _identity, _identity_unknown),
    "warm_up": (Unit.COUNT, _warm_up, lambda facts: facts.lost),
    "silent": (Unit.AGE, _silent, lambda facts: facts.lost),
    "disk_free": (Unit.SPACE, _disk_free, lambda facts: facts.lost),
    "orders": (Unit.AGE, _orders, lambda facts: facts.lost),
    "in_doubt": (Unit.COUNT, _in_doubt, lambda facts: facts.in_doubt.failed),
    "events": (Unit.AGE, _events, lambda facts: facts.events.failed),
    "undecided": (Unit.COUNT, _undecided, lambda facts: facts.suppressions.failed),
}
"""Unit, measure and what it lacks, by the name in the fleet file."""


def _asked(name: str, facts: Facts) -> Answers:
    """The answers of a threshold that not every engine has something for."""
    asked = {"in_doubt": facts.in_doubt, "events": facts.events, "undecided": facts.suppressions}
    return asked.get(name, Answers())


def _uncounted(ages: Answers) -> Missing:
    """Hosts without ages, those among them that have not counted since they started."""
    young = {
        host: "not counted yet since the agent started" for host, one in ages.got.items() if one.counted_at is None
    }
    return {**ages.failed, **young}


@dataclass(slots=True)
class Sum:
    """What happened to one name, over several hosts."""

    received: int = 0
    delivered: int = 0
    deferred: int = 0
    bounced: int = 0


def summed(sums: Answers, scope: HistoryScope) -> dict[str, Sum]:
    """Sums over hosts by name; the host itself by its own."""
    found: dict[str, Sum] = {}
    for host, answer in sums.got.items():
        for row in answer.rows:
            if row.scope is scope:
                one = found.setdefault(row.name or host, Sum())
                one.received += row.received
                one.delivered += row.delivered
                one.deferred += row.deferred
                one.bounced += row.bounced
    return dict(sorted(found.items()))


def lacking(verdicts: Sequence[Verdict]) -> dict[tuple[HostName, str], list[str]]:
    """Names of the thresholds that could not be checked, by host and reason."""
    found: dict[tuple[HostName, str], list[str]] = {}
    for verdict in verdicts:
        for one in verdict.unchecked:
            found.setdefault((one.host, one.why), []).append(verdict.name)
    return found


def not_concerned(verdicts: Sequence[Verdict]) -> dict[HostName, list[str]]:
    """Names of the thresholds that the engine of a host has nothing for."""
    found: dict[HostName, list[str]] = {}
    for verdict in verdicts:
        for host in verdict.beyond:
            found.setdefault(host, []).append(verdict.name)
    return found
