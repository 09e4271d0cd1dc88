"""What a test agent answers about what it keeps beside the mail."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mailagent.api.ages import AgeTable, AgeView
from mailagent.api.events import EventSinks, EventSinkView, SinkState
from mailagent.api.ids import PoolName, ProviderName, SiteName, StreamName, VmtaName, queue_key
from mailagent.api.outcomes import BounceCount, ComplaintCount, DomainOutcomes, Outcomes, OutcomesRequest
from mailagent.api.parts import MessageParts, PartView
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.requests import HistoryRequest, HistoryScope
from mailagent.api.smtp import SmtpReply
from mailagent.api.sums import SumRow, Sums, SumsRequest
from mailagent.api.trace import Side, TraceLine, TraceLines
from mailagent.api.views import Series
from mailagent.api.warm_up import WarmUpState, WarmUpView
from mailagent.api.why import EffectiveLimit, QueueWhy

AT = datetime(2026, 9, 1, 12, tzinfo=UTC)


def warming(provider: str, **more: Any) -> WarmUpView:
    view = WarmUpView(
        provider=ProviderName(provider),
        state=WarmUpState.CLIMBING,
        day=1,
        days=42,
        ceiling=100,
        used=0,
        delivered=0,
        deferred=0,
        bounced=0,
    )
    return msgspec.structs.replace(view, **more)


def ages() -> AgeTable:
    row = AgeView(
        provider=ProviderName("gmail"),
        stream=StreamName("news"),
        waiting=7,
        oldest_at=AT,
        p50_s=120.5,
        p95_s=4000.0,
        buckets=(4, 0, 0, 0, 3, 0, 0, 0, 0, 0),
    )
    return AgeTable(counted_at=AT, rows=(row,))


def history(request: HistoryRequest, *, quiet: bool = False) -> Series:
    none = Series(start=AT, step_s=request.step_s, received=(), delivered=(), deferred=(), bounced=())
    return (
        none
        if quiet
        else msgspec.structs.replace(
            none, received=(3, 0, 1), delivered=(2, 0, 1), deferred=(1, 0, 0), bounced=(0, 0, 0)
        )
    )


def sums(request: SumsRequest | None = None, deferred: int = 2) -> Sums:
    request = request or SumsRequest()
    until = request.until or AT
    row = SumRow(scope=HistoryScope.HOST, name="", received=1000, delivered=990, deferred=deferred, bounced=1)
    named = [(HistoryScope.POOL, "marketing"), (HistoryScope.STREAM, "news"), (HistoryScope.PROVIDER, "gmail")]
    rows = [msgspec.structs.replace(row, scope=scope, name=name) for scope, name in named]
    return Sums(since=until - timedelta(seconds=request.seconds), until=until, rows=(row, *rows))


def outcomes(request: OutcomesRequest) -> Outcomes:
    domain = DomainOutcomes(provider="gmail", domain="gmail.com", delivered=900, deferred=100, bounced=1)
    return Outcomes(
        since=request.since,
        until=request.until,
        domains=(domain, msgspec.structs.replace(domain, domain="dead\x1b[31m.test", delivered=0)),
        bounces=(BounceCount(category="bad-mailbox", provider="gmail", count=4),),
        complaints=(ComplaintCount(provider="gmail", stream="news", count=2),),
    )


def parts(n: int | None) -> MessageParts:
    views = (PartView(n=0, kind="text/plain", name="", octets=12), PartView(n=1, kind="text/html", name="a", octets=9))
    return MessageParts(parts=views, part=n, text="" if n is None else f"hello \x1b[31m{n}\nworld")


def traced() -> TraceLines:
    said = (
        (Side.EVENT, "connects from 127.0.1.1 as mkt-1"),
        (Side.SERVER, "220 mx \x1b[31mred"),
        (Side.CLIENT, "EHLO m1"),
    )
    lines = tuple(
        TraceLine(at=AT, session="1", queue="gmail/mkt-1", peer="mx:25", side=side, text=text) for side, text in said
    )
    return TraceLines(lines=lines, dropped=3, ended="its 300 s are over")


def events() -> EventSinks:
    row = EventSinkView(
        name="app",
        target="https://app.example.com/events",
        state=SinkState.FAILING,
        acknowledged=1200,
        failures=3,
        lag_p50_s=0.2,
        lag_p95_s=None,
        behind_bytes=4096,
        oldest_at=AT,
        lost_files=0,
        last_acknowledged_at=None,
        last_error="answered 500 \x1b[31mred",
        next_try_at=AT,
    )
    return EventSinks(rows=(row,))


def why(vmta: VmtaName) -> QueueWhy:
    reply = SmtpReply(code=421, enhanced="4.7.28", text="unusual \x1b[31mrate")
    return QueueWhy(
        key=queue_key(SiteName("gmail"), vmta),
        site=SiteName("gmail"),
        vmta=vmta,
        pool=PoolName("marketing"),
        provider=ProviderName("gmail"),
        ready=3,
        connections=2,
        deferred=40,
        next_try_at=AT,
        reasons=(
            WaitReason(
                kind=ReasonKind.THROTTLE,
                detail="rate 1/s is used up",
                key="rate",
                value="1/s",
                origin="agent.yaml:41",
                until=AT,
                release="raise rate",
                reply=reply,
            ),
        ),
        limits=(EffectiveLimit(name="rate", value="1/s", origin="agent.yaml:41"),),
        groups=(),
    )
