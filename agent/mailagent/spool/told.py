"""What the log of another mail server tells of its messages, as changes of the mirror: tries, ends, new names.

One call is one transaction with its accounting lines and the place in the log behind it: whatever stops the agent,
the log is read on from where its effects are stored. Accounting may then have a line twice, with the same `event`.
"""

from collections.abc import Callable, Sequence
from typing import Final

import apsw
import msgspec

from mailagent.api.outcome import Attempt
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.spool import mirror
from mailagent.spool.bulk import fetch, json_text, rows_of
from mailagent.spool.ids import MAX_RECIPIENTS, RECIPIENT_BITS, now_ms
from mailagent.spool.mirror import Listed, ListedRecipient
from mailagent.spool.records import Settlement
from mailagent.spool.schema import meta, set_meta
from mailagent.spool.transaction import Transaction

_PLACE: Final = "log_position"
_SAME_MESSAGE_MS: Final = 2000
"""Two sources say the arrival of one message in whole seconds."""
_LISTED = "(SELECT value FROM json_each(?1))"
_RECIPIENTS = (
    " FROM mirrored AS m JOIN recipient AS r"
    f" ON r.id BETWEEN m.message << {RECIPIENT_BITS} AND ((m.message + 1) << {RECIPIENT_BITS}) - 1"
)


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient was tried."""

    queue_id: str
    address: str
    domain: str
    attempt: Attempt | None  # what a deferral leaves; its number is found here. None: delivered or bounced
    provider: str
    fresh: bool  # seen to arrive: what is not mirrored was not tried before
    line: Callable[[int, int], bytes]  # accounting, by the recipient's number in its message and that of the attempt
    message: Listed  # to mirror it by, when it is not; without recipients


class Left(msgspec.Struct, frozen=True, array_like=True):
    """A recipient of a message that ends without a try."""

    id: int
    address: str
    attempts: int
    vmta: str
    site: str
    provider: str
    received_at: int
    size: int
    sender: str
    code: int
    enhanced: str
    text: str
    verb: str
    local: bool

    @property
    def n(self) -> int:
        """Its number in its message."""
        return self.id & (MAX_RECIPIENTS - 1)

    @property
    def reply(self) -> SmtpReply:
        """The last one."""
        verb = Verb(self.verb) if self.verb else Verb.CONNECT
        return SmtpReply(code=self.code, enhanced=self.enhanced, text=self.text, verb=verb, local=self.local)


class End(msgspec.Struct, frozen=True, kw_only=True):
    """A message is gone; `line` has the accounting of each recipient that it still had, None: there is none to tell."""

    queue_id: str
    line: Callable[[Left], bytes] | None = None


class Rename(msgspec.Struct, frozen=True):
    """A message has another queue id."""

    before: str
    queue_id: str


class Arrival(msgspec.Struct, frozen=True):
    """A new message; what has its queue id and is older is gone."""

    queue_id: str
    at: int


Change = Try | End | Rename | Arrival


class Told(msgspec.Struct):
    """What a call has done."""

    touched: list[int] = msgspec.field(default_factory=list)  # recipients that came, changed or went
    left: list[Left] = msgspec.field(default_factory=list)  # those whose message ended without a try


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """A mirrored recipient, and its last attempt."""

    queue_id: str
    id: int
    queue: int
    due: int
    address: str
    attempts: int
    at: int | None
    remote: str | None
    vmta: str | None
    text: str | None


_rows = msgspec.json.Decoder(list[_Row])
_left = msgspec.json.Decoder(list[Left])
_Rows = dict[tuple[str, str], _Row]


def place(db: apsw.Connection) -> bytes | None:
    """Up to where the log was told; None: it never was."""
    found = meta(db, _PLACE)
    return found if isinstance(found, bytes) else None


def tell(transaction: Transaction, changes: Sequence[Change], place: bytes | None) -> Told:
    """Store `changes` in order, and up to where the log was told."""
    told = Told()
    arrivals = [change for change in changes if isinstance(change, Arrival)]
    if arrivals:
        _make_room(transaction, arrivals, told)
    tries: list[Try] = []
    ended: list[str] = []
    for change in changes:
        match change:
            case Try():
                if change.queue_id in ended:  # its queue id is another's now
                    _write(transaction, tries, ended, told)
                tries.append(change)
            case End(line=None):
                ended.append(change.queue_id)
            case End():
                _write(transaction, tries, ended, told)
                _end(transaction, change, told)
            case Rename():
                _write(transaction, tries, ended, told)
                _rename(transaction, change, told)
            case Arrival():
                pass  # is done
    _write(transaction, tries, ended, told)
    if place is not None:
        set_meta(transaction.db, _PLACE, place)
    return told


def _write(transaction: Transaction, tries: list[Try], ended: list[str], told: Told) -> None:
    """What was gathered so far, in few statements."""
    if tries:
        _settle(transaction, tries, told)
        tries.clear()
    if ended:
        _drop(transaction, ended, told)
        ended.clear()


def _settle(transaction: Transaction, tries: Sequence[Try], told: Told) -> None:
    rows = _found(transaction.db, tries)
    missing = [one for one in tries if one.attempt is not None and (one.queue_id, one.address) not in rows]
    if missing:
        told.touched += mirror.put(transaction, _listed(missing, rows), now_ms(), began=0)
        rows = _found(transaction.db, tries)
    numbers: dict[int, int] = {}
    settlements = []
    for one in tries:
        row = rows.get((one.queue_id, one.address))
        if row is None:
            _account(transaction, one.line(0, 1 if one.fresh else 0))
            continue
        number = numbers.get(row.id)
        number = _number(row, one) if number is None else number + 1
        numbers[row.id] = number
        attempt = one.attempt
        settlements.append(
            Settlement(
                recipient=row.id,
                queue=row.queue,
                due=row.due if attempt is not None else None,
                attempt=msgspec.structs.replace(attempt, number=number) if attempt is not None else None,
                provider=one.provider,
            )
        )
        _account(transaction, one.line(row.id & (MAX_RECIPIENTS - 1), number))
    transaction.settle(settlements, now_ms(), [])
    transaction.flush()
    told.touched += numbers


def _account(transaction: Transaction, line: bytes) -> None:
    if line:
        transaction.lines.append(line)


def _found(db: apsw.Connection, tries: Sequence[Try]) -> _Rows:
    """Mirrored recipients of the messages of `tries`."""
    found: list[_Row] = rows_of(
        db,
        "SELECT json_group_array(json_array(m.queue_id, r.id, r.queue, r.due, CAST(r.address AS TEXT), r.attempts,"
        f" a.at, a.remote, a.vmta, a.text)) {_RECIPIENTS}"
        " LEFT JOIN attempt AS a ON a.recipient = r.id AND a.n = r.attempts"
        f" WHERE m.queue_id IN {_LISTED}",
        (json_text(list({one.queue_id for one in tries})),),
        _rows,
    )
    return {(row.queue_id, row.address): row for row in found}


def _listed(missing: Sequence[Try], rows: _Rows) -> list[Listed]:
    """The messages of recipients that are not mirrored yet, with those that are: the next listing has the others."""
    there: dict[str, dict[bytes, ListedRecipient]] = {one.queue_id: {} for one in missing}
    for queue_id, address in rows:
        if queue_id in there:
            there[queue_id][address.encode()] = ListedRecipient(address.encode(), "")
    for one in missing:
        there[one.queue_id][one.address.encode()] = ListedRecipient(one.address.encode(), one.domain)
    messages = {one.queue_id: one.message for one in missing}
    return [
        msgspec.structs.replace(message, recipients=tuple(there[queue_id].values()))
        for queue_id, message in messages.items()
    ]


def _number(row: _Row, one: Try) -> int:
    """The number of a try: the last one's when a listing was faster than the log to tell of it."""
    attempt = one.attempt
    told_by_listing = row.attempts and not row.vmta and not row.remote
    if attempt is None or not told_by_listing or row.at is None or row.text != attempt.reply.text:
        return row.attempts + 1
    return row.attempts + (row.at < attempt.at.timestamp() * 1000)


def _end(transaction: Transaction, end: End, told: Told) -> None:
    assert end.line is not None  # noqa: S101 - others are dropped together
    left: list[Left] = rows_of(
        transaction.db,
        "SELECT json_group_array(json_array(r.id, CAST(r.address AS TEXT), r.attempts, r.vmta, r.site, r.provider,"
        " g.received_at, g.size, CAST(g.sender AS TEXT), coalesce(a.code, 0), coalesce(a.enhanced, ''),"
        f" coalesce(a.text, ''), coalesce(a.verb, ''), json(iif(a.local, 'true', 'false')))) {_RECIPIENTS}"
        " JOIN message AS g ON g.id = m.message"
        " LEFT JOIN attempt AS a ON a.recipient = r.id AND a.n = r.attempts WHERE m.queue_id = ?1",
        (end.queue_id,),
        _left,
    )
    for one in left:
        _account(transaction, end.line(one))
    told.left += left
    _drop(transaction, [end.queue_id], told)


def _make_room(transaction: Transaction, arrivals: Sequence[Arrival], told: Told) -> None:
    """What has the queue id of a new message, and is older, left unseen."""
    found = [
        message
        for (message,) in fetch(
            transaction.db,
            "SELECT m.message FROM json_each(?1) AS a JOIN mirrored AS m ON m.queue_id = a.value ->> 0"
            " JOIN message AS g ON g.id = m.message WHERE g.received_at < a.value ->> 1",
            (json_text([(one.queue_id, one.at - _SAME_MESSAGE_MS) for one in arrivals]),),
        )
    ]
    if found:
        told.touched += mirror.drop(transaction, found)


def _drop(transaction: Transaction, queue_ids: Sequence[str], told: Told) -> None:
    found = mirror.known(transaction.db, queue_ids)
    if found:
        told.touched += mirror.drop(transaction, [one.message for one in found.values()])


def _rename(transaction: Transaction, change: Rename, told: Told) -> None:
    """Only its name changes: tries and replies stay; the next listing has its new size."""
    db = transaction.db
    if not fetch(db, "SELECT 1 FROM mirrored WHERE queue_id = ?", (change.before,)):
        return
    _drop(transaction, [change.queue_id], told)  # a listing was faster
    db.execute("UPDATE mirrored SET queue_id = ?2, digest = 0 WHERE queue_id = ?1", (change.before, change.queue_id))
