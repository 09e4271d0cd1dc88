"""Mail that an order takes: out of the window where it only stands in line, left alone where it is on its way."""

from collections.abc import Callable, Iterable, Sequence

from mailagent.scheduling.books import Books
from mailagent.scheduling.item import Item
from mailagent.scheduling.jobs import JobGates
from mailagent.scheduling.lookups import Lookups
from mailagent.scheduling.placing import Placing
from mailagent.scheduling.ready import ReadyQueue
from mailagent.spool.records import QueueName, Waiting


class Withdrawal:
    """What orders on mail ask of the scheduler. Each call is one turn of the loop."""

    def __init__(
        self,
        books: Books,
        placing: Placing,
        jobs: JobGates,
        lookups: Lookups,
        *,
        release: Callable[[Item], None],
        has_room: Callable[[ReadyQueue], None],
    ) -> None:
        self._books = books
        self._placing = placing
        self._jobs = jobs
        self._lookups = lookups
        self._release = release
        self._has_room = has_room

    def take(self, recipients: Sequence[int]) -> set[int]:
        """Those that are on their way. The others are not in the window, nor will they be by a read that is under way:
        the caller changes them on disk in this very turn of the loop.
        """
        inside = self._books.inside.intersection(recipients)
        if inside:

            def is_wanted(item: Item) -> bool:
                return any(row.id in inside for row in item.recipients)

            for item in self._lookups.take(is_wanted):
                self._leave(item, inside)
            for queue in self._placing.ready.values():
                items = queue.items.take(is_wanted)
                for item in items:
                    self._leave(item, inside)
                if items:
                    self._has_room(queue)
            inside &= self._books.inside
        self._books.leave(recipient for recipient in recipients if recipient not in inside)
        return inside

    def _leave(self, item: Item, taken: set[int]) -> None:
        item.unplace()
        hot = self._books.hots[item.queue]
        if hot.job:
            self._jobs.give_back(hot.job, len(item.recipients))
        if any(row.id not in taken for row in item.recipients):  # the rest is read again
            hot.rewind = True
            self._books.note(hot)
        self._release(item)

    def claim(self, recipients: Iterable[int]) -> list[int]:
        """Those that are only on disk; they are kept out of the window until `let_go`."""
        return self._books.claim(recipients)

    def let_go(self, recipients: Sequence[int]) -> None:
        """They have left the disk, or are for the scheduler again (which has to look for them)."""
        self._books.let_go(recipients)

    def standing(self, is_wanted: Callable[[Item], bool], most: int) -> list[int]:
        """About `most` recipients of messages that stand in ready queues, with all that are in line with them."""
        found: list[int] = []
        for queue in self._placing.ready.values():
            for item in queue.items:
                if len(found) >= most:
                    return found
                if is_wanted(item):
                    found += [row.id for row in item.recipients]
        return found

    def carry(self, row: Waiting, name: QueueName) -> Item | None:
        """Take a recipient that is only on disk into the window, past its line; None when it is there already."""
        if row.id in self._books.inside:
            return None
        hot = self._books.hots.get(row.queue) or self._books.heat(row.queue, name)
        self._books.leave([row.id])
        self._books.take(hot, [row.id])
        if hot.job:
            self._jobs.take(hot.job, 1)
        return Item([row], name.priority)

    def on_the_way(self) -> list[int]:
        """Recipients on connections now."""
        return [
            row.id for queue in self._placing.ready.values() for item in queue.busy.values() for row in item.recipients
        ]

    def on_disk_only(self, queues: Iterable[int]) -> list[int]:
        """Those of some scheduled queues that are not known in memory."""
        return [queue for queue in queues if queue not in self._books.hots]
