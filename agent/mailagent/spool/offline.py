"""The spool as `mailagent spool` reads it: read-only, with or without an agent that runs on it."""

from collections.abc import Sequence
from pathlib import Path

import apsw

from mailagent.api.directives import Directive
from mailagent.api.targets import MessageFilter
from mailagent.api.views import MessageSummary
from mailagent.spool import inspection, parcels
from mailagent.spool.bulk import fetch
from mailagent.spool.errors import SpoolUnusable
from mailagent.spool.ids import RECIPIENT_BITS, message_name
from mailagent.spool.ledger import directives
from mailagent.spool.schema import FILE_NAME, meta, open_reader
from mailagent.spool.selection import selection

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
        rows: list[MessageSummary] = []
        after: int | None = chosen.first - 1
        while after is not None and len(rows) < limit:
            page = inspection.Page(limit - len(rows))
            after = inspection.fill_page(db, chosen, after, page, tag)
            rows += page.rows
        return rows
    except apsw.Error as exc:
        raise SpoolUnusable(f"{state_dir / FILE_NAME}: {exc}") from exc
    finally:
        db.close()


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
