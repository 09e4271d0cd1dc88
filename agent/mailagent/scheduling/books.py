"""The books of the window: which recipients are in it, which queues are known in memory, when the disk is due next.

What always holds, between two turns of the loop:

- the places used are the recipients listed as inside, those of a queue together its count;
- a queue in memory has a place used, waits for its turn in a lane, or is being read;
- a queue on disk is in memory, due by its own time, or parked under the key of a lane that knows it.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from mailagent.config.structs import Priority
from mailagent.scheduling.lanes import Lanes, Place
from mailagent.scheduling.window import Hot, Window
from mailagent.spool.records import QueueName, Waiting

LOOK_AGAIN_MS = 60_000
"""The disk is looked at this often when nothing is known to be due; a safety net."""
SPARE_TIMES = 1000
"""Outdated entries that the heap of due times may hold, beside twice the queues in memory."""


class Disk(Protocol):
    """Where a queue stays that is not in memory: the spool."""

    def release(self, queues: Sequence[int]) -> None:
        """Due by their own time."""

    def park(self, queue: int, key: str) -> None:
        """Not due before `key` is unparked."""


class Books:
    """Keeps count. `wake` is called when something is due earlier than it was known to be."""

    def __init__(self, spool: Disk, window: Window, lanes: Lanes, wake: Callable[[], None]) -> None:
        self._spool = spool
        self._window = window
        self._lanes = lanes
        self._wake = wake
        self.hots: dict[int, Hot] = {}
        self.inside: set[int] = set()
        """Recipients in the window, and those on their way to disk that were promised a place."""
        self.disk_due: dict[str, int] = dict.fromkeys(Priority, 0)
        """When a queue that is not in memory is due next, by priority (0: look)."""
        self._left: set[int] | None = None  # recipients that left while rows are being read
        self._due: list[tuple[int, int]] = []  # heap of (next_due, queue)

    # -- recipients ----------------------------------------------------------------------------------------------

    def heat(self, queue: int, name: QueueName) -> Hot:
        """A queue becomes known in memory."""
        hot = self.hots[queue] = Hot(queue, name)
        return hot

    def take(self, hot: Hot, recipients: Sequence[int]) -> None:
        """They have places from now on."""
        self.inside.update(recipients)
        count = len(recipients)
        hot.count += count
        self._window.take(hot.priority, count)

    def give_back(self, hot: Hot, recipients: Collection[int]) -> None:
        """Their places are free."""
        self.inside.difference_update(recipients)
        if self._left is not None:
            self._left.update(recipients)
        count = len(recipients)
        hot.count -= count
        self._window.give_back(hot.priority, count)
        if not hot.count:
            self.cool(hot)

    def cool(self, hot: Hot) -> None:
        """Leave a queue to the disk when nothing of it is in the window, nor on its way there."""
        if hot.count or hot.loading or self.hots.get(hot.id) is not hot:
            return
        lane = hot.lane
        if lane is None:
            self._spool.release([hot.id])
        elif lane.place is Place.TURN:
            return
        else:
            lane.remove(hot)
            lane.on_disk = True
            self._spool.park(hot.id, lane.key)
        del self.hots[hot.id]
        if hot.next_due is not None:
            self.due_on_disk(hot.priority, hot.next_due)

    def claim(self, recipients: Iterable[int]) -> list[int]:
        """Keep those that are not in the window out of it: they are about to leave the disk."""
        claimed = [recipient for recipient in recipients if recipient not in self.inside]
        self.inside.update(claimed)
        return claimed

    def let_go(self, recipients: Collection[int]) -> None:
        """The end of a claim."""
        self.inside.difference_update(recipients)
        self.leave(recipients)

    # -- reading -------------------------------------------------------------------------------------------------

    def begin(self, hots: Iterable[Hot]) -> None:
        """Rows of these queues are being read: what leaves the window meanwhile may still be among them."""
        self._left = set()
        for hot in hots:
            hot.loading = True
            hot.behind = None

    def written(self, hot: Hot, due: int) -> None:
        """A row of the queue is on disk with that due time: a read that is under way may pass it by."""
        if hot.loading and (hot.behind is None or due < hot.behind):
            hot.behind = due

    def leave(self, recipients: Iterable[int]) -> None:
        """They are changed on disk: a read that is under way may have them as they were."""
        if self._left is not None:
            self._left.update(recipients)

    def end(self) -> Callable[[Waiting], bool]:
        """They are read: tells which rows are neither in the window nor just gone from it."""
        left, self._left = self._left or set(), None
        return lambda row: row.id not in self.inside and row.id not in left

    # -- due times -----------------------------------------------------------------------------------------------

    def note(self, hot: Hot) -> None:
        """Rows of a queue in memory are due on disk."""
        if hot.lane is None:
            lane = self._lanes.of(hot)
            lane.add(hot)
            if lane.place is Place.TURN:
                self._wake()
            else:
                self.cool(hot)

    def due_at(self, queue: int, priority: str, due: int) -> None:
        """A row of the queue is due on disk at `due`."""
        hot = self.hots.get(queue)
        if hot is None:
            self.due_on_disk(priority, due)
            return
        self.written(hot, due)
        if hot.next_due is None or due < hot.next_due:
            hot.next_due = due
            heapq.heappush(self._due, (due, queue))
            if len(self._due) > 2 * len(self.hots) + SPARE_TIMES:
                self._due = [(hot.next_due, hot.id) for hot in self.hots.values() if hot.next_due is not None]
                heapq.heapify(self._due)
            if self._due[0] == (due, queue):
                self._wake()

    def due_on_disk(self, priority: str, due: int) -> None:
        """A queue that is not in memory is due at `due`."""
        if due < self.disk_due[priority]:
            self.disk_due[priority] = due
            self._wake()

    def look_again(self) -> None:
        """What is due on disk is not known."""
        self.disk_due = dict.fromkeys(self.disk_due, 0)

    def turn_due(self, now: int) -> None:
        """Note the queues in memory whose later rows have become due."""
        while self._due and self._due[0][0] <= now:
            _, queue = heapq.heappop(self._due)
            hot = self.hots.get(queue)
            if hot is not None and hot.next_due is not None and hot.next_due <= now:
                hot.next_due = None
                self.note(hot)

    def next_time(self, now: int) -> int:
        """When there is something to do that was not due at `now`, at the latest LOOK_AGAIN_MS later."""
        times = [due for due in self.disk_due.values() if due > now]
        if self._due:
            times.append(self._due[0][0])
        return min([now + LOOK_AGAIN_MS, *times])
