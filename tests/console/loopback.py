"""A small agent for tests of the console: the real wire over a real Unix socket, with a host's state in memory.

It keeps directives as the real one does (drain, suspend, rotate, cancel, undo, expect, op_id), so that plans and
reports are tested against answers and not against mocks. `Faults` makes it late, mute, rude or old.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from mailagent.api import codec, replies, requests, views
from mailagent.api.automation import AutomationView, RuleView, WouldAct
from mailagent.api.directives import Directive, DirectiveKind, DirectiveView, DrainProgress
from mailagent.api.dkim import DkimSelectors
from mailagent.api.errors import (
    ApiError,
    InvalidRequest,
    Locked,
    NotFound,
    Refused,
    RoleRefused,
    StalePlan,
    VersionMismatch,
)
from mailagent.api.feedback import FeedbackCount, FeedbackEvent, FeedbackKind, FeedbackLag, FeedbackRate, FeedbackView
from mailagent.api.find import FindPage, Found
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
from mailagent.api.jobs import JobDetail, JobPage, JobState, JobView
from mailagent.api.methods import CHANGES, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, METHODS, PROTOCOL_VERSION, TRACE
from mailagent.api.operations import Impact, MailPart, OperationRecord, OperationResult, Result
from mailagent.api.reputation import IdentityCheck, IdentityChecks, IdentityState, ListCheck, ListChecks, ListState
from mailagent.api.rollout import ConfigChange, ConfigPlan, FileState, How, unpack
from mailagent.api.smtp import SmtpReply
from mailagent.api.sums import Sums
from mailagent.api.suppression import SuppressionPage
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailagent.api.trace import TraceStarted
from mailagent.api.warm_up import WarmUpCourse, WarmUps
from mailagent.config.structs import FleetConfig, FleetHost, Pool, Rpc, Transport, VirtualMta
from mailagent.metrics import Facts, Process, metrics_of
from tests.console import records as kept

START = datetime(2026, 9, 1, 12, tzinfo=UTC)
POOLS = {"marketing": ("mkt", 2), "transactional": ("tx", 2), "cold": ("cold", 2)}
PROVIDERS = ("gmail", "outlook", "yahoo")


@dataclass
class Faults:
    """What goes wrong, and when."""

    drop_answer_to: set[str] = field(default_factory=set)  # execute, then close the connection instead of answering
    drop_before: set[str] = field(default_factory=set)  # close the connection without executing
    mute: set[str] = field(default_factory=set)  # never answer
    hang_after: set[str] = field(default_factory=set)  # execute, and never answer
    role: requests.Role = requests.Role.ADMIN
    protocol: int = PROTOCOL_VERSION
    garbage: bool = False  # answer the first line with something else
    silent: bool = False  # send no changes


def came_back(limit: int) -> FeedbackView:
    """One complaint, from a stranger who writes escape sequences."""
    event = FeedbackEvent(
        id="0" * 17,
        kind=FeedbackKind.COMPLAINT,
        at=START,
        lag_s=0.25,
        recipient="a\x1b[31m@gmail.test",
        stream="news",
        type="abuse",
        suppressed=True,
    )
    count = FeedbackCount(kind=event.kind, stream="news", pool="marketing", vmta="", provider="gmail", job="", count=1)
    return FeedbackView(
        since=START,
        listening=True,
        lag=FeedbackLag(samples=1, p50_s=0.25, p95_s=0.25),
        pending=0,
        kept=2,
        kept_bytes=2048,
        refused={"forged": 3},
        counts=(count,),
        rates=(
            FeedbackRate(
                stream="news", pool="marketing", vmta="mkt-1", provider="gmail", delivered=800, complaints=1, bounces=0
            ),
        ),
        last=(event,)[:limit],
    )


@dataclass
class LoopbackAgent:
    """One host. `number` keeps the names of virtual MTAs unique in a fleet."""

    name: str
    number: int
    socket: Path
    faults: Faults = field(default_factory=Faults)
    engine: str = "mailagent"
    lacks: tuple[str, ...] = ()  # methods that its engine has not
    emulated: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()  # fields that its engine does not tell
    waiting: int = 100
    live: dict[str, Directive] = field(default_factory=dict)
    records: dict[str, OperationRecord] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)  # method names of mutations that took effect
    generations: dict[str, int] = field(default_factory=dict)
    empty: bool = True  # progress of drains
    lock_of: str = ""  # who else holds the lock
    list_checks: tuple[ListCheck, ...] = ()
    identity_checks: tuple[IdentityCheck, ...] = ()
    warming: dict[str, tuple[WarmUpCourse, ...]] = field(default_factory=dict)  # by virtual MTA
    sums: Sums | None = None
    connect_ms: dict[str, float] = field(default_factory=dict)  # by provider
    jobs: tuple[str, ...] = ()
    pending: int = 0  # suppressions that nobody decided about
    messages: tuple[views.MessageSummary, ...] = ()
    groups: tuple[views.DeferredGroup, ...] = ()
    found: tuple[Found, ...] = ()  # in the accounting files, the newest first
    filters: list[MessageFilter] = field(default_factory=list)  # that lists were narrowed by
    seq: int = 0
    config: bytes = b""  # what its file says
    before: dict[str, bytes] = field(default_factory=dict)  # op_id -> the file that it replaced
    sick: bool = False  # each other attempt is deferred from the next apply on
    attempts: int = 0  # since the start, deferred ones of `sick`
    _subscribers: set[asyncio.StreamWriter] = field(default_factory=set)

    # What it reports

    def vmta_names(self, pool: str) -> tuple[VmtaName, ...]:
        prefix, count = POOLS[pool]
        return tuple(VmtaName(f"{prefix}-{self.number * count + index + 1}") for index in range(count))

    def snapshot(self) -> views.Snapshot:
        self.seq += 1
        flow = views.Flow(
            delivered_1m=600,
            deferred_1m=60,
            delivered=6000 + self.attempts,
            deferred=self.attempts,
            recent=(50, 51, 52),
        )
        drained = {str(one.target) for one in self.live.values()}
        return views.Snapshot(
            seq=self.seq,
            at=codec.now(),
            host=views.HostView(
                host=HostName(self.name),
                region="eu",
                version="0.1.0",
                engine=self.engine,
                unknown=self.unknown,
                state=views.EngineState.RUNNING,
                accepting=True,
                intake_reason="",
                started_at=START,
                waiting=self.waiting,
                deferred=self.waiting // 2,
                ready=5,
                window=10,
                window_limit=20000,
                oldest_at=START,
                connections_in=1,
                connections_out=4,
                in_doubt=0,
                in_doubt_listed=0,
                flow=flow,
                disk_free_bytes=1 << 34,
                rss_bytes=1 << 26,
                history_bytes=1 << 20,
                generation=self.generations.get(f"host:{self.name}", 0),
                config_hash="abcdef012345",
            ),
            pools=tuple(
                views.PoolView(
                    name=PoolName(pool),
                    state=views.PoolState.DRAINING if f"pool:{pool}" in drained else views.PoolState.ACTIVE,
                    reason="drained by alice" if f"pool:{pool}" in drained else "",
                    members=self.vmta_names(pool),
                    active=1,
                    standby=1,
                    waiting=self.waiting // 3,
                    deferred=self.waiting // 6,
                    ready=1,
                    connections=2,
                    oldest_at=START,
                    flow=flow,
                    generation=self.generations.get(f"pool:{pool}", 0),
                )
                for pool in POOLS
            ),
            vmtas=tuple(
                views.VmtaView(
                    name=name,
                    pool=PoolName(pool),
                    address=f"127.0.{self.number}.{index + 1}",
                    address6="",
                    public="",
                    ehlo=f"{name}.example.test",
                    state=views.MemberState.WARMING
                    if name in self.warming
                    else views.MemberState.STANDBY
                    if index
                    else views.MemberState.ACTIVE,
                    reason="",
                    ready=1,
                    connections=1,
                    in_doubt=0,
                    flow=flow,
                    generation=self.generations.get(f"vmta:{name}", 0),
                    warm_up=tuple(course.now for course in self.warming.get(name, ())),
                )
                for pool in POOLS
                for index, name in enumerate(self.vmta_names(pool))
            ),
            destinations=tuple(
                views.DestinationView(
                    provider=ProviderName(provider),
                    vmta=self.vmta_names("marketing")[0],
                    pool=PoolName("marketing"),
                    queues=(QueueKey(f"{provider}/{self.vmta_names('marketing')[0]}"),),
                    sites=1,
                    ready=3,
                    deferred=7,
                    connections=2,
                    connection_limit=5,
                    rate_limit="100/s",
                    oldest_at=START,
                    flow=flow,
                    binding=None,
                    last_reply=None,
                )
                for provider in PROVIDERS
            ),
            providers=tuple(
                views.ProviderView(
                    name=ProviderName(provider),
                    state=views.PoolState.ACTIVE,
                    waiting=9,
                    deferred=3,
                    ready=2,
                    connections=2,
                    oldest_at=START,
                    flow=flow,
                    generation=0,
                    connect_ms=self.connect_ms.get(provider),
                )
                for provider in PROVIDERS
            ),
            directives=tuple(
                DirectiveView(
                    directive=one,
                    progress=DrainProgress(
                        connections=0 if self.empty else 2, ready=0, in_doubt=0, waiting=0, empty=self.empty
                    ),
                )
                for one in self.live.values()
            ),
            streams=(StreamName("news"), StreamName("receipts")),
        )

    def publish(self) -> None:
        """Send what changed, as one whole set of rows."""
        state = self.snapshot()
        gone = tuple(f"directives:{one}" for one in self.records_ended())
        changes = views.Changes(
            seq=state.seq,
            at=state.at,
            host=state.host,
            pools=state.pools,
            vmtas=state.vmtas,
            directives=state.directives,
            gone=gone,
        )
        for writer in self._subscribers:
            writer.write(codec.notification(CHANGES, changes))

    def records_ended(self) -> set[str]:
        return {id for record in self.records.values() for id in record.created if id not in self.live}

    # What it is asked

    def answer(self, method: str, params: Any) -> object:
        if METHODS[method].mutates:
            return self.mutate(method, params)
        match method:
            case "snapshot":
                return self.snapshot()
            case "subscribe":
                return replies.Subscription(snapshot=self.snapshot(), interval_s=params.interval_s)
            case "operation":
                return self.records.get(params.op_id)
            case "operations":
                return replies.OperationPage(rows=tuple(reversed(self.records.values())))
            case "deferred":
                self.filters.append(params.filter)
                return replies.DeferredGroups(groups=self.groups)
            case "find":
                self.filters.append(params.filter)
                end = int(params.cursor or 0) + params.limit
                return FindPage(
                    rows=self.found[end - params.limit : end], cursor=str(end) if end < len(self.found) else ""
                )
            case "messages":
                self.filters.append(params.filter)
                start = int(params.cursor or 0)
                rows = self.messages[start : start + params.limit]
                more = start + params.limit < len(self.messages)
                return replies.MessagePage(rows=rows, cursor=str(start + params.limit) if more else "")
            case "message":
                return self.message(params.message_id)
            case "metrics":
                process = Process(cpu_s=1.5, open_fds=20, max_fds=1024, database_bytes=4096, journal_bytes=64)
                facts = Facts(process=process, streams={}, suppressed=0, lists={}, checks=None, sinks=(), took_s=0.002)
                return metrics_of(self.snapshot(), facts)
            case "queues":
                vmta = self.vmta_names("marketing")[0]
                return replies.QueuePage(
                    rows=(
                        views.QueueView(
                            key=QueueKey(f"gmail/{vmta}"),
                            site=SiteName("gmail"),
                            vmta=vmta,
                            provider=ProviderName("gmail"),
                            ready=3,
                            connections=2,
                            connection_limit=5,
                            messages_per_connection=100,
                            rate_limit="100/s",
                            binding=None,
                            generation=0,
                        ),
                    )
                )
            case "in_doubt":
                return replies.InDoubtPage(rows=())
            case "feedback":
                return came_back(params.limit)
            case "block_lists":
                shown = [one for one in self.list_checks if params.all or one.state is not ListState.CLEAN]
                return ListChecks(checks=tuple(shown), asked=len(self.list_checks))
            case "identity":
                found = [
                    one
                    for one in self.identity_checks
                    if (params.all or one.state is not IdentityState.GOOD)
                    and (one.vmta in params.vmtas if one.vmta else set(params.pools) & set(one.pools))
                ]
                return IdentityChecks(checks=tuple(found), asked=len(self.identity_checks))
            case "warm_up":
                asked = [courses for name, courses in self.warming.items() if params.vmta in ("", name)]
                return WarmUps(courses=tuple(one for courses in asked for one in courses))
            case "automation":
                live = tuple(one for one in self.live.values() if one.rule)
                rule = RuleView(name="gmail.unusual-rate", act="backoff", mode="on", threshold="2/h", hits=2, live=1)
                would = WouldAct(
                    at=codec.now(), rule="yahoo.complaints", detail="suspended for 2 h", reply="421 [TSS04]"
                )
                return AutomationView(mode="on", live=live, rules=(rule,), would=(would,))
            case "config_plan":
                same = unpack(params.packed) == self.config
                return ConfigPlan(
                    host=HostName(self.name),
                    file="/etc/agent.yaml",
                    state=FileState.IN_EFFECT,
                    digest="d",
                    same=same,
                    changes=() if same else (ConfigChange(section="retry", name="", how=How.CHANGED, detail="x"),),
                )
            case "trace":
                if params.kind in ("vmta", "queue", "cell"):
                    if params.name.rpartition("/")[2] not in (name for pool in POOLS for name in self.vmta_names(pool)):
                        raise NotFound(f"{self.name} has no virtual MTA {params.name}")
                elif params.name not in ("gmail", f"127.0.0.{self.number + 1}:25"):
                    raise NotFound(f"{self.name} has no provider {params.name}")
                return TraceStarted(ends_at=codec.now(), connections=1)
            case "parts":
                self.message(params.message_id)
                return kept.parts(params.part)
            case "untrace":
                return requests.Empty()
            case "ages":
                return kept.ages()
            case "history":
                return kept.history(params, quiet=params.scope == "job" and params.name not in self.jobs)
            case "jobs":
                return JobPage(rows=tuple(JobView(name=name, state=JobState.RUNNING) for name in self.jobs))
            case "job":
                if params.name not in self.jobs:
                    raise NotFound(f"no job {params.name} is known here")
                return JobDetail(job=JobView(name=params.name, state=JobState.RUNNING), reasons=(), deferred=())
            case "sums":
                return self.sums or kept.sums(params)
            case "suppressions":
                return SuppressionPage(rows=(), pending=self.pending)
            case "outcomes":
                return kept.outcomes(params)
            case "dkim":
                return DkimSelectors(rows=())
            case "events":
                return kept.events()
            case "why":
                vmta = self.vmta_names("marketing")[0]
                if params.queue != f"gmail/{vmta}":
                    raise NotFound("there is no such virtual MTA")
                return kept.why(vmta)
        raise InvalidRequest(f"no answer for {method} in this test agent")

    def message(self, message_id: str) -> views.MessageDetail:
        for summary in self.messages:
            if summary.message_id == message_id:
                return views.MessageDetail(
                    summary=summary,
                    recipients=1,
                    headers="Subject: hello \x1b[31mred\x07\r\nFrom: a@example.test\r\n",
                    headers_truncated=False,
                    job="job-1",
                    client="127.0.0.1",
                    attempts=(),
                    reasons=(),
                    in_doubt=False,
                )
        raise NotFound(f"no message {message_id} waits here")

    def mutate(self, method: str, params: Any) -> OperationResult:
        if self.faults.role is requests.Role.VIEWER:
            raise RoleRefused(f"{method} wants the role operator; you are viewer")
        if (done := self.records.get(params.op_id)) and not params.dry_run:
            return OperationResult(op_id=params.op_id, result=done.result, detail=done.detail, undoable=done.undoable)
        if self.lock_of and not params.break_lock:
            raise Locked(f"{self.name} is locked by {self.lock_of} until 13:00 UTC: moving pools")
        target: Any = getattr(params, "target", None)
        if target is not None:
            self.check_exists(target)
            if params.expect is not None and params.expect != self.generations.get(str(target), 0):
                raise StalePlan(f"{target} has changed since the plan; plan again")
        created: tuple[Directive, ...] = ()
        cancelled: tuple[Directive, ...] = ()
        detail = f"{method} {target or ''}".strip()
        match method:
            case "drain" | "suspend" | "rotate" | "limit":
                same = [one for one in self.live.values() if one.kind == method and one.target == target]
                if not same:
                    created = (self.directive(method, params, target),)
            case "lock_take":
                created = (self.directive("lock", params, Target(kind=TargetKind.HOST, name=HostName(self.name))),)
            case "lock_release":
                cancelled = tuple(one for one in self.live.values() if one.kind is DirectiveKind.LOCK)
            case "hold" | "release" | "rebind" | "bounce" | "delete" | "requeue":
                which = params.filter
                if params.max_affected is not None and self.waiting > params.max_affected:
                    raise Refused(f"{self.waiting} recipients match, more than {params.max_affected}")
                made = self.directive(method, params, Target(kind=TargetKind.MAIL, name=str(which)))
                frozen = msgspec.structs.replace(which, before=which.before or codec.now())
                created = (msgspec.structs.replace(made, filter=frozen),)
            case "undrain":
                cancelled = self.standing(target, DirectiveKind.DRAIN)
            case "resume":
                cancelled = self.standing(target, DirectiveKind.SUSPEND)
            case "cancel":
                if params.directive not in self.live:
                    raise NotFound(f"no live directive {params.directive}")
                cancelled = (self.live[params.directive],)
            case "edit":
                old = self.live[params.directive]
                cancelled = (old,)
                ends = codec.now() + timedelta(seconds=params.ttl_s) if params.ttl_s else old.expires_at
                edited = {"id": DirectiveId(f"e{len(self.records)}-{self.name}"), "expires_at": ends}
                created = (msgspec.structs.replace(old, **edited, pinned=bool(params.pin)),)
            case "undo":
                record = self.records.get(params.undoes)
                if record is None:
                    raise NotFound(f"no operation {params.undoes} on this host")
                if not record.undoable:
                    raise Refused(
                        f"{record.verb} cannot be undone: mail that was tried again cannot be made to wait again"
                    )
                if record.verb == "evacuate":
                    raise Refused(f"evacuation {record.op_id} is finished: 12 recipients have left for good")
                cancelled = tuple(self.live[one] for one in record.created if one in self.live)
                created = record.cancelled
            case "note_add":
                on = Target(kind=TargetKind.HOST, name=self.name)
                detail = f"note: {params.text}"
                note = self.directive("note", params, on)
                created = (msgspec.structs.replace(note, id=DirectiveId(f"{params.op_id}-1"), reason=params.text),)
            case "config_apply" | "config_undo":
                return self.configure(method, params)
            case "retry":
                if params.max_affected is not None and self.waiting // 2 > params.max_affected:
                    raise Refused(f"{self.waiting // 2} messages match, more than {params.max_affected}")
        nothing = method != "retry" and not created and not cancelled
        result = Result.NOTHING_TO_DO if nothing else Result.PLANNED if params.dry_run else Result.APPLIED
        undoable = not nothing and method != "retry"
        if not params.dry_run:
            self.executed.append(method)
            self.live.update((one.id, one) for one in created)
            for one in cancelled:
                del self.live[one.id]
            if target is not None and not nothing:
                self.generations[str(target)] = self.generations.get(str(target), 0) + 1
            if method == "undo" and not nothing:
                undone = msgspec.structs.replace(self.records[params.undoes], undone_by=params.op_id)
                self.records[params.undoes] = undone
            self.records[params.op_id] = OperationRecord(
                op_id=params.op_id,
                verb=method,
                target=target,
                filter=getattr(params, "filter", None),
                author="alice",
                reason=params.reason,
                at=codec.now(),
                result=result,
                detail=detail,
                created=tuple(one.id for one in created),
                cancelled=cancelled,
                undoable=undoable,
            )
            self.publish()
        return OperationResult(
            op_id=params.op_id,
            result=result,
            detail=detail,
            directives=created,
            impact=Impact(
                messages=self.waiting,
                connections=2,
                share=0.5,
                untouched=("pools cold, transactional",),
                parts=(MailPart(pool="marketing", stream="news", provider="gmail", count=self.waiting),)
                if created and created[0].filter is not None
                else (),
            ),
            generation=self.generations.get(str(target), 0),
            undoable=undoable,
            undo_note="" if undoable or nothing else "mail that was tried again cannot be made to wait again",
        )

    def configure(self, method: str, params: Any) -> OperationResult:
        """Take another file, or the one before."""
        text = unpack(params.packed) if method == "config_apply" else self.before[params.undoes]
        result = Result.NOTHING_TO_DO if text == self.config else Result.PLANNED if params.dry_run else Result.APPLIED
        if result is Result.APPLIED:
            self.executed.append(method)
            self.before[params.op_id], self.config = self.config, text
            self.attempts += 500 * self.sick
        if not params.dry_run:
            self.records[params.op_id] = OperationRecord(
                op_id=params.op_id,
                verb=method,
                target=None,
                filter=None,
                author="alice",
                reason=params.reason,
                at=codec.now(),
                result=result,
                detail=method,
            )
        return OperationResult(op_id=params.op_id, result=result, detail=method)

    def standing(self, target: Target, kind: DirectiveKind) -> tuple[Directive, ...]:
        return tuple(one for one in self.live.values() if one.kind is kind and one.target == target)

    def directive(self, kind: str, params: Any, target: Target) -> Directive:
        ttl = timedelta(seconds=params.ttl_s) if params.ttl_s else None
        return Directive(
            id=DirectiveId(f"d{len(self.records)}-{self.name}"),
            kind=DirectiveKind(kind),
            target=target,
            author="alice",
            reason=params.reason,
            created_at=codec.now(),
            expires_at=codec.now() + ttl if ttl else None,
            op_id=OpId(params.op_id),
        )

    def check_exists(self, target: Target) -> None:
        known: dict[TargetKind, set[str]] = {
            TargetKind.POOL: set(POOLS),
            TargetKind.VMTA: {name for pool in POOLS for name in self.vmta_names(pool)},
            TargetKind.HOST: {self.name},
            TargetKind.PROVIDER: set(PROVIDERS),
            TargetKind.STREAM: {"news", "receipts"},
        }
        if target.kind in known and target.name not in known[target.kind]:
            raise NotFound(f"no {target.kind} {target.name} on {self.name}")
        if target.kind is TargetKind.CELL and target.name.partition("/")[0] not in PROVIDERS:
            raise NotFound(f"no {target.kind} {target.name} on {self.name}")

    # How it talks

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                if self.faults.garbage:
                    writer.write(b"220 smtp.example.test ESMTP\r\n")
                    continue
                request = codec.parse_call(line)
                method = METHODS[request.method]
                params = codec.decode(request.params, method.params)
                if request.method in self.faults.mute:
                    continue
                if request.method in self.faults.drop_before and not getattr(params, "dry_run", False):
                    return
                if request.method == "subscribe" and not self.faults.silent:
                    self._subscribers.add(writer)
                try:
                    result = self.hello(params) if request.method == "hello" else self.answer(request.method, params)
                    if (size := len(codec.reply(request.id, result))) > MAX_REPLY_BYTES:
                        raise Refused(f"the answer has {size} bytes")
                except ApiError as exc:
                    writer.write(codec.failure(request.id, exc))
                    continue
                if request.method in self.faults.drop_answer_to and not getattr(params, "dry_run", False):
                    return
                if request.method in self.faults.hang_after and not getattr(params, "dry_run", False):
                    continue
                writer.write(codec.reply(request.id, result))
                if request.method == TRACE:
                    writer.write(codec.notification(TRACE, kept.traced()))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._subscribers.discard(writer)
            writer.close()

    def hello(self, params: requests.HelloRequest) -> replies.Hello:
        if self.faults.protocol < PROTOCOL_VERSION:
            raise VersionMismatch(f"protocol {params.protocol} is too new for agent 0.0.9; upgrade the agent")
        return replies.Hello(
            protocol=self.faults.protocol,
            version="0.1.0",
            host=self.name,
            spool_id="spool",
            boot_id="boot",
            features=tuple(name for name in METHODS if name not in self.lacks),
            emulated=self.emulated,
            user="alice",
            role=params.as_role or self.faults.role,
            server_time=codec.now(),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["LoopbackAgent"]:
        connections: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self.serve(reader, writer)
            except asyncio.CancelledError:
                pass
            finally:
                connections.discard(task)

        self.socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(accept, self.socket, limit=MAX_REQUEST_BYTES)
        try:
            yield self
        finally:
            server.close()
            for task in tuple(connections):
                task.cancel()
            for task in tuple(connections):
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self.socket.unlink(missing_ok=True)


def summary(number: int, **fields: Any) -> views.MessageSummary:
    """One deferred message; `fields` replace the defaults."""
    return msgspec.structs.replace(
        views.MessageSummary(
            message_id=MessageId(f"0000000000{number:07d}"),
            n=0,
            recipient=f"user{number}@gmail.com",
            sender="news@example.test",
            stream=StreamName("news"),
            pool=PoolName("marketing"),
            domain="gmail.com",
            site="gmail",
            provider="gmail",
            vmta="mkt-1",
            attempts=1,
            size_bytes=2000,
            received_at=START,
            next_try_at=START + timedelta(minutes=5),
            expires_at=START + timedelta(days=4),
            reply=SmtpReply(code=421, enhanced="4.7.28", text="unusual rate \x1b[31mof mail"),
        ),
        **fields,
    )


def fleet_config(agents: dict[str, LoopbackAgent]) -> FleetConfig:
    """The fleet file of `agents`, local transport."""
    pools: dict[PoolName, list[tuple[VmtaName, ...]]] = {}
    for agent in agents.values():
        for pool in POOLS:
            pools.setdefault(PoolName(pool), []).append(agent.vmta_names(pool))
    return FleetConfig(
        hosts={
            HostName(name): FleetHost(
                transport=Transport.LOCAL,
                region="eu",
                rpc=Rpc(socket=agent.socket),
                virtual_mtas={vmta: VirtualMta() for pool in POOLS for vmta in agent.vmta_names(pool)},
            )
            for name, agent in agents.items()
        },
        pools={
            pool: Pool(active=tuple(names[0] for names in members), standby=tuple(names[1] for names in members))
            for pool, members in pools.items()
        },
    )


def three_agents(directory: Path) -> dict[str, LoopbackAgent]:
    """mx1, mx2 and mx3, not yet running."""
    return {
        f"mx{number + 1}": LoopbackAgent(f"mx{number + 1}", number, directory / f"{number + 1}.sock")
        for number in range(3)
    }


FLEET_FILE = """\
hosts:
{hosts}pools:
  marketing: {{active: [{marketing}]}}
"""


def fleet_file(agents: dict[str, LoopbackAgent], path: Path) -> Path:
    """A fleet file on disk for `agents`, with one virtual MTA each."""
    hosts = ""
    for number, (name, agent) in enumerate(agents.items(), start=1):
        vmta = agent.vmta_names("marketing")[0]
        hosts += (
            f"  {name}:\n    transport: local\n    rpc: {{socket: {agent.socket}}}\n"
            f"    virtual_mtas: {{{vmta}: {{address: 127.0.0.{number}, ehlo: {name}.example.test}}}}\n"
        )
    names = ", ".join(agent.vmta_names("marketing")[0] for agent in agents.values())
    path.write_text(FLEET_FILE.format(hosts=hosts, marketing=names))
    return path
