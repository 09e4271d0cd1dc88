"""How much mail a difference between two configurations concerns."""

from collections.abc import Callable
from typing import Final

from mailagent.api.targets import MessageFilter
from mailagent.census import Census
from mailagent.overview import Ready
from mailagent.rollout.difference import Touched
from mailagent.spool.errors import StorageError
from mailagent.spool.store import Spool

_MOST_DOMAINS: Final = 50
"""Domains whose mail is counted one by one; with more, all mail counts."""


class Reach:
    """Counts from what is counted already, and by domain from the spool."""

    def __init__(self, spool: Spool, scheduler: Ready, census: Census, waiting: Callable[[], int]) -> None:
        self._spool = spool
        self._scheduler = scheduler
        self._census = census
        self._waiting = waiting

    async def of(self, touched: Touched) -> tuple[int, int]:
        """Ready queues and waiting recipients that `touched` concerns."""
        queues = list(self._scheduler.ready.values())
        if touched.everything or len(touched.domains) > _MOST_DOMAINS:
            return len(queues), self._waiting()
        found = sum(queue.vmta in touched.vmtas or queue.site.provider in touched.providers for queue in queues)
        waiting = sum(
            row.count
            for row in self._census.waiting
            if row.pool in touched.pools or row.stream in touched.streams or row.provider in touched.providers
        )
        try:
            for domain in touched.domains:
                waiting += await self._spool.count(MessageFilter(domain=domain))
        except StorageError:  # too much to count in a second
            return found, self._waiting()
        return found, min(waiting, self._waiting())
