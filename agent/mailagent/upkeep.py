"""What goes on beside the mail: history closes its seconds, minutes go to the archive, accounting files are kept."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from mailagent.outcome.accounting import AccountingLog
from mailagent.telemetry.archive import Archive, ArchiveFailed
from mailagent.telemetry.history import History, Minute

TICK_S = 1.0
KEPT_MINUTES = 60
"""Minutes that wait for an archive that cannot be written; older ones are lost."""

log = logging.getLogger(__name__)


class Upkeep:
    """Runs on the loop; what blocks goes to threads, so that no second waits for it."""

    def __init__(
        self,
        history: History,
        archive: Archive,
        accounting: AccountingLog,
        *,
        each_minute: Callable[[], None] = lambda: None,
        closed: Callable[[Minute], None] = lambda _: None,
    ) -> None:
        """`closed` is told of each minute that is over."""
        self._history = history
        self._archive = archive
        self._accounting = accounting
        self._each_minute = each_minute
        self._tell = closed
        self._closed: deque[Minute] = deque(maxlen=KEPT_MINUTES)
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._seconds(), name="seconds")
            group.create_task(self._minutes(), name="minutes")

    async def stop(self) -> None:
        """Keep what is known of the minute under way, and close the archive."""
        self._history.tick(time.time() + 1)  # this second is over for us
        self._closed.append(self._history.take_minute())
        await self._keep()
        await asyncio.to_thread(self._archive.close)

    async def _seconds(self) -> None:
        while True:
            minute = self._history.tick(time.time())
            if minute is not None:
                self._tell(minute)
                self._closed.append(minute)
                self._wake.set()
            await asyncio.sleep(TICK_S)

    async def _minutes(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._each_minute()
            await self._keep()
            try:
                await asyncio.to_thread(self._accounting.maintain)
            except OSError as exc:
                log.error("accounting files not looked after: %s; next try in a minute", exc)

    async def _keep(self) -> None:
        while self._closed:
            minute = self._closed[0]
            try:
                await asyncio.to_thread(self._archive.add, minute.start, minute.counts)
            except ArchiveFailed as exc:
                log.error("history not kept: %s; next try in a minute", exc)
                return
            self._closed.popleft()
