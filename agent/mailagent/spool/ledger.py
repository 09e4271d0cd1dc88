"""Operations and directives on disk: written in one transaction with their effect, and read back whole."""

from datetime import datetime
from typing import Any

import apsw
import msgspec

from mailagent.api.directives import Directive, DirectiveState
from mailagent.api.ids import OpId
from mailagent.api.operations import OperationRecord
from mailagent.api.replies import OperationPage
from mailagent.spool import credentials
from mailagent.spool.bulk import fetch, json_text
from mailagent.spool.errors import ItemRefused
from mailagent.spool.records import LedgerEntry, StoredOperation

REMEMBERED_MS = 7 * 24 * 3600 * 1000
"""An op_id is remembered this long; ended directives and settled in-doubt entries too."""

_encode = msgspec.json.Encoder().encode
_operation = msgspec.json.Decoder(StoredOperation)
_directive = msgspec.json.Decoder(Directive)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def write(db: apsw.Connection, entry: LedgerEntry) -> None:
    """Store an operation and its directives.

    Raises:
        ItemRefused: an operation of that op_id is there already.
    """
    record = entry.operation.record
    try:
        db.execute(
            "INSERT INTO operation (op_id, at, undone_by, data) VALUES (?, ?, ?, ?)",
            (record.op_id, _ms(record.at), record.undone_by, _encode(entry.operation)),
        )
    except apsw.ConstraintError as exc:
        raise ItemRefused(f"operation {record.op_id} is stored already") from exc
    for directive in entry.directives:
        db.execute(
            "INSERT INTO directive VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id)"
            " DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at, data = excluded.data",
            (
                directive.id,
                directive.state.value,
                _ms(directive.ended_at) if directive.ended_at else None,
                _encode(directive),
            ),
        )
    if entry.credential is not None:
        credentials.write(db, entry.credential)
    if entry.undone:
        db.execute(
            "UPDATE operation SET undone_by = ?2 WHERE op_id IN (SELECT value FROM json_each(?1))",
            (json_text(entry.undone), record.op_id),
        )


def _stored(data: bytes, undone_by: str | None) -> StoredOperation:
    stored = _operation.decode(data)
    if undone_by is None:
        return stored
    record = msgspec.structs.replace(stored.record, undone_by=OpId(undone_by))
    return msgspec.structs.replace(stored, record=record)


def stored_operation(db: apsw.Connection, op_id: str) -> StoredOperation | None:
    """The operation of that op_id, None when it was never executed here or is forgotten."""
    for data, undone_by in db.execute("SELECT data, undone_by FROM operation WHERE op_id = ?", (op_id,)):
        return _stored(data, undone_by)
    return None


def operations(db: apsw.Connection, cursor: str, limit: int) -> OperationPage:
    """A page of operations, newest first."""
    before = int(cursor) if cursor else 1 << 62
    found: list[tuple[Any, ...]] = fetch(
        db, "SELECT seq, data, undone_by FROM operation WHERE seq < ? ORDER BY seq DESC LIMIT ?", (before, limit + 1)
    )
    rows: tuple[OperationRecord, ...] = tuple(_stored(data, undone_by).record for _, data, undone_by in found[:limit])
    return OperationPage(rows=rows, cursor=str(found[limit - 1][0]) if len(found) > limit else "")


def directives(db: apsw.Connection) -> list[Directive]:
    """The live ones, oldest first. One whose time is up stays live until somebody records its end."""
    found = fetch(db, "SELECT data FROM directive WHERE state = ?", (DirectiveState.LIVE.value,))
    return sorted((_directive.decode(data) for (data,) in found), key=lambda directive: directive.created_at)


def forget(db: apsw.Connection, now: int) -> None:
    """Delete what is older than REMEMBERED_MS."""
    db.execute("DELETE FROM operation WHERE at < ?", (now - REMEMBERED_MS,))
    db.execute("DELETE FROM directive WHERE ended_at < ?", (now - REMEMBERED_MS,))
