"""Bodies of messages in the window: a bounded amount in memory, the rest read from disk in batches when needed."""

import asyncio
from collections.abc import Callable

from mailagent.scheduling.item import Item
from mailagent.spool.store import Spool


class Bodies:
    """Memory for bodies, in bytes, and the reads that are under way.

    A freshly accepted message keeps its body while there is room, so that mail that flows never reads from disk.
    """

    __slots__ = ("_limit", "_loop", "_read", "_spool", "_wanted", "used")

    def __init__(self, spool: Spool, limit: int, read: Callable[["Bodies"], None]) -> None:
        self._spool = spool
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._read = read
        self._wanted: list[tuple[Item, Callable[[], None]]] = []
        self.used = 0

    def keep(self, size: int) -> bool:
        """Whether `size` bytes may stay in memory; the caller drops them with `drop`."""
        if self.used + size > self._limit:
            return False
        self.used += size
        return True

    def drop(self, item: Item) -> None:
        """Forget the body of `item`."""
        if item.body is not None:
            self.used -= len(item.body)
            item.body = None
            item.plain = False  # what comes back from disk is checked

    def want(self, item: Item, then: Callable[[], None]) -> None:
        """Load the body of `item`, then call; all that is wanted in one turn of the loop is one read."""
        if not self._wanted:
            self._loop.call_soon(self._read, self)
        self._wanted.append((item, then))

    async def load(self) -> None:
        """Read what is wanted."""
        wanted, self._wanted = self._wanted, []
        bodies = await self._spool.bodies([item.first.message for item, _ in wanted])
        for item, then in wanted:
            body = bodies.get(item.first.message)
            if body is not None and item.body is None:
                self.used += len(body)  # beyond the limit if need be: at most one body per connection
                item.body = body
            then()
