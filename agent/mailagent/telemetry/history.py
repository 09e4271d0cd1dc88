"""Per-second history of 15 minutes for host, pools, virtual MTAs, providers, streams, cells (provider × virtual MTA),
paths (provider × stream × virtual MTA) and jobs; and the minutes of it, as they close, for the archive.

A scope that was active in the last 15 minutes has one ring of 900 seconds for each of the four metrics, two bytes an
element (more than 65,535 recipients in one second of one scope saturate): RING_BYTES, 7.2 KB. LIMITS bounds cells,
paths and jobs, so that they take 8.3 MB at most; what does not fit is booked under `other`. The rest is bounded by the
configuration. Totals are kept for every scope ever seen, jobs apart, whose totals go with their ring.
"""

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from mailagent.api.requests import HistoryRequest, HistoryScope
from mailagent.api.views import RECENT_BUCKET_S, RECENT_BUCKETS, Flow, Series
from mailagent.telemetry.counters import MAX_JOBS, OTHER, Counters, Leaf, Tally

SECONDS: Final = 900
"""Length of a ring."""
MINUTE_S: Final = 60
"""Span of the `_1m` sums of a flow."""
PACE_S: Final = 300
"""Span of a usual pace."""
LIMITS: Final = {HistoryScope.CELL: 512, HistoryScope.PATH: 512, HistoryScope.JOB: MAX_JOBS + 1}
"""Rings of a scope, that of OTHER included."""
RING_BYTES: Final = 4 * 2 * SECONDS
"""Memory of one ring's arrays."""

_SATURATED = 0xFFFF

Key = tuple[HistoryScope, str]
Counts = tuple[int, int, int, int]
"""received, delivered, deferred, bounced"""


class Minute(NamedTuple):
    """What happened in the minute from `start` (Unix time) on, or part of it, per scope that was active."""

    start: int
    counts: dict[Key, Counts]


_NOTHING: Counts = (0, 0, 0, 0)
_HOST: Key = (HistoryScope.HOST, "")


class Ring:
    """The last SECONDS of one scope, with the sums that a snapshot needs kept up to date."""

    __slots__ = ("_bucket", "columns", "idle_s", "minute", "recent")

    def __init__(self) -> None:
        self.columns = tuple(array("H", bytes(2 * SECONDS)) for _ in range(4))
        self.minute = [0, 0, 0, 0]  # sums over MINUTE_S
        self.recent: tuple[int, ...] = ()  # delivered per RECENT_BUCKET_S, oldest first
        self.idle_s = 0
        self._bucket = 0

    def book(self, second: int, counts: Counts) -> None:
        """Take `counts` as those of `second` (since 1970), which follows the one booked before."""
        index, left = second % SECONDS, (second - MINUTE_S) % SECONDS
        for metric, column in enumerate(self.columns):
            count = min(counts[metric], _SATURATED)
            self.minute[metric] += count - column[left]
            column[index] = count
        self.idle_s = self.idle_s + 1 if counts == _NOTHING else 0
        self._bucket += counts[1]
        if (second + 1) % RECENT_BUCKET_S == 0:
            self.recent = (*self.recent[1 - RECENT_BUCKETS :], self._bucket)
            self._bucket = 0


class History:
    """Sums the tallies of `counters` per scope, once a second. Pure: the clock is passed to `tick`."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._booked: dict[Tally, Counts] = {}  # what of each tally is in the totals
        self._totals: dict[Key, list[int]] = {}
        self._rings: dict[Key, Ring] = {}
        self._open_rings = dict.fromkeys(LIMITS, 0)
        self._minute: dict[Key, list[int]] = {}  # since the last minute began
        self._first: int | None = None  # first second of which something is known
        self._last = 0  # the last complete second

    @property
    def memory_bytes(self) -> int:
        """Memory of all rings."""
        return len(self._rings) * RING_BYTES

    def cells(self) -> list[tuple[str, str]]:
        """(provider, virtual MTA) of the cells that were active in the last 15 minutes."""
        names = (name for scope, name in self._rings if scope is HistoryScope.CELL and name != OTHER)
        return [(provider, vmta) for provider, _, vmta in (name.partition("/") for name in names)]

    def tick(self, now_s: float) -> Minute | None:
        """Close the second before `now_s` (Unix time), with all that was counted since the last tick.

        The minute that ended with it, if one did. Seconds without a tick stay empty. Where the clock is set back by
        more than a minute, or ahead by more than the rings hold, history starts afresh; smaller steps back wait until
        time has caught up.
        """
        second = int(now_s) - 1
        minute: Minute | None = None
        if self._first is None or second < self._last - MINUTE_S or second > self._last + SECONDS:
            minute = self.take_minute() if self._first is not None else None
            self._rings.clear()
            self._open_rings = dict.fromkeys(LIMITS, 0)
            self._first, self._last = second, second - 1
        if second <= self._last:
            return minute
        if second // MINUTE_S != self._last // MINUTE_S and minute is None:
            minute = self.take_minute()
        for skipped in range(self._last + 1, second):
            for ring in self._rings.values():
                ring.book(skipped, _NOTHING)
        self._last = second
        counted = self._count()
        for key, counts in counted.items():
            _add(self._minute.setdefault(key, [0, 0, 0, 0]), counts)
        for key, ring in list(self._rings.items()):
            ring.book(second, counted.pop(key, _NOTHING))
            if ring.idle_s >= SECONDS:
                self._close(key)
        for key, counts in counted.items():
            self._open(key).book(second, counts)
        return minute

    def take_minute(self) -> Minute:
        """What is known of the minute that is not closed yet; it is not told again."""
        taken, self._minute = self._minute, {}
        return Minute(self._last // MINUTE_S * MINUTE_S, {key: _counts(sums) for key, sums in taken.items()})

    def flow(self, scope: HistoryScope, name: str = "") -> Flow:
        """The last minute and the totals of one scope, as of the last tick; zeros for one that was never active."""
        totals = self._totals.get((scope, name), _NOTHING)
        ring = self._rings.get((scope, name))
        minute = ring.minute if ring is not None else _NOTHING
        return Flow(
            received_1m=minute[0],
            delivered_1m=minute[1],
            deferred_1m=minute[2],
            bounced_1m=minute[3],
            received=totals[0],
            delivered=totals[1],
            deferred=totals[2],
            bounced=totals[3],
            recent=ring.recent if ring is not None else (),
        )

    def pace(self, scope: HistoryScope, name: str, before_s: float) -> float:
        """Deliveries a second in the PACE_S before a moment (Unix time), or in all the time before it where that was
        more: there may have been trouble just then. 0: nothing is known.
        """
        first = self._first if self._first is not None else self._last
        before = int(before_s)
        start = max(first, self._last - SECONDS + 1, before - PACE_S)
        ring = self._rings.get((scope, name))
        if before <= first:
            return 0.0
        pace = self._totals.get((scope, name), _NOTHING)[1] / (before - first)
        if ring is not None and before - start >= MINUTE_S:
            pace = max(pace, sum(_window(ring.columns[1], start, before - start)) / (before - start))
        return pace

    def series(self, request: HistoryRequest) -> Series:
        """The last seconds of one scope; shorter than asked for when the agent has not run that long."""
        known = 0 if self._first is None else self._last - self._first + 1
        length = max(0, min(request.seconds, SECONDS, known))
        start = self._last - length + 1
        ring = self._rings.get((request.scope, request.name))
        received, delivered, deferred, bounced = (
            ((0,) * length,) * 4 if ring is None else (_window(column, start, length) for column in ring.columns)
        )
        return Series(
            start=datetime.fromtimestamp(start, UTC),
            step_s=1,
            received=received,
            delivered=delivered,
            deferred=deferred,
            bounced=bounced,
        )

    def _count(self) -> dict[Key, Counts]:
        """What came since the last tick, per scope with a ring; totals grow by it."""
        counted: dict[Key, list[int]] = {}
        for leaf in self._counters.leaves():
            if (new := self._new(leaf.tally)) is not None:
                for key in _keys(leaf):
                    _add(counted.setdefault(key, [0, 0, 0, 0]), new)
        for name, tally in self._counters.jobs.items():
            if (new := self._new(tally)) is not None:
                counted[HistoryScope.JOB, name] = list(new)
        rings: dict[Key, list[int]] = {}
        free = {
            scope: limit - 1 - self._open_rings[scope] + ((scope, OTHER) in self._rings)
            for scope, limit in LIMITS.items()
        }
        for key, sums in counted.items():
            _add(self._totals.setdefault(key, [0, 0, 0, 0]), sums)
            scope = key[0]
            if scope in free and key not in self._rings and key[1] != OTHER:
                if free[scope] == 0:
                    _add(rings.setdefault((scope, OTHER), [0, 0, 0, 0]), sums)
                    continue
                free[scope] -= 1
            _add(rings.setdefault(key, [0, 0, 0, 0]), sums)
        return {key: _counts(sums) for key, sums in rings.items()}

    def _new(self, tally: Tally) -> Counts | None:
        """What `tally` has grown by since it was booked; None for nothing."""
        now = (tally.received, tally.delivered, tally.deferred, tally.bounced)
        before = self._booked.get(tally, _NOTHING)
        if now == before:
            return None
        self._booked[tally] = now
        return now[0] - before[0], now[1] - before[1], now[2] - before[2], now[3] - before[3]

    def _open(self, key: Key) -> Ring:
        ring = self._rings[key] = Ring()
        if key[0] in LIMITS:
            self._open_rings[key[0]] += 1
        return ring

    def _close(self, key: Key) -> None:
        """A scope has rested for as long as its ring reaches."""
        del self._rings[key]
        scope, name = key
        if scope in LIMITS:
            self._open_rings[scope] -= 1
        if scope is HistoryScope.JOB:
            self._totals.pop(key, None)
            tally = self._counters.drop_job(name)
            if tally is not None:
                self._booked.pop(tally, None)


def _keys(leaf: Leaf) -> list[Key]:
    """The scopes that a tally counts for; unknown names have none."""
    keys = [_HOST]
    if leaf.pool:
        keys.append((HistoryScope.POOL, leaf.pool))
    if leaf.vmta:
        keys.append((HistoryScope.VMTA, leaf.vmta))
    if leaf.provider:
        keys.append((HistoryScope.PROVIDER, leaf.provider))
    if leaf.vmta and leaf.provider:
        keys.append((HistoryScope.CELL, f"{leaf.provider}/{leaf.vmta}"))
        if leaf.stream:
            keys.append((HistoryScope.PATH, f"{leaf.provider}/{leaf.stream}/{leaf.vmta}"))
    if leaf.stream:
        keys.append((HistoryScope.STREAM, leaf.stream))
    return keys


def _add(sums: list[int], more: Sequence[int]) -> None:
    for metric, count in enumerate(more):
        sums[metric] += count


def _counts(sums: Sequence[int]) -> Counts:
    return sums[0], sums[1], sums[2], sums[3]


def _window(column: "array[int]", start: int, length: int) -> tuple[int, ...]:
    """`length` elements of a ring from that of second `start`."""
    index = start % SECONDS
    return tuple((column[index:] + column[:index])[:length])
