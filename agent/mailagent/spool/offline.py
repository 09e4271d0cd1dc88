"""The spool as `mailagent spool` reads it: read-only, with or without an agent that runs on it.

What an agent that died has left in the journal is listed too; only of deferrals of its last second, attempts and due
times are those before. Beside one that runs, mail of the last second may be missing.
"""

from collections.abc import Sequence
from pathlib import Path

import apsw

from mailagent.api.directives import Directive
from mailagent.api.targets import MessageFilter
from mailagent.api.views import MessageSummary
from mailagent.spool import inspection, parcels
from mailagent.spool.bulk import fetch
from mailagent.spool.errors import SpoolUnusable
from mailagent.spool.ids import RECIPIENT_BITS, message_name, split
from mailagent.spool.journal import FILE_NAME as JOURNAL_NAME
from mailagent.spool.journal import read_journal
from mailagent.spool.ledger import directives
from mailagent.spool.recovery import store_frames
from mailagent.spool.schema import FILE_NAME, meta, open_in_memory, open_reader
from mailagent.spool.selection import Selection, selection

SHOWN = 5
"""Examples named per finding."""

_EVERYTHING = MessageFilter()

_CHECKS = (
    (
        "recipients without their message",
        f"SELECT id >> {RECIPIENT_BITS} FROM recipient AS r"
        f" WHERE NOT EXISTS (SELECT 1 FROM message AS m WHERE m.id = r.id >> {RECIPIENT_BITS})",
    ),
    (
        "recipients without their scheduled queue",
        f"SELECT id >> {RECIPIENT_BITS} FROM recipient AS r"
        " WHERE NOT EXISTS (SELECT 1 FROM queue AS q WHERE q.id = r.queue)",
    ),
    (
        "messages without a recipient",
        "SELECT id FROM message AS m WHERE NOT EXISTS (SELECT 1 FROM recipient AS r"
        f" WHERE r.id >= m.id << {RECIPIENT_BITS} AND r.id < (m.id + 1) << {RECIPIENT_BITS})",
    ),
    (
        "messages without their body",
        "SELECT id FROM message AS m WHERE NOT EXISTS (SELECT 1 FROM body AS b WHERE b.id = m.id)",
    ),
    (
        "bodies without their message",
        "SELECT id FROM body AS b WHERE NOT EXISTS (SELECT 1 FROM message AS m WHERE m.id = b.id)",
    ),
    (
        "attempts without their recipient",
        f"SELECT DISTINCT recipient >> {RECIPIENT_BITS} FROM attempt AS a"
        " WHERE NOT EXISTS (SELECT 1 FROM recipient AS r WHERE r.id = a.recipient)",
    ),
)
_WRONG_COUNTS = """
SELECT q.pool, q.stream, q.domain, q.waiting, (SELECT count(*) FROM recipient AS r WHERE r.queue = q.id) AS really
FROM queue AS q WHERE q.waiting <> really
"""


def live_directives(state_dir: Path) -> list[Directive]:
    """The live directives of a host; none where there is no spool yet.

    Raises:
        SpoolUnusable: the spool cannot be read.
    """
    if not (state_dir / FILE_NAME).exists():
        return []
    db = open_reader(state_dir / FILE_NAME)
    try:
        return directives(db)
    except apsw.Error as exc:
        raise SpoolUnusable(f"{state_dir / FILE_NAME}: {exc}") from exc
    finally:
        db.close()


def spool_list(state_dir: Path, limit: int, filter: MessageFilter = _EVERYTHING) -> list[MessageSummary]:
    """The first `limit` waiting recipients that match, oldest first.

    Raises:
        SpoolUnusable: there is no spool in `state_dir`, or it cannot be read.
    """
    try:
        db = open_reader(state_dir / FILE_NAME)
    except apsw.Error as exc:
        raise SpoolUnusable(f"{state_dir / FILE_NAME}: {exc}") from exc
    try:
        tag = str(meta(db, "tag"))
        chosen = selection(filter, tag)
        db.execute("BEGIN")  # the mark of the journal belongs to these rows
        memory, gone = _journalled(state_dir, db)
        rows = [row for row in _waiting(db, chosen, limit + len(gone), tag) if (row.message_id, row.n) not in gone]
        return (rows + _waiting(memory, chosen, limit, tag))[:limit]
    except (apsw.Error, OSError) as exc:
        raise SpoolUnusable(f"{state_dir / FILE_NAME}: {exc}") from exc
    finally:
        db.close()


def _waiting(db: apsw.Connection, chosen: Selection, limit: int, tag: str) -> list[MessageSummary]:
    rows: list[MessageSummary] = []
    after: int | None = chosen.first - 1
    while after is not None and len(rows) < limit:
        page = inspection.Page(limit - len(rows))
        after = inspection.fill_page(db, chosen, after, page, tag)
        rows += page.rows
    return rows


def _journalled(state_dir: Path, db: apsw.Connection) -> tuple[apsw.Connection, set[tuple[str, int]]]:
    """Mail that is in the journal alone, and which recipients (message, n) have left the database by the journal."""
    memory = open_in_memory()
    mark, queue_key, tag = meta(db, "journal"), meta(db, "queue_key"), str(meta(db, "tag"))
    gone: set[tuple[str, int]] = set()
    if isinstance(mark, bytes) and isinstance(queue_key, bytes):
        frames = read_journal(state_dir / JOURNAL_NAME, mark)
        store_frames(memory, frames, queue_key)
        for name, arguments in (entry for _, entries in frames for entry in entries):
            if name == "settle":
                removed = (split(one.recipient) for one in arguments[0] if one.due is None)
                gone.update((message_name(message, tag), n) for message, n in removed)
    return memory, gone


def spool_check(state_dir: Path) -> list[str]:
    """What is wrong with the spool, a sentence each; empty when all is well. Reads everything.

    Raises:
        SpoolUnusable: there is no spool in `state_dir`, or it cannot be read.
    """
    try:
        db = open_reader(state_dir / FILE_NAME)
    except apsw.CorruptError as exc:  # the tables themselves cannot be read
        return [f"database: {exc}"]
    try:
        db.execute("BEGIN")  # one snapshot, also beside a running agent
        findings = [f"database: {text}" for (text,) in fetch(db, "PRAGMA quick_check") if text != "ok"]
        tag = str(meta(db, "tag"))
        for what, statement in _CHECKS:
            found = [message_name(message, tag) for (message,) in fetch(db, statement)]
            if found:
                findings.append(f"{len(found)} {what}: {_some(found)}")
        for what, statement in parcels.CHECKS:
            found = [parcel for (parcel,) in fetch(db, statement)]
            if found:
                findings.append(f"{len(found)} {what}: {_some(found)}")
        findings += [
            f"queue {pool}/{stream}/{domain} counts {waiting} waiting recipients and has {really}"
            for pool, stream, domain, waiting, really in fetch(db, _WRONG_COUNTS)
        ]
        return findings
    except apsw.CorruptError as exc:
        return [f"database: {exc}"]
    except apsw.Error as exc:
        raise SpoolUnusable(f"{state_dir / FILE_NAME}: {exc}") from exc
    finally:
        db.close()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
