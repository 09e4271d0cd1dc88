"""Messages that orders on a Postfix queue are about: by queue id, with what shows that the id still means the same one.

An order freezes them when it begins, and everything that it does later it does to these only. The rows outlive the
message's own, so that an order can say what became of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import IntEnum

import apsw
import msgspec

from mailagent.spool.bulk import execute_rows, fetch, json_text, rows_of
from mailagent.spool.ids import RECIPIENT_BITS
from mailagent.spool.inspection import next_slice
from mailagent.spool.records import HELD_DUE, MailOrder
from mailagent.spool.selection import JOINED, Selection
from mailagent.spool.transaction import Transaction


class State(IntEnum):
    """What an order has done with a message. The numbers are stored.

    LISTED -> HOLDING -> HELD -> DONE, and from any of them to what ends it; KEPT -> DONE.
    """

    LISTED = 0  # nothing yet
    HOLDING = 1  # about to be put on hold: after a crash, one that is on hold is this order's
    HELD = 2  # this order put it on hold
    KEPT = 3  # was on hold before: given up with the others, and left on hold when the order is taken back
    DONE = 4
    GONE = 5  # left the queue by itself, or somebody took it
    OTHER = 6  # the id means another message by now
    SHORT = 7  # its id may come back, and what was ordered cannot be taken back
    PARTLY = 8  # has recipients that do not match, and what was ordered has no way back
    LOOSE = 9  # somebody else released it, or put it on hold
    FAILED = 10  # it could not be done


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """One message of an order."""

    name: str  # its queue id
    message: int  # its number in this spool
    arrived_at: int  # seconds, as Postfix lists it
    sender: bytes
    size: int  # as Postfix lists it
    recipients: int  # that wait
    state: State = State.LISTED


class Known(msgspec.Struct, frozen=True):
    """What the mirror of the queue knows a message by."""

    name: str  # queue id
    arrived_at: int  # seconds, as listed
    sender: bytes
    size: int  # as listed


Matched = tuple[int, int, int]
"""A message, how many of its recipients wait, and how many of these match."""
Tally = dict[State, tuple[int, int]]
"""Messages and recipients by state."""

_matched = msgspec.json.Decoder(list[Matched])
_FIRST = f"(message << {RECIPIENT_BITS})"
_LAST = f"((message + 1) << {RECIPIENT_BITS}) - 1"
_LISTED = "(SELECT value FROM json_each(?1))"
_ORDERED = f"EXISTS (SELECT 1 FROM frozen AS f WHERE f.message = r.id >> {RECIPIENT_BITS} AND f.state <= {State.KEPT:d}"


def without(chosen: Selection, orders: Sequence[str]) -> Selection:
    """`chosen` without the messages that one of `orders` has."""
    condition = f"({chosen.condition}) AND NOT {_ORDERED} AND f.mail_order IN (SELECT value FROM json_each(:orders)))"
    return replace(chosen, condition=condition, bindings=chosen.bindings | {"orders": json_text(list(orders))})


def matching(db: apsw.Connection, chosen: Selection, after: int) -> tuple[list[Matched], int | None]:
    """(messages with a recipient that matches in the slice after `after`, where to go on or None at the end).

    A message whose recipients lie in two slices comes twice.
    """
    span = next_slice(db, chosen, after)
    if span is None:
        return [], None
    condition, end = span
    found: list[Matched] = rows_of(
        db,
        "WITH found AS ("
        f"SELECT DISTINCT r.id >> {RECIPIENT_BITS} AS message FROM {JOINED}"
        f" WHERE r.id > :after AND r.id <= :end AND {condition})"
        " SELECT json_group_array(json_array(message,"
        f" (SELECT count(*) FROM recipient WHERE id BETWEEN {_FIRST} AND {_LAST}),"
        f" (SELECT count(*) FROM {JOINED} WHERE r.id BETWEEN {_FIRST} AND {_LAST} AND {chosen.condition})"
        ") ORDER BY message) FROM found",
        chosen.bindings | {"after": after, "end": end},
        _matched,
    )
    return found, end


def known(db: apsw.Connection, messages: Sequence[int]) -> dict[int, Known]:
    """Those of `messages` that are mirrored."""
    return {
        message: Known(name, arrived_at, sender, size)
        for message, name, arrived_at, sender, size in fetch(
            db,
            "SELECT m.id, x.queue_id, m.received_at / 1000, m.sender, m.size FROM mirrored AS x"
            f" JOIN message AS m ON m.id = x.message WHERE x.message IN {_LISTED}",
            (json_text(list(messages)),),
        )
    }


def add(transaction: Transaction, order: MailOrder, rows: Sequence[Frozen]) -> None:
    """`order` is about these messages too, and has looked as far as it says."""
    db = transaction.db
    execute_rows(
        db,
        "INSERT OR IGNORE INTO frozen"
        " (mail_order, name, message, arrived_at, sender, size, recipients, state) {values}",
        [
            (order.id, row.name, row.message, row.arrived_at, row.sender, row.size, row.recipients, row.state)
            for row in rows
        ],
    )
    db.execute(
        "INSERT INTO mail_order VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id)"
        " DO UPDATE SET after = excluded.after, settled = excluded.settled",
        (order.id, order.after, order.in_flight, order.settled),
    )


def rows(db: apsw.Connection, order: str, states: Sequence[State], limit: int) -> list[Frozen]:
    """Some of the messages of an order that are in one of `states`."""
    return [
        Frozen(
            name=name, message=message, arrived_at=arrived, sender=sender, size=size, recipients=recipients,
            state=State(state),
        )
        for name, message, arrived, sender, size, recipients, state in fetch(
            db,
            "SELECT name, message, arrived_at, sender, size, recipients, state FROM frozen WHERE mail_order = ?1"
            " AND state IN (SELECT value FROM json_each(?2)) ORDER BY message LIMIT ?3",
            (order, json_text([int(state) for state in states]), limit),
        )
    ]  # fmt: skip


def mark(transaction: Transaction, order: str, states: Mapping[str, State], now: int) -> None:
    """What became of messages, by queue id. Mail that is held shows so at once, and mail that was released as due."""
    db = transaction.db
    execute_rows(
        db,
        "UPDATE frozen SET state = v.column3 FROM ({values}) AS v"
        " WHERE frozen.mail_order = v.column1 AND frozen.name = v.column2",
        [(order, name, int(state)) for name, state in states.items()],
    )
    # the mirror may have read the queue before this: it takes the next listing of these whole
    db.execute(
        "UPDATE mirrored SET digest = -1 WHERE queue_id IN (SELECT value FROM json_each(?))", (json_text(list(states)),)
    )
    if taken := _mail(db, order, [name for name, state in states.items() if state is State.HELD]):
        db.execute(
            f"INSERT INTO held SELECT id, ?2, due FROM recipient WHERE id IN {_LISTED}"
            " ON CONFLICT (recipient) DO UPDATE SET mail_order = excluded.mail_order",
            (taken, order),
        )
        db.execute(f"UPDATE recipient SET due = {HELD_DUE} WHERE id IN {_LISTED}", (taken,))
    if freed := _mail(db, order, [name for name, state in states.items() if state is State.DONE]):
        db.execute(f"UPDATE recipient SET due = ?2 WHERE id IN {_LISTED} AND due = {HELD_DUE}", (freed, now))
        db.execute(f"DELETE FROM held WHERE recipient IN {_LISTED}", (freed,))


def _mail(db: apsw.Connection, order: str, names: Sequence[str]) -> str:
    """The waiting recipients of some messages of an order, as JSON; empty when there are none."""
    if not names:
        return ""
    ((found,),) = fetch(
        db,
        "SELECT coalesce(json_group_array(r.id), '') FROM frozen JOIN recipient AS r"
        f" ON r.id BETWEEN {_FIRST} AND {_LAST} WHERE frozen.mail_order = ?1"
        " AND frozen.name IN (SELECT value FROM json_each(?2))",
        (order, json_text(list(names))),
    )
    return str(found)


def released(transaction: Transaction, order: str, names: Sequence[str]) -> None:
    """`order` released these: no other order has them on hold any more."""
    transaction.db.execute(
        f"UPDATE frozen SET state = {State.LOOSE:d} WHERE name IN (SELECT value FROM json_each(?1))"
        f" AND mail_order <> ?2 AND state <= {State.KEPT:d} AND message IN"
        " (SELECT message FROM frozen WHERE mail_order = ?2 AND name IN (SELECT value FROM json_each(?1)))",
        (json_text(list(names)), order),
    )


def tallies(db: apsw.Connection) -> dict[str, Tally]:
    """How far each order is."""
    found: dict[str, Tally] = {}
    for order, state, messages, recipients in fetch(
        db, "SELECT mail_order, state, count(*), sum(recipients) FROM frozen GROUP BY mail_order, state"
    ):
        found.setdefault(order, {})[State(state)] = (messages, recipients)
    return found


def forget(transaction: Transaction, order: str) -> None:
    """The order is over."""
    transaction.db.execute("DELETE FROM frozen WHERE mail_order = ?", (order,))
    transaction.db.execute("DELETE FROM mail_order WHERE id = ?", (order,))
