"""Parcels on disk: waiting recipients of an evacuation, out of the queue and back into one.

Mail in a parcel is in no scheduled queue, so nothing can send it. Packing, giving up, returning and activating are one
transaction each; `mailagent.spool.handover` says which of them may happen.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

import apsw
import msgspec

from mailagent.api.evacuation import (
    PART_BYTES,
    Direction,
    Parcel,
    ParcelDecision,
    ParcelHeader,
    ParcelKept,
    ParcelState,
    Seals,
)
from mailagent.api.ids import HostName, OpId
from mailagent.spool import crash, handover
from mailagent.spool.bulk import execute_rows, fetch, json_text
from mailagent.spool.handover import DECIDED, SETTLED, HandoverRefused
from mailagent.spool.ids import at_ms, now_ms, recipient_id, split
from mailagent.spool.jobs import JobChange, write_jobs
from mailagent.spool.records import HELD_DUE, WINDOW, QueueName
from mailagent.spool.transaction import NEW_QUEUES, NEW_QUEUES_OF_JOBS, Transaction

SETTLED_MS: Final = 1000
"""Mail that arrives gets no message id of the last second: the loop may be giving those out."""
_LISTED = "(SELECT value FROM json_each(?1))"
_OUT, _IN = Direction.OUT.value, Direction.IN.value


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


class Addressed(msgspec.Struct, frozen=True, kw_only=True):
    """Between whom a parcel travels."""

    evacuation: OpId
    source: HostName
    source_tag: str
    target: HostName
    target_spool: str


class _Secret(msgspec.Struct, frozen=True):
    given: str
    returned: str
    receipt: str


Lines = Callable[[ParcelHeader, PackedMessage, int], list[bytes]]
"""Accounting lines of one message whose id here is the last argument."""

_content = msgspec.msgpack.Decoder(Content)
_pack = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode
_header = msgspec.json.Decoder(ParcelHeader)
_secret = msgspec.json.Decoder(_Secret)


def opened(content: bytes) -> Content:
    """What is in a parcel; msgspec.DecodeError when it is none."""
    return _content.decode(content)


# --- source --------------------------------------------------------------------------------------------------------


def pack(transaction: Transaction, addressed: Addressed, recipients: Sequence[int]) -> ParcelHeader | None:
    """Take recipients out of their queues, into a parcel; None when none of them waits any more."""
    db = transaction.db
    content = _gather(db, recipients)
    if not content.messages:
        return None
    data = _pack(content)
    ((number,),) = fetch(
        db,
        "SELECT coalesce(max(n), 0) + 1 FROM parcel WHERE evacuation = ? AND direction = ?",
        (addressed.evacuation, _OUT),
    )
    secret = _Secret(secrets.token_hex(16), secrets.token_hex(16), handover.receipt(data))
    taken = [recipient_id(message.id, one.n) for message in content.messages for one in message.recipients]
    header = ParcelHeader(
        id=f"{addressed.evacuation}/{number}",
        evacuation=addressed.evacuation,
        source=addressed.source,
        source_tag=addressed.source_tag,
        target=addressed.target,
        target_spool=addressed.target_spool,
        messages=len(content.messages),
        recipients=len(taken),
        size_bytes=len(data),
        digest=handover.digest(data),
        seals=Seals(given=handover.seal(secret.given), returned=handover.seal(secret.returned)),
    )
    db.execute(
        "INSERT INTO parcel (id, direction, evacuation, n, state, recipients, header, secret)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (header.id, _OUT, header.evacuation, number, ParcelState.PACKED.value, len(taken), _json(header),
         _json(secret)),
    )  # fmt: skip
    db.executemany(
        "INSERT INTO parcel_part (parcel, part, data) VALUES (?, ?, ?)",
        [(header.id, n, data[start : start + PART_BYTES]) for n, start in enumerate(range(0, len(data), PART_BYTES))],
    )
    listed = json_text(taken)
    queues = json_text([queue for (queue,) in fetch(
        db, f"SELECT DISTINCT queue FROM recipient WHERE id IN {_LISTED}", (listed,)
    )])  # fmt: skip
    db.execute(f"DELETE FROM recipient WHERE id IN {_LISTED}", (listed,))
    db.execute(
        f"DELETE FROM queue WHERE id IN {_LISTED} AND coalesce(parked, '') <> '{WINDOW}'"
        " AND NOT EXISTS (SELECT 1 FROM recipient WHERE recipient.queue = queue.id)",
        (queues,),
    )
    crash.at("parcel_packed")
    return header


def _gather(db: apsw.Connection, recipients: Sequence[int]) -> Content:
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


def decide(
    transaction: Transaction, parcel: str, receipt: str, lines: Lines
) -> tuple[ParcelDecision, int] | HandoverRefused:
    """Give a parcel up, unless it was decided before: the decision, and how many recipients it took away now."""
    found = _find(transaction.db, parcel, _OUT)
    if found is None:
        return HandoverRefused(f"no parcel {parcel} was packed here")
    state, header, secret = found
    assert secret is not None  # noqa: S101 - every parcel that leaves has one
    try:
        decision = handover.give(state, shown=receipt, expected=secret.receipt)
    except HandoverRefused as exc:
        return exc
    gone = 0
    if state not in DECIDED:
        _give(transaction, header, lines)
        gone = header.recipients
    key = secret.given if decision is ParcelState.GIVEN else secret.returned
    return ParcelDecision(state=decision, key=key), gone


def _give(transaction: Transaction, header: ParcelHeader, lines: Lines) -> None:
    db = transaction.db
    now = now_ms()
    content = opened(data_of(db, header.id))
    jobs: dict[str, JobChange] = {}
    gone: list[int] = []
    for message in content.messages:
        transaction.lines += lines(header, message, message.id)
        for one in message.recipients:
            gone.append(recipient_id(message.id, one.n))
            if one.queue.job:
                jobs.setdefault(one.queue.job, JobChange()).accepted -= 1
    for change in jobs.values():
        change.at = now
    write_jobs(db, jobs)
    db.execute(
        f"UPDATE in_doubt SET resolution = 'moved', resolved_at = ?2 WHERE recipient IN {_LISTED}"
        " AND resolution = 'open'",
        (json_text(gone), now),
    )
    _set(db, header.id, _OUT, ParcelState.GIVEN)
    _forget_content(db, header.id)
    crash.at("parcel_given")


def give_back(transaction: Transaction, parcel: str) -> list[int]:
    """Return a parcel to the queues that it came from, unless it was decided before: the recipients that wait again."""
    db = transaction.db
    found = _find(db, parcel, _OUT)
    if found is None or handover.give_back(found[0]) is found[0]:
        return []
    content = opened(data_of(db, parcel))
    back = _unpack(transaction, content, {message.id: message.id for message in content.messages}, lambda one: one)
    _set(db, parcel, _OUT, ParcelState.RETURNED)
    _forget_content(db, parcel)
    crash.at("parcel_returned")
    return back


def close(transaction: Transaction, parcel: str) -> bool | HandoverRefused:
    """The target has done what was decided: nothing is left to be done."""
    found = _find(transaction.db, parcel, _OUT)
    if found is None or found[0] not in DECIDED:
        return HandoverRefused(f"parcel {parcel} is not decided")
    transaction.db.execute("UPDATE parcel SET closed = 1 WHERE id = ? AND direction = ?", (parcel, _OUT))
    return True


# --- target --------------------------------------------------------------------------------------------------------


def keep(transaction: Transaction, header: ParcelHeader, part: int, data: bytes) -> ParcelKept | HandoverRefused:
    """Store one part; with the last one the parcel is whole, and its receipt can be given."""
    db = transaction.db
    found = _find(db, header.id, _IN)
    if found is None:
        _arrive(db, header, ParcelState.ARRIVING)
        state = ParcelState.ARRIVING
    else:
        state = found[0]
        if found[1] != header:
            return HandoverRefused(f"parcel {header.id} has another header here")
    if state in SETTLED:
        return ParcelKept(state=state)
    if state is ParcelState.ARRIVING:
        if not 0 <= part * PART_BYTES < header.size_bytes or len(data) != _part_size(header, part):
            return HandoverRefused(f"parcel {header.id} has no part {part} of {len(data)} bytes")
        db.execute(
            "INSERT INTO parcel_part (parcel, part, data) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET data = excluded.data",
            (header.id, part, data),
        )
        ((size,),) = fetch(db, "SELECT coalesce(sum(length(data)), 0) FROM parcel_part WHERE parcel = ?", (header.id,))
        if size < header.size_bytes:
            return ParcelKept(state=state)
    content = data_of(db, header.id)
    if handover.digest(content) != header.digest:
        _forget_content(db, header.id)
        return ParcelKept(state=ParcelState.ARRIVING)  # damaged on its way: all parts again
    if state is ParcelState.ARRIVING:
        _set(db, header.id, _IN, ParcelState.STORED)
        crash.at("parcel_stored")
    return ParcelKept(state=ParcelState.STORED, receipt=handover.receipt(content))


def _part_size(header: ParcelHeader, part: int) -> int:
    return min(PART_BYTES, header.size_bytes - part * PART_BYTES)


def _arrive(db: apsw.Connection, header: ParcelHeader, state: ParcelState) -> None:
    db.execute(
        "INSERT INTO parcel (id, direction, evacuation, n, state, recipients, closed, header)"
        " VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
        (header.id, _IN, header.evacuation, state.value, header.recipients, state in SETTLED, _json(header)),
    )


def settle(
    transaction: Transaction,
    header: ParcelHeader,
    key: str,
    place: Callable[[QueueName], QueueName],
    lines: Lines,
) -> tuple[ParcelState, list[int]] | HandoverRefused:
    """Do what the key proves: the state, and the recipients that wait here from now on.

    `place` gives the scheduled queue of this host for one of the source's.
    """
    db = transaction.db
    found = _find(db, header.id, _IN)
    state = found[0] if found is not None else None
    try:
        then = handover.settle(state, key=key, seals=found[1].seals if found is not None else header.seals)
    except HandoverRefused as exc:
        return exc
    if found is None:
        _arrive(db, header, then)
    arrived: list[int] = []
    if then is ParcelState.ACTIVE and state is not then:
        arrived = _activate(transaction, header, place, lines)
    if state is not None and state is not then:
        _set(db, header.id, _IN, then, closed=True)
        _forget_content(db, header.id)
        crash.at("parcel_settled")
    return then, arrived


def _activate(
    transaction: Transaction, header: ParcelHeader, place: Callable[[QueueName], QueueName], lines: Lines
) -> list[int]:
    content = opened(data_of(transaction.db, header.id))
    ids = _free_ids(transaction.db, [message.id for message in content.messages])
    arrived = _unpack(transaction, content, ids, place)
    jobs: dict[str, JobChange] = {}
    now = now_ms()
    for message in content.messages:
        transaction.lines += lines(header, message, ids[message.id])
        for one in message.recipients:
            if job := place(one.queue).job:
                jobs.setdefault(job, JobChange()).accepted += 1
    for change in jobs.values():
        change.at = now
    write_jobs(transaction.db, jobs)
    return arrived


def _free_ids(db: apsw.Connection, wanted: Sequence[int]) -> dict[int, int]:
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


# --- both ----------------------------------------------------------------------------------------------------------


def data_of(db: apsw.Connection, parcel: str) -> bytes:
    """The content as far as it is here."""
    return b"".join(
        data for (data,) in fetch(db, "SELECT data FROM parcel_part WHERE parcel = ? ORDER BY part", (parcel,))
    )


def parts(db: apsw.Connection, parcel: str, first: int, count: int) -> list[bytes]:
    """Some parts in order."""
    found = fetch(
        db,
        "SELECT data FROM parcel_part WHERE parcel = ? AND part >= ? AND part < ? ORDER BY part",
        (parcel, first, first + count),
    )
    return [data for (data,) in found]


def open_parcels(db: apsw.Connection, evacuation: str, direction: Direction) -> list[Parcel]:
    """Parcels about which something is left to be done, in their order."""
    return [
        Parcel(header=_header.decode(header), state=ParcelState(state))
        for state, header in fetch(
            db,
            "SELECT state, header FROM parcel WHERE direction = ? AND evacuation = ? AND NOT closed ORDER BY n, id",
            (direction.value, evacuation),
        )
    ]


def sums(db: apsw.Connection, evacuation: str, direction: Direction) -> dict[ParcelState, int]:
    """Recipients by the state of their parcel."""
    return {
        ParcelState(state): count
        for state, count in fetch(
            db,
            "SELECT state, sum(recipients) FROM parcel WHERE evacuation = ? AND direction = ? GROUP BY state",
            (evacuation, direction.value),
        )
    }


def packed(db: apsw.Connection) -> int:
    """Recipients in parcels that this host still owns."""
    ((count,),) = fetch(
        db,
        "SELECT coalesce(sum(recipients), 0) FROM parcel WHERE direction = ? AND NOT closed AND state = ?",
        (_OUT, ParcelState.PACKED.value),
    )
    return int(count)


def _unpack(
    transaction: Transaction, content: Content, ids: dict[int, int], place: Callable[[QueueName], QueueName]
) -> list[int]:
    """Put everything into queues, messages under the ids of `ids`: the recipients."""
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


def _find(db: apsw.Connection, parcel: str, direction: str) -> tuple[ParcelState, ParcelHeader, _Secret | None] | None:
    for state, header, secret in fetch(
        db, "SELECT state, header, secret FROM parcel WHERE id = ? AND direction = ?", (parcel, direction)
    ):
        return ParcelState(state), _header.decode(header), _secret.decode(secret) if secret is not None else None
    return None


def _set(db: apsw.Connection, parcel: str, direction: str, state: ParcelState, *, closed: bool = False) -> None:
    db.execute(
        "UPDATE parcel SET state = ?, closed = ? WHERE id = ? AND direction = ?",
        (state.value, closed, parcel, direction),
    )


def _forget_content(db: apsw.Connection, parcel: str) -> None:
    db.execute("DELETE FROM parcel_part WHERE parcel = ?", (parcel,))


CHECKS = (
    (
        "parcels without their evacuation",
        "SELECT id FROM parcel AS p WHERE NOT EXISTS (SELECT 1 FROM evacuation AS e"
        " WHERE e.id = p.evacuation AND e.direction = p.direction)",
    ),
    (
        "parcels whose content is not whole",
        "SELECT id FROM parcel AS p WHERE state IN ('packed', 'stored') AND (header ->> 'size_bytes') <>"
        " (SELECT coalesce(sum(length(data)), 0) FROM parcel_part WHERE parcel = p.id)",
    ),
    (
        "parts of parcels that have left or are in the queue",
        "SELECT DISTINCT parcel FROM parcel_part AS d WHERE NOT EXISTS (SELECT 1 FROM parcel AS p"
        " WHERE p.id = d.parcel AND p.state IN ('packed', 'arriving', 'stored'))",
    ),
)
"""What `mailagent spool check` looks for: what is wrong, and the ids of parcels where it is."""
