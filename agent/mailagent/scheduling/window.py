"""The active window: how much of the queue is in memory, and which scheduled queues it comes from."""

from mailagent.config.structs import Priority

RESERVE = 0.1
"""Share of the window kept for each priority, so that bulk can never fill it."""


class Hot:
    """A scheduled queue with recipients in the window.

    `cursor` is the (due, id) of the last row read from disk, `backlog` says that more of its rows are due on disk,
    `next_due` is the earliest later one that we know of (milliseconds), `park` the key under which it is parked when
    its last row has left the window (None: nothing holds it), `rewind` that rows before the cursor may be due again.
    """

    __slots__ = (
        "backlog",
        "count",
        "cursor",
        "domain",
        "id",
        "next_due",
        "park",
        "pool",
        "priority",
        "rewind",
        "site",
        "stream",
    )

    def __init__(self, queue: int, *, pool: str, stream: str, priority: str, domain: str) -> None:
        self.id = queue
        self.pool = pool
        self.stream = stream
        self.priority = priority
        self.domain = domain
        self.site = ""
        self.count = 0
        self.cursor: tuple[int, int] | None = None
        self.backlog = False
        self.next_due: int | None = None
        self.park: str | None = None
        self.rewind = False

    def start(self) -> tuple[int, int] | None:
        """Where the next read begins: after the cursor, or at the front when rows before it may be due again."""
        if self.rewind:
            self.rewind = False
            self.cursor = None
        return self.cursor

    def has_due(self, now: int) -> bool:
        """Whether rows on disk are due."""
        return self.backlog or (self.next_due is not None and self.next_due <= now)


class Window:
    """Places for recipients, shared by priority: each class keeps a tenth for itself that no other can take."""

    __slots__ = ("_reserve", "limit", "used", "used_by")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.used_by: dict[str, int] = dict.fromkeys(Priority, 0)
        self._reserve = int(limit * RESERVE)

    def room(self, priority: str) -> int:
        """Places that `priority` may still take."""
        kept = sum(max(0, self._reserve - used) for other, used in self.used_by.items() if other != priority)
        return max(0, self.limit - self.used - kept)

    def take(self, priority: str, count: int) -> None:
        """Fill `count` places."""
        self.used += count
        self.used_by[priority] += count

    def give_back(self, priority: str, count: int) -> None:
        """Free `count` places."""
        self.used -= count
        self.used_by[priority] -= count
