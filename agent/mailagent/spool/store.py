"""The spool: everything that must survive the agent, behind one façade for the event loop.

Changes return at once and are durable when their callback comes; changes of one spool take effect in the order in
which they were asked for. Reads that the engine decides on (`due_queues`, `load`, `directives` …) see every change
asked for before them; listings do so too, unless that takes long: then they see some earlier commit.
"""

import asyncio
import contextlib
import logging
import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import apsw

from mailagent.api.directives import Directive
from mailagent.api.replies import DeferredGroups, InDoubtPage, MessagePage, OperationPage
from mailagent.api.requests import PAGE_LIMIT
from mailagent.api.targets import MessageFilter
from mailagent.spool import ages, bodies, crash, credentials, held, inspection, ledger, queues
from mailagent.spool import jobs as job_counts
from mailagent.spool.changes import Accept, Job, Lines, QueueState, Settle
from mailagent.spool.errors import SpoolClosed, StorageError, StorageFailed
from mailagent.spool.ids import RECIPIENT_BITS, MessageIds, now_ms, queue_id
from mailagent.spool.journal import FILE_NAME as JOURNAL_NAME
from mailagent.spool.journal import Journal
from mailagent.spool.lock import lock
from mailagent.spool.marks import FILE_NAME as MARKS_NAME
from mailagent.spool.marks import Marks, read_marks
from mailagent.spool.reader import Priority, Reader
from mailagent.spool.records import (
    Credential,
    CredentialUse,
    DeferredTotal,
    DueQueue,
    InDoubtMark,
    JobCount,
    LedgerEntry,
    Loaded,
    NewMessage,
    QueueName,
    Settlement,
    StoredOperation,
    WaitingTotal,
)
from mailagent.spool.recovery import BOOT_ID, Identity, Recovery, doubtful, housekeeping, recover
from mailagent.spool.schema import FILE_NAME, open_writer
from mailagent.spool.selection import Selection, selection
from mailagent.spool.space import Space, SpaceView
from mailagent.spool.transaction import Transaction
from mailagent.spool.writer import Opened, Writer

log = logging.getLogger(__name__)

T = TypeVar("T")

_BLOCK_OF_MESSAGE = ages.FRESH_BITS - RECIPIENT_BITS
RECIPIENT_BYTES = 256
"""What a recipient adds to a batch, roughly."""
COMMIT_S = 120.0
"""Longest wait for the commit of an operation; longer than the writer waits for room."""
CLOSE_S = 120.0
FRESH_S = 1.0
"""Longest wait of a listing for what was asked for before."""


def _no_accounting(_lines: list[bytes]) -> None:
    """Nobody wants accounting lines."""


def _log_failure(failure: StorageFailed) -> None:
    log.critical("%s", failure)


class Spool:
    """The durable store of one host. Made by `open`, used on the event loop that opened it."""

    def __init__(self, state_dir: Path, lock_file: int, writer: Writer, found: tuple[Identity, Recovery]) -> None:
        identity, self.recovered = found
        self.spool_id = identity.spool_id
        self.tag = identity.tag
        self._queue_key = identity.queue_key
        self._ids = MessageIds(identity.last_message_id)
        self._lock_file = lock_file
        self._writer = writer
        self._submit = writer.submit
        self._reader = Reader(state_dir / FILE_NAME)
        self._marks = Marks(state_dir / MARKS_NAME)
        self._space = Space(state_dir)
        self._closed = False
        self._touched: set[int] = set()
        self._found_sites = False

    @classmethod
    async def open(
        cls,
        state_dir: Path,
        *,
        before_commit: Callable[[list[bytes]], None] = _no_accounting,
        on_failure: Callable[[StorageFailed], None] = _log_failure,
        vfs: str | None = None,
        patient: bool = False,
    ) -> Self:
        """Take possession of the spool in `state_dir`, making it when there is none, and recover it.

        `before_commit` gets the accounting lines of a batch in the writer's thread, before they are true; raising
        OSError with ENOSPC postpones the commit, anything else stops the spool. `on_failure` comes on the loop, once.
        `vfs` names an SQLite file layer to write through. `patient`: a commit waits for room without end, and is given
        up when the spool is closed: for a mirror, which is read again.

        Raises:
            SpoolLocked: another process has it.
            SpoolUnusable: not a spool of this version, or an SQLite that is too old.
            StorageFailed: the disk failed.
        """
        found: list[tuple[Identity, Recovery]] = []

        def opening() -> Opened:
            try:
                db = open_writer(state_dir / FILE_NAME, vfs)
                boot_id = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
                journal = Journal(state_dir / JOURNAL_NAME)
                identity, recovery = recover(db, journal, read_marks(state_dir / MARKS_NAME), boot_id)
            except (apsw.Error, OSError) as exc:
                raise StorageFailed(f"opening {state_dir / FILE_NAME}", exc) from exc
            found.append((identity, recovery))
            return Opened(db, journal, identity.queue_key, doubtful(db), housekeeping)

        lock_file = lock(state_dir)
        writer = Writer(opening, before_commit=before_commit, on_failure=on_failure, patient=patient)
        try:
            await writer.start()
            return cls(state_dir, lock_file, writer, found[0])
        except BaseException:
            async with asyncio.timeout(CLOSE_S):
                await writer.close(clean=False)
            os.close(lock_file)
            raise

    async def close(self, *, clean: bool) -> None:
        """Commit what was asked for and let go; `clean` says that everything was settled or is marked."""
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._reader.close()
                await self._writer.close(clean=clean)
        finally:
            self._marks.close()
            os.close(self._lock_file)

    @property
    def stuck(self) -> str:
        """Why commits have to wait, when they do: outcomes are not on disk, and connections wait for them."""
        return self._writer.stuck

    # --- ids ------------------------------------------------------------------------------------------------------

    def new_message_id(self) -> int:
        """A message id, larger than all before."""
        return self._ids.new()

    def queue_id(self, name: QueueName) -> int:
        """The id of a scheduled queue on this spool."""
        return queue_id(name, self._queue_key)

    async def bound_caches(self, kib: int) -> None:
        """Let the writer and the reader keep at most so many KiB of the database in memory, each."""
        await self._job(lambda transaction: transaction.db.pragma("cache_size", -kib))
        await self._list(lambda db: db.pragma("cache_size", -kib))

    # --- mail -----------------------------------------------------------------------------------------------------

    def accept(self, message: NewMessage, done: Callable[[StorageError | None], None]) -> None:
        """Store a message; `done(None)` comes after the commit, `done(error)` when this one is not stored."""
        crash.at("accept")
        self._touched.add(message.id >> _BLOCK_OF_MESSAGE)
        self._submit(Accept(message, done, message.size + RECIPIENT_BYTES * len(message.recipients)))

    def settle(self, settlements: Sequence[Settlement], done: Callable[[], None] | None = None) -> None:
        """Store outcomes; after the commit their marks are closed and `done` comes.

        When they cannot be stored (which is logged) `done` does not come and the marks stay open.
        """
        doubts: list[InDoubtMark] = []
        size_bytes = 0
        for settlement in settlements:
            self._touched.add(settlement.recipient >> ages.FRESH_BITS)
            if settlement.in_doubt and (mark := self._marks.find(settlement.recipient)) is not None:
                doubts.append(mark)
            if settlement.dsn is not None:
                size_bytes += settlement.dsn.size
        self._submit(Settle(settlements, now_ms(), doubts, self._marks.close_settled, done, size_bytes))

    def account(self, lines: Sequence[bytes]) -> None:
        """Hand accounting lines of events that change nothing in the spool to `before_commit`; empty ones are none."""
        written = [line for line in lines if line]
        if written:
            self._submit(Lines(written))

    def mark(self, marks: Sequence[InDoubtMark]) -> None:
        """Write in-doubt marks, all recipients of a transaction at once; on return the final dot may be sent.

        Raises:
            StorageError: not written: do not send the dot.
        """
        if self._writer.failed is not None:
            raise self._writer.failed
        self._marks.add(marks)

    @property
    def open_marks(self) -> int:
        """Recipients whose dot is out and whose outcome is not on disk yet."""
        return self._marks.open_count

    def open_marks_of(self, vmta: str) -> int:
        """The same for one virtual MTA."""
        return self._marks.open_of(vmta)

    async def bodies(self, messages: Sequence[int]) -> dict[int, bytes]:
        """Bodies by message id; one that is gone is left out, if not at once."""
        behind = not self._writer.idle  # what comes to the database meanwhile may come after this read
        found = await self._reader.run(Priority.ENGINE, lambda db: bodies.read(db, messages))
        if behind and len(found) < len(messages):
            await self._catch_up()
            left = [message for message in messages if message not in found]
            found |= await self._reader.run(Priority.ENGINE, lambda db: bodies.read(db, left))
        return found

    # --- scheduled queues -----------------------------------------------------------------------------------------

    def hold(self, queue: int) -> None:
        """Rows of the queue are in the active window now."""
        self._submit(QueueState(Transaction.hold, (queue,)))

    def park(self, queue: int, key: str) -> None:
        """The queue costs nothing until `key` is unparked."""
        self._submit(QueueState(Transaction.park, (queue, key)))

    def placed(self, queue: int, site: str, provider: str) -> None:
        """Remember the last known site of the queue."""
        self._found_sites = True
        self._submit(QueueState(Transaction.placed, (queue, site, provider)))

    def release(self, queues: Sequence[int]) -> None:
        """No row of the queues is in the active window any more: free, due with their first row; empty ones go."""
        self._submit(QueueState(Transaction.release, (queues,)))

    def unpark(self, key: str, *, now: int, spread: int) -> None:
        """Free all queues parked on `key`, due spread over [`now`, `now` + `spread`], none earlier than it was."""
        step = partial(queues.unpark_slice, key=key, now=now, spread=spread)
        self._go_on(step, -1, not_done=f"queues not unparked key={key}")

    async def parked_keys(self) -> dict[str, int]:
        """What parks queues, with how many; the active window is left out."""
        await self._catch_up()
        return await self._reader.run(Priority.ENGINE, queues.parked_keys)

    async def due_queues(self, now: int, limit: int, priority: str) -> tuple[list[DueQueue], int | None]:
        """Queues of a priority that are due and not parked, longest due first; and the earliest due time beyond `now`.

        The latter is None when there is no other.
        """
        await self._catch_up()
        return await self._reader.run(Priority.ENGINE, lambda db: queues.due_queues(db, now, limit, priority))

    async def parked_queues(self, key: str, limit: int) -> list[DueQueue]:
        """Queues parked on `key`, the one that is due first or longest in front."""
        await self._catch_up()
        return await self._reader.run(Priority.ENGINE, lambda db: queues.parked_queues(db, key, limit))

    async def load(self, wanted: Sequence[queues.Wanted], now: int) -> list[Loaded]:
        """For each (queue, after, limit): rows due at `now`, in (due, id) order beyond `after`."""
        await self._catch_up()
        return await self._reader.run(Priority.ENGINE, lambda db: queues.load(db, wanted, now))

    # --- counts ---------------------------------------------------------------------------------------------------

    async def freshen(self) -> None:
        """Have what was asked for in the database, for a look at it, if that takes no more than a moment.

        Operators look, above all, when the disk is full or slow: then they see what is there.
        """
        if not self._writer.idle and not self._writer.stuck:
            with contextlib.suppress(TimeoutError, StorageError):
                async with asyncio.timeout(FRESH_S):
                    await self._catch_up()

    async def waiting_totals(self) -> list[WaitingTotal]:
        """Waiting recipients per pool, stream and provider."""
        await self.freshen()
        return await self._reader.run(Priority.TOTALS, queues.waiting_totals)

    async def deferred_totals(self) -> list[DeferredTotal]:
        """Deferred recipients per provider and virtual MTA."""
        await self.freshen()
        return await self._reader.run(Priority.TOTALS, queues.deferred_totals)

    async def oldest(self) -> int | None:
        """Arrival of the oldest waiting message, None when nothing waits."""
        await self.freshen()
        return await self._reader.run(Priority.TOTALS, queues.oldest)

    async def jobs(self) -> list[JobCount]:
        """All jobs, the last active one first."""
        await self._catch_up()
        return await self._list(job_counts.jobs)

    async def forget_jobs(self, before: int) -> list[str]:
        """Forget jobs whose last mail left before that time: their names."""
        return await self._job(lambda transaction: job_counts.forget(transaction.db, before))

    async def age_slice(self, first: int, last: int, fresh: int) -> tuple[list[tuple[int, ages.AgeCount]], int | None]:
        """Counts of some waiting recipients from `first` on and before `last`, by block; where to go on, or None."""
        return await self._reader.run(Priority.TOTALS, lambda db: ages.age_slice(db, first, last, fresh))

    def take_touched(self) -> set[int]:
        """Numbers of the small blocks of ids in which mail arrived or was settled since this was asked last."""
        touched, self._touched = self._touched, set()
        return touched

    def take_found_sites(self) -> bool:
        """Whether a queue got another site since this was asked last."""
        found, self._found_sites = self._found_sites, False
        return found

    # --- listings -------------------------------------------------------------------------------------------------

    async def groups(self, filter: MessageFilter, limit: int) -> DeferredGroups:
        """Deferred recipients by normalised reply and provider, largest first."""
        await self.freshen()
        limit = max(1, min(limit, PAGE_LIMIT))
        if inspection.is_indexed(filter):
            groups = await self._list(lambda db: inspection.all_groups(db, filter))
        else:
            groups = {}
            await self._walk(filter, partial(inspection.add_groups, groups=groups))
        views = await self._list(lambda db: inspection.group_views(db, groups, limit))
        return DeferredGroups(groups=views, truncated=len(groups) > limit)

    async def messages(self, filter: MessageFilter, cursor: str, limit: int) -> MessagePage:
        """Waiting recipients in order of arrival; the page ends at `limit` rows or 512 KiB.

        Raises:
            ValueError: `cursor` is none of ours.
        """
        await self.freshen()
        chosen = self.selection(filter)
        after: int | None = int(cursor) if cursor else chosen.first - 1
        page = inspection.Page(max(1, min(limit, PAGE_LIMIT)))
        while after is not None and not page.is_full:
            after = await self._list(partial(inspection.fill_page, chosen=chosen, after=after, page=page, tag=self.tag))
        return MessagePage(rows=tuple(page.rows), cursor="" if after is None else str(after))

    async def count(self, filter: MessageFilter) -> int:
        """How many waiting recipients match."""
        await self.freshen()
        counts: list[int] = []
        await self._walk(filter, partial(inspection.add_count, counts=counts))
        return sum(counts)

    async def parts(self, filter: MessageFilter) -> tuple[held.Parts, int | None]:
        """Counts of the waiting recipients that match, and the lowest of them."""
        await self.freshen()
        parts: held.Parts = {}
        lowest: list[int] = []
        await self._walk(filter, partial(held.add_parts, parts=parts, lowest=lowest))
        return parts, min(lowest, default=None)

    async def message(self, message_id: str, n: int | None) -> inspection.StoredMessage | None:
        """One waiting recipient; without `n` the message's first one that waits."""
        await self.freshen()
        return await self._list(lambda db: inspection.message(db, message_id, n, self.tag))

    async def body(self, message_id: str, most: int) -> bytes | None:
        """The first `most` bytes of a message as it was handed in; None when it is not here (any more)."""
        await self.freshen()
        return await self._list(lambda db: inspection.body(db, message_id, most, self.tag))

    async def in_doubt(self, cursor: str, limit: int) -> InDoubtPage:
        """Possible duplicates, the last listed first.

        Raises:
            ValueError: `cursor` is none of ours.
        """
        await self.freshen()
        return await self._list(lambda db: inspection.in_doubt(db, cursor, limit, self.tag))

    async def _walk(self, filter: MessageFilter, look: Callable[..., int | None]) -> None:
        """Have `look` see all waiting recipients that `filter` may mean, one slice of them in each read."""
        chosen = self.selection(filter)
        after: int | None = chosen.first - 1
        while after is not None:
            after = await self._list(partial(look, chosen=chosen, after=after))

    def selection(self, filter: MessageFilter) -> Selection:
        """The rows that `filter` means here."""
        return selection(filter, self.tag)

    # --- operations -----------------------------------------------------------------------------------------------

    async def record(self, entry: LedgerEntry, *, made_due: Callable[[], None] = lambda: None) -> int:
        """Store an operation with its effects in one transaction; how many recipients it makes due.

        A change of due times goes on after the operation is durable, in slices of 10,000 rows; `made_due` comes after
        each of them.

        Raises:
            StorageError: not stored.
        """
        change = entry.due
        recipients = array("q")
        if change is not None:
            await self._catch_up()
            await self._walk(change.filter, partial(inspection.add_later, now=change.now, recipients=recipients))

        def make_due(transaction: Transaction, first: int) -> int | None:
            part = recipients[first : first + queues.SLICE_ROWS]
            if change is not None and part:
                step_ms = change.spread / len(recipients)
                queues.make_due(transaction, part, first, now=change.now, step_ms=step_ms)
            following = first + queues.SLICE_ROWS
            return following if following < len(recipients) else None

        def write(transaction: Transaction) -> int | None:
            ledger.write(transaction.db, entry)
            return make_due(transaction, 0)

        following = await self._job(write)
        if recipients:
            made_due()
        if following is not None:
            not_done = f"recipients not made due op={entry.operation.record.op_id}"
            self._go_on(make_due, following, not_done=not_done, done=made_due)
        return len(recipients)

    async def stored_operation(self, op_id: str) -> StoredOperation | None:
        """The operation of that op_id, None when it was never executed here or is forgotten (7 days)."""
        return await self._reader.run(Priority.TOTALS, lambda db: ledger.stored_operation(db, op_id))

    async def operations(self, cursor: str, limit: int) -> OperationPage:
        """Operations, newest first.

        Raises:
            ValueError: `cursor` is none of ours.
        """
        limit = max(1, min(limit, PAGE_LIMIT))
        return await self._list(lambda db: ledger.operations(db, cursor, limit))

    async def directives(self) -> list[Directive]:
        """Directives that are live, those among them whose recording nobody waits for any more."""
        await self._catch_up()
        return await self._reader.run(Priority.TOTALS, ledger.directives)

    async def credentials(self) -> list[tuple[Credential, CredentialUse]]:
        """Users of intake, with their last use; as for directives."""
        await self._catch_up()
        return await self._reader.run(Priority.TOTALS, credentials.read_all)

    def credentials_used(self, uses: Sequence[CredentialUse]) -> None:
        """Store last uses; nobody waits for it."""

        def done(_: None, error: StorageError | None) -> None:
            if error is not None:
                log.warning("last uses of credentials not stored: %s", error)

        self._submit(Job(lambda tx: credentials.write_uses(tx.db, uses), done))

    # --- orders on mail -------------------------------------------------------------------------------------------

    async def on_held(self, read: Callable[[apsw.Connection], T]) -> T:
        """What one of the reading functions of `mailagent.spool.held` finds after every change asked for before."""
        await self._catch_up()
        return await self._list(read)

    async def change_held(self, work: Callable[[Transaction], T]) -> T:
        """The result of one of its writing functions, once that is durable."""
        return await self._job(work)

    # --- suppression list -----------------------------------------------------------------------------------------

    async def on_suppressions(self, read: Callable[[apsw.Connection], T]) -> T:
        """What one of the reading functions of `mailagent.spool.suppression` finds."""
        return await self._list(read)

    async def change_suppressions(self, work: Callable[[apsw.Connection], T]) -> T:
        """The result of one of its writing functions, once that is durable."""
        return await self._job(lambda transaction: work(transaction.db))

    def note_suppressions(
        self, work: Callable[[apsw.Connection], T], done: Callable[[T, StorageError | None], None]
    ) -> None:
        """The same without waiting, after every change asked for before; with an error there is no result."""
        self._submit(Job(lambda transaction: work(transaction.db), done))

    # --- a mirror of another server's queue ------------------------------------------------------------------------

    async def on_mirror(self, read: Callable[[apsw.Connection], T]) -> T:
        """What one of the reading functions of `mailagent.spool.mirror` finds in some recent commit."""
        return await self._list(read)

    def change_mirror(self, work: Callable[[Transaction], T]) -> "asyncio.Future[T]":
        """The result of one of its writing functions, once that is durable; it happens whether or not anybody waits."""
        return self._begin(work)

    def found_sites(self) -> None:
        """Queues got sites by another way than `placed`."""
        self._found_sites = True

    # --- evacuation -----------------------------------------------------------------------------------------------

    async def on_evacuations(self, read: Callable[[apsw.Connection], T]) -> T:
        """What one of the reading functions of `mailagent.spool.evacuations` or `parcels` finds, all asked for seen."""
        await self._catch_up()
        return await self._list(read)

    def change_parcels(
        self, work: Callable[[Transaction], T], done: Callable[[T | None, StorageError | None], None] | None = None
    ) -> "asyncio.Future[T]":
        """The result of one of its writing functions, once that is durable; `done` hears of it also when nobody waits.

        Its change happens, or not, whether or not somebody waits for it.
        """
        return self._begin(work, done)

    def touch(self, recipients: Iterable[int]) -> None:
        """Recipients came or went by another way than `accept` and `settle`."""
        self._touched.update(recipient >> ages.FRESH_BITS for recipient in recipients)

    # --- condition ------------------------------------------------------------------------------------------------

    @property
    def free(self) -> SpaceView:
        """Room on the disk, at most a second old."""
        return self._space.view()

    @property
    def failed(self) -> StorageFailed | None:
        """Why nothing is stored any more, None while all is well."""
        return self._writer.failed

    # --- inside ---------------------------------------------------------------------------------------------------

    async def _job(self, work: Callable[[Transaction], T]) -> T:
        """The result of `work`, once it is durable."""
        async with asyncio.timeout(COMMIT_S):
            return await self._begin(work)

    def _begin(
        self, work: Callable[[Transaction], T], done: Callable[[T | None, StorageError | None], None] | None = None
    ) -> "asyncio.Future[T]":
        """The same for those who need not wait; `done` hears of it in any case, without a result where it failed."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def finish(result: T, error: StorageError | None) -> None:
            if done is not None:
                done(None if error is not None else result, error)
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
                future.exception()  # nobody has to wait

        if self._closed:
            raise SpoolClosed
        self._submit(Job(work, finish))
        return future

    def _go_on(
        self,
        step: Callable[..., int | None],
        after: int,
        *,
        not_done: str,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Do a long change in slices, each in a commit of its own, as long as `step` says where the next one begins.

        `done` comes after each; the first that cannot be stored is the last, and `not_done` says so in the log.
        """

        def ended(following: int | None, error: StorageError | None) -> None:
            if error is not None:
                log.error("%s: %s", not_done, error)
                return
            done()
            if following is not None:
                self._go_on(step, following, not_done=not_done, done=done)

        self._submit(Job(lambda transaction: step(transaction, after), ended))

    async def _catch_up(self) -> None:
        """Wait until every change asked for so far is in the database, so that a read sees it."""
        if not self._writer.idle:
            await self._job(lambda _: None)

    async def _list(self, read: Callable[[apsw.Connection], T]) -> T:
        return await self._reader.run(Priority.LISTING, read)
