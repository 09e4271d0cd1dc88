"""Evacuations on disk: what a host was told to let go, or to take."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import apsw
import msgspec

from mailagent.api.evacuation import Direction, EvacuationState, EvacuationTarget
from mailagent.api.ids import HostName, OpId, StreamName
from mailagent.spool.bulk import fetch, json_text
from mailagent.spool.ids import RECIPIENT_BITS
from mailagent.spool.inspection import slice_end
from mailagent.spool.records import HELD_DUE

REMEMBERED_MS: Final = 30 * 24 * 3600 * 1000
"""How long an evacuation that has ended is remembered, with the decisions about its parcels."""
SCAN_ROWS: Final = 2000
"""Recipients that one look for mail to pack finds at most."""
_LAST = (1 << 63) - 1


class Evacuation(msgspec.Struct, frozen=True, kw_only=True):
    """One evacuation, as one of its hosts has it."""

    id: OpId
    direction: Direction
    author: str
    reason: str
    at: datetime
    source: HostName
    streams: tuple[StreamName, ...] = ()
    targets: tuple[EvacuationTarget, ...] = ()
    state: EvacuationState = EvacuationState.OPEN
    ended_at: datetime | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Evacuation).decode


def write(db: apsw.Connection, one: Evacuation) -> None:
    """Store a new evacuation, or a change of one."""
    ended = None if one.ended_at is None else int(one.ended_at.timestamp() * 1000)
    db.execute(
        "INSERT INTO evacuation (id, direction, state, at, ended_at, data) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at, data = excluded.data",
        (one.id, one.direction.value, one.state.value, int(one.at.timestamp() * 1000), ended, _encode(one)),
    )


def read_all(db: apsw.Connection) -> list[Evacuation]:
    """All that are remembered, the newest first."""
    return [_decode(data) for (data,) in fetch(db, "SELECT data FROM evacuation ORDER BY at DESC, id")]


def forget(db: apsw.Connection, now: int) -> None:
    """Drop what ended long ago, unless something is left to be done about a parcel of it."""
    old = (
        "FROM evacuation AS e WHERE e.ended_at < ? AND NOT EXISTS (SELECT 1 FROM parcel AS p"
        " WHERE p.evacuation = e.id AND p.direction = e.direction AND NOT p.closed)"
    )
    for name, direction in fetch(db, f"SELECT id, direction {old}", (now - REMEMBERED_MS,)):
        db.execute("DELETE FROM parcel WHERE evacuation = ? AND direction = ?", (name, direction))
        db.execute("DELETE FROM evacuation WHERE id = ? AND direction = ?", (name, direction))


def leaving(db: apsw.Connection, held_jobs: tuple[str, ...]) -> Mapping[tuple[str, str, str], int]:
    """Waiting recipients by (stream, pool, why they stay); the last is empty for those that may leave."""
    held = {
        (stream, pool, job): count
        for stream, pool, job, count in fetch(
            db,
            "SELECT q.stream, q.pool, q.job, count(*) FROM held AS h JOIN recipient AS r ON r.id = h.recipient"
            " JOIN queue AS q ON q.id = r.queue GROUP BY 1, 2, 3",
        )
    }
    found: dict[tuple[str, str, str], int] = {}
    for stream, pool, job, count in fetch(
        db, "SELECT stream, pool, job, sum(waiting) FROM queue GROUP BY 1, 2, 3 HAVING sum(waiting) > 0"
    ):
        ordered = held.get((stream, pool, job), 0)
        free = f"job {job} is held here" if job in held_jobs else ""
        for why, some in (("an order on mail has it", ordered), (free, count - ordered)):
            if some > 0:
                found[stream, pool, why] = found.get((stream, pool, why), 0) + some
    return found


def message_bytes(db: apsw.Connection) -> int:
    """Average size of the oldest thousand messages; 0 without any."""
    ((average,),) = fetch(db, "SELECT avg(size) FROM (SELECT size FROM message ORDER BY id LIMIT 1000)")
    return int(average or 0)


def candidates(
    db: apsw.Connection, streams: tuple[str, ...], held_jobs: tuple[str, ...], after: int
) -> tuple[list[tuple[int, int]], int | None]:
    """Mail of `streams` behind `after` that may leave as (recipient, size of its message); where to go on, or None.

    What an order on mail has, or is of a held job, may not.
    """
    end = slice_end(db, after, _LAST)
    if end is None:
        return [], None
    rows = fetch(
        db,
        f"SELECT r.id, m.size FROM recipient AS r JOIN message AS m ON m.id = r.id >> {RECIPIENT_BITS}"
        f" JOIN queue AS q ON q.id = r.queue WHERE r.id > ?1 AND r.id <= ?2 AND r.due < {HELD_DUE}"
        f" AND r.due < {HELD_DUE} AND q.stream IN (SELECT value FROM json_each(?3))"
        " AND q.job NOT IN (SELECT value FROM json_each(?4)) ORDER BY r.id LIMIT ?5",
        (after, end, json_text(list(streams)), json_text(list(held_jobs)), SCAN_ROWS),
    )
    return rows, rows[-1][0] if len(rows) == SCAN_ROWS else end
