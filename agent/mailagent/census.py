"""Counts of what waits on disk, refreshed beside the flow of mail and never by scanning in its way."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable

from mailagent.spool.errors import ReadTooLong
from mailagent.spool.records import DeferredTotal, WaitingTotal
from mailagent.spool.store import Spool

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Shortest time between two counts."""
COST_FACTOR = 20
"""A count that took t seconds is followed by a pause of at least 20 t: counting takes at most 5 % of the reader."""


class Census:
    """Waiting recipients by pool, stream and provider; deferred ones by provider × virtual MTA."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.waiting: list[WaitingTotal] = []
        self.deferred: list[DeferredTotal] = []
        self.oldest: int | None = None  # arrival of the oldest waiting message, milliseconds
        self.by_pool: dict[str, int] = {}
        self.by_provider: dict[str, int] = {}
        self.by_stream: dict[str, int] = {}

    def in_pool(self, name: str, members: Iterable[str]) -> int:
        """Recipients that wait in a pool with these virtual MTAs.

        Of mail that has no pool (a Postfix chooses anew at each attempt) those that the members have tried.
        """
        waiting = self.by_pool.get(name, 0)
        if not self.by_pool.get("", 0):
            return waiting
        tried = frozenset(members)
        return max(waiting, sum(total.count for total in self.deferred if total.vmta in tried))

    async def run(self) -> None:
        """Count until cancelled. What could not be counted in time stays as it was."""
        while True:
            started = time.perf_counter()
            try:
                await self.count()
            except ReadTooLong as exc:
                log.warning("waiting mail not counted: %s", exc)
            await asyncio.sleep(max(INTERVAL_S, (time.perf_counter() - started) * COST_FACTOR))

    async def count(self) -> None:
        """Count once.

        Raises:
            ReadTooLong: the spool is too busy, or too large, to be counted in a second.
        """
        self.waiting = await self._spool.waiting_totals()
        self.deferred = await self._spool.deferred_totals()
        self.oldest = await self._spool.oldest()
        pools: dict[str, int] = defaultdict(int)
        providers: dict[str, int] = defaultdict(int)
        streams: dict[str, int] = defaultdict(int)
        for total in self.waiting:
            pools[total.pool] += total.count
            providers[total.provider] += total.count
            streams[total.stream] += total.count
        self.by_pool, self.by_provider, self.by_stream = pools, providers, streams
