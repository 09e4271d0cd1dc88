"""The writer thread: group commit, first to the journal, later to the database.

Everything that was asked for while the last commit ran goes into the next one: one frame of the journal, or, when a
change needs the database, or it is time, or the journal is full, one transaction with all that the journal has.

After a commit the thread looks for a checkpoint that is due (`checkpoints`), and rests for a moment (`rest`). What one
turn of the event loop asks for is handed over when the turn ends, so that the thread is woken once. Who asked is told
on the loop, through one wake-up per batch.

What happens when a batch cannot be committed:

    no room, no    accepts are answered with StorageFull or ItemRefused; everything else is tried again, for PATIENCE_S
    files, locked  at most, or without end (locked: somebody writes with another program)
    I/O, sync,     fail-stop: nothing is written any more, everybody is told StorageFailed. After a failed sync
    corruption     the kernel may show as clean what it never wrote, so a retry would prove nothing
    anything else  the batch is halved until the one bad item stands alone; that one is answered with ItemRefused
"""

import asyncio
import errno
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import apsw

from mailagent.spool import crash
from mailagent.spool.changes import Accept, Change, Job
from mailagent.spool.checkpoints import Checkpoints
from mailagent.spool.errors import ItemRefused, SpoolClosed, StorageError, StorageFailed, StorageFull
from mailagent.spool.ids import now_ms
from mailagent.spool.journal import MARK_BYTES, Journal, payload
from mailagent.spool.recovery import NOTED_MS, store_frames
from mailagent.spool.rest import Rest
from mailagent.spool.schema import set_meta
from mailagent.spool.transaction import Transaction

log = logging.getLogger(__name__)

BATCH_CHANGES = 2000
BATCH_BYTES = 16 * 1024 * 1024
JOURNAL_BYTES = 16 * 1024 * 1024
"""Most that is kept in the journal alone; what would make it more goes to the database with all the rest."""
STAGES = 64
"""Most stages that are kept for later: writing 5,000 in one go takes 0.25 s, for which everybody's 250 waits."""
STORE_S = 1.0
"""Longest time for which it is in the journal alone."""
PATIENCE_S = 60.0
PAUSE_S = 0.25
HOUSEKEEPING_S = 3600.0

_FATAL = (
    apsw.IOError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.NoMemError,
    apsw.PermissionsError,
    MemoryError,
    StorageFailed,
)
_PASSING = (apsw.FullError, apsw.BusyError)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What may pass by itself: no room on the disk, no more open files, no memory of the kernel."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The database as the writer's thread gets it, recovered."""

    db: apsw.Connection
    journal: Journal  # all that it had is in the database
    queue_key: bytes
    doubtful: set[int]  # recipients with an open entry on the in-doubt list
    housekeeping: Callable[[apsw.Connection, int], None]  # (connection, now in ms), in a transaction of its own


@dataclass(frozen=True, slots=True)
class _Stop:
    clean: bool


class Writer:
    """Owner of the writing connection and its thread."""

    def __init__(
        self,
        opening: Callable[[], Opened],
        *,
        before_commit: Callable[[list[bytes]], None],
        on_failure: Callable[[StorageFailed], None],
        patient: bool = False,
    ) -> None:
        self._patient = patient
        self._opening = opening
        self._before_commit = before_commit
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._turn: list[Change] = []  # asked for in this turn of the loop
        self._inbox: SimpleQueue[list[Change] | _Stop] = SimpleQueue()
        self._outstanding = 0
        self._closed = False
        self._rest = Rest(self._loop)
        self._ahead = False  # the journal has what the database has not
        self._storing = False  # it will, in STORE_S at most
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._noted_at = 0  # the last commit that was noted in the database
        self._stuck_since: float | None = None
        self.stuck = ""
        """Why commits are postponed now."""
        self._next_housekeeping = time.monotonic() + HOUSEKEEPING_S
        self._failure: StorageFailed | None = None  # the thread's; `failed` is the loop's
        self.failed: StorageFailed | None = None
        self._worker = threading.Thread(target=self._run, name="spool-writer", daemon=True)

    # --- event loop -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open and recover the database, in the thread."""
        self._worker.start()
        await self._started

    @property
    def idle(self) -> bool:
        """Whether everything asked for so far is in the database, or never will be."""
        return self._outstanding == 0 and (not self._ahead or self.failed is not None)

    def submit(self, change: Change) -> None:
        """Have `change` in one of the next commits; it is finished on the loop, never before this returns."""
        self._outstanding += 1
        if self.failed is not None or self._closed:
            error: StorageError = self.failed or SpoolClosed()
            self._loop.call_soon(self._finish, [change], {id(change): error})
            return
        if not self._turn:
            self._loop.call_soon(self._hand_over)
        self._turn.append(change)

    def _hand_over(self) -> None:
        """Give the thread all that was asked for in one turn of the loop, so that it is woken once."""
        if self._turn:
            self._inbox.put(self._turn)
            self._turn = []
            self._rest.look_for_idleness()

    async def close(self, *, clean: bool) -> None:
        """Commit what was asked for and end the thread; `clean` leaves word that nothing was cut off."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._inbox.put(_Stop(clean))
        await asyncio.shield(self._ended)

    def _finish(self, changes: Sequence[Change], errors: dict[int, StorageError]) -> None:
        self._outstanding -= len(changes)
        for change in changes:
            try:
                change.finish(errors.get(id(change)) if errors else None)
            except Exception as exc:  # noqa: BLE001  logged there
                _log_fault(change, exc)
        crash.at("acknowledged")
        if self._outstanding:
            self._rest.look_for_idleness()
        if self._ahead and not self._storing and self.failed is None:
            self._storing = True
            self._loop.call_later(STORE_S, self._store_soon)

    def _store_soon(self) -> None:
        self._storing = False
        if self._ahead and not self._closed:
            self.submit(Job(lambda _: None, lambda *_: None))

    def _fail_on_loop(self, failure: StorageFailed) -> None:
        self.failed = failure
        self._on_failure(failure)

    # --- thread ---------------------------------------------------------------------------------------------------

    def _tell(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            log.warning("spool: the event loop ended before the spool was closed")

    def _run(self) -> None:
        try:
            opened = self._opening()
        except BaseException as exc:  # noqa: BLE001 - carried over to the loop
            self._tell(_end, self._started, exc)
            self._tell(_end, self._ended, None)
            return
        self._db = opened.db
        self._journal = opened.journal
        self._queue_key = opened.queue_key
        self._doubtful = opened.doubtful
        self._housekeeping = opened.housekeeping
        self._staged = self._nothing_staged()
        self._checkpoints = Checkpoints(self._db)
        self._tell(_end, self._started, None)
        stop: _Stop | None = None
        again: list[Change] = []
        while stop is None or again:
            fresh, stop = self._collect(stop, wait=not again)
            again = self._commit(again + fresh)
            self._maintain()
            if again and stop is not None and self._patient:
                full = StorageFull(f"no room: {self.stuck}")
                self._tell(self._finish, again, {id(change): full for change in again})
                break
            if again:
                time.sleep(PAUSE_S)
            elif stop is None:
                self._rest.take()
        self._shut(clean=stop.clean)
        self._tell(_end, self._ended, None)

    def _collect(self, stop: _Stop | None, *, wait: bool) -> tuple[list[Change], _Stop | None]:
        """What has been asked for meanwhile, until a cap is reached; waits for something when `wait`."""
        batch: list[Change] = []
        size = 0
        while stop is None and len(batch) < BATCH_CHANGES and size < BATCH_BYTES:
            try:
                found = self._inbox.get(block=wait and not batch)
            except Empty:
                break
            if isinstance(found, _Stop):
                stop = found
            else:
                batch += found
                for change in found:
                    size += change.size_bytes
        return batch, stop

    def _commit(self, batch: list[Change]) -> list[Change]:
        """Commit and tell; returns what is to be tried again later."""
        groups = deque([batch] if batch else [])
        to_database = False
        while groups:
            group = groups.popleft()
            error = self._failure or self._write(group, to_database)
            if error is None:
                self._stuck_since = None
                self.stuck = ""
                self._tell(self._finish, group, {})
            elif isinstance(error, _PASSING):
                return self._postpone(group + [change for later in groups for change in later], error)
            elif isinstance(error, _FATAL):
                failure = self._fail("a write", error)
                self._tell(self._finish, group, {id(change): failure for change in group})
            elif not to_database:
                to_database = True  # it says which change it refuses
                groups.appendleft(group)
            elif len(group) > 1:
                middle = len(group) // 2
                groups.extendleft((group[middle:], group[:middle]))
            else:
                refused = ItemRefused(f"not stored: {error}")
                log.error("one change refused change=%s: %s", type(group[0]).__name__, error)
                self._tell(self._finish, group, {id(group[0]): refused})
        return []

    def _write(self, group: Sequence[Change], to_database: bool) -> BaseException | None:
        """Make a group durable, in the journal or in the database with all that the journal has; what undid it."""
        crash.at("before_statements")
        changes = self._db.total_changes()
        try:
            for change in group:
                change.stage(self._staged)
            if to_database or self._db.in_transaction:
                self._store(changes)
                return None
            data = payload(now_ms(), self._staged.entries) if self._staged.entries else b""
            if self._journal.size + len(data) > JOURNAL_BYTES or self._staged.stages > STAGES:
                self._store(changes)
                return None
            self._write_lines()
            crash.at("before_journal")
            if data:
                with _disk_errors("the journal"):
                    self._journal.append(data)
                self._staged.entries.clear()
                self._ahead = True
            crash.at("after_journal")
        except BaseException as error:  # noqa: BLE001 - classified by the caller
            return self._undo(error)
        return None

    def _store(self, changes: int) -> None:
        """Commit to the database all that is staged; `changes`: its counter at the beginning."""
        db = self._db
        self._staged.flush()
        now = now_ms()
        changed = bool(self._journal.size) or db.total_changes() != changes
        if changed and not 0 <= now - self._noted_at < NOTED_MS:
            set_meta(db, "last_commit", now)
            self._noted_at = now
        crash.at("after_statements")
        mark = secrets.token_bytes(MARK_BYTES) if self._journal.size else b""
        if mark:
            set_meta(db, "journal", mark)
        self._write_lines()
        crash.at("before_commit")
        db.execute("COMMIT")
        if mark:
            self._journal.begin(mark)
        self._staged.entries.clear()
        self._ahead = False
        crash.at("after_commit")

    def _undo(self, error: BaseException) -> BaseException:
        """Forget what was staged and is not durable; the error to be told."""
        try:
            self._roll_back()
            if self._journal.size and not isinstance(error, _PASSING + _FATAL):
                try:  # so that nobody is blamed for what is in the journal
                    self._db.execute("BEGIN IMMEDIATE")
                    store_frames(self._db, self._journal.own_frames(), self._queue_key)
                    self._staged = self._nothing_staged()
                    self._store(0)
                except _PASSING as passing:
                    self._roll_back()
                    return passing
        except Exception as again:  # noqa: BLE001 - whatever it is, what is in the journal cannot be had
            return StorageFailed("taking a group back", again)
        return error

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._staged = self._nothing_staged()
        for _, entries in self._journal.own_frames():
            self._staged.again(entries)

    def _nothing_staged(self) -> Transaction:
        return Transaction(self._db, self._queue_key, self._doubtful)

    def _write_lines(self) -> None:
        if self._staged.lines:
            with _disk_errors("accounting"):
                self._before_commit(self._staged.lines)
            self._staged.lines.clear()

    def _postpone(self, changes: Sequence[Change], error: apsw.FullError | apsw.BusyError) -> list[Change]:
        """Answer the accepts, keep the rest; too long is a failure."""
        now = time.monotonic()
        if self._stuck_since is None:
            self._stuck_since = now
            self.stuck = str(error)
            log.error("commit postponed: %s", error)
        full = isinstance(error, apsw.FullError)
        answer: StorageError = StorageFull(f"no room: {error}") if full else ItemRefused(f"not stored: {error}")
        if not self._patient and now - self._stuck_since > PATIENCE_S:
            answer = self._fail("a commit", error)
        refused = [change for change in changes if self._failure or isinstance(change, Accept)]
        if refused:
            self._tell(self._finish, refused, {id(change): answer for change in refused})
        return [change for change in changes if not self._failure and not isinstance(change, Accept)]

    def _fail(self, what: str, cause: BaseException) -> StorageFailed:
        """Stop writing for good; the first cause is the one that is told."""
        if self._failure is None:
            self._failure = cause if isinstance(cause, StorageFailed) else StorageFailed(what, cause)
            log.critical("%s", self._failure)
            self._tell(self._fail_on_loop, self._failure)
        return self._failure

    # --- upkeep ---------------------------------------------------------------------------------------------------

    def _maintain(self) -> None:
        if self._failure is None:
            try:
                self._checkpoints.after_commit()
            except apsw.Error as exc:
                self._fail("a checkpoint", exc)
        if self._failure is None and time.monotonic() >= self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + HOUSEKEEPING_S
            try:
                with self._db:
                    self._housekeeping(self._db, now_ms())
            except (apsw.FullError, apsw.BusyError) as exc:
                log.warning("housekeeping put off: %s", exc)
            except apsw.Error as exc:
                self._fail("housekeeping", exc)

    def _shut(self, *, clean: bool) -> None:
        try:
            if self._ahead and self._failure is None:
                self._store(self._db.total_changes())
            if clean and self._failure is None:
                set_meta(self._db, "clean", 1)
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except Exception as exc:  # noqa: BLE001  what is in the journal is for the next start
            log.warning("spool not closed cleanly: %s", exc)
        finally:
            # without a clean end the log is left for the next start, which reads it anyway
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._db.close(True)
            self._journal.close()


@contextmanager
def _disk_errors(what: str) -> Iterator[None]:
    """No room is a reason to wait, as it is for the database; anything else stops the spool."""
    try:
        yield
    except StorageFailed:
        raise
    except OSError as exc:
        if exc.errno in _NO_ROOM:
            raise apsw.FullError(str(exc)) from exc
        raise StorageFailed(what, exc) from exc
    except Exception as exc:
        raise StorageFailed(what, exc) from exc


def _log_fault(change: Change, exc: Exception) -> None:
    log.error("a callback after a commit failed change=%s", type(change).__name__, exc_info=exc)


def _end(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
