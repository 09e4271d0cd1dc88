"""The suppression list on disk, and the counts of soft bounces.

`key` is the `suppression_key` of address and stream. An entry that is `pending` is not in effect.
"""

from collections.abc import Sequence

import apsw
import msgspec

from mailagent.spool.bulk import execute_rows, fetch, json_text, rows_of

SLICE = 20_000
"""Rows that one read or one statement of upkeep takes at most."""
MAX_SOFT = 1_000_000
"""Addresses whose soft bounces are counted at most."""

_keys = msgspec.json.Decoder(list[int])
_BETTER = """
 ON CONFLICT (key) DO UPDATE SET reason = excluded.reason, added_at = excluded.added_at,
 expires_at = excluded.expires_at, source = excluded.source, evidence = excluded.evidence,
 provider = excluded.provider, pending = excluded.pending
"""
_LONGER = """
 WHERE NOT excluded.pending AND (pending OR (expires_at IS NOT NULL
 AND (excluded.expires_at IS NULL OR excluded.expires_at > expires_at)))
"""
_COLUMNS = "address, stream, reason, added_at, expires_at, source, evidence, provider, pending"


class Entry(msgspec.Struct, frozen=True):
    """One row."""

    key: int
    address: str
    stream: str
    reason: int  # place in `SuppressionReason`
    added_at: int
    expires_at: int | None
    source: str
    evidence: str
    provider: str = ""
    pending: bool = False


class Repeat(msgspec.Struct, frozen=True):
    """One more refusal towards an entry: it takes effect when the counts of `counter` say so."""

    counter: int  # key of an address, or of a domain
    message: int
    messages: int  # how many different ones are needed
    over: int  # from the first to the last of them at least, ms
    forget: int  # ms without one after which the count starts anew
    entry: Entry


def put(db: apsw.Connection, entries: Sequence[Entry], *, replace: bool) -> list[Entry]:
    """Store entries; those that are in effect now through this. `replace`: also where one of the same kind stands.

    Without it an entry in effect stays, unless the new one lasts longer.
    """
    if not entries:
        return []
    before = {} if replace else _present(db, [entry.key for entry in entries])
    execute_rows(
        db,
        f"INSERT INTO suppression (key, {_COLUMNS}) {{values}}{_BETTER}{'' if replace else _LONGER}",
        [msgspec.structs.astuple(entry) for entry in {entry.key: entry for entry in entries}.values()],
    )
    return [entry for entry in entries if not entry.pending and not before.get(entry.key, False)]


def _present(db: apsw.Connection, keys: Sequence[int]) -> dict[int, bool]:
    """Which keys stand there, and whether in effect."""
    found = fetch(
        db,
        "SELECT key, NOT pending FROM suppression WHERE key IN (SELECT value FROM json_each(?))",
        (json_text(keys),),
    )
    return {key: bool(active) for key, active in found}


def note(
    db: apsw.Connection, *, fresh: Sequence[Entry], forgiven: Sequence[int], repeats: Sequence[Repeat], known: int
) -> tuple[list[Entry], list[int]]:
    """What outcomes of one turn say: new entries, counts that end, refusals to count; the result is that of `count`."""
    put(db, fresh, replace=False)
    if forgiven:
        db.execute("DELETE FROM soft_bounce WHERE key IN (SELECT value FROM json_each(?))", (json_text(forgiven),))
    return count(db, repeats, known)


def count(db: apsw.Connection, repeats: Sequence[Repeat], known: int) -> tuple[list[Entry], list[int]]:
    """Count refusals: (entries that take effect through that, counters that go on)."""
    effective: list[Entry] = []
    going: list[int] = []
    for repeat in repeats:
        at = repeat.entry.added_at
        if known + len(going) >= MAX_SOFT:
            break
        ((messages, first),) = fetch(
            db,
            "INSERT INTO soft_bounce VALUES (?1, 1, ?2, ?2, ?3) ON CONFLICT (key) DO UPDATE SET"
            " messages = CASE WHEN ?2 - last_at > ?4 THEN 1 ELSE messages + (message <> ?3) END,"
            " first_at = CASE WHEN ?2 - last_at > ?4 THEN ?2 ELSE first_at END, last_at = ?2, message = ?3"
            " RETURNING messages, first_at",
            (repeat.counter, at, repeat.message, repeat.forget),
        )
        if messages >= repeat.messages and at - first >= repeat.over:
            effective.append(repeat.entry)
            db.execute("DELETE FROM soft_bounce WHERE key = ?", (repeat.counter,))
        else:
            going.append(repeat.counter)
    return put(db, effective, replace=False), going


def remove(db: apsw.Connection, addresses: Sequence[str], stream: str) -> list[int]:
    """Delete entries; their keys."""
    listed = json_text(addresses)
    gone = fetch(
        db,
        "DELETE FROM suppression WHERE address IN (SELECT value FROM json_each(?1))"
        " AND (?2 = '' OR stream = ?2) RETURNING key",
        (listed, stream),
    )
    return [key for (key,) in gone]


def settle_pending(db: apsw.Connection, *, apply: bool, provider: str) -> list[tuple[int, int]]:
    """Put pending entries into effect or delete them: (key, reason) of at most SLICE, empty when none is left."""
    which = (
        "key IN (SELECT key FROM suppression WHERE pending AND (:provider = '' OR provider = :provider) LIMIT :limit)"
    )
    what = f"UPDATE suppression SET pending = 0 WHERE {which}" if apply else f"DELETE FROM suppression WHERE {which}"
    return fetch(db, f"{what} RETURNING key, reason", {"provider": provider, "limit": SLICE})


def hold_back(db: apsw.Connection, provider: str, since: int, reasons: Sequence[int]) -> list[int]:
    """Make entries of a provider pending that bounces made `since`; their keys."""
    held = fetch(
        db,
        "UPDATE suppression SET pending = 1 WHERE NOT pending AND provider = ?1 AND added_at >= ?2"
        " AND reason IN (SELECT value FROM json_each(?3)) RETURNING key",
        (provider, since, json_text(reasons)),
    )
    return [key for (key,) in held]


def expire(db: apsw.Connection, now: int, forget_before: int) -> list[int]:
    """Delete entries whose time is over and counts that nothing was added to; the keys of at most SLICE entries."""
    db.execute(
        "DELETE FROM soft_bounce WHERE key IN (SELECT key FROM soft_bounce WHERE last_at < ? LIMIT ?)",
        (forget_before, SLICE),
    )
    gone = fetch(
        db,
        "DELETE FROM suppression WHERE key IN"
        " (SELECT key FROM suppression WHERE expires_at IS NOT NULL AND expires_at <= ? LIMIT ?) RETURNING key",
        (now, SLICE),
    )
    return [key for (key,) in gone]


# --- reading -------------------------------------------------------------------------------------------------------


def active_keys(db: apsw.Connection, after: int, now: int) -> list[int]:
    """Of entries in effect, key * 8 + reason, ascending from beyond `after` (a key); at most SLICE."""
    found: list[int] = rows_of(
        db,
        "SELECT json_group_array(value) FROM (SELECT key * 8 + reason AS value FROM suppression WHERE key > ?"
        " AND NOT pending AND (expires_at IS NULL OR expires_at > ?) ORDER BY key LIMIT ?)",
        (after, now, SLICE),
        _keys,
    )
    return found


def soft_keys(db: apsw.Connection, after: int) -> list[int]:
    """Counters of soft bounces, ascending from beyond `after`; at most SLICE."""
    found: list[int] = rows_of(
        db,
        "SELECT json_group_array(key) FROM (SELECT key FROM soft_bounce WHERE key > ? ORDER BY key LIMIT ?)",
        (after, SLICE),
        _keys,
    )
    return found


def has_streams(db: apsw.Connection) -> bool:
    """Whether an entry is for one stream only."""
    ((found,),) = fetch(db, "SELECT EXISTS (SELECT 1 FROM suppression WHERE stream <> '')")
    return bool(found)


def pending_count(db: apsw.Connection, provider: str) -> int:
    """Entries that are not in effect yet, of one provider or all."""
    ((found,),) = fetch(
        db, "SELECT count(*) FROM suppression WHERE pending AND (?1 = '' OR provider = ?1)", (provider,)
    )
    return int(found)


def count_of(db: apsw.Connection, addresses: Sequence[str], stream: str) -> int:
    """Entries that `remove` would delete."""
    ((found,),) = fetch(
        db,
        "SELECT count(*) FROM suppression WHERE address IN (SELECT value FROM json_each(?1))"
        " AND (?2 = '' OR stream = ?2)",
        (json_text(addresses), stream),
    )
    return int(found)


def page(
    db: apsw.Connection, *, address: str, stream: str, reason: int | None, pending: bool | None, after: str, limit: int
) -> list[Entry]:
    """Entries in order of address and stream, beyond `after` (both, with a blank between)."""
    beyond_address, _, beyond_stream = after.partition(" ")
    narrowed = "".join(
        f" AND {column} = :{column}"  # each spelled out, so that an index may serve it
        for column, wanted in (("address", address), ("stream", stream), ("reason", reason), ("pending", pending))
        if wanted not in ("", None)
    )
    found = fetch(
        db,
        f"SELECT key, {_COLUMNS} FROM suppression WHERE (address, stream) > (:after_address, :after_stream)"
        f"{narrowed} ORDER BY address, stream LIMIT :limit",
        {
            "after_address": beyond_address,
            "after_stream": beyond_stream,
            "address": address,
            "stream": stream,
            "reason": reason,
            "pending": pending,
            "limit": limit,
        },
    )
    return [Entry(*row) for row in found]
