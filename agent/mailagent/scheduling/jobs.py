"""Rates of jobs: how many recipients of one may go from disk into the window now, and which lanes wait for their turn.

A limited lane takes what its job may send now and then stands in line with the job's other lanes. A timer calls as many
of them as may go, so that a job's sites share its rate in turn.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from mailagent.config.structs import Rate
from mailagent.scheduling.lanes import Lane, LaneId
from mailagent.scheduling.limits import RateLimit

MIN_PAUSE_S = 0.05
"""Shortest time between two calls of one job: a fast job goes on in small groups."""


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """It does not come."""


class JobGates:
    """One gate for each job with a rate; the others pass without being looked at."""

    def __init__(
        self,
        clock: Callable[[], float],
        call_at: Callable[[float, Callable[[], None]], Timer],
        call: Callable[[LaneId], None],
    ) -> None:
        """`call` gives a lane its turn again."""
        self._clock = clock
        self._call_at = call_at
        self._call = call
        self._limits: dict[str, RateLimit] = {}
        self._lines: dict[str, dict[LaneId, None]] = {}
        self._timers: dict[str, Timer] = {}

    def apply(self, rates: Mapping[str, Rate]) -> None:
        """These jobs have a rate from now on."""
        for job in self._limits.keys() - rates.keys():
            del self._limits[job]
            self._lines.pop(job, None)
            if job in self._timers:
                self._timers.pop(job).cancel()
        for job, rate in rates.items():
            if job in self._limits:
                self._limits[job].change(rate, self._clock())
            else:
                self._limits[job] = RateLimit(rate)

    def may_enter(self, job: str, count: int) -> bool:
        """Whether `count` new recipients may go now, with nobody in line before them."""
        limit = self._limits.get(job)
        return limit is None or (job not in self._lines and limit.room(self._clock()) >= count)

    def room(self, lane: Lane, most: int) -> int:
        """How many of `most` recipients the lane may have now; 0: it stands in line and is called."""
        limit = self._limits.get(lane.job)
        if limit is None:
            return most
        room = min(most, limit.room(self._clock()))
        if room == 0:
            self._lines.setdefault(lane.job, {})[lane.id] = None
            self._wait(lane.job)
        return room

    def take(self, job: str, count: int) -> None:
        """They go now."""
        limit = self._limits.get(job)
        if limit is not None:
            limit.take(self._clock(), count)

    def give_back(self, job: str, count: int) -> None:
        """They do not go after all."""
        limit = self._limits.get(job)
        if limit is not None:
            limit.give_back(count)

    def limit(self, job: str) -> Rate | None:
        """The rate of a job that is used up now."""
        limit = self._limits.get(job)
        return limit.rate if limit is not None and limit.room(self._clock()) == 0 else None

    def _wait(self, job: str) -> None:
        if job not in self._timers:
            now = self._clock()
            at = now + max(MIN_PAUSE_S, self._limits[job].delay_s(now))
            self._timers[job] = self._call_at(at, lambda: self._free(job))

    def _free(self, job: str) -> None:
        del self._timers[job]
        line = self._lines[job]
        for _ in range(max(1, self._limits[job].room(self._clock()))):
            if not line:
                break
            first = next(iter(line))
            del line[first]
            self._call(first)
        if line:
            self._wait(job)
        else:
            del self._lines[job]
