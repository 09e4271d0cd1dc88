"""Plays a recording: a position that moves, pauses and jumps, and the fleet as it stood there.

A `Player` answers as a fleet does, so screens need not know. Work is done in slices, so that keys are heard while a far
jump is under way.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from time import monotonic
from typing import Any, Self

import msgspec

from mailagent.api import codec
from mailagent.api.ids import HostName
from mailagent.api.methods import METHODS
from mailagent.api.replies import DeferredGroups, Hello
from mailagent.api.requests import HistoryRequest, HistoryScope, PageRequest
from mailagent.api.trace import TraceLines, TraceRequest
from mailagent.api.views import Changes, Flow, Series, Snapshot
from mailctl.fleet.errors import Unreachable
from mailctl.fleet.state import FleetState, HostState, LinkState, apply_changes
from mailctl.fleet.watch import LATE_PERIODS
from mailctl.replay.lines import Answered, AnyLine, Changed, Connected, Lost, Start
from mailctl.replay.recording import Recording

TICK_S = 0.25
SLICE_S = 0.03
"""What is done at once; a key waits no longer than this."""
SPEEDS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
MOST_S = 2.0
"""Seconds of the wall clock that count at once: a console that was stopped goes on where it stood."""
OPENING = timedelta(seconds=1)
"""Once a host is known, so long is waited for the others before the first picture."""
HISTORY_S = 900
"""Seconds of history that are kept while playing."""


@dataclass(slots=True)
class _Host:
    """One host at the position."""

    region: str
    state: LinkState = LinkState.CONNECTING
    error: str = ""
    hello: Hello | None = None
    snapshot: Snapshot | None = None
    heard_at: datetime | None = None


class Player:
    """The fleet of a recording at a position in it."""

    def __init__(self, recording: Recording, *, speed: float = 1.0, clock: Callable[[], float] = monotonic) -> None:
        self.recording = recording
        self.speed = speed
        self.is_paused = False
        self._clock = clock
        self._hosts: dict[HostName, _Host] = {}
        self._pools: dict[str, tuple[HostName, ...]] = {}
        self._past: dict[HostName, deque[tuple[datetime, Flow]]] = {}
        self._answers: dict[tuple[HostName, str], msgspec.Raw] = {}
        self._goal = recording.began_at
        self._at = recording.began_at
        self._lines: Iterator[AnyLine] = iter(())
        self._next: AnyLine | None = None
        self._group = asyncio.TaskGroup()
        self._ticking: asyncio.Task[None] | None = None
        self._state = FleetState()
        self._open()
        self._opens_at = self._goal

    # position

    @property
    def position(self) -> datetime:
        """The moment that is shown."""
        return self._at

    @property
    def goal(self) -> datetime:
        """The moment that is on its way to be shown; another jump counts from there."""
        return self._goal

    @property
    def is_at_end(self) -> bool:
        """Whether there is nothing more to play."""
        return self._at >= self.recording.ended_at

    @property
    def is_seeking(self) -> bool:
        """Whether a jump is under way still."""
        return self._at < self._goal

    def pause(self) -> None:
        """Stand still, or go on."""
        self.is_paused = not self.is_paused

    def change_speed(self, by: int) -> bool:
        """The next faster speed, or with a negative `by` the next slower one; False: there is none."""
        further = [speed for speed in SPEEDS if (speed > self.speed if by > 0 else speed < self.speed)]
        if further:
            self.speed = further[0] if by > 0 else further[-1]
        return bool(further)

    def seek(self, moment: datetime) -> None:
        """Go to `moment`, or to the nearer end of the recording; its beginning is where hosts are known."""
        self._goal = max(self._opens_at, min(moment, self.recording.ended_at))
        section = self.recording.section_at(self._goal)
        if self._goal < self._at or self.recording.sections[section].at > self._at:
            self._begin_at(section)
        self.work()

    def advance(self, seconds: float) -> None:
        """Play on by so many seconds of the wall clock."""
        if not self.is_paused and not self.is_seeking:
            self._goal = min(self._goal + timedelta(seconds=seconds * self.speed), self.recording.ended_at)

    def work(self, *, slice_s: float | None = SLICE_S) -> None:
        """Take lines up to where the position is to be, for `slice_s` at most (None: all), and make the state."""
        until = None if slice_s is None else self._clock() + slice_s
        while self._next is not None and self._next.at <= self._goal:
            self._at = max(self._at, self._next.at)
            self._take(self._next)
            self._next = next(self._lines, None)
            if until is not None and self._clock() >= until:
                break
        else:
            self._at = self._goal
        self._state = FleetState(
            tick=self._state.tick + 1,
            hosts=tuple(self._host(name, host) for name, host in self._hosts.items()),
            pool_hosts=self._pools,
        )

    def _take(self, line: AnyLine) -> None:
        if isinstance(line, Start):
            self._begin(line)
            return
        host = self._hosts.get(line.host)
        if host is None:
            return
        match line:
            case Changed():
                if host.snapshot is not None:
                    changes: Changes = codec.decode(line.changes, Changes)
                    self._heard(line.host, host, apply_changes(host.snapshot, changes), line.at)
            case Connected():
                host.hello, host.state, host.error = line.hello, LinkState.LIVE, ""
                self._heard(line.host, host, codec.decode(line.snapshot, Snapshot), line.heard_at or line.at)
            case Lost():
                host.state, host.error = line.state, line.error
            case Answered():
                self._answers[line.host, line.method] = line.result

    def _open(self) -> None:
        """Go to the first moment of which there is something to see: a recording begins before hosts are reached."""
        self._begin_at(0)
        until: datetime | None = None
        while self._next is not None and (until is None or self._next.at <= until):
            self._goal = self._next.at
            self._take(self._next)
            self._next = next(self._lines, None)
            known = sum(host.state is not LinkState.CONNECTING for host in self._hosts.values())
            if known == len(self._hosts):
                break
            if known and until is None:
                until = self._goal + OPENING
        else:
            if until is None:  # no host was ever reached
                self._goal = self.recording.began_at
                self._begin_at(0)
        self.work(slice_s=None)

    def _begin_at(self, section: int) -> None:
        """Read on from a section. What was counted before goes on only when time does."""
        at = self.recording.sections[section].at
        if at < self._at:
            self._past.clear()
        self._hosts.clear()
        self._answers.clear()
        self._at = at
        self._lines = self.recording.lines(section)
        self._next = next(self._lines, None)

    def _begin(self, line: Start) -> None:
        """The hosts of a section. What is known of them stands until its lines say it again."""
        self._pools = line.pools
        self._hosts = {name: self._hosts.get(name) or _Host(region) for name, region in line.hosts.items()}

    def _heard(self, name: HostName, host: _Host, snapshot: Snapshot, at: datetime) -> None:
        host.snapshot, host.heard_at = snapshot, at
        past = self._past.setdefault(name, deque(maxlen=HISTORY_S))
        if not past or at - past[-1][0] >= timedelta(seconds=0.5):
            past.append((at, snapshot.host.flow))

    def _host(self, name: HostName, host: _Host) -> HostState:
        age_s = (self._at - host.heard_at).total_seconds() if host.heard_at else None
        state = host.state
        if state is LinkState.LIVE and age_s is not None and age_s > LATE_PERIODS:
            state = LinkState.LATE
        return HostState(
            name=name,
            region=host.region,
            state=state,
            age_s=age_s,
            error=host.error,
            hello=host.hello,
            snapshot=host.snapshot,
        )

    # as a fleet

    @property
    def state(self) -> FleetState:
        """All hosts at the position."""
        return self._state

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._ticking = self._group.create_task(self._tick(), name="replay:tick")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        await self._group.__aexit__(None, None, None)

    async def _tick(self) -> None:
        last = self._clock()
        while True:
            await asyncio.sleep(0 if self.is_seeking else TICK_S)
            now = self._clock()
            self.advance(min(now - last, MOST_S))
            last = now
            if self._next is not None or not self.is_at_end or self.is_seeking:
                self.work()

    def trace(self, host: str, request: TraceRequest) -> AsyncGenerator[TraceLines]:
        """Refused: traces are not recorded."""
        raise Unreachable(host, f"this is a recording: {request.name} cannot be traced")

    async def ask_all(
        self,
        method: str,
        params: msgspec.Struct,
        *,
        hosts: Iterable[str] | None = None,
        deadline_s: float = 0.0,
    ) -> dict[HostName, Any]:
        """What was recorded of it last; else the LinkError that says that nothing was."""
        del deadline_s
        names = self._hosts if hosts is None else [HostName(name) for name in hosts]
        return {name: self._answer(name, method, params) for name in names}

    def _answer(self, name: HostName, method: str, params: msgspec.Struct) -> Any:
        if isinstance(params, HistoryRequest):
            if params.scope is HistoryScope.HOST and params.step_s == 1 and (past := self._past.get(name)):
                return _series(past)
        elif (raw := self._answers.get((name, method))) is not None:
            return _narrowed(codec.decode(raw, METHODS[method].result), params)
        return Unreachable(name, "the recording does not have this")


def _narrowed(answer: Any, params: msgspec.Struct) -> Any:
    """A list was recorded whole; of the filter, what can be seen in it is done here."""
    if isinstance(answer, DeferredGroups) and isinstance(params, PageRequest) and params.filter.provider:
        groups = tuple(group for group in answer.groups if group.provider == params.filter.provider)
        return msgspec.structs.replace(answer, groups=groups)
    return answer


def _series(past: Iterable[tuple[datetime, Flow]]) -> Series:
    """Counts per second out of sums since the start of the agent."""
    points = [(at.replace(microsecond=0), flow) for at, flow in past]
    counts: dict[str, list[int]] = {name: [] for name in ("received", "delivered", "deferred", "bounced")}
    for (before, older), (at, newer) in pairwise(points):
        seconds = min(HISTORY_S, max(0, round((at - before).total_seconds())))
        if not seconds:
            continue
        for name, found in counts.items():
            part, rest = divmod(max(0, getattr(newer, name) - getattr(older, name)), seconds)
            found += [part + (second < rest) for second in range(seconds)]
    return Series(start=points[0][0], step_s=1, **{name: tuple(found[-HISTORY_S:]) for name, found in counts.items()})
