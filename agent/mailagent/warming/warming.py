"""All courses of a host: what placing may do, what snapshots show, and the file that outlives a restart."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from mailagent.api.classification import Verdict
from mailagent.api.feedback import FeedbackEvent, FeedbackKind
from mailagent.api.ids import ProviderName, VmtaName
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.api.views import MemberState
from mailagent.api.warm_up import WarmUpCourse, WarmUpRequest, WarmUps, WarmUpState, WarmUpView
from mailagent.config.structs import AgentConfig, VirtualMta
from mailagent.config.warm_up import Trickle, WarmUpPlan
from mailagent.routing import ROUTE_PROVIDER
from mailagent.scheduling.allowance import Allowance
from mailagent.scheduling.item import Item
from mailagent.scheduling.ready import ReadyQueue
from mailagent.telemetry.counters import Leaf
from mailagent.warming.course import Course

log = logging.getLogger(__name__)

FILE_NAME: Final = "warm-up.json"
TICK_S: Final = 1.0
SAVE_S: Final = 5.0
"""What was sent since the last save is forgotten by a crash: a few seconds of evenly spaced mail."""

NOTHING_ALLOWED: Final = Allowance(1.0)
"""A standby does not trickle to a fixed next hop: nobody there knows it."""

Cell = tuple[VmtaName, ProviderName]
Outcomes = tuple[int, int, int]
"""delivered, deferred, bounced"""
NOTHING: Final[Outcomes] = (0, 0, 0)


class _Live:
    """A course under way."""

    __slots__ = ("allowance", "counted", "course", "is_open")

    def __init__(self, course: Course, plan: WarmUpPlan) -> None:
        self.course = course
        self.allowance = Allowance(plan.spread_s, used=course.used)
        self.counted = NOTHING  # of the totals since the start
        self.is_open = course.is_done(plan)  # no ceiling


class Warming:
    """Implements `mailagent.scheduling.allowance.Ceilings`. Methods run on the loop."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        leaves: Callable[[], Iterable[Leaf]],
        unfit: Callable[[VmtaName], list[str]],
        note: Callable[[str, str], Awaitable[None]],
        room_again: Callable[[frozenset[ProviderName]], None],
        service: Callable[[VmtaName], MemberState],
        origin: Callable[[str], str] = str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`unfit`: why a virtual MTA should not send now; `room_again`: mail that found no room at these may find some;
        `service`: what it is by configuration and rotations.

        Courses of an earlier run are taken over.
        """
        self._leaves = leaves
        self._unfit = unfit
        self._note = note
        self._room_again = room_again
        self._service = service
        self._origin = origin
        self._clock = clock
        self._wall = wall
        self._file = config.state_dir / FILE_NAME
        self._live: dict[Cell, _Live] = {}
        self._faults: dict[VmtaName, str] = {}
        self._plans: dict[VmtaName, WarmUpPlan] = {}
        self._resting: list[Course] = self._load()  # of members that are not warming now
        self._saved = b""
        self.configure(config)

    def configure(self, config: AgentConfig) -> None:
        """Members that warm or trickle by this configuration; one with another address begins anew."""
        self._config = config
        self._plans = {}
        for pool in config.pools.values():
            if (plan := WarmUpPlan(config.warm_up, pool.warm_up)).enabled:
                self._plans |= dict.fromkeys(pool.warming, plan)
            if pool.trickle is not None:
                self._plans |= dict.fromkeys(pool.standby, Trickle(config.warm_up, pool.trickle))
        known = [*self._resting, *self._under_way()]
        before, self._live, self._resting = self._live, {}, []
        for course in known:
            vmta = config.virtual_mtas.get(course.vmta)
            if vmta is None or _source(vmta) != course.source:
                continue
            if course.vmta not in self._plans:
                self._resting.append(course)
                continue
            plan, cell = self._plans[course.vmta], (course.vmta, course.provider)
            live = self._live[cell] = before.get(cell) or _Live(course, plan)
            live.allowance.spread_s = plan.spread_s
            self._look_at(live, plan)
        totals = self._totals()
        for cell, live in self._live.items():
            if cell not in before:
                live.counted = totals.get(cell, NOTHING)

    # -- what the scheduler asks (Ceilings) ----------------------------------------------------------------------

    def of(self, vmta: VmtaName, provider: str) -> Allowance | None:
        """What `vmta` may send to `provider`; None: no ceiling."""
        plan = self._plans.get(vmta)
        if plan is None or not self._is_small(vmta, plan):
            return None
        if provider == ROUTE_PROVIDER:
            return None if plan.days else NOTHING_ALLOWED
        live = self._live.get((vmta, ProviderName(provider)))
        if live is None:
            live = self._begin(vmta, ProviderName(provider), plan)
        return None if live.is_open else live.allowance

    def reason(self, vmta: VmtaName, provider: str) -> WaitReason | None:
        """Why no more may be placed there now; None: there is room."""
        plan, live = self._plans.get(vmta), self._live.get((vmta, ProviderName(provider)))
        if plan is None or live is None or live.is_open or not self._is_small(vmta, plan):
            return None
        course, allowance, now = live.course, live.allowance, self._wall()
        delay_s = allowance.delay_s(self._clock())
        if delay_s == 0:
            return None
        what = f"{'warm-up' if plan.days else 'trickle'} of {vmta} at {provider}"
        today = f"on day {course.day + 1}" if plan.days else "today"
        until: float | None = course.began + plan.day_s
        if not allowance.ceiling:
            fault = self._faults.get(vmta)
            detail = f"{what} is paused: {vmta} {fault}" if fault else f"{what} is {course.why}"
            until = course.paused_until if now < course.paused_until else None
        elif delay_s is None:
            detail = f"{what}: {allowance.used:,} of {allowance.ceiling:,} sent {today}"
        else:
            detail = f"{what}: {allowance.ceiling:,} {today} are spread evenly"
            until = now + delay_s
        return WaitReason(
            kind=ReasonKind.THROTTLE,
            detail=detail,
            key="warm_up",
            value=str(allowance.ceiling),
            origin=self._origin("warm_up"),
            until=datetime.fromtimestamp(until, UTC) if until is not None else None,
            release="time, or an active member in the pool",
        )

    @property
    def ceilings(self) -> "Warming | None":
        """Who is to be asked; None: no member is warming."""
        return self if self._plans else None

    def observe(self, verdict: Verdict, reply: SmtpReply, queue: ReadyQueue, item: Item | None) -> None:
        """A failed reply; one to a recipient is about that one alone."""
        plan = self._plans.get(queue.vmta)
        if plan is None or item is None or reply.local or not self._is_small(queue.vmta, plan):
            return
        live = self._live.get((queue.vmta, ProviderName(queue.site.provider)))
        if live is not None:
            count = 1 if reply.verb is Verb.RCPT else len(item.recipients)
            live.course.refused(verdict.category, permanent=reply.is_permanent, count=count)

    def heard(self, event: FeedbackEvent) -> None:
        """What came back; complaints count for the way that the mail went."""
        live = self._live.get((VmtaName(event.vmta), ProviderName(event.provider))) if self._live else None
        if live is not None and event.kind is FeedbackKind.COMPLAINT:
            live.course.complaints += 1

    # -- what others ask -----------------------------------------------------------------------------------------

    def views(self, vmta: VmtaName) -> tuple[WarmUpView, ...]:
        """The courses of a virtual MTA, by provider."""
        plan = self._plans.get(vmta)
        if plan is None or not self._is_small(vmta, plan):
            return ()
        courses = (one.course for one in self._live.values() if one.course.vmta == vmta)
        return tuple(self._view(one, plan) for one in sorted(courses, key=lambda one: one.provider))

    @property
    def reads(self) -> Mapping[str, Callable[[Any], Awaitable[Any]]]:
        """By wire name."""
        return {"warm_up": self.warm_ups}

    async def warm_ups(self, request: WarmUpRequest) -> WarmUps:
        """Courses with their past."""
        courses = [
            WarmUpCourse(vmta=vmta, now=self._view(live.course, self._plans[vmta]), past=tuple(live.course.past))
            for (vmta, provider), live in sorted(self._live.items())
            if request.vmta in ("", vmta) and request.provider in ("", provider)
        ]
        return WarmUps(courses=tuple(courses))

    def _view(self, course: Course, plan: WarmUpPlan) -> WarmUpView:
        now = self._wall()
        fault = self._faults.get(course.vmta, "")
        paused = now < course.paused_until
        return WarmUpView(
            provider=course.provider,
            state=WarmUpState.PAUSED if fault else course.state(plan, now),
            day=min(course.day + 1, plan.days),  # 0 of a trickle
            days=plan.days,
            ceiling=course.ceiling(plan),
            used=self._live[course.vmta, course.provider].allowance.used,
            delivered=course.delivered,
            deferred=course.deferred,
            bounced=course.bounced,
            why=fault or course.why,
            until=datetime.fromtimestamp(course.paused_until, UTC) if paused and not fault else None,
            last_at=datetime.fromtimestamp(course.last_at, UTC) if course.last_at else None,
        )

    # -- as time goes on -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        saved_at = self._clock()
        while True:
            for vmta, provider, told in self.tick():
                await self._note("warm-up", f"{vmta} at {provider}: {told}")
            if self._clock() - saved_at >= SAVE_S:
                saved_at = self._clock()
                await self.save()
            await asyncio.sleep(TICK_S)

    def tick(self) -> list[tuple[VmtaName, ProviderName, str]]:
        """Count what was sent, judge it, open and close; what is to be told."""
        told: list[tuple[VmtaName, ProviderName, str]] = []
        if not self._live:
            return told
        now = self._wall()
        self._look_for_faults()
        totals = self._totals()
        roomy: set[ProviderName] = set()
        for (vmta, provider), live in self._live.items():
            plan = self._plans[vmta]
            total, before = totals.get((vmta, provider), NOTHING), live.counted
            live.counted = total
            if not self._is_small(vmta, plan):  # what it sends in the place of another one judges no trickle
                continue
            live.course.count(total[0] - before[0], total[1] - before[1], total[2] - before[2], now)
            words = self._look_at(live, plan)
            if words:
                told.append((vmta, provider, words))
            if live.allowance.was_full and (live.is_open or live.allowance.delay_s(self._clock()) == 0):
                live.allowance.was_full = False
                roomy.add(provider)
        if roomy:
            self._room_again(frozenset(roomy))
        return told

    def _look_at(self, live: _Live, plan: WarmUpPlan) -> str:
        """Bring the allowance of a course up to date; what is to be told."""
        course, allowance, now = live.course, live.allowance, self._wall()
        course.used, began = allowance.used, course.began
        told = course.look(plan, now)
        if course.began > began:  # what was placed before midnight is given back to the day that it was taken from
            before = allowance
            allowance = live.allowance = Allowance(plan.spread_s)
            allowance.was_full = before.was_full
        state = course.state(plan, now)
        if told and state is WarmUpState.DONE:
            log.info("warm-up done vmta=%s provider=%s", course.vmta, course.provider)
        held = state is WarmUpState.PAUSED or course.vmta in self._faults
        allowance.ceiling = 0 if held else course.ceiling(plan)
        live.is_open = state is WarmUpState.DONE and not held
        return told

    def _begin(self, vmta: VmtaName, provider: ProviderName, plan: WarmUpPlan) -> _Live:
        now = self._wall()
        source = _source(self._config.virtual_mtas[vmta])
        live = _Live(Course(vmta=vmta, provider=provider, source=source, began=now - now % plan.day_s), plan)
        self._live[vmta, provider] = live
        live.counted = self._totals().get((vmta, provider), NOTHING)
        if vmta not in self._faults and (found := self._unfit(vmta)):
            self._faults[vmta] = found[0]
        self._look_at(live, plan)
        return live

    def _under_way(self) -> list[Course]:
        """All courses of members that are warming, with what was placed by now."""
        for live in self._live.values():
            live.course.used = live.allowance.used
        return [live.course for live in self._live.values()]

    def _is_small(self, vmta: VmtaName, plan: WarmUpPlan) -> bool:
        """Whether a ceiling holds: a standby that was rotated in has none."""
        return bool(plan.days) or self._service(vmta) is MemberState.STANDBY

    def _look_for_faults(self) -> None:
        found = {vmta: self._unfit(vmta) for vmta in dict.fromkeys(vmta for vmta, _ in self._live)}
        self._faults = {vmta: faults[0] for vmta, faults in found.items() if faults}

    def _totals(self) -> dict[Cell, Outcomes]:
        """Outcomes since the start, of members that are warming."""
        sums: dict[Cell, Outcomes] = {}
        for leaf in self._leaves():
            cell = VmtaName(leaf.vmta), ProviderName(leaf.provider)
            if cell in self._live:
                one, before = leaf.tally, sums.get(cell, NOTHING)
                sums[cell] = before[0] + one.delivered, before[1] + one.deferred, before[2] + one.bounced
        return sums

    # -- the file ------------------------------------------------------------------------------------------------

    def _load(self) -> list[Course]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[Course])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as exc:
            log.error("warm-up begins anew, its file cannot be read and is put aside file=%s: %s", self._file, exc)
            with contextlib.suppress(OSError):
                self._file.rename(self._file.with_suffix(".unreadable"))
            return []

    async def save(self) -> None:
        """Write the courses down, if anything has changed."""
        content = msgspec.json.encode([*self._resting, *self._under_way()])
        if content == (self._saved or b"[]"):
            return
        try:
            await asyncio.to_thread(_write, self._file, content)
        except OSError as exc:
            log.warning("warm-up not written down file=%s: %s; next try in %.0f s", self._file, exc, SAVE_S)
        else:
            self._saved = content


def _source(vmta: VirtualMta) -> str:
    """What receivers know it by."""
    return " ".join(filter(None, (vmta.public or str(vmta.address or ""), str(vmta.address6 or ""))))


def _write(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    with part.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())  # else a loss of power may leave an empty file, and weeks begin anew
    part.replace(file)
