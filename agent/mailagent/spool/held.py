"""Recipients that orders on mail have: taken out of their queues, and freed again, in bounded steps.

Who is held has the due time HELD_DUE, so that nothing reads it; its own due time stands in `held`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import apsw
import msgspec

from mailagent.api.directives import Directive
from mailagent.api.operations import MailPart
from mailagent.spool import crash
from mailagent.spool.bulk import execute_rows, fetch, json_text, rows_of
from mailagent.spool.ids import RECIPIENT_BITS
from mailagent.spool.inspection import next_slice
from mailagent.spool.queues import waiting_rows
from mailagent.spool.records import HELD_DUE, MailOrder, QueueName, Waiting
from mailagent.spool.selection import JOINED, Selection
from mailagent.spool.terms import PROVIDER
from mailagent.spool.transaction import NEW_QUEUES_OF_JOBS, Transaction

_ids = msgspec.json.Decoder(list[int])
_directive = msgspec.json.Decoder(Directive)
_LISTED = "(SELECT value FROM json_each(?1))"

Parts = dict[tuple[str, str, str], int]
"""Counts by (pool, stream, provider)."""


def matching(db: apsw.Connection, chosen: Selection, after: int) -> tuple[list[int], int | None]:
    """(recipients that match in the slice after `after`, where to go on or None at the end)."""
    span = next_slice(db, chosen, after)
    if span is None:
        return [], None
    condition, end = span
    found: list[int] = rows_of(
        db,
        "SELECT json_group_array(id ORDER BY id) FROM"
        f" (SELECT r.id FROM {JOINED} WHERE r.id > :after AND r.id <= :end AND {condition})",
        chosen.bindings | {"after": after, "end": end},
        _ids,
    )
    return found, end


def matching_among(db: apsw.Connection, chosen: Selection, recipients: Sequence[int]) -> int:
    """How many of `recipients` match."""
    ((count,),) = fetch(
        db,
        f"SELECT count(*) FROM {JOINED} WHERE r.id IN (SELECT value FROM json_each(:listed))"
        f" AND r.id BETWEEN :first AND :last AND {chosen.condition}",
        chosen.bindings | {"listed": json_text(list(recipients)), "first": chosen.first, "last": chosen.last},
    )
    return int(count)


def add_parts(db: apsw.Connection, chosen: Selection, after: int, parts: Parts, lowest: list[int]) -> int | None:
    """Add the counts of the slice after `after`, and its lowest id; where to go on, None at the end."""
    span = next_slice(db, chosen, after)
    if span is None:
        return None
    condition, end = span
    for pool, stream, provider, count, first in fetch(
        db,
        f"SELECT q.pool, q.stream, {PROVIDER}, count(*), min(r.id) FROM {JOINED}"
        f" WHERE r.id > :after AND r.id <= :end AND {condition} GROUP BY 1, 2, 3",
        chosen.bindings | {"after": after, "end": end},
    ):
        parts[pool, stream, provider] = parts.get((pool, stream, provider), 0) + count
        lowest.append(first)
    return end


def part_views(parts: Parts, limit: int) -> tuple[MailPart, ...]:
    """The largest parts."""
    largest = sorted(parts.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return tuple(
        MailPart(pool=pool, stream=stream, provider=provider, count=count)
        for (pool, stream, provider), count in largest
    )


def orders(db: apsw.Connection) -> list[MailOrder]:
    """Orders that stand."""
    return [
        MailOrder(id=name, after=after, in_flight=in_flight, settled=settled == 1)
        for name, after, in_flight, settled in fetch(db, "SELECT id, after, in_flight, settled FROM mail_order")
    ]


def counts(db: apsw.Connection) -> dict[str, int]:
    """How many recipients each order has."""
    return dict(fetch(db, "SELECT mail_order, count(*) FROM held GROUP BY mail_order"))


def take(transaction: Transaction, order: MailOrder, recipients: Sequence[int]) -> None:
    """`order` has these recipients from now on, as far as they wait and no order has them."""
    db, listed = transaction.db, json_text(list(recipients))
    db.execute(
        f"INSERT INTO held SELECT id, ?2, due FROM recipient WHERE id IN {_LISTED} AND due < {HELD_DUE}",
        (listed, order.id),
    )
    db.execute(f"UPDATE recipient SET due = {HELD_DUE} WHERE id IN {_LISTED} AND due < {HELD_DUE}", (listed,))
    db.execute(
        "INSERT INTO mail_order VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id)"
        " DO UPDATE SET after = excluded.after, in_flight = excluded.in_flight, settled = excluded.settled",
        (order.id, order.after, order.in_flight, order.settled),
    )
    crash.at("order_taken")


def free(transaction: Transaction, recipients: Sequence[int], now: int, spread: int) -> None:
    """No order has these any more: due when they were, those overdue spread over [`now`, `now` + `spread`]."""
    db, listed = transaction.db, json_text(list(recipients))
    db.execute(
        # ids are microseconds, so that their remainders spread them evenly
        "UPDATE recipient SET due = max(h.due, ?2 + (h.recipient >> 12) % (?3 + 1)) FROM held AS h"
        f" WHERE recipient.id = h.recipient AND h.recipient IN {_LISTED}",
        (listed, now, spread),
    )
    db.execute(f"DELETE FROM held WHERE recipient IN {_LISTED}", (listed,))
    db.execute(
        "UPDATE queue SET next_due = min(coalesce(next_due, v.due), v.due) FROM ("
        f" SELECT queue, min(due) AS due FROM recipient WHERE id IN {_LISTED} GROUP BY queue"
        ") AS v WHERE queue.id = v.queue",
        (listed,),
    )
    crash.at("order_freed")


def rebind(
    transaction: Transaction,
    recipients: Sequence[int],
    pool: str,
    added: Mapping[int, bytes],
    queue_id: Callable[[QueueName], int],
    now: int,
    spread: int,
) -> set[int]:
    """Move recipients that an order has to the queues of `pool`, free them as `free` does; the queues that they left.

    `added` has the new header block of each message that needs another one.
    """
    db, listed = transaction.db, json_text(list(recipients))
    joining: dict[QueueName, tuple[int, int]] = {}
    leaving: Counter[int] = Counter()
    moved: list[tuple[int, int, int]] = []
    for recipient, queue, stream, priority, domain, job, due in fetch(
        db,
        "SELECT r.id, q.id, q.stream, q.priority, q.domain, q.job, h.due FROM held AS h"
        " JOIN recipient AS r ON r.id = h.recipient JOIN queue AS q ON q.id = r.queue"
        f" WHERE h.recipient IN {_LISTED}",
        (listed,),
    ):
        name = QueueName(pool, stream, priority, domain, job)
        due = max(due, now + (recipient >> RECIPIENT_BITS) % (spread + 1))
        count, first = joining.get(name, (0, due))
        joining[name] = (count + 1, min(first, due))
        leaving[queue] += 1
        moved.append((recipient, queue_id(name), due))
    execute_rows(
        db,
        NEW_QUEUES_OF_JOBS,
        [
            (queue_id(name), name.pool, name.stream, name.priority, name.domain, count, due, name.job)
            for name, (count, due) in joining.items()
        ],
    )
    execute_rows(
        db,
        "UPDATE recipient SET queue = v.column2, due = v.column3 FROM ({values}) AS v WHERE recipient.id = v.column1",
        moved,
    )
    execute_rows(
        db,
        "UPDATE queue SET waiting = waiting - v.column2 FROM ({values}) AS v WHERE queue.id = v.column1",
        list(leaving.items()),
    )
    db.execute(
        f"UPDATE message SET pool = ?2 WHERE id IN (SELECT value >> {RECIPIENT_BITS} FROM json_each(?1))",
        (listed, pool),
    )
    execute_rows(
        db,
        "UPDATE message SET size = size - length(added) + length(v.column2), added = v.column2 FROM ({values}) AS v"
        " WHERE message.id = v.column1",
        list(added.items()),
    )
    db.execute(f"DELETE FROM held WHERE recipient IN {_LISTED}", (listed,))
    crash.at("order_rebound")
    return set(leaving)


def forget(transaction: Transaction, order: str) -> None:
    """The order is over."""
    transaction.db.execute("DELETE FROM mail_order WHERE id = ?", (order,))


def held_by(db: apsw.Connection, order: str, limit: int) -> list[int]:
    """Some of the recipients that an order has, the oldest first."""
    return [
        recipient
        for (recipient,) in fetch(
            db, "SELECT recipient FROM held WHERE mail_order = ? ORDER BY recipient LIMIT ?", (order, limit)
        )
    ]


def of_orders(db: apsw.Connection, recipients: Sequence[int], names: Sequence[str]) -> list[int]:
    """Those of `recipients` that one of the named orders has."""
    found: list[int] = rows_of(
        db,
        "SELECT json_group_array(recipient ORDER BY recipient) FROM held"
        f" WHERE recipient IN {_LISTED} AND mail_order IN (SELECT value FROM json_each(?2))",
        (json_text(list(recipients)), json_text(list(names))),
        _ids,
    )
    return found


def rows(db: apsw.Connection, order: str, limit: int) -> list[Waiting]:
    """The same with all that an outcome needs, body apart."""
    return waiting_rows(db, held_by(db, order, limit))


def last_directive(db: apsw.Connection, order: str) -> Directive | None:
    """The directive of an order that ended last, or lives; None when all are forgotten."""
    found = (_directive.decode(data) for (data,) in fetch(db, "SELECT data FROM directive"))
    return max((one for one in found if order in (one.id, one.continues)), key=lambda one: one.created_at, default=None)
