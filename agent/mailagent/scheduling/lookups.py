"""Mail whose site is being looked up."""

import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from mailagent.routing import Router, Site, Unroutable
from mailagent.routing.unroutable import transient
from mailagent.scheduling.item import Item

log = logging.getLogger(__name__)

MOST = 128
"""Look-ups under way at a time."""
BROKEN = transient("4.3.0", "the look-up failed by an internal error (see log)")


class Lookups:
    """Asks for each domain once, however much mail waits for it; `found` gets every item of it, then `ended` comes."""

    def __init__(
        self,
        router: Callable[[], Router],
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        found: Callable[[Item, Site | Unroutable], None],
        ended: Callable[[], None],
    ) -> None:
        self._router = router
        self._spawn = spawn
        self._found = found
        self._ended = ended
        self._waiting: dict[str, list[Item]] = {}
        self._line: deque[str] = deque()
        self._under_way = 0
        self.count = 0
        """Messages that wait."""

    def __contains__(self, domain: str) -> bool:
        return domain in self._waiting

    def add(self, domain: str, item: Item) -> None:
        """Find the site of `item`."""
        self.count += 1
        items = self._waiting.get(domain)
        if items is not None:
            items.append(item)
            return
        self._waiting[domain] = [item]
        self._line.append(domain)
        self._start()

    def take(self, condition: Callable[[Item], bool]) -> list[Item]:
        """Remove the mail that satisfies `condition`; its look-up goes on."""
        taken: list[Item] = []
        for items in self._waiting.values():
            taken += [item for item in items if condition(item)]
            items[:] = [item for item in items if not condition(item)]
        self.count -= len(taken)
        return taken

    def _start(self) -> None:
        while self._line and self._under_way < MOST:
            self._under_way += 1
            domain = self._line.popleft()
            self._spawn(self._look_up(domain), f"look-up:{domain}")

    async def _look_up(self, domain: str) -> None:
        try:
            found = await self._router().site(domain)
        except Exception:
            log.exception("look-up failed domain=%s", domain)
            found = BROKEN
        self._under_way -= 1
        items = self._waiting.pop(domain)
        self.count -= len(items)
        self._start()
        for item in items:
            self._found(item, found)
        self._ended()
