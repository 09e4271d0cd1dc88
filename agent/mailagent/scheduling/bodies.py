"""Bodies of messages in the window: a bounded amount in memory, the rest read from disk in batches when needed."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

from mailagent.scheduling.item import Item

log = logging.getLogger(__name__)

BATCH_BYTES = 4 * 1024 * 1024
BATCH_BODIES = 128
SPARE_BYTES = 256 * 1024 * 1024
"""What bodies that are being sent may take beyond the limit: a thousand slow peers with a large message each would take
all the memory there is. The others wait until some are done."""

_Wish = tuple[Item, Callable[[], bool]]


class Shelf(Protocol):
    """Where bodies are read from: the spool."""

    async def bodies(self, messages: Sequence[int]) -> dict[int, bytes]:
        """Those of `messages` that are there."""


class Bodies:
    """Memory for bodies, in bytes, and the reads that are under way.

    A freshly accepted message keeps its body while there is room, so that mail that flows never reads from disk.
    """

    __slots__ = ("_freed", "_reading", "_spawn", "_spool", "_wanted", "limit", "used")

    def __init__(self, spool: Shelf, limit: int, spawn: Callable[[Coroutine[Any, Any, None], str], object]) -> None:
        self._spool = spool
        self._spawn = spawn
        self._wanted: list[_Wish] = []
        self._reading = False
        self._freed: asyncio.Event | None = None  # somebody waits for room
        self.limit = limit
        self.used = 0

    def keep(self, size: int) -> bool:
        """Whether `size` bytes may stay in memory; the caller drops them with `drop`."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def drop(self, item: Item) -> None:
        """Forget the body of `item`."""
        if item.body is not None:
            self.used -= len(item.body)
            item.body = None
            item.plain = False  # what comes back from disk is checked
            if self._freed is not None:
                self._freed.set()

    def want(self, item: Item, then: Callable[[], bool]) -> None:
        """Load the body of `item`, then ask whether it is still of use; None when it cannot be read, which is logged.

        What is wanted in one turn of the loop, and while others are read, is read together.
        """
        self._wanted.append((item, then))
        if not self._reading:
            self._reading = True
            self._spawn(self._read(), "bodies")

    async def _read(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, []
                for batch in _batches(wanted):
                    await self._room()
                    await self._read_batch(batch)
        finally:
            self._reading = False

    async def _room(self) -> None:
        """Wait until what is being sent leaves room for more."""
        while self.used > self.limit + SPARE_BYTES:
            self._freed = asyncio.Event()
            await self._freed.wait()
        self._freed = None

    async def _read_batch(self, batch: list[_Wish]) -> None:
        try:
            bodies = await self._spool.bodies([item.first.message for item, _ in batch])
        except Exception:
            log.exception("bodies not read messages=%d", len(batch))
            bodies = {}
        for item, then in batch:
            body = bodies.get(item.first.message) if item.body is None else None
            if body is not None:
                self.used += len(body)  # beyond the limit if need be, by SPARE_BYTES
                item.body = body
            try:
                of_use = then()
            except Exception:
                log.exception("a message was left behind message=%d", item.first.message)
                of_use = False
            if body is not None and not of_use:  # it went elsewhere meanwhile, or back to disk
                self.drop(item)


def _batches(wanted: list[_Wish]) -> Iterator[list[_Wish]]:
    """Parts that one read can bring well within its time."""
    batch: list[_Wish] = []
    size = 0
    for wish in wanted:
        batch.append(wish)
        size += wish[0].first.size
        if size >= BATCH_BYTES or len(batch) >= BATCH_BODIES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
