"""Limits as pure objects, the clock passed in. Each has exactly one owner.

Numbers and curve: see `connections_wanted`; even spacing: `RateLimit`; caps shared by several ready queues: `Gate`;
feedback of the peer: `Window`.
"""

import math
from typing import Protocol

from mailagent.config.structs import Rate

BURST_S = 0.1
"""How far a rate limit may run ahead of even spacing: a tenth of a second's worth, so that a rate of 1,000/s needs no
timer per message, while an hour's limit never bursts."""
DEPTH_FACTOR = 0.023
"""Steepness of the connection curve (handbook/engine section 1)."""
WINDOW_START = 2
"""Connections to a peer of which nothing is known yet (handbook/engine section 10)."""
UNLIMITED_CONNECTIONS = 100
"""What "no limit" means for one ready queue's connections."""


class Pumped(Protocol):
    """Somebody who waits for a place."""

    def pump(self) -> None:
        """A place may be free: look again."""

    def give_way(self) -> bool:
        """Close an idle connection, since another one waits for its place; False when none is idle."""


class RateLimit:
    """So many per period, evenly spaced (GCRA); messages, connections, or bytes."""

    __slots__ = ("_next", "interval_s", "key", "rate")

    def __init__(self, rate: Rate, key: str = "rate") -> None:
        self.rate = rate
        self.key = key
        self.interval_s = rate.interval_s
        self._next = -math.inf  # theoretical time of the next one

    def delay_s(self, now: float) -> float:
        """Seconds until one more may go; 0 when it may go now."""
        return max(0.0, self._next - now - (BURST_S if self.interval_s < BURST_S else 0.0))

    def room(self, now: float) -> int:
        """How many may go now."""
        ahead_s = BURST_S if self.interval_s < BURST_S else 0.0
        return max(0, math.floor((now + ahead_s - max(self._next, now)) / self.interval_s + 1))

    def take(self, now: float, count: int = 1) -> None:
        """Count those that go now."""
        self._next = max(self._next, now) + self.interval_s * count

    def give_back(self, count: int) -> None:
        """They did not go."""
        self._next -= self.interval_s * count

    def change(self, rate: Rate, now: float) -> None:
        """Go on at another rate without forgetting what went: what was sent ahead is paid back at the new rate."""
        if rate == self.rate:
            return
        interval_s = rate.interval_s
        if self._next > now:
            self._next = now + (self._next - now) * interval_s / self.interval_s
        self.rate = rate
        self.interval_s = interval_s


class Window:
    """How many connections the peer has earned: starts at 2, one more for each full round of answered messages, one
    less for each that failed (the window feedback of Postfix, handbook/engine section 8.3).
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = float(WINDOW_START)

    def grow(self) -> None:
        """A message was answered."""
        self.size += 1 / self.size

    def shrink(self) -> None:
        """A connection failed."""
        self.size = max(1.0, self.size - 1)


class Gate:
    """A number of connections shared by several ready queues: those of one provider, or of the whole host.

    Whoever finds it full stands in line, and is called back in turn when a place comes free. Idle connections give
    way to those in line: a place is for mail, and reuse a mere convenience.
    """

    __slots__ = ("_idle", "_line", "is_wanted", "key", "limit", "origin", "used")

    def __init__(self, key: str, limit: int | None, origin: str) -> None:
        self.key = key
        self.limit = limit
        self.origin = origin
        self.used = 0
        self.is_wanted = False
        """Somebody stands in line."""
        self._line: dict[Pumped, None] = {}
        self._idle: dict[Pumped, None] = {}  # those that have idle connections

    @property
    def is_open(self) -> bool:
        """Whether one more connection may be opened."""
        return self.limit is None or self.used < self.limit

    @property
    def is_over(self) -> bool:
        """Whether too many are inside, since the limit was lowered."""
        return self.limit is not None and self.used > self.limit

    def enter(self) -> None:
        """Take a place."""
        self.used += 1

    def leave(self) -> None:
        """Give a place back, and call the first in line."""
        self.used -= 1
        self.call()

    def wait(self, queue: Pumped) -> None:
        """Stand in line, once; somebody's idle connection makes room."""
        if queue in self._line:
            return
        self._line[queue] = None
        self.is_wanted = True
        for holder in list(self._idle):
            if holder.give_way():
                return
            del self._idle[holder]

    def idles(self, queue: Pumped) -> None:
        """`queue` has an idle connection."""
        self._idle.setdefault(queue)

    def works(self, queue: Pumped) -> None:
        """`queue` has none any more."""
        self._idle.pop(queue, None)

    def call(self) -> None:
        """Call those in line while there are places."""
        for _ in range(len(self._line)):
            if not self.is_open:
                return
            first = next(iter(self._line))
            del self._line[first]
            self.is_wanted = bool(self._line)
            first.pump()


def connections_wanted(depth: int, limit: int | None) -> int:
    """Connections that `depth` waiting messages deserve under `limit`: grows with the backlog, not at once.

    limit x (1 - e^(-0.023 x depth)), rounded up, never above depth. With limit 32: depth 1 -> 1, 10 -> 7, 32 -> 17.
    """
    if limit is None:
        limit = UNLIMITED_CONNECTIONS
    return min(depth, math.ceil(limit * (1 - math.exp(-DEPTH_FACTOR * depth))))
