"""The active window: how much of the queue is in memory, and which scheduled queues it comes from."""

from mailagent.config.structs import Priority

RESERVE = 0.1
"""Share of the window kept for each priority, so that bulk can never fill it."""


class Hot:
    """A scheduled queue with recipients in the window.

    `cursor` is the (due, id) of the last row read from disk, `backlog` says that more of its rows are due on disk,
    `next_due` is the earliest later one that we know of (milliseconds), `park` the key under which it is parked when
    its last row has left the window (None: nothing holds it), `rewind` that rows before the cursor may be due again.
    `arrived` is the (due, id) of the first row that reached the disk since the last read began.
    """

    __slots__ = (
        "arrived",
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
        self.arrived: tuple[int, int] | None = None

    def start(self) -> tuple[int, int] | None:
        """Begin a read: after the cursor, or at the front when rows before it may be due.

        What is noted from now on may be missing from what is read, and stands until the next read.
        """
        if self.rewind or (self.arrived is not None and self.cursor is not None and self.arrived <= self.cursor):
            self.cursor = None
        self.rewind = False
        self.arrived = self.next_due = None
        return self.cursor

    def note_arrival(self, row: tuple[int, int]) -> None:
        """A row with this (due, id) is on disk now."""
        if self.arrived is None or row < self.arrived:
            self.arrived = row

    @property
    def has_news(self) -> bool:
        """Whether something on disk changed since the last read began."""
        return self.rewind or self.arrived is not None

    def has_due(self, now: int) -> bool:
        """Whether rows on disk are due."""
        return self.backlog or self.has_news or (self.next_due is not None and self.next_due <= now)


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
