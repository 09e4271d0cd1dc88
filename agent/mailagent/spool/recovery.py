"""What happens to a spool at each start, in one transaction before anything else reads it.

- What is in the journal alone comes into the database.
- Queues whose rows were in the window are free again; next due times are made true (rows that were admitted to the
  window never touched them).
- Marks without a stored outcome go on the in-doubt list, when their recipient is still there. An outcome that only
  deferred the recipient is newer than the mark (`tried`).
- After power loss the side file proves nothing: every recipient that was due before the last commit may have been on
  its way, and goes on the list too, the newest POWER_LOSS_LISTED of them.
"""

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw
import msgspec

from mailagent.spool import crash, evacuations, ledger, parcels
from mailagent.spool.bulk import fetch, json_text
from mailagent.spool.ids import TAG_CHARS, at_ms, base32, now_ms
from mailagent.spool.journal import MARK_BYTES, Entry, Frame, Journal
from mailagent.spool.records import WINDOW, InDoubtMark
from mailagent.spool.schema import meta, set_meta
from mailagent.spool.transaction import Transaction, list_in_doubt

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
POWER_LOSS_LISTED = 10_000
NOTED_MS = 1000
"""`last_commit` in the database may be older than the last commit by so much: not each one writes its time."""
REFUSALS = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    apsw.SQLError,
    ValueError,
    TypeError,
    OverflowError,
)
"""What the database, or our own hand, has against one change."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What the start found."""

    recipients: int  # waiting, those in parcels that are packed among them
    queues: int
    in_doubt: int  # entries added to the in-doubt list now
    not_listed: int  # possible duplicates beyond those, after power loss
    power_lost: bool
    clean: bool  # the last run ended in order
    first: bool = False  # there was none

    @property
    def ended(self) -> str:
        """How the run before ended, when not in order; empty when it did."""
        if self.clean or self.first:
            return ""
        return "the machine went down without a stop" if self.power_lost else "the run before ended without a stop"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this spool is, for its whole life."""

    spool_id: str
    tag: str  # end of every message name
    queue_key: bytes
    last_message_id: int  # none below was given out and survived


def recover(
    db: apsw.Connection, journal: Journal, marks: Mapping[int, InDoubtMark], boot_id: str
) -> tuple[Identity, Recovery]:
    """Make the spool ready for a new run of the agent.

    Raises:
        apsw.Error: the database cannot be read or written.
        OSError: the journal cannot be read.
    """
    mark = secrets.token_bytes(MARK_BYTES)
    with db:
        queue_key = _own_facts(db)
        before = meta(db, "journal")
        if isinstance(before, bytes) and (frames := journal.frames(before)):
            store_frames(db, frames, queue_key)
            log.info("stored from the journal groups=%d", len(frames))
        set_meta(db, "journal", mark)
        identity = _identity(db, queue_key)
        clean = bool(meta(db, "clean"))
        last_boot = meta(db, "boot_id")
        power_lost = not clean and last_boot is not None and last_boot != boot_id
        added = _list_marks(db, marks)
        not_listed = 0
        if power_lost:
            more, not_listed = _list_suspects(db, _last_commit(db))
            added += more
        db.execute("DELETE FROM queue WHERE NOT EXISTS (SELECT 1 FROM recipient WHERE recipient.queue = queue.id)")
        db.execute(f"UPDATE queue SET parked = NULL WHERE parked = '{WINDOW}'")
        db.execute("UPDATE queue SET next_due = (SELECT min(due) FROM recipient WHERE recipient.queue = queue.id)")
        housekeeping(db, now_ms())
        set_meta(db, "clean", 0)
        set_meta(db, "boot_id", boot_id)
        ((recipients, queues),) = fetch(db, "SELECT coalesce(sum(waiting), 0), count(*) FROM queue")
        recipients += parcels.packed(db)
        crash.at("recovering")
    journal.begin(mark)
    found = Recovery(
        recipients=recipients,
        queues=queues,
        in_doubt=added,
        not_listed=not_listed,
        power_lost=power_lost,
        clean=clean,
        first=last_boot is None,
    )
    return identity, found


def _own_facts(db: apsw.Connection) -> bytes:
    """Make what a spool has for its whole life, when it has not; the key of its queues."""
    if meta(db, "spool_id") is None:
        set_meta(db, "spool_id", secrets.token_hex(16))
        set_meta(db, "tag", base32(secrets.randbits(5 * TAG_CHARS), TAG_CHARS))
        set_meta(db, "queue_key", secrets.token_bytes(32))
    queue_key = meta(db, "queue_key")
    assert isinstance(queue_key, bytes)  # noqa: S101 - written above
    return queue_key


def _identity(db: apsw.Connection, queue_key: bytes) -> Identity:
    ((newest,),) = fetch(db, "SELECT coalesce(max(id), 0) FROM message")
    return Identity(
        spool_id=str(meta(db, "spool_id")),
        tag=str(meta(db, "tag")),
        queue_key=queue_key,
        last_message_id=max(newest, at_ms(_last_commit(db) + 1)),
    )


def store_frames(db: apsw.Connection, frames: Sequence[Frame], queue_key: bytes) -> None:
    """Write what the journal has. A change that the database refuses is told and left out: the spool has to go on.

    Raises:
        apsw.Error: the database cannot be written.
    """
    entries = [entry for _, entries in frames for entry in entries]
    try:
        _store(db, queue_key, entries)
    except REFUSALS:
        log.exception("the journal is stored change by change: the database refuses one of them")
        for entry in entries:
            try:
                _store(db, queue_key, [entry])
            except REFUSALS:
                log.critical("a change is lost, the database refuses it: %.2000r", entry, exc_info=True)
    set_meta(db, "last_commit", max([int(meta(db, "last_commit") or 0), *(at for at, _ in frames)]))


def _store(db: apsw.Connection, queue_key: bytes, entries: Sequence[Entry]) -> None:
    with db:
        staged = Transaction(db, queue_key, doubtful(db))
        staged.again(entries)
        staged.flush()


def _last_commit(db: apsw.Connection) -> int:
    """The latest time at which the last commit can have been; 0 for a new spool."""
    noted = int(meta(db, "last_commit") or 0)
    return noted + NOTED_MS if noted else 0


def _list_marks(db: apsw.Connection, marks: Mapping[int, InDoubtMark]) -> int:
    """Put the marks without an outcome on the in-doubt list; how many."""
    there = fetch(
        db, "SELECT id, tried FROM recipient WHERE id IN (SELECT value FROM json_each(?))", (json_text(list(marks)),)
    )
    unsettled = [marks[recipient] for recipient, tried in there if tried < marks[recipient].at]
    before = db.total_changes()
    list_in_doubt(db, unsettled)
    return db.total_changes() - before


def _list_suspects(db: apsw.Connection, last_commit: int) -> tuple[int, int]:
    """Put what was due at the last commit on the in-doubt list; (listed, left out)."""
    suspects = (
        "FROM recipient AS r JOIN queue AS q ON q.id = r.queue WHERE r.due <= ?1"
        " AND NOT EXISTS (SELECT 1 FROM in_doubt AS d WHERE d.recipient = r.id AND d.resolution = 'open')"
    )
    ((count,),) = fetch(db, f"SELECT count(*) {suspects}", (last_commit,))
    db.execute(
        "INSERT OR IGNORE INTO in_doubt (recipient, address, at, vmta, site, remote)"
        " SELECT r.id, r.address, ?1, r.vmta, CASE r.site WHEN '' THEN q.site ELSE r.site END, ''"
        f" {suspects} ORDER BY r.due DESC LIMIT ?2",
        (last_commit, POWER_LOSS_LISTED),
    )
    return min(count, POWER_LOSS_LISTED), max(0, count - POWER_LOSS_LISTED)


def housekeeping(db: apsw.Connection, now: int) -> None:
    """Forget what is too old to be asked for; from time to time."""
    db.execute("DELETE FROM reply WHERE id NOT IN (SELECT reply FROM recipient WHERE reply IS NOT NULL)")
    db.execute("DELETE FROM in_doubt WHERE resolved_at < ?", (now - ledger.REMEMBERED_MS,))
    ledger.forget(db, now)
    evacuations.forget(db, now)


def doubtful(db: apsw.Connection) -> set[int]:
    """Recipients with an open entry on the in-doubt list."""
    return {recipient for (recipient,) in fetch(db, "SELECT recipient FROM in_doubt WHERE resolution = 'open'")}
