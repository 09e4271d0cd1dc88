"""Reports for people and cron: which destinations defer, and what a day was. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from mailagent.api.ids import HostName
from mailagent.api.operations import OperationRecord
from mailagent.api.outcomes import Outcomes
from mailagent.api.requests import HistoryScope
from mailagent.config.thresholds import Limits, Thresholds
from mailctl.fleet import HostState
from mailctl.ops.acts import is_act, operation_of
from mailctl.ops.checkup import Level, Measured, Sum, Unchecked, Unit, Verdict, judge, summed
from mailctl.ops.facts import Answers

WORST = 10
AUTOMATION = "automation"
SCOPES = (HistoryScope.STREAM, HistoryScope.POOL, HistoryScope.PROVIDER, HistoryScope.HOST)


class DeferralRow(msgspec.Struct, frozen=True, kw_only=True):
    """One provider, or one domain of it. `share` is t / (t + d)."""

    name: str
    provider: str
    deferred: int
    delivered: int
    share: float
    level: Level


class DeferralReport(msgspec.Struct, frozen=True, kw_only=True):
    """The worst destinations of a time, those that had nothing but deferrals among them."""

    since: datetime
    until: datetime
    least: int  # events that a row has more than
    providers: tuple[DeferralRow, ...]
    domains: tuple[DeferralRow, ...]
    unchecked: tuple[Unchecked, ...] = ()
    hosts: tuple[HostName, ...] = ()  # that answered; of none nothing is known

    @property
    def level(self) -> Level:
        """That of the worst row."""
        return max((row.level for row in (*self.providers, *self.domains)), key=_ORDER.index, default=Level.OK)


class ConnectRow(msgspec.Struct, frozen=True, kw_only=True):
    """How far a provider is from a host."""

    provider: str
    host: HostName
    region: str
    connect_ms: float  # median of the last 64 TCP connections


class FlowRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stream, pool, provider or host."""

    scope: HistoryScope
    name: str
    received: int
    delivered: int
    deferred: int
    bounced: int


class CategoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """Bounces of one category."""

    category: str
    count: int
    providers: dict[str, int]


class ComplaintRow(msgspec.Struct, frozen=True, kw_only=True):
    """Complaints of one provider, beside what was delivered there."""

    provider: str
    count: int
    delivered: int
    streams: dict[str, int]


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One operation over its hosts."""

    op_id: str
    at: datetime
    verb: str
    target: str
    author: str
    reason: str
    detail: str
    hosts: tuple[HostName, ...]


class DayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a day."""

    since: datetime
    until: datetime
    flows: tuple[FlowRow, ...]
    bounces: tuple[CategoryRow, ...]  # most first
    complaints: tuple[ComplaintRow, ...]  # most first
    operations: tuple[Act, ...]  # by people, newest first
    automation: tuple[Act, ...]
    unchecked: tuple[Unchecked, ...] = ()
    hosts: tuple[HostName, ...] = ()  # that answered; of none nothing is known


_ORDER = (Level.OK, Level.WARNING, Level.CRITICAL)


def share(deferred: int, delivered: int) -> float:
    """t / (t + d), 0 for nothing."""
    return deferred / (deferred + delivered) if deferred else 0.0


def connect_report(hosts: Iterable[HostState], providers: Sequence[str] = ()) -> tuple[ConnectRow, ...]:
    """Which host reaches which provider how fast, from what they say now; the nearest first."""
    rows = [
        ConnectRow(provider=view.name, host=host.name, region=snapshot.host.region, connect_ms=view.connect_ms)
        for host in hosts
        if (snapshot := host.snapshot) is not None
        for view in snapshot.providers
        if view.connect_ms is not None and (not providers or view.name in providers)
    ]
    return tuple(sorted(rows, key=lambda row: (row.provider, row.connect_ms, row.host)))


def deferral_report(
    sums: Answers,
    outcomes: Answers,
    *,
    since: datetime,
    until: datetime,
    thresholds: Thresholds,
    worst: int = WORST,
    providers: Sequence[str] = (),
) -> DeferralReport:
    """The `worst` providers and domains with more than `thresholds.least` events; `providers`, none: all."""
    by_provider = {(name, name): one for name, one in summed(sums, HistoryScope.PROVIDER).items()}
    by_domain: dict[tuple[str, str], Sum] = {}
    for answer in outcomes.got.values():
        for row in answer.domains:
            one = by_domain.setdefault((row.provider, row.domain), Sum())
            one.deferred += row.deferred
            one.delivered += row.delivered

    def rows(found: dict[tuple[str, str], Sum]) -> tuple[DeferralRow, ...]:
        made = [
            DeferralRow(
                name=name,
                provider=provider,
                deferred=one.deferred,
                delivered=one.delivered,
                share=round(share(one.deferred, one.delivered), 6),
                level=_level(one, provider, thresholds),
            )
            for (provider, name), one in found.items()
            if one.deferred
            and one.deferred + one.delivered > thresholds.least
            and (not providers or provider in providers)
        ]
        made.sort(key=lambda row: (-row.share, -row.deferred, row.name))
        return tuple(made[:worst])

    return DeferralReport(
        since=since,
        until=until,
        least=thresholds.least,
        providers=rows(by_provider),
        domains=rows(by_domain),
        unchecked=lacks(sums, outcomes, since=since, letters="dt"),
        hosts=_answered(sums, outcomes),
    )


def _answered(*answers: Answers) -> tuple[HostName, ...]:
    """Hosts that said anything, be it that they have nothing of the kind."""
    return tuple(dict.fromkeys(host for one in answers for host in (*one.got, *one.beyond)))


def _level(one: Sum, provider: str, thresholds: Thresholds) -> Level:
    own = {str(name): limits for name, limits in thresholds.deferrals.providers.items()}
    limits: Limits = own.get(provider, thresholds.deferrals)
    return judge("", Unit.SHARE, [Measured("", share(one.deferred, one.delivered), limits)], {}).level


def day_report(sums: Answers, outcomes: Answers, operations: Answers, *, since: datetime, until: datetime) -> DayReport:
    """`operations` are lists of records, of any time."""
    acts = _acts(operations, since, until)
    delivered = summed(sums, HistoryScope.PROVIDER)
    bounces: dict[str, dict[str, int]] = {}
    complaints: dict[str, dict[str, int]] = {}
    for answer in outcomes.got.values():
        for one in answer.bounces:
            _add(bounces.setdefault(one.category, {}), one.provider, one.count)
        for one in answer.complaints:
            _add(complaints.setdefault(one.provider, {}), one.stream, one.count)
    return DayReport(
        since=since,
        until=until,
        flows=tuple(
            FlowRow(
                scope=scope,
                name=name,
                received=one.received,
                delivered=one.delivered,
                deferred=one.deferred,
                bounced=one.bounced,
            )
            for scope in SCOPES
            for name, one in summed(sums, scope).items()
        ),
        bounces=tuple(
            CategoryRow(category=category, count=sum(found.values()), providers=_largest_first(found))
            for category, found in sorted(bounces.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))
        ),
        complaints=tuple(
            ComplaintRow(
                provider=provider,
                count=sum(found.values()),
                delivered=delivered[provider].delivered if provider in delivered else 0,
                streams=_largest_first(found),
            )
            for provider, found in sorted(complaints.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))
        ),
        operations=tuple(act for act in acts if act.author != AUTOMATION),
        automation=tuple(act for act in acts if act.author == AUTOMATION),
        unchecked=(
            *lacks(sums, outcomes, since=since, letters="bxf"),
            *(Unchecked(host=host, why=f"operations: {why}") for host, why in operations.failed.items()),
        ),
        hosts=_answered(sums, outcomes, operations),
    )


def complaint_verdict(report: DayReport, thresholds: Thresholds) -> Verdict:
    """Complaints of a day against their threshold, per provider with enough mail."""
    measured = [
        Measured(
            f"provider {row.provider or 'not known'}",
            row.count / row.delivered,
            thresholds.complaints,
            f"{row.count:,} of {row.delivered:,} delivered",
            "mailctl feedback",
        )
        for row in report.complaints
        if row.delivered > thresholds.least
    ]
    return judge("complaints", Unit.SHARE, measured, {one.host: one.why for one in report.unchecked})


def lacks(sums: Answers, outcomes: Answers, *, since: datetime, letters: str) -> tuple[Unchecked, ...]:
    """What a report does not know, by host; `letters` are the records that it counts."""
    found: list[Unchecked] = [Unchecked(host=host, why=why) for host, why in sums.failed.items()]
    for host, answer in sums.got.items():
        if answer.since - since > timedelta(minutes=1):
            found.append(Unchecked(host=host, why=f"the history begins at {answer.since:%Y-%m-%d %H:%M}Z"))
    found += [
        Unchecked(host=host, why=f"accounting: {why}")
        for host, why in outcomes.failed.items()
        if sums.failed.get(host) != why
    ]
    for host, answer in outcomes.got.items():
        found += [Unchecked(host=host, why=why) for why in _gaps(answer, since, letters)]
    return tuple(found)


def _gaps(answer: Outcomes, since: datetime, letters: str) -> Iterable[str]:
    if answer.since > since:
        yield f"accounting was counted from {answer.since:%Y-%m-%d %H:%M}Z on; raise --timeout"
    if answer.truncated:
        yield "accounting has more domains than are told"
    if missing := [one for one in letters if one in answer.unwritten]:
        yield f"accounting.records leaves out {', '.join(missing)}"


def _acts(operations: Answers, since: datetime, until: datetime) -> list[Act]:
    found: dict[tuple[str, str, str], list[tuple[HostName, OperationRecord]]] = {}
    for host, records in operations.got.items():
        for record in records:
            if since <= record.at < until and (record.author == AUTOMATION or is_act(record)):
                key = (operation_of(record), record.verb, str(record.target or ""))
                found.setdefault(key, []).append((host, record))
    acts = [
        Act(
            op_id=op_id,
            at=parts[0][1].at,
            verb=verb,
            target=target,
            author=parts[0][1].author,
            reason=parts[0][1].reason,
            detail=parts[0][1].detail,
            hosts=tuple(dict.fromkeys(host for host, _ in parts)),
        )
        for (op_id, verb, target), parts in found.items()
    ]
    return sorted(acts, key=lambda act: (act.at, act.op_id), reverse=True)


def _add(found: dict[str, int], name: str, count: int) -> None:
    found[name] = found.get(name, 0) + count


def _largest_first(found: dict[str, int]) -> dict[str, int]:
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
