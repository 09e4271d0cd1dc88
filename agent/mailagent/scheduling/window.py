"""The active window: how much of the queue is in memory, and which scheduled queues it comes from."""

from typing import TYPE_CHECKING

from mailagent.config.structs import Priority
from mailagent.spool.records import QueueName

if TYPE_CHECKING:
    from mailagent.scheduling.lanes import Lane

RESERVE = 0.1
"""Share of the window kept for each priority, so that bulk can never fill it."""
WORTHWHILE = 0.05
"""Share of the window that must be free before the disk is read for it."""


class Hot:
    """A scheduled queue that is known in memory: it has recipients in the window, or its turn to be read is coming.

    `lane` is set while rows of it are due on disk, `loading` while they are being read; `cursor` is the (due, id) of
    the last row read, `rewind` says that rows before it may be due again; `behind` is the least due time that a row got
    while others were read, which may have passed it by; `next_due` is the earliest later time that we know of
    (milliseconds); `held`: on disk the queue is marked as being in the window.
    """

    __slots__ = (
        "behind",
        "count",
        "cursor",
        "domain",
        "held",
        "id",
        "job",
        "lane",
        "loading",
        "next_due",
        "pool",
        "priority",
        "rewind",
        "site",
        "stream",
    )  # fmt: skip

    def __init__(self, queue: int, name: QueueName) -> None:
        self.id = queue
        self.pool = name.pool
        self.stream = name.stream
        self.priority = name.priority
        self.domain = name.domain
        self.job = name.job
        self.site = ""
        self.count = 0
        self.lane: Lane | None = None
        self.loading = False
        self.held = False
        self.cursor: tuple[int, int] | None = None
        self.rewind = False
        self.behind: int | None = None
        self.next_due: int | None = None

    def start(self) -> tuple[int, int] | None:
        """Where the next read begins: after the cursor, or at the front when rows before it may be due again."""
        if self.rewind:
            self.rewind = False
            self.cursor = None
        return self.cursor


class Window:
    """Places for recipients, shared by priority: each class keeps a tenth for itself that no other can take."""

    __slots__ = ("_kept", "_reserve", "_shared", "limit", "used_by")

    def __init__(self, limit: int) -> None:
        self.used_by: dict[str, int] = dict.fromkeys(Priority, 0)
        self.resize(limit)

    def resize(self, limit: int) -> None:
        """Have `limit` places from now on; what is in too many leaves in its time."""
        self.limit = limit
        self._reserve = int(limit * RESERVE)
        self._kept = {one: max(0, self._reserve - used) for one, used in self.used_by.items()}  # free ones of reserves
        self._shared = limit - self.used - sum(self._kept.values())  # free ones of all; below 0 after a resize

    @property
    def used(self) -> int:
        """Places taken."""
        return sum(self.used_by.values())

    def room(self, priority: str) -> int:
        """Places that `priority` may still take."""
        room = self._shared + self._kept[priority]
        return room if room > 0 else 0

    def is_worth_reading(self, priority: str) -> bool:
        """Whether there is room for more than a handful, so that the disk is not asked for each single place."""
        return self.room(priority) >= max(1, int(self.limit * WORTHWHILE))

    def take(self, priority: str, count: int) -> None:
        """Fill `count` places."""
        used = self.used_by[priority] = self.used_by[priority] + count
        kept = self._reserve - used if used < self._reserve else 0
        self._shared += self._kept[priority] - kept - count
        self._kept[priority] = kept

    def give_back(self, priority: str, count: int) -> None:
        """Free `count` places."""
        self.take(priority, -count)
