"""What is in a parcel: waiting mail, taken whole out of the queues of one spool and put into those of another."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import apsw
import msgspec

from mailagent.spool.bulk import execute_rows, fetch, json_text
from mailagent.spool.ids import at_ms, now_ms, recipient_id, split
from mailagent.spool.records import HELD_DUE, WINDOW, QueueName
from mailagent.spool.transaction import NEW_QUEUES, NEW_QUEUES_OF_JOBS, Transaction

SETTLED_MS: Final = 1000
"""Mail that arrives gets no message id of the last second: the loop may be giving those out."""
_LISTED = "(SELECT value FROM json_each(?1))"


class PackedRecipient(msgspec.Struct, frozen=True, array_like=True):
    """One waiting recipient, whole."""

    n: int
    queue: QueueName
    due: int
    address: bytes
    attempts: int
    tried: int
    vmta: str
    site: str
    provider: str
    reply: int | None  # key of its group, the same on every host
    notify: str
    orcpt: str
    history: tuple[tuple[Any, ...], ...]  # columns of `attempt` behind the recipient


class PackedMessage(msgspec.Struct, frozen=True, array_like=True):
    """One message with those of its recipients that leave."""

    id: int
    received_at: int
    expires_at: int
    sender: bytes
    stream: str
    pool: str
    job: str
    client: str
    size: int
    eightbit: int
    added: bytes
    utf8: int
    user: str
    ret: str
    envid: str
    body: bytes
    recipients: tuple[PackedRecipient, ...]


class Content(msgspec.Struct, frozen=True, array_like=True):
    """What is in a parcel."""

    messages: tuple[PackedMessage, ...]
    replies: tuple[tuple[Any, ...], ...]  # rows of `reply`


_content = msgspec.msgpack.Decoder(Content)
encoded = msgspec.msgpack.Encoder().encode
"""A content as bytes; `opened` reads them."""


def opened(content: bytes) -> Content:
    """What is in a parcel; msgspec.DecodeError when it is none."""
    return _content.decode(content)


def gather(db: apsw.Connection, recipients: Sequence[int]) -> Content:
    """Those of these recipients that wait, with all that is known of them; nothing is taken away."""
    listed = (json_text(list(recipients)),)
    rows = fetch(
        db,
        "SELECT r.id, q.pool, q.stream, q.priority, q.domain, q.job, r.due, r.address, r.attempts, r.tried, r.vmta,"
        " r.site, r.provider, r.reply, r.notify, r.orcpt FROM recipient AS r JOIN queue AS q ON q.id = r.queue"
        f" WHERE r.id IN {_LISTED} AND r.due < {HELD_DUE} ORDER BY r.id",
        listed,
    )
    history: dict[int, list[tuple[Any, ...]]] = {}
    for recipient, *attempt in fetch(
        db,
        "SELECT recipient, n, at, vmta, source, site, mx, remote, code, enhanced, text, verb, local, duration_s,"
        f" category, action, scope, rule FROM attempt WHERE recipient IN {_LISTED} ORDER BY recipient, n",
        listed,
    ):
        history.setdefault(recipient, []).append(tuple(attempt))
    by_message: dict[int, list[PackedRecipient]] = {}
    for recipient, pool, stream, priority, domain, job, *rest in rows:
        number, n = split(recipient)
        name = QueueName(pool, stream, priority, domain, job)
        by_message.setdefault(number, []).append(PackedRecipient(*(n, name, *rest, tuple(history.get(recipient, ())))))
    messages = fetch(
        db,
        "SELECT m.id, m.received_at, m.expires_at, m.sender, m.stream, m.pool, m.job, m.client, m.size, m.eightbit,"
        " m.added, m.utf8, m.user, m.ret, m.envid, b.data FROM message AS m JOIN body AS b ON b.id = m.id"
        f" WHERE m.id IN {_LISTED} ORDER BY m.id",
        (json_text(list(by_message)),),
    )
    keys = {one.reply for group in by_message.values() for one in group if one.reply is not None}
    replies = fetch(
        db,
        f"SELECT id, provider, code, enhanced, text, sample, category, rule FROM reply WHERE id IN {_LISTED}",
        (json_text(list(keys)),),
    )
    return Content(tuple(PackedMessage(*(*row, tuple(by_message[row[0]]))) for row in messages), tuple(replies))


def recipients_of(content: Content) -> list[int]:
    """Their ids on the host that they come from."""
    return [recipient_id(message.id, one.n) for message in content.messages for one in message.recipients]


def queues_of(content: Content) -> Iterator[QueueName]:
    """For each recipient, the queue that it comes from."""
    return (one.queue for message in content.messages for one in message.recipients)


def take_out(db: apsw.Connection, recipients: Sequence[int]) -> None:
    """Have these recipients wait no longer, and queues go that are empty then."""
    listed = json_text(recipients)
    queues = json_text([queue for (queue,) in fetch(
        db, f"SELECT DISTINCT queue FROM recipient WHERE id IN {_LISTED}", (listed,)
    )])  # fmt: skip
    db.execute(f"DELETE FROM recipient WHERE id IN {_LISTED}", (listed,))
    db.execute(
        f"DELETE FROM queue WHERE id IN {_LISTED} AND coalesce(parked, '') <> '{WINDOW}'"
        " AND NOT EXISTS (SELECT 1 FROM recipient WHERE recipient.queue = queue.id)",
        (queues,),
    )


def put_in(
    transaction: Transaction, content: Content, ids: dict[int, int], place: Callable[[QueueName], QueueName]
) -> list[int]:
    """Have everything wait here, messages under the ids of `ids`, in the queues that `place` gives: the recipients."""
    db = transaction.db
    messages = [(ids[one.id], one) for one in content.messages]
    db.executemany(
        "INSERT OR IGNORE INTO message (id, received_at, expires_at, sender, stream, pool, job, client, size, eightbit,"
        " added, utf8, user, ret, envid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (number, one.received_at, one.expires_at, one.sender, one.stream,
             place(one.recipients[0].queue).pool, one.job, one.client, one.size, one.eightbit, one.added, one.utf8,
             one.user, one.ret, one.envid)
            for number, one in messages
        ],
    )  # fmt: skip
    db.executemany("INSERT OR IGNORE INTO body (id, data) VALUES (?, ?)", [(n, one.body) for n, one in messages])
    db.executemany("INSERT OR IGNORE INTO reply VALUES (?, ?, ?, ?, ?, ?, ?, ?)", content.replies)
    rows: list[tuple[Any, ...]] = []
    attempts: list[tuple[Any, ...]] = []
    queues: dict[int, tuple[QueueName, int, int]] = {}
    for number, message in messages:
        for one in message.recipients:
            recipient = recipient_id(number, one.n)
            name = place(one.queue)
            queue = transaction.queue_id(name)
            rows.append(
                (recipient, queue, one.due, one.address, one.attempts, one.tried, one.vmta, one.site, one.provider,
                 one.reply, one.notify, one.orcpt)
            )  # fmt: skip
            attempts += [(recipient, *attempt) for attempt in one.history]
            _, waiting, due = queues.get(queue, (name, 0, one.due))
            queues[queue] = name, waiting + 1, min(due, one.due)
    db.executemany(
        "INSERT INTO recipient (id, queue, due, address, attempts, tried, vmta, site, provider, reply, notify, orcpt)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    db.executemany(
        "INSERT INTO attempt (recipient, n, at, vmta, source, site, mx, remote, code, enhanced, text, verb, local,"
        " duration_s, category, action, scope, rule) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        attempts,
    )
    named = [
        (queue, name.pool, name.stream, name.priority, name.domain, waiting, due, name.job)
        for queue, (name, waiting, due) in queues.items()
    ]
    execute_rows(db, NEW_QUEUES, [row[:-1] for row in named if not row[-1]])
    execute_rows(db, NEW_QUEUES_OF_JOBS, [row for row in named if row[-1]])
    return [row[0] for row in rows]


def free_ids(db: apsw.Connection, wanted: Sequence[int]) -> dict[int, int]:
    """An id here for each message: its own, so that it keeps its age, or the next one that nobody has."""
    newest = at_ms(now_ms() - SETTLED_MS)
    ids: dict[int, int] = {}
    taken: set[int] = set()
    for message in wanted:
        one = min(message, newest)
        while one in taken or fetch(db, "SELECT 1 FROM message WHERE id = ?", (one,)):
            one += 1
        taken.add(one)
        ids[message] = one
    return ids
