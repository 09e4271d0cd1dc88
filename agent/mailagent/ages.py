"""How long mail waits: counters by span of arrival, kept up beside the flow of mail.

Arrivals fall into blocks: 17 s in the last hour, 9 minutes before that. For each block there is a count per provider
and stream. The spool notes which blocks something happened in (an arrival, an outcome), and only those are counted
again: an indexed range of the primary key, in slices of some milliseconds, with pauses that leave 95 % of the reader's
time to others. A million messages that only wait cost nothing. Blocks are merged as they grow old. The first count
after a start goes over everything in the background, and one every FULL_S makes up for what was changed in bulk.
"""

import asyncio
import logging
import random
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import accumulate

from mailagent.api.ages import BUCKET_MINUTES, MAX_AGE_ROWS, AgeTable, AgeView
from mailagent.api.ids import ProviderName, StreamName
from mailagent.api.requests import Empty
from mailagent.spool.ages import FRESH_BITS, AgeCount, block_of, fresh_from, middle_ms
from mailagent.spool.errors import ReadTooLong
from mailagent.spool.ids import now_ms
from mailagent.spool.store import Spool

INTERVAL_S = 2.0
COST_FACTOR = 20
"""A slice that took t seconds is followed by a pause of 20 t."""
FRESH_MS = 3_600_000
FULL_S = 3600.0
UNKNOWN_BLOCKS = 64
"""Blocks with mail of unknown providers that one pass counts again after sites were found."""
_EVERYTHING = (0, (1 << 63) - 1)

Blocks = dict[int, dict[tuple[str, str], tuple[int, int]]]
"""block -> (provider, stream) -> (first arrival in milliseconds, recipients)."""

log = logging.getLogger(__name__)


class Ages:
    """The counters, and the task that keeps them."""

    def __init__(self, spool: Spool, *, clock: Callable[[], int] = now_ms) -> None:
        """`clock`: milliseconds since 1970."""
        self._spool = spool
        self._clock = clock
        self._blocks: Blocks = {}
        self._fresh = 0
        self._again: set[int] = set()  # touched a moment ago: perhaps counted before the commit
        self._full_at: float | None = None
        self._counted_ms: int | None = None

    async def run(self) -> None:
        """Count until cancelled. What could not be counted in time stays as it was."""
        while True:
            try:
                await self.count()
            except ReadTooLong as exc:
                log.warning("ages of waiting mail not counted: %s", exc)
            await asyncio.sleep(INTERVAL_S)

    async def count(self) -> None:
        """Count what has changed, or everything when that is due; raises ReadTooLong."""
        now = self._clock()
        touched = self._spool.take_touched()
        await self._spool.freshen()
        self._again |= touched  # stays until a count has come to its end
        fresh = fresh_from(now - FRESH_MS)
        if self._full_at is None or time.monotonic() - self._full_at >= FULL_S:
            self._blocks = await self._counted(_EVERYTHING, fresh)
            self._full_at = time.monotonic()
        else:
            self._merge(fresh)
            spans = {block_of(n << FRESH_BITS, fresh) for n in self._again}
            if self._spool.take_found_sites():
                spans |= self._unknown(fresh)
            for first, last in sorted(spans, reverse=True):
                found = await self._counted((first, last), fresh)
                self._blocks.pop(first, None)
                self._blocks.update(found)
        self._fresh, self._again, self._counted_ms = fresh, touched, now

    def _unknown(self, fresh: int) -> set[tuple[int, int]]:
        """Blocks with mail whose provider was not known when it was counted; some of them, when there are many."""
        blocks = [block for block, groups in self._blocks.items() if any(not provider for provider, _ in groups)]
        return {block_of(block, fresh) for block in random.sample(blocks, min(len(blocks), UNKNOWN_BLOCKS))}

    async def _counted(self, span: tuple[int, int], fresh: int) -> Blocks:
        """The blocks of a span of ids, from the spool."""
        blocks: Blocks = defaultdict(dict)
        first: int | None = span[0]
        while first is not None:
            started = time.perf_counter()
            found, first = await self._spool.age_slice(first, span[1], fresh)
            for block, one in found:
                _add(blocks[block], one)
            if first is not None:
                await asyncio.sleep((time.perf_counter() - started) * COST_FACTOR)
        return dict(blocks)

    def _merge(self, fresh: int) -> None:
        """Small blocks that have grown old become parts of large ones."""
        for block in [block for block in self._blocks if self._fresh <= block < fresh]:
            large, _ = block_of(block, fresh)
            if large != block:
                into = self._blocks.setdefault(large, {})
                for (provider, stream), (first, count) in self._blocks.pop(block).items():
                    _add(into, (provider, stream, first, count))

    async def ages(self, _request: Empty) -> AgeTable:
        """Oldest, median and 95th percentile of the time in the queue, and buckets, per provider × stream."""
        if self._counted_ms is None:
            return AgeTable(counted_at=None)
        counts = [
            (middle_ms(block, self._fresh), (provider, stream, first, count))
            for block, groups in self._blocks.items()
            for (provider, stream), (first, count) in groups.items()
        ]
        return table(counts, self._counted_ms, self._clock())


def _add(groups: dict[tuple[str, str], tuple[int, int]], one: AgeCount) -> None:
    provider, stream, first, count = one
    before = groups.get((provider, stream))
    groups[provider, stream] = (first, count) if before is None else (min(first, before[0]), count + before[1])


def table(counts: Iterable[tuple[int, AgeCount]], counted_ms: int, now_ms: int) -> AgeTable:
    """Rows of counts, each with the middle of its time, and the ages that they have at `now_ms`."""
    groups: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
    for middle, (provider, stream, first, count) in counts:
        groups[provider, stream].append((middle, first, count))
    rows = [_view(ProviderName(p), StreamName(s), found, now_ms) for (p, s), found in groups.items()]
    rows.sort(key=lambda row: (-row.waiting, row.provider, row.stream))
    return AgeTable(
        counted_at=datetime.fromtimestamp(counted_ms / 1000, UTC),
        rows=tuple(rows[:MAX_AGE_ROWS]),
        truncated=len(rows) > MAX_AGE_ROWS,
    )


def _view(provider: ProviderName, stream: StreamName, counts: Sequence[tuple[int, int, int]], now_ms: int) -> AgeView:
    """`counts`: middle of a block, first arrival in it, recipients."""
    by_age = sorted((max(0, now_ms - max(middle, first)) / 1000, count) for middle, first, count in counts)
    buckets = [0] * (len(BUCKET_MINUTES) + 1)
    for age_s, count in by_age:
        buckets[bisect_left(BUCKET_MINUTES, age_s / 60)] += count
    upto = list(accumulate(count for _, count in by_age))
    return AgeView(
        provider=provider,
        stream=stream,
        waiting=upto[-1],
        oldest_at=datetime.fromtimestamp(min(first for _, first, _ in counts) / 1000, UTC),
        p50_s=round(by_age[bisect_left(upto, upto[-1] * 0.5)][0], 1),
        p95_s=round(by_age[bisect_left(upto, upto[-1] * 0.95)][0], 1),
        buckets=tuple(buckets),
    )
