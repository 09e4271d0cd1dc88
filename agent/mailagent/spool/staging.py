"""Changes in memory, on their way to the database: in order, added up, and without what came to nothing.

Rows (accepts, settlements) and queue states (hold, park, placed, release) are staged apart. Rows go out before states;
that is the order in which they were asked for, as long as no row change follows a state change of the same queue.
When one does, a new stage begins. Counts and next due times of queues are added up, and written once per stage.

A message that leaves while it is in the last stage is forgotten: its rows never come to be. Nothing here reads or
writes a file.
"""

from collections.abc import Iterable, Sequence

from mailagent.spool.ids import MAX_RECIPIENTS, RECIPIENT_BITS, queue_id
from mailagent.spool.jobs import JobChange
from mailagent.spool.journal import Entry
from mailagent.spool.records import WINDOW, InDoubtMark, NewMessage, NewRecipient, QueueName, Settlement

RELEASED = ""
"""Parking key of a queue without rows in the window: it is not parked."""


class Stage:
    """What can be written kind by kind."""

    def __init__(self) -> None:
        self.messages: dict[int, NewMessage] = {}
        self.gone: dict[int, dict[int, Settlement]] = {}  # of these messages, by recipient: what has left
        self.doubts: list[InDoubtMark] = []
        self.deferred: dict[int, tuple[Settlement, int]] = {}
        self.removed: list[tuple[int, str]] = []  # recipient, resolution
        self.removed_at = 0
        self.names: dict[int, QueueName] = {}
        self.waiting: dict[int, int] = {}
        self.next_due: dict[int, int] = {}
        self.placed: dict[int, tuple[str, str]] = {}
        self.parked: dict[int, str] = {}  # queue -> key, or RELEASED
        self.released: set[int] = set()  # before all rows that are staged
        self.rows: dict[int, int] = {}  # by queue: changes of rows, but for those that came to nothing
        self.jobs: dict[str, JobChange] = {}
        self.left_jobs: dict[int, Settlement] = {}

    def count(self, queue: int, waiting: int, due: int | None) -> None:
        """Add to what waits in a queue."""
        self.waiting[queue] = self.waiting.get(queue, 0) + waiting
        if due is not None:
            self.next_due[queue] = min(due, self.next_due.get(queue, due))

    def job(self, name: str, at: int) -> JobChange:
        """What changes in a job, `at` in milliseconds since 1970."""
        change = self.jobs.get(name)
        if change is None:
            change = self.jobs[name] = JobChange()
        change.at = at
        return change

    def has_forgotten(self, removal: Settlement, at: int, doubtful: set[int]) -> bool:
        """Forget the message of a recipient that leaves, when it is staged and nobody else waits for it."""
        message = self.messages.get(removal.recipient >> RECIPIENT_BITS)
        if message is None:
            return False
        gone = self.gone.setdefault(message.id, {})
        gone.setdefault(removal.recipient, removal)
        if len(gone) < len(message.recipients) or not doubtful.isdisjoint(gone):
            return False
        del self.messages[message.id], self.gone[message.id]
        for recipient in message.recipients:
            self.count(recipient.queue, -1, None)
        for left in gone.values():
            self.rows[left.queue] -= 2 if self.deferred.pop(left.recipient, None) is None else 3
            self.left_jobs.pop(left.recipient, None)
            if left.job:
                self.job(left.job, at).leave(left.resolution)
        return True


class Staging:
    """All that is staged. Used by one thread at a time."""

    def __init__(self, queue_key: bytes, doubtful: set[int]) -> None:
        """`doubtful` has all recipients with an open entry on the in-doubt list, and may have more."""
        self._queue_key = queue_key
        self._doubtful = doubtful
        self.lines: list[bytes] = []  # accounting of what was staged, not yet written
        self.entries: list[Entry] = []  # what was staged and is neither in the journal nor in the database
        self._stage = Stage()
        self._earlier: list[Stage] = []

    @property
    def stages(self) -> int:
        """How many there are; each takes some statements of its own."""
        return len(self._earlier) + 1

    def take(self) -> list[Stage]:
        """All stages in order; nothing is staged any more."""
        stages = [*self._earlier, self._stage]
        self._earlier.clear()
        self._stage = Stage()
        return stages

    def _begin_stage(self) -> None:
        self._earlier.append(self._stage)
        self._stage = Stage()

    def queue_id(self, name: QueueName) -> int:
        """The id of a scheduled queue on this spool."""
        return queue_id(name, self._queue_key)

    # --- rows -----------------------------------------------------------------------------------------------------

    def accept(self, message: NewMessage) -> None:
        """Stage a new message.

        Raises:
            ValueError: it has no recipient, or more than a message can have; or it is here already.
        """
        if message.id in self._stage.messages:
            raise ValueError(f"message id {message.id} is taken")
        if not 0 < len(message.recipients) <= MAX_RECIPIENTS:
            raise ValueError(f"{len(message.recipients)} recipients; a message has 1 to {MAX_RECIPIENTS}")
        self.entries.append(("accept", (message,)))
        self._accept(message)

    def _accept(self, message: NewMessage) -> None:
        self._before_rows(message.recipients)
        stage = self._stage
        stage.messages[message.id] = message
        if message.lines:
            self.lines += message.lines
        if len(message.queues) == 1:
            stage.names[message.recipients[0].queue] = message.queues[0]
        else:
            for name in message.queues:
                stage.names[queue_id(name, self._queue_key)] = name
        for recipient in message.recipients:
            stage.count(recipient.queue, 1, None if recipient.admitted else message.received_at)
            stage.rows[recipient.queue] = stage.rows.get(recipient.queue, 0) + 1
        if job := message.queues[0].job:
            stage.job(job, message.received_at).accepted += len(message.recipients)

    def settle(self, settlements: Sequence[Settlement], at: int, doubts: Sequence[InDoubtMark]) -> None:
        """Stage outcomes handed in at `at`; `doubts` are the marks that become in-doubt entries."""
        self.entries.append(("settle", (settlements, at, doubts)))
        self._before_rows(settlements)
        if doubts:
            self._stage.doubts += doubts
            self._doubtful.update(mark.recipient for mark in doubts)
        for settlement in settlements:
            if settlement.line:
                self.lines.append(settlement.line)
            if settlement.due is None:
                self._remove(settlement, at)
            else:
                self._defer(settlement, settlement.due, at)
            if settlement.dsn is not None:
                self._accept(settlement.dsn)

    def _remove(self, settlement: Settlement, at: int) -> None:
        stage = self._stage
        stage.rows[settlement.queue] = stage.rows.get(settlement.queue, 0) + 1
        if not stage.has_forgotten(settlement, at, self._doubtful):
            stage.removed.append((settlement.recipient, settlement.resolution))
            stage.removed_at = at
            if settlement.job:
                stage.left_jobs.setdefault(settlement.recipient, settlement)

    def _defer(self, settlement: Settlement, due: int, at: int) -> None:
        if settlement.recipient in self._stage.deferred:
            self._begin_stage()
        stage = self._stage
        stage.rows[settlement.queue] = stage.rows.get(settlement.queue, 0) + 1
        stage.deferred[settlement.recipient] = (settlement, at)
        stage.count(settlement.queue, 0, due)
        if settlement.job and settlement.attempt is not None:
            stage.job(settlement.job, at).deferred += 1

    def _before_rows(self, rows: Sequence[NewRecipient | Settlement]) -> None:
        """A state of one of their queues was asked for earlier: it goes out first."""
        for row in rows if self._stage.parked else ():
            stage = self._stage
            state = stage.parked.get(row.queue)
            if state == RELEASED and not stage.rows.get(row.queue):  # all its mail came and went
                del stage.parked[row.queue]
                stage.released.add(row.queue)
            elif state is not None:
                self._begin_stage()

    # --- states of queues -----------------------------------------------------------------------------------------

    def hold(self, queue: int) -> None:
        """Stage: rows of the queue are in the active window."""
        self.park(queue, WINDOW)

    def park(self, queue: int, key: str) -> None:
        """Stage: the queue is not due before `key` is unparked; an empty one goes."""
        self.entries.append(("park", (queue, key)))
        if self._stage.parked.get(queue) == RELEASED:
            self._begin_stage()
        self._stage.parked[queue] = key

    def release(self, queues: Iterable[int]) -> None:
        """Stage: no row of the queues is in the active window any more."""
        released = list(queues)
        self.entries.append(("release", (released,)))
        for queue in released:
            self._stage.parked[queue] = RELEASED

    def placed(self, queue: int, site: str, provider: str) -> None:
        """Stage: the last known site of the queue."""
        self.entries.append(("placed", (queue, site, provider)))
        self._stage.placed[queue] = (site, provider)

    def again(self, entries: Iterable[Entry]) -> None:
        """Stage what the journal has. Its accounting lines are written already."""
        for name, arguments in entries:
            getattr(self, name)(*arguments)
        self.entries.clear()
        self.lines.clear()
