"""Jobs of this host as operators see and change them: progress, pace, why one is not done."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from mailagent.api import jobs as api
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.errors import NotFound
from mailagent.api.operations import OperationResult
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.requests import Empty
from mailagent.api.targets import MessageFilter, TargetKind
from mailagent.api.views import MessageSummary
from mailagent.control import jobs as changes
from mailagent.control.state import sentence, wait_reason
from mailagent.control.verbs import Control
from mailagent.host import Act, Principal, Read
from mailagent.spool.errors import StorageError
from mailagent.spool.records import JobCount
from mailagent.spool.store import Spool

log = logging.getLogger(__name__)

SAMPLE_S = 10.0
SAMPLES = 31
"""Looks at the counters that a pace is measured over: five minutes."""
KEPT = timedelta(days=30)
"""How long a job that is done is shown."""
FORGET_EVERY = 360
"""Samples between two looks for old jobs."""
MOST_ROWS = 500
GROUPS = 5
OLDEST = 20
"""Recipients that are asked why they wait when a job is; what holds one holds many."""
MOST_REASONS = 10
NO_COUNT = JobCount(name="", created_at=0, last_at=0, accepted=0, deferred=0, delivered=0, bounced=0, cancelled=0)


class Jobs:
    """The methods about jobs, by name in `reads` and `verbs`."""

    def __init__(
        self,
        control: Control,
        spool: Spool,
        *,
        why: Callable[[MessageSummary, str], list[WaitReason]],
        forgotten: Callable[[list[str]], None],
    ) -> None:
        """`why` tells why one recipient of a job waits, `forgotten` is told the names of jobs that are no more."""
        self._why = why
        self._control = control
        self._spool = spool
        self._forgotten = forgotten
        self._counts: list[JobCount] = []
        self._samples: dict[str, deque[tuple[float, int]]] = {}  # (monotonic seconds, delivered) of each active job

    @property
    def reads(self) -> Mapping[str, Read]:
        """By wire name."""
        return {"jobs": self.jobs, "job": self.job}

    @property
    def verbs(self) -> Mapping[str, Act]:
        """By wire name."""
        return {"job_set": self.job_set, "job_cancel": self.job_cancel}

    async def run(self) -> None:
        """Measure the pace of jobs, and forget old ones, until cancelled."""
        rounds = 0
        while True:
            try:
                if rounds % FORGET_EVERY == 0:
                    before = datetime.now(UTC) - KEPT
                    self._forgotten(await self._spool.forget_jobs(int(before.timestamp() * 1000)))
                self._sample(await self._spool.jobs(), time.monotonic())
            except (StorageError, TimeoutError) as exc:
                log.warning("jobs not looked at: %r", exc)
            rounds += 1
            await asyncio.sleep(SAMPLE_S)

    def _sample(self, counts: list[JobCount], now: float) -> None:
        active = {count.name: count for count in counts if count.waiting > 0}
        self._samples = {name: self._samples.get(name, deque(maxlen=SAMPLES)) for name in active}
        for name, count in active.items():
            self._samples[name].append((now, count.delivered))

    # -- reads -----------------------------------------------------------------------------------------------------

    async def jobs(self, _: Empty) -> api.JobPage:
        """Jobs, the last active one first, those without mail yet in front."""
        views = await self._views()
        return api.JobPage(rows=tuple(views[:MOST_ROWS]), truncated=len(views) > MOST_ROWS)

    async def job(self, request: api.JobQuery) -> api.JobDetail:
        """One job, and why it is not done."""
        view = next((one for one in await self._views() if one.name == request.name), None)
        if view is None:
            raise NotFound(f"no job {request.name} is known here")
        reasons = self._orders(view)
        groups = await self._spool.groups(MessageFilter(job=request.name, deferred_only=True), GROUPS)
        oldest = await self._spool.messages(MessageFilter(job=request.name), "", OLDEST)
        for row in oldest.rows:
            known = {reason.detail for reason in reasons}
            reasons += [
                reason
                for reason in self._why(row, request.name)
                if reason.kind is not ReasonKind.SCHEDULE and reason.detail not in known
            ]
        return api.JobDetail(job=view, reasons=tuple(reasons[:MOST_REASONS]), deferred=groups.groups)

    async def _views(self) -> list[api.JobView]:
        orders: dict[str, list[Directive]] = {}
        for one in self._control.state.directives:
            if one.target.kind is TargetKind.JOB:
                orders.setdefault(one.target.name, []).append(one)
        counts = await self._spool.jobs()
        known = {count.name for count in counts}
        now = datetime.now(UTC)
        views = [self._view(name, NO_COUNT, ordered, now) for name, ordered in orders.items() if name not in known]
        return views + [self._view(count.name, count, orders.get(count.name, []), now) for count in counts]

    def _view(self, name: str, count: JobCount, orders: list[Directive], now: datetime) -> api.JobView:
        state, reason = _state(count, orders)
        rate_now = self._rate(name, count)
        end = _until(orders, DirectiveKind.JOB_END)
        eta = None
        if count.waiting > 0 and rate_now > 0 and state is api.JobState.RUNNING:
            eta = now + timedelta(seconds=min(count.waiting / rate_now, KEPT.total_seconds()))
        limits = [one.value for one in orders if one.kind is DirectiveKind.LIMIT]
        return api.JobView(
            name=name,
            state=state,
            accepted=count.accepted,
            waiting=count.waiting,
            delivered=count.delivered,
            deferred=count.deferred,
            bounced=count.bounced,
            cancelled=count.cancelled,
            created_at=_at(count.created_at),
            last_at=_at(count.last_at),
            start=_until(orders, DirectiveKind.JOB_START),
            end=end,
            rate=limits[-1] if limits else "",
            rate_now=round(rate_now, 2),
            eta=eta,
            late=end is not None and count.waiting > 0 and (eta is None or eta > end),
            reason=reason,
        )

    def _rate(self, name: str, count: JobCount) -> float:
        samples = self._samples.get(name)
        if not samples:
            return 0.0
        since, delivered = samples[0]
        passed_s = time.monotonic() - since
        return (count.delivered - delivered) / passed_s if passed_s >= 1 else 0.0

    def _orders(self, view: api.JobView) -> list[WaitReason]:
        """The orders that hold the job or slow it down."""
        held = (DirectiveKind.SUSPEND, DirectiveKind.JOB_START, DirectiveKind.JOB_CANCEL)
        reasons = []
        for one in self._control.state.directives:
            if one.target.kind is not TargetKind.JOB or one.target.name != view.name or not view.waiting:
                continue
            if one.kind in held:
                reasons.append(wait_reason(one))
            elif one.kind is DirectiveKind.LIMIT:
                reasons.append(
                    WaitReason(
                        kind=ReasonKind.LIMIT,
                        detail=f"the job may send {one.value} on this host",
                        key="rate",
                        value=one.value,
                        origin=one.author,
                        until=one.expires_at,
                        release=f"mailctl cancel {one.id}",
                    )
                )
        return reasons

    # -- verbs -----------------------------------------------------------------------------------------------------

    async def job_set(self, request: api.JobSet, caller: Principal) -> OperationResult:
        """Give a job a window or a rate."""
        plan = partial(changes.job_set, request=request)
        return await self._control.execute("job_set", request, caller, plan)

    async def job_cancel(self, request: api.JobCancel, caller: Principal) -> OperationResult:
        """Give up what waits of a job, and refuse new mail of it."""
        plan = partial(changes.job_cancel, request=request)
        return await self._control.execute("job_cancel", request, caller, plan)


def _state(count: JobCount, orders: list[Directive]) -> tuple[api.JobState, str]:
    """The state, and the order behind it as a sentence."""
    kinds = {one.kind: one for one in orders}
    for kind, state in (
        (DirectiveKind.JOB_CANCEL, api.JobState.CANCELLED),
        (DirectiveKind.SUSPEND, api.JobState.PAUSED),
        (DirectiveKind.JOB_START, api.JobState.SCHEDULED),
    ):
        if kind in kinds:
            return state, sentence(kinds[kind])
    return (api.JobState.RUNNING if count.waiting > 0 or not count.accepted else api.JobState.DONE), ""


def _until(orders: list[Directive], kind: DirectiveKind) -> datetime | None:
    return next((one.expires_at for one in orders if one.kind is kind), None)


def _at(ms: int) -> datetime | None:
    return datetime.fromtimestamp(ms / 1000, UTC) if ms else None
