"""Mail whose site is being looked up."""

import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from mailagent.config.structs import Priority
from mailagent.routing import Router, Site, Unroutable
from mailagent.routing.unroutable import transient
from mailagent.scheduling.item import Item

log = logging.getLogger(__name__)

MOST = 80
"""Look-ups under way at a time."""
KEPT = 10
"""As many of them only high priority gets: the others may all wait for servers that do not answer."""
BROKEN = transient("4.3.0", "the look-up failed by an internal error (see log)")

_RANKS = {priority: rank for rank, priority in enumerate(Priority)}
_ASKED = -1


class Lookups:
    """Asks for each domain once, however much mail waits for it; `found` gets every item of it, then `ended` comes.

    High priority is looked up before normal, and that before bulk.
    """

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
        self._ranks: dict[str, int] = {}  # the first class that waits for a domain, or _ASKED
        self._lines: tuple[deque[str], ...] = tuple(deque() for _ in _RANKS)
        self._under_way = 0
        self._depths: dict[str, int] = dict.fromkeys(Priority, 0)

    def __contains__(self, domain: str) -> bool:
        return domain in self._waiting

    def depth(self, priority: str) -> int:
        """How many messages of one class wait."""
        return self._depths[priority]

    def add(self, domain: str, item: Item) -> None:
        """Find the site of `item`."""
        self._depths[item.priority] += 1
        self._waiting.setdefault(domain, []).append(item)
        rank = _RANKS[Priority(item.priority)]
        if rank < self._ranks.get(domain, len(_RANKS)):
            self._ranks[domain] = rank
            self._lines[rank].append(domain)
            self._start()

    def take(self, condition: Callable[[Item], bool]) -> list[Item]:
        """Remove the mail that satisfies `condition`; its look-up goes on."""
        taken: list[Item] = []
        for items in self._waiting.values():
            taken += [item for item in items if condition(item)]
            items[:] = [item for item in items if not condition(item)]
        self._leave(taken)
        return taken

    def _leave(self, items: list[Item]) -> None:
        for item in items:
            self._depths[item.priority] -= 1

    def _start(self) -> None:
        while (domain := self._next()) is not None:
            self._under_way += 1
            self._ranks[domain] = _ASKED
            self._spawn(self._look_up(domain), f"look-up:{domain}")

    def _next(self) -> str | None:
        """The domain that is asked for next."""
        for rank, line in enumerate(self._lines):
            if self._under_way >= (MOST - KEPT if rank else MOST):
                return None
            while line:
                domain = line.popleft()
                if self._ranks.get(domain) == rank:  # else it was asked for since, by a class before this one
                    return domain
        return None

    async def _look_up(self, domain: str) -> None:
        try:
            found = await self._router().site(domain)
        except Exception:
            log.exception("look-up failed domain=%s", domain)
            found = BROKEN
        self._under_way -= 1
        items = self._waiting.pop(domain)
        del self._ranks[domain]
        self._leave(items)
        self._start()
        for item in items:
            self._found(item, found)
        self._ended()
