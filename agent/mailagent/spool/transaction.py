"""What one group commit writes: changes are staged in order and reach the database in few large statements.

Rows (accepts, settlements) and queue states (hold, park, placed, release) are staged apart. Rows go out before states;
that is the order in which they were asked for, as long as no row change follows a state change of the same queue.
When one does, what is staged goes out first. Counts and next due times of queues are added up and written once per
flush and queue.

What is staged may stay here for many groups, with its entries in the journal, until the database gets it. A message
that leaves meanwhile is forgotten: its rows never come to be.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from mailagent.api.outcome import Attempt
from mailagent.spool import bodies
from mailagent.spool.bulk import execute_rows, fetch, json_text
from mailagent.spool.ids import MAX_RECIPIENTS, RECIPIENT_BITS, queue_id, recipient_id, reply_group
from mailagent.spool.jobs import JobChange, write_jobs
from mailagent.spool.journal import Entry
from mailagent.spool.records import WINDOW, InDoubtMark, NewMessage, NewRecipient, QueueName, Settlement

KEPT_ATTEMPTS = 20
"""Attempts kept per recipient, the last ones."""

_RELEASED = ""

_LOWER_NEXT_DUE = (
    "next_due = CASE WHEN {new} IS NULL THEN next_due WHEN next_due IS NULL THEN {new} ELSE min(next_due, {new}) END"
)
NEW_QUEUES = (
    "INSERT INTO queue (id, pool, stream, priority, domain, waiting, next_due) {values}"
    " ON CONFLICT (id) DO UPDATE SET waiting = waiting + excluded.waiting, "
    + _LOWER_NEXT_DUE.replace("{new}", "excluded.next_due")
)
NEW_QUEUES_OF_JOBS = NEW_QUEUES.replace("next_due)", "next_due, job)", 1)
_KNOWN_QUEUES = (
    "UPDATE queue SET waiting = waiting + v.column2, "
    + _LOWER_NEXT_DUE.replace("{new}", "v.column3")
    + " FROM ({values}) AS v WHERE queue.id = v.column1"
)
_LISTED = "(SELECT value FROM json_each(?1))"
_TRUE_NEXT_DUE = "next_due = (SELECT min(due) FROM recipient WHERE recipient.queue = queue.id)"


class Transaction:
    """Changes staged for one transaction of one connection. Used by the writer's thread only."""

    def __init__(self, db: apsw.Connection, queue_key: bytes, doubtful: set[int]) -> None:
        """`doubtful` has all recipients with an open entry on the in-doubt list, and may have more."""
        self.db = db
        self._queue_key = queue_key
        self._doubtful = doubtful
        self.lines: list[bytes] = []  # accounting of what was staged, not yet written
        self.entries: list[Entry] = []  # what was staged and is neither in the journal nor in the database
        self._clear()

    def _clear(self) -> None:
        self._messages: dict[int, NewMessage] = {}
        self._gone: dict[int, dict[int, Settlement]] = {}  # of these messages, by recipient: what has left
        self._doubts: list[InDoubtMark] = []
        self._deferred: dict[int, tuple[Settlement, int]] = {}
        self._removed: list[tuple[int, str]] = []  # recipient, resolution
        self._removed_at = 0
        self._names: dict[int, QueueName] = {}
        self._waiting: dict[int, int] = {}
        self._next_due: dict[int, int] = {}
        self._placed: dict[int, tuple[str, str]] = {}
        self._parked: dict[int, str] = {}  # queue -> key, or _RELEASED
        self._released: set[int] = set()  # before all rows that are staged
        self._rows: dict[int, int] = {}  # by queue: changes of rows, but for those that came to nothing
        self._jobs: dict[str, JobChange] = {}
        self._left_jobs: dict[int, Settlement] = {}

    def queue_id(self, name: QueueName) -> int:
        """The id of a scheduled queue on this spool."""
        return queue_id(name, self._queue_key)

    # --- rows -----------------------------------------------------------------------------------------------------

    def accept(self, message: NewMessage) -> None:
        """Stage a new message.

        Raises:
            ValueError: it has no recipient, or more than a message can have; or it is here already.
        """
        if message.id in self._messages:
            raise ValueError(f"message id {message.id} is taken")
        if not 0 < len(message.recipients) <= MAX_RECIPIENTS:
            raise ValueError(f"{len(message.recipients)} recipients; a message has 1 to {MAX_RECIPIENTS}")
        self.entries.append(("accept", (message,)))
        self._accept(message)

    def _accept(self, message: NewMessage) -> None:
        self._before_rows(message.recipients)
        self._messages[message.id] = message
        if message.lines:
            self.lines += message.lines
        if len(message.queues) == 1:
            self._names[message.recipients[0].queue] = message.queues[0]
        else:
            for name in message.queues:
                self._names[queue_id(name, self._queue_key)] = name
        for recipient in message.recipients:
            self._count(recipient.queue, 1, None if recipient.admitted else message.received_at)
            self._rows[recipient.queue] = self._rows.get(recipient.queue, 0) + 1
        if job := message.queues[0].job:
            self._job(job, message.received_at).accepted += len(message.recipients)

    def settle(self, settlements: Sequence[Settlement], at: int, doubts: Sequence[InDoubtMark]) -> None:
        """Stage outcomes handed in at `at`; `doubts` are the marks that become in-doubt entries."""
        self.entries.append(("settle", (settlements, at, doubts)))
        self._before_rows(settlements)
        if doubts:
            self._doubts += doubts
            self._doubtful.update(mark.recipient for mark in doubts)
        for settlement in settlements:
            if settlement.line:
                self.lines.append(settlement.line)
            if settlement.due is not None and settlement.recipient in self._deferred:
                self.flush()
            self._rows[settlement.queue] = self._rows.get(settlement.queue, 0) + 1
            if settlement.due is None:
                if not self._has_forgotten(settlement, at):
                    self._removed.append((settlement.recipient, settlement.resolution))
                    self._removed_at = at
                    if settlement.job:
                        self._left_jobs.setdefault(settlement.recipient, settlement)
            else:
                self._deferred[settlement.recipient] = (settlement, at)
                self._count(settlement.queue, 0, settlement.due)
                if settlement.job and settlement.attempt is not None:
                    self._job(settlement.job, at).deferred += 1
            if settlement.dsn is not None:
                self._accept(settlement.dsn)

    def _has_forgotten(self, removal: Settlement, at: int) -> bool:
        """Forget the message of a recipient that leaves, when it is staged and nobody else waits for it."""
        message = self._messages.get(removal.recipient >> RECIPIENT_BITS)
        if message is None:
            return False
        gone = self._gone.setdefault(message.id, {})
        gone.setdefault(removal.recipient, removal)
        if len(gone) < len(message.recipients) or not self._doubtful.isdisjoint(gone):
            return False
        del self._messages[message.id], self._gone[message.id]
        for recipient in message.recipients:
            self._count(recipient.queue, -1, None)
        for left in gone.values():
            self._rows[left.queue] -= 2 if self._deferred.pop(left.recipient, None) is None else 3
            self._left_jobs.pop(left.recipient, None)
            if left.job:
                self._job(left.job, at).leave(left.resolution)
        return True

    def _job(self, name: str, at: int) -> JobChange:
        change = self._jobs.get(name)
        if change is None:
            change = self._jobs[name] = JobChange()
        change.at = at
        return change

    def _before_rows(self, rows: Sequence[NewRecipient | Settlement]) -> None:
        """A state of one of their queues was asked for earlier: it goes out first."""
        for row in rows if self._parked else ():
            state = self._parked.get(row.queue)
            if state == _RELEASED and not self._rows.get(row.queue):  # all its mail came and went
                del self._parked[row.queue]
                self._released.add(row.queue)
            elif state is not None:
                self.flush()

    def _count(self, queue: int, waiting: int, due: int | None) -> None:
        self._waiting[queue] = self._waiting.get(queue, 0) + waiting
        if due is not None:
            self._next_due[queue] = min(due, self._next_due.get(queue, due))

    # --- states of queues -----------------------------------------------------------------------------------------

    def hold(self, queue: int) -> None:
        """Stage: rows of the queue are in the active window."""
        self.park(queue, WINDOW)

    def park(self, queue: int, key: str) -> None:
        """Stage: the queue is not due before `key` is unparked; an empty one goes."""
        self.entries.append(("park", (queue, key)))
        if self._parked.get(queue) == _RELEASED:
            self.flush()
        self._parked[queue] = key

    def release(self, queues: Iterable[int]) -> None:
        """Stage: no row of the queues is in the active window any more."""
        released = list(queues)
        self.entries.append(("release", (released,)))
        for queue in released:
            self._parked[queue] = _RELEASED

    def placed(self, queue: int, site: str, provider: str) -> None:
        """Stage: the last known site of the queue."""
        self.entries.append(("placed", (queue, site, provider)))
        self._placed[queue] = (site, provider)

    def again(self, entries: Iterable[Entry]) -> None:
        """Stage what the journal has. Its accounting lines are written already."""
        for name, arguments in entries:
            getattr(self, name)(*arguments)
        self.entries.clear()
        self.lines.clear()

    # --- to the database ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write everything staged, in the transaction that is open or in a new one.

        Raises:
            apsw.Error: a statement failed; the caller rolls back.
        """
        if not self.db.in_transaction:
            self.db.execute("BEGIN IMMEDIATE")
        if self._released:
            self._write_state(_RELEASED, json_text(list(self._released)))
        if self._messages:
            self._write_messages()
        if self._doubts:
            list_in_doubt(self.db, self._doubts)
        if self._deferred:
            self._write_deferrals()
        self._write_queues()
        if self._removed:  # counts itself off queues that are there by now
            self._write_removals()
        self._write_states()
        if self._jobs:
            write_jobs(self.db, self._jobs)
        self._clear()

    def _write_messages(self) -> None:
        execute_rows(
            self.db,
            "INSERT INTO message (id, received_at, expires_at, sender, stream, pool, job, client, size, eightbit,"
            " added) {values}",
            [
                (m.id, m.received_at, m.expires_at, m.sender, m.stream, m.pool, m.job, m.client, m.size, m.eightbit,
                 m.added)
                for m in self._messages.values()
            ],
        )  # fmt: skip
        bodies.write(self.db, self._messages.values())
        recipients: list[Sequence[Any]] = []
        special: list[NewMessage] = []
        with_options: list[Sequence[Any]] = []
        for message in self._messages.values():
            first, due = recipient_id(message.id, 0), message.received_at
            for n, recipient in enumerate(message.recipients, first):
                recipients.append((n, recipient.queue, due, recipient.address))
                if recipient.notify or recipient.orcpt:
                    with_options.append((n, recipient.notify, recipient.orcpt))
            if message.utf8 or message.user or message.ret or message.envid:
                special.append(message)
        execute_rows(self.db, "INSERT INTO recipient (id, queue, due, address) {values}", recipients)
        if special or with_options:
            self._write_envelopes(special, with_options)

    def _write_envelopes(self, messages: Sequence[NewMessage], recipients: Sequence[Sequence[Any]]) -> None:
        """What few messages have, so that the others are stored in shorter statements."""
        execute_rows(
            self.db,
            "UPDATE message SET utf8 = v.column2, user = v.column3, ret = v.column4, envid = v.column5"
            " FROM ({values}) AS v WHERE message.id = v.column1",
            [(m.id, m.utf8, m.user, m.ret, m.envid) for m in messages],
        )
        execute_rows(
            self.db,
            "UPDATE recipient SET notify = v.column2, orcpt = v.column3 FROM ({values}) AS v"
            " WHERE recipient.id = v.column1",
            recipients,
        )

    def _write_deferrals(self) -> None:
        moved: list[Sequence[Any]] = []
        tried: list[Sequence[Any]] = []
        attempts: list[Sequence[Any]] = []
        replies: dict[int, Sequence[Any]] = {}
        told: list[Sequence[Any]] = []
        for settlement, at in self._deferred.values():
            if settlement.notify:
                told.append((settlement.recipient, settlement.notify))
            attempt = settlement.attempt
            if attempt is None:
                moved.append((settlement.recipient, settlement.due, at))
                continue
            reply = attempt.reply
            key, text = reply_group(settlement.provider, reply.code, reply.enhanced, reply.text)
            verdict = attempt.verdict
            meaning = (verdict.category, verdict.rule) if verdict is not None else ("", "")
            replies[key] = (key, settlement.provider, reply.code, reply.enhanced, text, reply.text, *meaning)
            tried.append(
                (settlement.recipient, settlement.due, at, attempt.number, attempt.vmta, attempt.site,
                 settlement.provider, key)
            )  # fmt: skip
            attempts.append(_attempt_row(settlement.recipient, attempt))
        execute_rows(
            self.db,
            "UPDATE recipient SET due = v.column2, tried = v.column3 FROM ({values}) AS v"
            " WHERE recipient.id = v.column1",
            moved,
        )
        execute_rows(
            self.db,
            "UPDATE recipient SET due = v.column2, tried = v.column3, attempts = v.column4, vmta = v.column5,"
            " site = v.column6, provider = v.column7, reply = v.column8 FROM ({values}) AS v"
            " WHERE recipient.id = v.column1",
            tried,
        )
        if told:
            execute_rows(
                self.db,
                "UPDATE recipient SET notify = v.column2 FROM ({values}) AS v WHERE recipient.id = v.column1",
                told,
            )
        execute_rows(
            self.db,
            "INSERT INTO reply {values} ON CONFLICT (id) DO UPDATE SET category = excluded.category,"
            " rule = excluded.rule WHERE rule <> excluded.rule",
            list(replies.values()),
        )
        execute_rows(
            self.db,
            "INSERT OR REPLACE INTO attempt SELECT v.* FROM ({values}) AS v"
            " WHERE EXISTS (SELECT 1 FROM recipient WHERE recipient.id = v.column1)",
            attempts,
        )
        execute_rows(
            self.db,
            "DELETE FROM attempt WHERE (recipient, n) IN ({values})",
            [(row[0], row[1] - KEPT_ATTEMPTS) for row in attempts if row[1] > KEPT_ATTEMPTS],
        )

    def _write_removals(self) -> None:
        if self._left_jobs:
            self._count_left()
        listed = json_text([recipient for recipient, _ in self._removed])
        self.db.execute(f"DELETE FROM recipient WHERE id IN {_LISTED}", (listed,))
        if self._doubtful:
            self._resolve_doubts()

    def _count_left(self) -> None:
        """Count what leaves jobs, as far as it is there: who is removed twice leaves once."""
        listed = json_text(list(self._left_jobs))
        for (recipient,) in fetch(self.db, f"SELECT id FROM recipient WHERE id IN {_LISTED}", (listed,)):
            settlement = self._left_jobs[recipient]
            self._job(settlement.job, self._removed_at).leave(settlement.resolution)

    def _resolve_doubts(self) -> None:
        resolved: dict[str, list[int]] = {}
        for recipient, resolution in self._removed:
            if resolution and recipient in self._doubtful:
                resolved.setdefault(resolution, []).append(recipient)
        for resolution, recipients in resolved.items():
            self.db.execute(
                "UPDATE in_doubt SET resolution = ?2, resolved_at = ?3"
                f" WHERE recipient IN {_LISTED} AND resolution = 'open'",
                (json_text(recipients), resolution, self._removed_at),
            )

    def _write_queues(self) -> None:
        new: list[Sequence[Any]] = []
        of_jobs: list[Sequence[Any]] = []
        known: list[Sequence[Any]] = []
        for queue, waiting in self._waiting.items():
            due = self._next_due.get(queue)
            if not waiting and due is None and (queue not in self._placed or self._parked.get(queue) == _RELEASED):
                continue  # who is placed has mail coming, and is told its site once
            name = self._names.get(queue)
            if name is not None:
                row = (queue, name.pool, name.stream, name.priority, name.domain, waiting, due)
                if name.job:
                    of_jobs.append((*row, name.job))
                else:
                    new.append(row)
            else:
                known.append((queue, waiting, due))
        execute_rows(self.db, NEW_QUEUES, new)
        execute_rows(self.db, NEW_QUEUES_OF_JOBS, of_jobs)
        execute_rows(self.db, _KNOWN_QUEUES, known)
        execute_rows(
            self.db,
            "UPDATE queue SET site = v.column2, provider = v.column3 FROM ({values}) AS v"
            " WHERE queue.id = v.column1 AND (site <> v.column2 OR provider <> v.column3)",
            [(queue, site, provider) for queue, (site, provider) in self._placed.items()],
        )

    def _write_states(self) -> None:
        states: dict[str, list[int]] = {}
        for queue, key in self._parked.items():
            states.setdefault(key, []).append(queue)
        for key, queues in states.items():
            self._write_state(key, json_text(queues))

    def _write_state(self, key: str, queues: str) -> None:
        if key == WINDOW:
            self.db.execute(f"UPDATE queue SET parked = '{WINDOW}' WHERE id IN {_LISTED}", (queues,))
            return
        self.db.execute(
            f"DELETE FROM queue WHERE id IN {_LISTED}"
            " AND NOT EXISTS (SELECT 1 FROM recipient WHERE recipient.queue = queue.id)",
            (queues,),
        )
        self.db.execute(
            f"UPDATE queue SET parked = ?2, {_TRUE_NEXT_DUE} WHERE id IN {_LISTED}",
            (queues, None if key == _RELEASED else key),
        )


def _attempt_row(recipient: int, attempt: Attempt) -> Sequence[Any]:
    reply, verdict = attempt.reply, attempt.verdict
    meaning = (verdict.category, verdict.action, verdict.scope, verdict.rule) if verdict is not None else ("",) * 4
    return (
        recipient, attempt.number, int(attempt.at.timestamp() * 1000), attempt.vmta, attempt.source, attempt.site,
        attempt.mx, attempt.remote, reply.code, reply.enhanced, reply.text, reply.verb.value, reply.local,
        attempt.duration_s, *meaning,
    )  # fmt: skip


def list_in_doubt(db: apsw.Connection, marks: Sequence[InDoubtMark]) -> None:
    """Put marks on the in-doubt list, as far as their recipients are there; twice is once."""
    execute_rows(
        db,
        "INSERT OR IGNORE INTO in_doubt (recipient, address, at, vmta, site, remote)"
        " SELECT r.id, r.address, v.column2, v.column3, v.column4, v.column5"
        " FROM ({values}) AS v JOIN recipient AS r ON r.id = v.column1",
        [(mark.recipient, mark.at, mark.vmta, mark.site, mark.remote) for mark in marks],
    )
