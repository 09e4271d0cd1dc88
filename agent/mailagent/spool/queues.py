"""Scheduled queues as the engine reads them: which are due, which rows are due, what blocks the rest."""

from collections.abc import Sequence

import apsw
import msgspec

from mailagent.spool.bulk import fetch, json_text, rows_of
from mailagent.spool.ids import RECIPIENT_BITS, arrival_ms
from mailagent.spool.records import WINDOW, DeferredTotal, DueQueue, Loaded, QueueName, Waiting, WaitingTotal
from mailagent.spool.transaction import Transaction

SLICE_ROWS = 10_000
"""Rows that one transaction changes at most, so that commits of mail wait tens of milliseconds, not seconds."""

Wanted = tuple[int, tuple[int, int] | None, int]
"""(queue, the (due, id) to go on after or None, limit)."""

_BEFORE_ALL = (-1, -1)
_due_rows = msgspec.json.Decoder(list[tuple[int, str, str, str, str, str, int, int, str, str]])
_Row = tuple[
    int, int, str, int, str, str, str, int, int, str, int, int, str, str, str, int, str, str, str, str, str
]  # fmt: skip
_waiting_rows = msgspec.json.Decoder(list[tuple[int, _Row]])
_loaded_rows = msgspec.json.Decoder(list[tuple[int | None, list[_Row]]])

_QUEUES = """
SELECT json_group_array(json_array(id, pool, stream, priority, domain, job, next_due, waiting, site, provider)
                        ORDER BY next_due)
FROM (SELECT * FROM queue WHERE {among} ORDER BY next_due LIMIT :limit)
"""
_UNPARKED = "priority = :priority AND parked IS NULL AND next_due IS NOT NULL"
_DUE = _QUEUES.format(among=f"{_UNPARKED} AND next_due <= :now")
_PARKED = _QUEUES.format(among=f"parked = :key AND parked IS NOT NULL AND parked <> '{WINDOW}'")


def due_queues(db: apsw.Connection, now: int, limit: int, priority: str) -> tuple[list[DueQueue], int | None]:
    """Queues of a priority that are due and not parked, longest due first; and when the next one will be.

    The latter is None when there is no other.
    """
    bindings = {"now": now, "limit": limit, "priority": priority}
    queues = [_due_queue(row) for row in rows_of(db, _DUE, bindings, _due_rows)]
    ((later,),) = fetch(db, f"SELECT min(next_due) FROM queue WHERE {_UNPARKED} AND next_due > :now", bindings)
    return queues, later


def parked_queues(db: apsw.Connection, key: str, limit: int) -> list[DueQueue]:
    """Queues parked on `key`, the one that is due first or longest in front."""
    return [_due_queue(row) for row in rows_of(db, _PARKED, {"key": key, "limit": limit}, _due_rows)]


def _due_queue(row: tuple[int, str, str, str, str, str, int, int, str, str]) -> DueQueue:
    queue, pool, stream, priority, domain, job, next_due, waiting, site, provider = row
    return DueQueue(
        id=queue,
        name=QueueName(pool, stream, priority, domain, job),
        next_due=next_due,
        waiting=waiting,
        site=site,
        provider=provider,
    )


_LOAD = f"""
SELECT json_group_array(json_array((
    SELECT min(due) FROM recipient WHERE queue = w.value ->> 0 AND due > ?2
), json((
    SELECT json_group_array(json_array(id, due, hex(address), attempts, vmta, site, hex(sender), size,
                                       eightbit, hex(added), received_at, expires_at, stream, pool, job,
                                       utf8, user, ret, envid, notify, orcpt) ORDER BY due, id)
    FROM (
        SELECT r.id, r.due, r.address, r.attempts, r.vmta, r.site, m.sender, m.size, m.eightbit, m.added,
               m.received_at, m.expires_at, m.stream, m.pool, m.job, m.utf8, m.user, m.ret, m.envid, r.notify,
               r.orcpt
        FROM recipient AS r JOIN message AS m ON m.id = r.id >> {RECIPIENT_BITS}
        WHERE r.queue = w.value ->> 0 AND r.due <= ?2 AND (r.due, r.id) > (w.value ->> 1, w.value ->> 2)
        ORDER BY r.due, r.id LIMIT ?3
    )
)))) FROM json_each(?1) AS w
"""


_ROWS = f"""
SELECT json_group_array(json_array(queue, json_array(r.id, r.due, hex(r.address), r.attempts, r.vmta, r.site,
           hex(m.sender), m.size, m.eightbit, hex(m.added), m.received_at, m.expires_at, m.stream, m.pool, m.job,
           m.utf8, m.user, m.ret, m.envid, r.notify, r.orcpt)) ORDER BY r.id)
FROM recipient AS r JOIN message AS m ON m.id = r.id >> {RECIPIENT_BITS}
WHERE r.id IN (SELECT value FROM json_each(?1))
"""


def waiting_rows(db: apsw.Connection, recipients: Sequence[int]) -> list[Waiting]:
    """These recipients as attempts need them, as far as they wait."""
    listed = json_text(list(recipients))
    return [_waiting(queue, row) for queue, row in rows_of(db, _ROWS, (listed,), _waiting_rows)]


def load(db: apsw.Connection, wanted: Sequence[Wanted], now: int) -> list[Loaded]:
    """Due rows of each wanted queue in (due, id) order; one statement for all that share a limit."""
    loaded = [Loaded((), None)] * len(wanted)
    for limit in {limit for _, _, limit in wanted}:
        places = [place for place, (_, _, its_limit) in enumerate(wanted) if its_limit == limit]
        asked = [(wanted[place][0], *(wanted[place][1] or _BEFORE_ALL)) for place in places]
        pages = rows_of(db, _LOAD, (json_text(asked), now, limit), _loaded_rows)
        for place, (next_due, page) in zip(places, pages, strict=True):
            queue = wanted[place][0]
            loaded[place] = Loaded([_waiting(queue, row) for row in page], next_due)
    return loaded


def _waiting(queue: int, row: _Row) -> Waiting:
    (recipient, due, address, attempts, vmta, site, sender, size, eightbit, added, received, expires, stream, pool, job,
     utf8, user, ret, envid, notify, orcpt) = row  # fmt: skip
    return Waiting(
        id=recipient,
        queue=queue,
        due=due,
        address=bytes.fromhex(address),
        attempts=attempts,
        vmta=vmta,
        site=site,
        message=recipient >> RECIPIENT_BITS,
        sender=bytes.fromhex(sender),
        size=size,
        eightbit=eightbit == 1,
        added=bytes.fromhex(added),
        received_at=received,
        expires_at=expires,
        stream=stream,
        pool=pool,
        job=job,
        utf8=utf8 == 1,
        user=user,
        ret=ret,
        envid=envid,
        notify=notify,
        orcpt=orcpt,
    )


def parked_keys(db: apsw.Connection) -> dict[str, int]:
    """Keys that park queues, with how many; the window is not one of them."""
    return dict(
        fetch(
            db, f"SELECT parked, count(*) FROM queue WHERE parked IS NOT NULL AND parked <> '{WINDOW}' GROUP BY parked"
        )
    )


def unpark_slice(transaction: Transaction, after: int, *, key: str, now: int, spread: int) -> int | None:
    """Free the next SLICE_ROWS queues parked on `key` in order of id; the last id, or None at the end.

    Queue ids are hashes, so that their remainders spread them evenly over [now, now + spread].
    """
    db = transaction.db
    bindings = {"key": key, "after": after, "limit": SLICE_ROWS, "now": now, "span": spread + 1}
    chosen = f"parked = :key AND parked <> '{WINDOW}' AND id > :after ORDER BY id LIMIT :limit"
    ((last, count),) = fetch(db, f"SELECT max(id), count(*) FROM (SELECT id FROM queue WHERE {chosen})", bindings)
    if not count:
        return None
    db.execute(
        "UPDATE queue SET parked = NULL, next_due = max("
        " coalesce(next_due, (SELECT min(due) FROM recipient WHERE recipient.queue = queue.id)), :now + id % :span)"
        f" WHERE id IN (SELECT id FROM queue WHERE {chosen})",
        bindings,
    )
    return last if count == SLICE_ROWS else None


def make_due(transaction: Transaction, recipients: Sequence[int], first: int, *, now: int, step_ms: float) -> None:
    """Make rows due at `now` + `step_ms` times their place, `first` for the first one; never later than they were."""
    db = transaction.db
    listed = json_text(list(recipients))
    db.execute(
        "UPDATE recipient SET due = CAST(?2 + ?3 * (?4 + j.key) AS INTEGER) FROM json_each(?1) AS j"
        " WHERE recipient.id = j.value AND recipient.due > ?2 + ?3 * (?4 + j.key)",
        (listed, now, step_ms, first),
    )
    db.execute(
        "UPDATE queue SET next_due = min(coalesce(next_due, v.due), v.due) FROM ("
        " SELECT queue, min(due) AS due FROM recipient WHERE id IN (SELECT value FROM json_each(?)) GROUP BY queue"
        ") AS v WHERE queue.id = v.queue",
        (listed,),
    )


def waiting_totals(db: apsw.Connection) -> list[WaitingTotal]:
    """Waiting recipients per pool, stream and provider, from the counts of the queues."""
    return [
        WaitingTotal(pool=pool, stream=stream, provider=provider, count=count)
        for pool, stream, provider, count in fetch(
            db, "SELECT pool, stream, provider, sum(waiting) FROM queue GROUP BY pool, stream, provider"
        )
    ]


def deferred_totals(db: apsw.Connection) -> list[DeferredTotal]:
    """Deferred recipients per provider and virtual MTA, from the partial index alone."""
    return [
        DeferredTotal(provider=provider, vmta=vmta, count=count, oldest_at=arrival_ms(oldest))
        for provider, vmta, count, oldest in fetch(
            db,
            "SELECT provider, vmta, count(*), min(id) FROM recipient WHERE reply IS NOT NULL GROUP BY provider, vmta",
        )
    ]


def oldest(db: apsw.Connection) -> int | None:
    """Arrival of the oldest waiting message."""
    for (received_at,) in db.execute("SELECT received_at FROM message ORDER BY id LIMIT 1"):
        return int(received_at)
    return None
