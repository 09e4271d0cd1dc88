"""Parcels on disk: waiting recipients of an evacuation, out of the queue and back into one.

Mail in a parcel is in no scheduled queue, so nothing can send it. Packing, giving up, returning and activating are one
transaction each; `mailagent.spool.handover` says which of them may happen.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence

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
from mailagent.spool.bulk import fetch, json_text
from mailagent.spool.content import (
    PackedMessage,
    encoded,
    free_ids,
    gather,
    opened,
    put_in,
    queues_of,
    recipients_of,
    take_out,
)
from mailagent.spool.handover import DECIDED, SETTLED, HandoverRefused
from mailagent.spool.ids import now_ms
from mailagent.spool.jobs import JobChange, write_jobs
from mailagent.spool.records import QueueName
from mailagent.spool.transaction import Transaction

_LISTED = "(SELECT value FROM json_each(?1))"
_OUT, _IN = Direction.OUT.value, Direction.IN.value


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

_json = msgspec.json.Encoder().encode
_header = msgspec.json.Decoder(ParcelHeader)
_secret = msgspec.json.Decoder(_Secret)


# --- source --------------------------------------------------------------------------------------------------------


def pack(transaction: Transaction, addressed: Addressed, recipients: Sequence[int]) -> ParcelHeader | None:
    """Take recipients out of their queues, into a parcel; None when none of them waits any more."""
    db = transaction.db
    content = gather(db, recipients)
    if not content.messages:
        return None
    data = encoded(content)
    ((number,),) = fetch(
        db,
        "SELECT coalesce(max(n), 0) + 1 FROM parcel WHERE evacuation = ? AND direction = ?",
        (addressed.evacuation, _OUT),
    )
    secret = _Secret(secrets.token_hex(16), secrets.token_hex(16), handover.receipt(data))
    taken = recipients_of(content)
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
    take_out(db, taken)
    crash.at("parcel_packed")
    return header


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
    content = opened(data_of(db, header.id))
    for message in content.messages:
        transaction.lines += lines(header, message, message.id)
    _count_of_jobs(db, (queue.job for queue in queues_of(content)), -1)
    db.execute(
        f"UPDATE in_doubt SET resolution = 'moved', resolved_at = ?2 WHERE recipient IN {_LISTED}"
        " AND resolution = 'open'",
        (json_text(recipients_of(content)), now_ms()),
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
    back = put_in(transaction, content, {message.id: message.id for message in content.messages}, lambda one: one)
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
    ids = free_ids(transaction.db, [message.id for message in content.messages])
    arrived = put_in(transaction, content, ids, place)
    for message in content.messages:
        transaction.lines += lines(header, message, ids[message.id])
    _count_of_jobs(transaction.db, (place(queue).job for queue in queues_of(content)), 1)
    return arrived


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


def _count_of_jobs(db: apsw.Connection, jobs: Iterable[str], each: int) -> None:
    """Add `each` to the accepted recipients of a job for every time that it is named; "" is none."""
    now = now_ms()
    changes: dict[str, JobChange] = {}
    for job in jobs:
        if job:
            change = changes.setdefault(job, JobChange())
            change.accepted += each
            change.at = now
    write_jobs(db, changes)


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
