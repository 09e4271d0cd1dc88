"""A fleet that stands still: three hosts, six virtual MTAs each, with a Gmail throttle under way on mx1.

It answers as `mailctl.fleet.Fleet` and `mailctl.ops` do, so that screens can be looked at and compared; what is real
about them is tested over real sockets elsewhere.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Self

import msgspec

from mailagent.api.classification import Action, Category, Scope, Verdict
from mailagent.api.directives import Directive, DirectiveKind, DirectiveView, DrainProgress
from mailagent.api.dkim import DkimSelector, DkimSelectors, SelectorState
from mailagent.api.errors import NotFound
from mailagent.api.evacuation import EvacuationRoom, StreamRoom
from mailagent.api.feedback import FeedbackLag, FeedbackRate, FeedbackView
from mailagent.api.find import FindPage, FindRequest, Found
from mailagent.api.ids import (
    DirectiveId,
    HostName,
    MessageId,
    OpId,
    PoolName,
    ProviderName,
    QueueKey,
    SiteName,
    StreamName,
    VmtaName,
)
from mailagent.api.jobs import JobDetail, JobPage, JobQuery, JobState, JobView
from mailagent.api.operations import Impact, OperationRecord, Result
from mailagent.api.outcome import Attempt
from mailagent.api.parts import PartsRequest
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.replies import DeferredGroups, Hello, MessagePage, OperationPage
from mailagent.api.requests import Drain, HistoryRequest, Mutation, PageRequest, Role
from mailagent.api.smtp import SmtpReply, normalised
from mailagent.api.smtp import Verb as SmtpStep
from mailagent.api.suppression import Suppression, SuppressionPage, SuppressionQuery, SuppressionReason
from mailagent.api.targets import Target, TargetKind
from mailagent.api.trace import TraceLines, TraceRequest
from mailagent.api.views import (
    DeferredGroup,
    DestinationView,
    EngineState,
    Flow,
    HostView,
    MemberState,
    MessageDetail,
    MessageSummary,
    PoolState,
    PoolView,
    ProviderView,
    Series,
    Snapshot,
    VmtaView,
)
from mailctl.fleet.errors import Unreachable
from mailctl.fleet.state import FleetState, HostState, LinkState
from mailctl.ops.courier import Progress
from mailctl.ops.evacuation import EvacuationPlan, Place, PlanRow
from mailctl.ops.plan import Line, LineResult, Options, Plan, Report, Step, StepState, Verb
from mailctl.ops.rollout import Course, HostPlan, Phase, RolledOut, Rolling
from mailctl.ops.selector import Selection
from tests.console import records as kept

NOW = datetime(2026, 3, 2, 3, 14, 7, tzinfo=UTC)
HOSTS = ("mx1", "mx2", "mx3")
POOLS = ("transactional", "marketing", "cold")
SHARES = {"gmail": 0.45, "outlook": 0.20, "yahoo": 0.15, "default": 0.20}
THROTTLE = SmtpReply(
    code=421,
    enhanced="4.7.28",
    text="Gmail has detected an unusual rate of unsolicited mail originating from your IP address [203.0.113.13]. "
    "To protect our users from spam, mail sent from your IP address has been temporarily rate limited.",
    verb=SmtpStep.DOT,
)
BUSY = SmtpReply(
    code=451, enhanced="4.7.500", text="Server busy. Please try again later from [203.0.113.13].", verb=SmtpStep.RCPT
)
LIMIT = WaitReason(
    kind=ReasonKind.LIMIT,
    detail="5 of 5 connections to gmail in use",
    key="provider_connections",
    value="5",
    origin="providers.yaml:gmail",
    release="a connection ends",
)
THROTTLED = WaitReason(
    kind=ReasonKind.REPLY,
    detail="gmail throttles 203.0.113.13: 421 4.7.28",
    origin="the last 12 replies",
    until=NOW + timedelta(seconds=42),
    release="a success after the back-off",
    reply=THROTTLE,
)


def flow(rng: Random, per_minute: float, failing: float = 0.0) -> Flow:
    """A minute at that rate, a little uneven."""
    recent = tuple(max(0, round(per_minute / 12 * rng.uniform(0.6, 1.4))) for _ in range(24))
    delivered = round(per_minute)
    deferred = round(delivered * failing / (1 - failing)) if failing < 1 else 40
    return Flow(
        received_1m=delivered, delivered_1m=delivered, deferred_1m=deferred, delivered=delivered * 900, recent=recent
    )


def snapshot(index: int, *, throttled: bool = False, directives: tuple[DirectiveView, ...] = ()) -> Snapshot:
    """The whole of host number `index`."""
    rng = Random(index)
    host = HOSTS[index]
    vmtas, cells, pools = [], [], []
    for pool_index, (pool, per_minute) in enumerate(zip(POOLS, (620, 480, 90), strict=True)):
        names = []
        for member in (1, 2):
            name = VmtaName(f"{('tx', 'mkt', 'cold')[pool_index]}-{index * 2 + member}")
            names.append(name)
            last = 10 * (index + 1) + pool_index * 2 + member
            bad = throttled and name == "mkt-1"
            active = member == 1
            own = (
                flow(rng, per_minute * (0.5 if bad else 1.0), 0.34 if bad else 0.012)
                if active
                else Flow(recent=(0,) * 24)
            )
            vmtas.append(
                VmtaView(
                    name=name,
                    pool=PoolName(pool),
                    address=f"10.0.{index}.{last}",
                    address6="",
                    public=f"203.0.113.{last}",
                    ehlo=f"{name}.{host}.example.com",
                    state=MemberState.ACTIVE if active else MemberState.STANDBY,
                    reason="",
                    ready=412 if bad else 18 if active else 0,
                    connections=9 if active else 0,
                    in_doubt=0,
                    flow=own,
                    generation=1,
                )
            )
            if active:
                for provider, part in SHARES.items():
                    hot = bad and provider == "gmail"
                    cells.append(
                        DestinationView(
                            provider=ProviderName(provider),
                            vmta=name,
                            pool=PoolName(pool),
                            queues=(QueueKey(f"{provider}/{name}"),),
                            sites=1 if provider != "default" else 38,
                            ready=394 if hot else rng.randrange(0, 12),
                            deferred=1204 if hot else rng.randrange(0, 30),
                            connections=5 if hot else rng.randrange(1, 4),
                            connection_limit=5 if provider == "gmail" else 20,
                            rate_limit="100/s",
                            oldest_at=NOW - timedelta(seconds=4210 if hot else rng.randrange(2, 300)),
                            flow=flow(rng, per_minute * part * (0.1 if hot else 1.0), 0.86 if hot else 0.01),
                            binding=THROTTLED if hot else LIMIT if provider == "gmail" and pool != "cold" else None,
                            last_reply=THROTTLE if hot else None,
                        )
                    )
        mine = [view for view in vmtas if view.pool == pool]
        pools.append(
            PoolView(
                name=PoolName(pool),
                state=PoolState.ACTIVE,
                reason="",
                members=tuple(names),
                active=1,
                standby=1,
                waiting=sum(cell.deferred + cell.ready for cell in cells if cell.pool == pool),
                deferred=sum(cell.deferred for cell in cells if cell.pool == pool),
                ready=sum(view.ready for view in mine),
                connections=sum(view.connections for view in mine),
                oldest_at=min(cell.oldest_at for cell in cells if cell.pool == pool and cell.oldest_at),
                flow=mine[0].flow,
                generation=1,
            )
        )
    whole = flow(rng, sum(view.flow.delivered_1m for view in vmtas), 0.09 if throttled else 0.011)
    providers = tuple(
        ProviderView(
            name=ProviderName(provider),
            state=PoolState.ACTIVE,
            waiting=0,
            deferred=0,
            ready=0,
            connections=1,
            oldest_at=None,
            flow=Flow(),
            generation=1,
        )
        for provider in SHARES
    )
    return Snapshot(
        seq=1,
        at=NOW,
        host=HostView(
            host=HostName(host),
            region="eu",
            version="0.1.0",
            engine="mailagent",
            state=EngineState.RUNNING,
            accepting=True,
            intake_reason="",
            started_at=NOW - timedelta(days=3, hours=4),
            waiting=sum(pool.waiting for pool in pools),
            deferred=sum(pool.deferred for pool in pools),
            ready=sum(pool.ready for pool in pools),
            window=1204,
            window_limit=20_000,
            oldest_at=min(pool.oldest_at for pool in pools if pool.oldest_at),
            connections_in=12,
            connections_out=sum(pool.connections for pool in pools),
            in_doubt=0,
            in_doubt_listed=0,
            flow=whole,
            disk_free_bytes=412_000_000_000,
            rss_bytes=82_000_000,
            history_bytes=8_000_000,
            generation=1,
            config_hash="8f3ac1d200b7",
        ),
        pools=tuple(pools),
        vmtas=tuple(vmtas),
        providers=providers,
        destinations=tuple(cells),
        directives=directives,
        streams=(StreamName("news"), StreamName("default")),
    )


def order(kind: DirectiveKind, target: str, *, op: str = "01j9qk2m7x4c0de", **more: Any) -> DirectiveView:
    """A standing order of alice."""
    target_kind, _, name = target.partition(":")
    progress = more.pop("progress", None)
    return DirectiveView(
        directive=Directive(
            id=DirectiveId(f"d-{kind}-{name}"),
            kind=kind,
            target=Target(kind=TargetKind(target_kind), name=name),
            author=more.pop("author", "alice"),
            reason=more.pop("reason", "gmail throttles, ticket 4711"),
            created_at=NOW - timedelta(minutes=6),
            expires_at=more.pop("expires_at", None),
            op_id=OpId(op),
            **more,
        ),
        progress=progress,
    )


def host_state(index: int, state: LinkState = LinkState.LIVE, **more: Any) -> HostState:
    """Host number `index`, live with fresh data unless told otherwise."""
    hello = Hello(
        protocol=1,
        version="0.1.0",
        host=HOSTS[index],
        spool_id="s",
        boot_id="b",
        features=(),
        user="operator",
        role=more.pop("role", Role.OPERATOR),
        server_time=NOW,
    )
    defaults: dict[str, Any] = {"age_s": 0.4, "hello": hello, "snapshot": snapshot(index, throttled=index == 0)}
    return HostState(name=HostName(HOSTS[index]), region="eu", state=state, **(defaults | more))


def healthy() -> FleetState:
    """All three live, mx1 throttled by Gmail."""
    return FleetState(tick=1, hosts=tuple(host_state(index) for index in range(3)))


def mixed() -> FleetState:
    """The third host is a Postfix."""
    *others, last = healthy().hosts
    assert last.snapshot is not None
    assert last.hello is not None
    view = msgspec.structs.replace(
        last.snapshot.host,
        engine="postfix 3.7.11",
        unknown=("connections_in", "connections_out"),
        notice="first figures, by the names of the queue files",
    )
    snapshot = msgspec.structs.replace(last.snapshot, host=view)
    hello = msgspec.structs.replace(
        last.hello, features=("suspend", "snapshot"), emulated={"suspend": "by a map of domains"}
    )
    return FleetState(tick=1, hosts=(*others, replace(last, snapshot=snapshot, hello=hello)))


def troubled() -> FleetState:
    """mx2 lost four minutes ago, marketing draining, mkt-1 rotated away."""
    drain = order(
        DirectiveKind.DRAIN,
        "pool:cold",
        op="01j9qm00aaaaaaa",
        progress=DrainProgress(connections=2, ready=14, in_doubt=1, waiting=310, empty=False),
    )
    rotate = order(
        DirectiveKind.ROTATE,
        "vmta:mkt-1",
        standby="mkt-2",
        progress=DrainProgress(connections=0, ready=0, in_doubt=0, waiting=0, empty=True),
    )
    one = host_state(0)
    assert one.snapshot is not None
    vmtas = tuple(
        msgspec.structs.replace(
            view, state=MemberState.QUARANTINED, reason="rotated to mkt-2 by alice: gmail throttles"
        )
        if view.name == "mkt-1"
        else msgspec.structs.replace(view, state=MemberState.ACTIVE)
        if view.name == "mkt-2"
        else msgspec.structs.replace(view, state=MemberState.DRAINING)
        if view.pool == "cold"
        else view
        for view in one.snapshot.vmtas
    )
    pools = tuple(
        msgspec.structs.replace(pool, state=PoolState.DRAINING, reason="drained by alice: ticket 4711")
        if pool.name == "cold"
        else pool
        for pool in one.snapshot.pools
    )
    one = replace(
        one, snapshot=msgspec.structs.replace(one.snapshot, vmtas=vmtas, pools=pools, directives=(drain, rotate))
    )
    two = host_state(1, LinkState.LOST, age_s=248.0, error="connection refused by 192.0.2.2 port 22", next_try_s=8.0)
    return FleetState(tick=2, hosts=(one, two, host_state(2)))


def shaped() -> FleetState:
    """All three live; automation holds Gmail on mkt-1 to two connections."""
    lowered = order(
        DirectiveKind.LIMIT,
        "cell:gmail/mkt-1",
        op="auto-1795366084000-3",
        expires_at=NOW + timedelta(minutes=52),
        limit="provider_connections",
        value="2",
        base="5",
        rule="gmail.unusual-rate",
        reply=THROTTLE.line(),
        author="automation",
        reason="",
    )
    one = host_state(0)
    assert one.snapshot is not None
    one = replace(one, snapshot=msgspec.structs.replace(one.snapshot, directives=(lowered,)))
    return FleetState(tick=3, hosts=(one, host_state(1), host_state(2)))


def frozen() -> FleetState:
    """All three live; what Gmail's bounces suppress on mx1 is held back."""
    freeze = order(DirectiveKind.FREEZE_SUPPRESSION, "provider:gmail", expires_at=NOW + timedelta(hours=4))
    one = host_state(0)
    assert one.snapshot is not None
    one = replace(one, snapshot=msgspec.structs.replace(one.snapshot, directives=(freeze,)))
    return FleetState(tick=4, hosts=(one, host_state(1), host_state(2)))


def asleep() -> FleetState:
    """No host has answered yet."""
    return FleetState(hosts=tuple(HostState(name=HostName(name)) for name in HOSTS))


def summary(n: int) -> MessageSummary:
    """Waiting recipient number `n`."""
    return MessageSummary(
        message_id=MessageId(f"0g5t2k9mz{n:03d}x7qf4"),
        n=0,
        recipient=f"anna.{n}@gmail.com",
        sender="news@shop.example.com",
        stream=StreamName("news"),
        pool=PoolName("marketing"),
        domain="gmail.com",
        site=SiteName("gmail"),
        provider="gmail",
        vmta="mkt-1",
        attempts=n % 5 + 1,
        size_bytes=10_240,
        received_at=NOW - timedelta(seconds=4210 - n * 9),
        next_try_at=NOW + timedelta(seconds=20 + n),
        expires_at=NOW + timedelta(days=4, hours=11),
        reply=THROTTLE,
    )


@dataclass
class StillFleet:
    """Answers as a fleet does, from values."""

    state: FleetState = field(default_factory=healthy)
    asked: list[str] = field(default_factory=list)
    sought: list[FindRequest] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)  # of the histories that were asked for
    answers: dict[str, Callable[[str], Any]] = field(default_factory=dict)  # by method, in place of the usual

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def ask_all(
        self, method: str, params: msgspec.Struct, *, hosts: Iterable[str] | None = None, deadline_s: float = 5.0
    ) -> dict[HostName, Any]:
        self.asked.append(method)
        answers: dict[HostName, Any] = {}
        for host in self.state.hosts:
            if hosts is None or host.name in hosts:
                fresh = host.state.is_fresh
                answers[host.name] = (
                    self._answer(str(host.name), method, params) if fresh else Unreachable(host.name, "no route")
                )
        return answers

    async def trace(self, host: str, request: TraceRequest) -> AsyncGenerator[TraceLines]:
        self.asked.append(f"trace {request.kind}:{request.name} on {host}")
        yield kept.traced()

    def _answer(self, host: str, method: str, params: msgspec.Struct) -> Any:
        if method in self.answers:
            return self.answers[method](host)
        match method:
            case "history":
                assert isinstance(params, HistoryRequest)
                self.steps.append(params.step_s)
                return history(host, params.name)
            case "deferred":
                return DeferredGroups(groups=groups() if host == "mx1" else groups()[1:])
            case "find":
                assert isinstance(params, FindRequest)
                self.sought.append(params)
                return FindPage(rows=found() if host == "mx1" else ())
            case "messages":
                assert isinstance(params, PageRequest)
                return MessagePage(rows=tuple(summary(n) for n in range(40))) if host == "mx1" else MessagePage(rows=())
            case "message":
                return detail()
            case "operations":
                return OperationPage(rows=operations(host))
            case "parts":
                assert isinstance(params, PartsRequest)
                return kept.parts(params.part)
            case "ages":
                return kept.ages()
            case "jobs":
                return JobPage(rows=jobs(host))
            case "dkim":
                return DkimSelectors(rows=dkim_keys())
            case "feedback":
                return feedback(host)
            case "suppressions":
                assert isinstance(params, SuppressionQuery)
                return suppressions(host, params)
            case "job":
                assert isinstance(params, JobQuery)
                return job_detail(host, params.name)
        return NotFound(f"{method}: not here")


def found() -> tuple[Found, ...]:
    """Two attempts for one recipient, the newest first; a hostile peer among them."""
    return tuple(
        Found(
            time=NOW - timedelta(minutes=10 * n),
            state="deferred",
            message_id=summary(1).message_id,
            n=0,
            recipient="user1@gmail.com",
            sender="news@example.com",
            event=f"event-{n}",
            stream="news",
            pool="marketing",
            vmta="mkt-1",
            attempt=3 - n,
            code=421,
            enhanced="4.7.28",
            text="unusual \x1b[2J\u202erate",
            arrived_at=NOW - timedelta(hours=1),
        )
        for n in (1, 2)
    )


def history(host: str, name: str) -> Series:
    """A quarter of an hour with a dip in the last minutes."""
    rng = Random(f"{host}/{name}")
    base = 4 if "/" in name else 8 if name else 19
    delivered, deferred = [], []
    for second in range(900):
        wave = 1 + 0.25 * math.sin(second / 70) + rng.uniform(-0.25, 0.25)
        dip = 0.55 if second > 620 else 1.0
        delivered.append(max(0, round(base * wave * dip)))
        deferred.append(round(base * 0.35 * rng.uniform(0.6, 1.3)) if second > 620 else int(rng.random() < 0.15))
    empty = (0,) * 900
    return Series(
        start=NOW - timedelta(seconds=900),
        step_s=1,
        received=tuple(delivered),
        delivered=tuple(delivered),
        deferred=tuple(deferred),
        bounced=empty,
    )


def jobs(host: str) -> tuple[JobView, ...]:
    """A sale that is late on mx1, and one that somebody paused."""
    sale = JobView(
        name="spring-sale",
        state=JobState.RUNNING,
        accepted=50_000,
        waiting=12_000,
        delivered=37_900,
        bounced=100,
        created_at=NOW - timedelta(hours=2),
        last_at=NOW,
        end=NOW + timedelta(minutes=50),
        rate="50/s",
        rate_now=3.2,
        eta=NOW + timedelta(seconds=3750),
        late=host == "mx1",
    )
    paused = JobView(
        name="outreach",
        state=JobState.PAUSED,
        accepted=900,
        waiting=900,
        created_at=NOW - timedelta(days=1),
        reason="paused by bob: wrong price",
    )
    return (sale, paused) if host == "mx1" else (sale,)


def suppressions(host: str, wanted: SuppressionQuery) -> SuppressionPage:
    """Three hundred entries, one of them pending; mx1 has one more that somebody typed."""
    rows = [
        Suppression(
            address=f"user{n:03d}@example.com",
            reason=SuppressionReason.HARD_BOUNCE if n % 3 else SuppressionReason.COMPLAINT,
            added_at=NOW - timedelta(hours=n),
            expires_at=NOW + timedelta(days=90),
            source="generic.no-such-user",
            evidence="550 5.1.1 no such user",
            provider="gmail",
            pending=n == 7,
        )
        for n in range(300)
    ]
    if host == "mx1":
        rows.insert(0, Suppression(address="anna@example.com", added_at=NOW, source="alice", evidence="she asked"))
    rows = [
        row
        for row in rows
        if wanted.address in ("", row.address)
        and wanted.reason in (None, row.reason)
        and wanted.pending in (None, row.pending)
    ]
    start = int(wanted.cursor or 0)
    end = start + wanted.limit
    return SuppressionPage(
        rows=tuple(rows[start:end]), cursor=str(end) if end < len(rows) else "", active=299, pending=1
    )


def dkim_keys() -> tuple[DkimSelector, ...]:
    """Two keys of the marketing pool: one in use and old, one prepared."""
    states = (("mkt1", SelectorState.ACTIVE, 412), ("mkt2", SelectorState.PREPARED, 1))
    return tuple(
        DkimSelector(
            domain="shop.example.com",
            pool="marketing",
            selector=selector,
            algorithm="rsa",
            bits=2048,
            state=state,
            origin="agent.yaml:41",
            made_at=NOW - timedelta(days=days),
            due=days > 180,
            name=f"{selector}._domainkey.shop.example.com",
            record="v=DKIM1; p=…",
        )
        for selector, state, days in states
    )


def feedback(host: str) -> FeedbackView:
    """Complaints about mkt-1."""
    rate = FeedbackRate(
        stream="news", pool="marketing", vmta="mkt-1", provider="yahoo", delivered=4000, complaints=12, bounces=3
    )
    return FeedbackView(
        since=NOW - timedelta(days=1),
        listening=True,
        lag=FeedbackLag(samples=0),
        pending=0,
        kept=0,
        kept_bytes=0,
        refused={},
        counts=(),
        rates=(rate,) if host == "mx1" else (),
    )


def job_detail(host: str, name: str) -> JobDetail | NotFound:
    """A job with the reply that it waits for."""
    for view in jobs(host):
        if view.name == name:
            return JobDetail(job=view, reasons=(LIMIT,), deferred=groups()[:2])
    return NotFound(f"no job {name}")


def groups() -> tuple[DeferredGroup, ...]:
    """What providers said."""
    throttle = normalised(THROTTLE.text)
    tss = "[TSS04] Messages from <ip> temporarily deferred due to unexpected volume or user complaints"
    grey = "<address>: Recipient address rejected: Greylisted"
    meant = (
        Category.RATE_LIMIT,
        Category.SYSTEM_ERROR,
        Category.RATE_LIMIT,
        Category.GREYLIST,
        None,
    )
    rows = (
        ("g1", "gmail", 421, "4.7.28", throttle, THROTTLE.line(), 1204, 4210),
        ("g2", "outlook", 451, "4.7.500", "Server busy. Please try again later from <ip>.", BUSY.line(), 211, 900),
        ("g3", "yahoo", 421, "4.7.0", tss, "421 4.7.0 [TSS04] Messages from 203.0.113.13 deferred", 64, 420),
        ("g4", "default", 450, "4.2.0", grey, "450 4.2.0 greylisted \x1b[31mred\x1b[0m", 38, 44),
        ("g5", "default", 0, "", "connection timed out", "--- connection timed out", 7, 3900),
    )  # fmt: skip
    return tuple(
        DeferredGroup(
            key=key,
            provider=ProviderName(provider),
            code=code,
            enhanced=enhanced,
            text=text,
            sample=sample,
            count=count,
            oldest_at=NOW - timedelta(seconds=age),
            next_try_at=NOW + timedelta(seconds=count % 50),
            category=category,
            rule=f"{provider}.{category}" if category else "",
        )
        for (key, provider, code, enhanced, text, sample, count, age), category in zip(rows, meant, strict=True)
    )


def detail() -> MessageDetail:
    """A message that Gmail throttles."""
    one = summary(3)
    attempts = tuple(
        Attempt(
            number=number,
            at=NOW - timedelta(seconds=4100 - number * 900),
            vmta="mkt-1",
            source="10.0.0.13",
            site="gmail",
            mx="gmail-smtp-in.l.google.com",
            remote="142.250.27.27:25",
            reply=THROTTLE if number > 1 else BUSY,
            duration_s=0.41 * number,
            verdict=Verdict(
                category=Category.RATE_LIMIT, action=Action.BACKOFF, scope=Scope.IP, rule="gmail.unusual-rate"
            ),
            tls="TLSv1.3 TLS_AES_256_GCM_SHA384 verified",
        )
        for number in range(1, 5)
    )
    return MessageDetail(
        summary=msgspec.structs.replace(one, attempts=4),
        recipients=2,
        headers="Received: from app1.example.com ([10.0.0.9])\r\n\tby mx1.example.com with ESMTP;\r\n"
        "\tMon, 2 Mar 2026 02:03:57 +0000\r\nFrom: Shop <news@shop.example.com>\r\nTo: anna.3@gmail.com\r\n"
        "Subject: [20% off] \x1b[31mspring\x1b[0m is here\r\nMessage-ID: <a1@shop.example.com>\r\n",
        headers_truncated=False,
        job="spring-7",
        client="10.0.0.9",
        attempts=attempts,
        reasons=(
            WaitReason(
                kind=ReasonKind.SCHEDULE,
                detail="attempt 5 is due by the retry schedule",
                key="retry.waits",
                value="5m, 10m, 20m",
                origin="agent.yaml:41",
                until=NOW + timedelta(seconds=23),
                release="its time, or T",
            ),
            THROTTLED,
        ),
        in_doubt=False,
    )


def operations(host: str) -> tuple[OperationRecord, ...]:
    """What was done tonight."""

    def record(op: str, verb: str, target: str, minutes: int, **more: Any) -> OperationRecord:
        kind, _, name = target.partition(":")
        return OperationRecord(
            op_id=OpId(op),
            verb=verb,
            target=Target(kind=TargetKind(kind), name=name),
            filter=None,
            author="automation" if verb == "shape" else "alice" if minutes < 60 else "bob",
            reason="gmail throttles, ticket 4711",
            at=NOW - timedelta(minutes=minutes),
            result=Result.APPLIED,
            detail="",
            undoable=True,
            **more,
        )

    rows = [record("01j9qm00aaaaaaa", "drain", "pool:cold", 6)]
    if host == "mx1":
        rows.append(record("01j9qk2m7x4c0de", "rotate", "vmta:mkt-1", 9))
        rows.append(record("auto-1795366084000-3", "shape", "cell:gmail/mkt-1", 4))
    rows.append(record("01j9pa77hq2r5ab", "suspend", "provider:yahoo", 82, undone_by=OpId("01j9pb")))
    return tuple(rows)


@dataclass
class StillOperator:
    """Plans and executes on paper."""

    plans: list[Plan] = field(default_factory=list)
    executed: list[Plan] = field(default_factory=list)
    undone: list[OpId] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    edited: list[tuple[str, Options]] = field(default_factory=list)
    requests: list[tuple[Verb, Mutation, tuple[str, ...]]] = field(default_factory=list)
    evacuated: list[EvacuationPlan] = field(default_factory=list)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)  # of the last parcel
    compared: tuple[HostPlan, ...] = ()
    courses: list[tuple[Course, bool]] = field(default_factory=list)
    stale_once: bool = False
    guard: str = ""  # what refuses until it is overridden
    lock: str = ""  # of somebody else, until it is broken
    environment: str = ""
    results: dict[str, LineResult] = field(default_factory=dict)

    async def plan(self, verb: Verb, selection: Selection, options: Options) -> Plan:
        if self.guard and not options.override:
            made = await self._plan(verb, selection, options)
            steps = tuple(
                replace(step, state=StepState.REFUSED, detail=self.guard, guarded=True) for step in made.steps
            )
            made = replace(made, steps=steps)
        elif self.lock and not options.break_lock:
            made = await self._plan(verb, selection, options)
            steps = tuple(replace(step, state=StepState.REFUSED, detail=self.lock, locked=True) for step in made.steps)
            made = replace(made, steps=steps)
        else:
            made = await self._plan(verb, selection, options)
        self.plans.append(made)
        return made

    async def plan_cancel(self, directive: DirectiveId, options: Options) -> Plan:
        self.cancelled.append(str(directive))
        return replace(await self.plan(Verb.CANCEL, Selection(), options), selection=str(directive))

    async def plan_edit(self, directive: DirectiveId, options: Options) -> Plan:
        self.edited.append((str(directive), options))
        return replace(await self.plan(Verb.EDIT, Selection(), options), selection=str(directive))

    async def compare(self) -> tuple[HostPlan, ...]:
        return self.compared

    async def plan_apply(self, selection: Selection, options: Options, course: Course, *, restart: bool) -> Plan:
        self.courses.append((course, restart))
        return await self.plan(Verb.CONFIG_APPLY, selection, options)

    async def plan_undo_apply(self, op_id: OpId, options: Options, course: Course) -> Plan:
        self.undone.append(op_id)
        return await self.plan(Verb.CONFIG_UNDO, Selection(), options)

    async def roll_out(
        self, plan: Plan, course: Course, progress: Callable[[Rolling], None], halt: asyncio.Event
    ) -> RolledOut:
        """One host a batch; stands at the second until somebody halts it or `arrival` is set."""
        report = await self.execute(plan)
        hosts = [step.host for step in plan.steps]
        for n, host in enumerate(hosts, 1):
            told = Rolling(phase=Phase.WATCHES, batch=n, batches=len(hosts), hosts=(host,), done=report.lines[: n - 1])
            progress(told)
            if n == 2 and not self.arrival.is_set():
                await halt.wait()
            if halt.is_set():
                lines = tuple(
                    line if place < n - 1 else replace(line, result=LineResult.NOT_REACHED)
                    for place, line in enumerate(report.lines)
                )
                return RolledOut(report=replace(report, lines=lines), stopped="stopped by hand")
        return RolledOut(report=report)

    async def plan_request(
        self,
        verb: Verb,
        request: Mutation,
        selection: Selection,
        options: Options,
        *,
        subject: str,
        words: tuple[str, ...],
    ) -> Plan:
        self.requests.append((verb, request, words))
        return await self.plan(verb, selection, options)

    async def _plan(self, verb: Verb, selection: Selection, options: Options) -> Plan:
        hosts = selection.hosts or HOSTS
        steps = tuple(
            Step(
                host=HostName(host),
                target=str(selection),
                state=StepState.READY,
                detail="new mail is kept and waits",
                request=Drain(op_id=OpId("01j9r0000000000"), target=Target(kind=TargetKind.POOL, name="marketing")),
                impact=Impact(messages=1310, connections=9, share=0.4),
                undoable=True,
            )
            for host in hosts
        )
        return Plan(
            verb=verb,
            op_id=OpId("01j9r0000000000"),
            made_at=NOW,
            selection=str(selection),
            options=options,
            steps=steps,
            hosts=len(steps),
            fleet_hosts=3,
            messages=1310 * len(steps),
            connections=27,
            share=0.38,
            untouched=("pools transactional, cold",),
            warnings=(),
            undoable=True,
            undo_note="",
            command=f"mailctl {verb.words} {selection} --yes",
            environment=self.environment,
        )

    async def plan_undo(self, op_id: OpId, options: Options) -> Plan:
        self.undone.append(op_id)
        return replace(await self.plan(Verb.UNDO, Selection(), options), selection=str(op_id))

    async def plan_undo_last(self, options: Options) -> Plan:
        return await self.plan_undo(OpId("last"), options)

    async def plan_undo_since(self, since: datetime, options: Options) -> Plan:
        return await self.plan_undo(OpId(f"{since:%H:%M}"), options)

    async def plan_evacuation(self, source: HostName, to: Sequence[str], options: Options) -> EvacuationPlan:
        streams = tuple(
            StreamRoom(stream=StreamName(name), pool=PoolName("marketing"), senders=2) for name in ("news",)
        )
        rooms = [
            EvacuationRoom(host=HostName(host), spool_id="s", streams=streams, free_bytes=1 << 38, waiting=10)
            for host in to
        ]
        return EvacuationPlan(
            id=OpId("01j9r0000000001"),
            source=source,
            fleet_hosts=3,
            rows=(
                PlanRow(stream=StreamName("news"), pool="marketing", waiting=12_000, to=tuple(map(HostName, to))),
                PlanRow(stream=StreamName("otp"), pool="tx", waiting=7, stays="mx2 has no stream otp"),
            ),
            places=tuple(Place(host=room.host, room=room, refusal="") for room in rooms),
            message_bytes=20_000,
            in_window=40,
            warnings=(f"{source} still accepts new mail: mailctl drain host:{source}",),
            command=f"mailctl evacuate {source} --to {','.join(to)}",
            reason=options.reason,
        )

    async def evacuate(self, plan: EvacuationPlan, told: Callable[[Progress], None]) -> Report:
        self.evacuated.append(plan)
        told(Progress(moved=9_000, left=2_800, in_parcels=200, per_s=310.0, eta=NOW + timedelta(seconds=9)))
        await self.arrival.wait()
        lines = tuple(
            Line(host=host, target=f"host:{plan.source}", result=LineResult.APPLIED, detail="moved", op_id=plan.id)
            for host in (plan.source, *(place.host for place in plan.places))
        )
        return Report(
            verb=Verb.EVACUATE,
            op_id=plan.id,
            title=f"evacuate host:{plan.source}",
            lines=lines,
            command=plan.command,
            undo_command="",
            undo_note="",
        )

    async def execute(self, plan: Plan) -> Report:
        self.executed.append(plan)
        stale, self.stale_once = self.stale_once, False
        lines = tuple(
            Line(
                host=step.host,
                target=step.target,
                result=LineResult.REFUSED if stale else self.results.get(step.host, LineResult.APPLIED),
                detail="done" if not stale else "bob drained it at 03:13",
                op_id=plan.op_id,
                stale=stale,
            )
            for step in plan.steps
        )
        return Report(
            verb=plan.verb,
            op_id=plan.op_id,
            title=plan.title,
            lines=lines,
            command=plan.command,
            undo_command=f"mailctl undo {plan.op_id}",
            undo_note="",
        )
