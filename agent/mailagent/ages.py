"""How long mail waits, counted beside its flow: never when somebody asks, and never in its way.

One count goes along all waiting recipients in order of arrival, in slices of some tens of milliseconds, with pauses
that leave 95 % of the reader's time to others. So nothing is added to the work for a message, the figures need no
rebuilding after a start, and they cannot drift. A queue of 10,000 is counted every two seconds, one of a million in
about half a minute; `counted_at` says when.
"""

import asyncio
import logging
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import accumulate

from mailagent.api.ages import BUCKET_MINUTES, MAX_AGE_ROWS, AgeTable, AgeView
from mailagent.api.ids import ProviderName, StreamName
from mailagent.api.requests import Empty
from mailagent.spool.ages import COARSE_MS, AgeCount
from mailagent.spool.errors import ReadTooLong
from mailagent.spool.store import Spool

INTERVAL_S = 2.0
COST_FACTOR = 20
"""A slice that took t seconds is followed by a pause of 20 t."""
FINE_MS = 3_600_000
"""Mail of the last hour is told apart by 10 s, older by 10 minutes."""

log = logging.getLogger(__name__)


class Ages:
    """The last complete count."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._counted_ms: int | None = None
        self._counts: list[AgeCount] = []

    async def run(self) -> None:
        """Count until cancelled. What could not be counted in time stays as it was."""
        while True:
            try:
                await self.count()
            except ReadTooLong as exc:
                log.warning("ages of waiting mail not counted: %s", exc)
            await asyncio.sleep(INTERVAL_S)

    async def count(self) -> None:
        """Count once; raises ReadTooLong."""
        now = time.time_ns() // 1_000_000
        fine_from = (now - FINE_MS) // COARSE_MS * COARSE_MS
        counts: list[AgeCount] = []
        after: int | None = -1
        while after is not None:
            started = time.perf_counter()
            found, after = await self._spool.age_slice(after, fine_from)
            counts += found
            if after is not None:
                await asyncio.sleep((time.perf_counter() - started) * COST_FACTOR)
        self._counted_ms, self._counts = now, counts

    async def ages(self, _request: Empty) -> AgeTable:
        """Oldest, median and 95th percentile of the time in the queue, and buckets, per provider × stream."""
        if self._counted_ms is None:
            return AgeTable(counted_at=None)
        return table(self._counts, self._counted_ms, time.time_ns() // 1_000_000)


def table(counts: Iterable[AgeCount], counted_ms: int, now_ms: int) -> AgeTable:
    """Rows of what was counted, with the ages that it has at `now_ms`."""
    groups: dict[tuple[str, str], list[AgeCount]] = defaultdict(list)
    for one in counts:
        groups[one[0], one[1]].append(one)
    rows = [_view(ProviderName(p), StreamName(s), found, now_ms) for (p, s), found in groups.items()]
    rows.sort(key=lambda row: (-row.waiting, row.provider, row.stream))
    return AgeTable(
        counted_at=datetime.fromtimestamp(counted_ms / 1000, UTC),
        rows=tuple(rows[:MAX_AGE_ROWS]),
        truncated=len(rows) > MAX_AGE_ROWS,
    )


def _view(provider: ProviderName, stream: StreamName, counts: Sequence[AgeCount], now_ms: int) -> AgeView:
    by_age = sorted((max(0, now_ms - middle) / 1000, count) for _, _, middle, _, count in counts)
    buckets = [0] * (len(BUCKET_MINUTES) + 1)
    for age_s, count in by_age:
        buckets[bisect_left(BUCKET_MINUTES, age_s / 60)] += count
    upto = list(accumulate(count for _, count in by_age))
    return AgeView(
        provider=provider,
        stream=stream,
        waiting=upto[-1],
        oldest_at=datetime.fromtimestamp(min(first for _, _, _, first, _ in counts) / 1000, UTC),
        p50_s=round(by_age[bisect_left(upto, upto[-1] * 0.5)][0], 1),
        p95_s=round(by_age[bisect_left(upto, upto[-1] * 0.95)][0], 1),
        buckets=tuple(buckets),
    )
