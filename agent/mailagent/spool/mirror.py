"""The queue of another mail server, kept in step in the spool's own tables: nothing is ever sent from it.

`mirrored` names each message as that server does, says in which folder it is, and has a digest of what was listed, so
that an entry that has not changed costs one look-up. Rows of recipients, attempts and replies are as for our own mail.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw
import msgspec

from mailagent.api.classification import Verdict
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.spool.bulk import execute_rows, fetch, json_text, rows_of
from mailagent.spool.ids import MAX_RECIPIENTS, RECIPIENT_BITS, recipient_id, reply_group
from mailagent.spool.records import HELD_DUE, UNKNOWN_DUE, QueueName
from mailagent.spool.transaction import NEW_QUEUES, Transaction

HELD_BY: Final = "postfix"
"""What has mail that is on hold there, where no order of ours has it."""
_LISTED = "(SELECT value FROM json_each(?1))"
_FIRST, _LAST = f"{{message}} << {RECIPIENT_BITS}", f"(({{message}} + 1) << {RECIPIENT_BITS}) - 1"


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one message that was listed before."""

    message: int
    queue_id: str
    folder: str
    digest: int
    due: int


class ListedRecipient(msgspec.Struct, frozen=True):
    """One recipient that waits, and what was said last; None: nothing that anybody tells."""

    address: bytes
    domain: str
    reply: SmtpReply | None = None
    verdict: Verdict | None = None
    site: str = ""
    provider: str = ""
    orcpt: str = ""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it was listed. `due`: next try, HELD_DUE or UNKNOWN_DUE."""

    message: int  # the number it has, or wants
    queue_id: str
    folder: str
    digest: int
    received_at: int
    expires_at: int
    sender: bytes
    size: int
    due: int
    recipients: tuple[ListedRecipient, ...]


class MirroredRecipient(msgspec.Struct, frozen=True, array_like=True):
    """One waiting recipient, for those who know what became of it."""

    id: int
    queue: int
    due: int
    attempts: int
    address: str
    site: str
    provider: str


_known = msgspec.json.Decoder(list[Known])
_recipients = msgspec.json.Decoder(list[MirroredRecipient])
_numbers = msgspec.json.Decoder(list[int])


def known(db: apsw.Connection, queue_ids: Sequence[str]) -> dict[str, Known]:
    """Those of `queue_ids` that are mirrored."""
    found: list[Known] = rows_of(
        db,
        "SELECT json_group_array(json_array(message, queue_id, folder, digest, due)) FROM mirrored"
        f" WHERE queue_id IN {_LISTED}",
        (json_text(list(queue_ids)),),
        _known,
    )
    return {one.queue_id: one for one in found}


def names(db: apsw.Connection, messages: Sequence[int]) -> dict[int, str]:
    """Queue ids of messages, by their numbers."""
    return dict(
        fetch(db, f"SELECT message, queue_id FROM mirrored WHERE message IN {_LISTED}", (json_text(list(messages)),))
    )


def folders(db: apsw.Connection) -> dict[str, int]:
    """Messages by folder."""
    return dict(fetch(db, "SELECT folder, count(*) FROM mirrored GROUP BY folder"))


def active_by_site(db: apsw.Connection) -> list[tuple[str, str, str, int]]:
    """(site, provider, virtual MTA, recipients) of messages in the active queue; empty is what is not known."""
    return fetch(
        db,
        "SELECT q.site, q.provider, r.vmta, count(*) FROM mirrored AS w"
        f" JOIN recipient AS r ON r.id BETWEEN {_FIRST.format(message='w.message')} AND"
        f" {_LAST.format(message='w.message')} JOIN queue AS q ON q.id = r.queue"
        " WHERE w.folder = 'active' GROUP BY 1, 2, 3",
    )


def numbers_after(db: apsw.Connection, after: int, limit: int) -> list[int]:
    """Numbers of mirrored messages after `after`, in order."""
    found: list[int] = rows_of(
        db,
        "SELECT json_group_array(message ORDER BY message) FROM"
        " (SELECT message FROM mirrored WHERE message > ?1 ORDER BY message LIMIT ?2)",
        (after, limit),
        _numbers,
    )
    return found


def recipients(db: apsw.Connection, message: int) -> list[MirroredRecipient]:
    """Waiting recipients of one message."""
    found: list[MirroredRecipient] = rows_of(
        db,
        "SELECT json_group_array(json_array(id, queue, due, attempts, CAST(address AS TEXT), site, provider)"
        " ORDER BY id) FROM recipient"
        f" WHERE id BETWEEN {_FIRST.format(message='?1')} AND {_LAST.format(message='?1')}",
        (message,),
        _recipients,
    )
    return found


# --- writing ---------------------------------------------------------------------------------------------------------


class _Before(msgspec.Struct):
    """Recipients of one message as they were mirrored, by address, and the first number that is free."""

    recipients: dict[bytes, tuple[int, int, str, int]] = msgspec.field(default_factory=dict)
    """Id, attempts, and of the last one text and time."""
    free: int = 0


def put(transaction: Transaction, messages: Sequence[Listed], now: int, *, began: int) -> list[int]:
    """These messages are as listed, by a listing that began a while ago; the recipients that came or went."""
    db = transaction.db
    known_ones = known(db, [one.queue_id for one in messages])
    numbers = _numbered(db, messages, known_ones)
    before = _before(db, [one.message for one in known_ones.values()])
    rows = _Rows()
    for one in messages:
        message = numbers[one.queue_id]
        old = before.get(message)
        if old is None:
            old = _Before()
            rows.messages.append(
                (message, one.received_at, one.expires_at, one.sender, "", "", "", "", one.size, 0, b"")
            )
        else:
            rows.again.append((message, one.received_at, one.expires_at, one.sender, one.size))
        for recipient in one.recipients:
            was = old.recipients.pop(recipient.address, None)
            if was is not None:
                id, tried, text, told_at = was
                rows.dues.append((id, one.due))
                if recipient.orcpt:  # the log told of it first, and without
                    rows.orcpts.append((id, recipient.orcpt))
                # what the log has told since is newer than this
                if recipient.reply is not None and (not tried or (recipient.reply.text != text and told_at < began)):
                    key = rows.attempt(id, tried + 1, recipient, recipient.reply, now)
                    rows.tried.append((id, now, tried + 1, recipient.site, recipient.provider, key))
            elif old.free < MAX_RECIPIENTS:  # the spool has no more numbers in one message
                id = recipient_id(message, old.free)
                old.free += 1
                name = QueueName("", "", "normal", recipient.domain)
                queue = transaction.queue_id(name)
                _, count, due = rows.queues.get(queue, (name, 0, one.due))
                rows.queues[queue] = (name, count + 1, min(due, one.due))
                if recipient.site:
                    rows.places[queue] = (recipient.site, recipient.provider)
                if recipient.reply is None:
                    rows.recipients.append((id, queue, one.due, recipient.address, 0, 0, "", "", None, recipient.orcpt))
                else:
                    key = rows.attempt(id, 1, recipient, recipient.reply, now)
                    place = (recipient.site, recipient.provider)
                    rows.recipients.append(
                        (id, queue, one.due, recipient.address, now, 1, *place, key, recipient.orcpt)
                    )
        rows.gone += [id for id, *_ in old.recipients.values()]
    rows.write(db)
    _name(db, messages, numbers)
    if known_ones or any(one.due == HELD_DUE for one in messages):
        _hold(db, [numbers[one.queue_id] for one in messages])
    return [row[0] for row in rows.recipients] + rows.gone


def _numbered(db: apsw.Connection, messages: Sequence[Listed], known_ones: Mapping[str, Known]) -> dict[str, int]:
    """The number of each message: the one it has, else the first free one from that which it wants."""
    found = {queue_id: one.message for queue_id, one in known_ones.items()}
    wanted = [one.message for one in messages if one.queue_id not in found]
    taken = {number for (number,) in fetch(db, f"SELECT id FROM message WHERE id IN {_LISTED}", (json_text(wanted),))}
    for one in messages:
        if one.queue_id in found:
            continue
        number = one.message
        while number in taken or (number != one.message and _is_taken(db, number)):
            number += 1
        taken.add(number)
        found[one.queue_id] = number
    return found


def _is_taken(db: apsw.Connection, number: int) -> bool:
    return bool(fetch(db, "SELECT 1 FROM message WHERE id = ?", (number,)))


def _before(db: apsw.Connection, numbers: Sequence[int]) -> dict[int, _Before]:
    """What is mirrored of these messages; one that has lost its last recipient counts as not there."""
    found: dict[int, _Before] = {}
    for id, address, tried, text, at in fetch(
        db,
        "SELECT r.id, r.address, r.attempts, coalesce(a.text, ''), coalesce(a.at, 0) FROM json_each(?1) AS w"
        f" JOIN recipient AS r ON r.id BETWEEN {_FIRST.format(message='w.value')}"
        f" AND {_LAST.format(message='w.value')}"
        " LEFT JOIN attempt AS a ON a.recipient = r.id AND a.n = r.attempts",
        (json_text(list(numbers)),),
    ):
        one = found.setdefault(id >> RECIPIENT_BITS, _Before())
        one.recipients[address] = (id, tried, text, at)
        one.free = max(one.free, (id & (MAX_RECIPIENTS - 1)) + 1)
    return found


class _Rows:
    """What one batch writes, by statement."""

    def __init__(self) -> None:
        self.messages: list[Sequence[Any]] = []
        self.again: list[Sequence[Any]] = []
        self.queues: dict[int, tuple[QueueName, int, int]] = {}
        self.places: dict[int, tuple[str, str]] = {}
        self.recipients: list[Sequence[Any]] = []
        self.dues: list[Sequence[Any]] = []
        self.orcpts: list[Sequence[Any]] = []
        self.tried: list[Sequence[Any]] = []
        self.gone: list[int] = []
        self._attempts: list[Sequence[Any]] = []
        self._replies: dict[int, Sequence[Any]] = {}

    def attempt(self, id: int, n: int, recipient: ListedRecipient, reply: SmtpReply, now: int) -> int:
        """An attempt that only a listing tells of; the id of its reply."""
        verdict = recipient.verdict
        key, text = reply_group(recipient.provider, reply.code, reply.enhanced, reply.text)
        meaning = (verdict.category, verdict.action, verdict.scope, verdict.rule) if verdict is not None else ("",) * 4
        self._attempts.append(
            (id, n, now, "", "", recipient.site, "", "", reply.code, reply.enhanced, reply.text,
             (reply.verb or Verb.CONNECT).value, reply.local, 0.0, *meaning)
        )  # fmt: skip
        self._replies[key] = (
            key, recipient.provider, reply.code, reply.enhanced, text, reply.text, meaning[0], meaning[3],
        )  # fmt: skip
        return key

    def write(self, db: apsw.Connection) -> None:
        """To the database."""
        execute_rows(
            db,
            "INSERT OR IGNORE INTO message (id, received_at, expires_at, sender, stream, pool, job, client, size,"
            " eightbit, added) {values}",
            self.messages,
        )
        execute_rows(  # what the log told first, or postsuper has requeued
            db,
            "UPDATE message SET received_at = v.column2, expires_at = v.column3, sender = v.column4, size = v.column5"
            " FROM ({values}) AS v WHERE message.id = v.column1",
            self.again,
        )
        execute_rows(
            db,
            NEW_QUEUES,
            [
                (queue, name.pool, name.stream, name.priority, name.domain, count, due)
                for queue, (name, count, due) in self.queues.items()
            ],
        )
        execute_rows(  # of a domain that DNS was asked about before; else `place` does it
            db,
            "UPDATE queue SET site = v.column2, provider = v.column3 FROM ({values}) AS v WHERE queue.id = v.column1"
            " AND (queue.site <> v.column2 OR queue.provider <> v.column3)",
            [(queue, *place) for queue, place in self.places.items()],
        )
        execute_rows(
            db,
            "INSERT INTO recipient (id, queue, due, address, tried, attempts, site, provider, reply, orcpt) {values}",
            self.recipients,
        )
        execute_rows(
            db,
            "UPDATE recipient SET orcpt = v.column2 FROM ({values}) AS v WHERE recipient.id = v.column1"
            " AND recipient.orcpt <> v.column2",
            self.orcpts,
        )
        execute_rows(
            db,
            "UPDATE recipient SET due = v.column2 FROM ({values}) AS v WHERE recipient.id = v.column1"
            " AND recipient.due <> v.column2",
            self.dues,
        )
        execute_rows(
            db,
            "INSERT INTO reply {values} ON CONFLICT (id) DO UPDATE SET category = excluded.category,"
            " rule = excluded.rule WHERE rule <> excluded.rule",
            list(self._replies.values()),
        )
        execute_rows(db, "INSERT OR REPLACE INTO attempt {values}", self._attempts)
        execute_rows(
            db,
            "UPDATE recipient SET tried = v.column2, attempts = v.column3, site = v.column4, provider = v.column5,"
            " reply = v.column6, vmta = '' FROM ({values}) AS v WHERE recipient.id = v.column1",
            self.tried,
        )
        if self.gone:
            db.execute(f"DELETE FROM recipient WHERE id IN {_LISTED}", (json_text(self.gone),))


def _name(db: apsw.Connection, messages: Sequence[Listed], numbers: Mapping[str, int]) -> None:
    execute_rows(
        db,
        "INSERT INTO mirrored (message, queue_id, folder, digest, due) {values} ON CONFLICT (message) DO UPDATE SET"
        " folder = excluded.folder, digest = excluded.digest, due = excluded.due",
        [(numbers[one.queue_id], one.queue_id, one.folder, one.digest, one.due) for one in messages],
    )


def _hold(db: apsw.Connection, numbers: Sequence[int]) -> None:
    """Keep `held` in step with the due times of all recipients of these messages."""
    span = f"BETWEEN {_FIRST.format(message='w.value')} AND {_LAST.format(message='w.value')}"
    listed = json_text(list(numbers))
    db.execute(
        "INSERT OR IGNORE INTO held SELECT r.id, coalesce((SELECT mail_order FROM frozen"
        f" WHERE message = w.value AND state BETWEEN 1 AND 2), ?2), {UNKNOWN_DUE} FROM json_each(?1) AS w"
        f" JOIN recipient AS r ON r.id {span} WHERE r.due = {HELD_DUE}",
        (listed, HELD_BY),
    )
    db.execute(
        "DELETE FROM held WHERE recipient IN (SELECT h.recipient FROM json_each(?1) AS w"
        f" JOIN held AS h ON h.recipient {span} JOIN recipient AS r ON r.id = h.recipient WHERE r.due <> {HELD_DUE})",
        (listed,),
    )


def drop(transaction: Transaction, messages: Sequence[int]) -> list[int]:
    """These messages have left the queue; the recipients that they still had."""
    db, listed = transaction.db, json_text(list(messages))
    gone: list[int] = rows_of(
        db,
        "SELECT json_group_array(r.id) FROM json_each(?1) AS w JOIN recipient AS r"
        f" ON r.id BETWEEN {_FIRST.format(message='w.value')} AND {_LAST.format(message='w.value')}",
        (listed,),
        _numbers,
    )
    db.execute(f"DELETE FROM recipient WHERE id IN {_LISTED}", (json_text(gone),))
    db.execute(f"DELETE FROM message WHERE id IN {_LISTED}", (listed,))  # one that had no recipient
    db.execute(f"DELETE FROM mirrored WHERE message IN {_LISTED}", (listed,))
    return gone


def set_due(transaction: Transaction, dues: Mapping[int, int]) -> None:
    """Next tries of messages that wait in `deferred`, by their numbers."""
    db = transaction.db
    rows = list(dues.items())
    execute_rows(
        db, "UPDATE mirrored SET due = v.column2 FROM ({values}) AS v WHERE mirrored.message = v.column1", rows
    )
    execute_rows(
        db,
        "UPDATE recipient SET due = v.column2 FROM ({values}) AS v WHERE"
        f" recipient.id BETWEEN {_FIRST.format(message='v.column1')} AND {_LAST.format(message='v.column1')}"
        f" AND recipient.due < {HELD_DUE}",
        rows,
    )


def place(transaction: Transaction, domain: str, site: str, provider: str) -> bool:
    """The site of `domain` is known: mail that was mirrored before joins it, its replies those of the provider.

    Whether there was any such mail.
    """
    db = transaction.db
    queue = transaction.queue_id(QueueName("", "", "normal", domain))
    db.execute("UPDATE queue SET site = ?2, provider = ?3 WHERE id = ?1", (queue, site, provider))
    found = fetch(
        db,
        "SELECT p.id, p.code, p.enhanced, p.sample, p.category, p.rule FROM reply AS p WHERE p.id IN"
        " (SELECT DISTINCT reply FROM recipient WHERE queue = ?1 AND provider = '' AND reply IS NOT NULL)",
        (queue,),
    )
    for old, code, enhanced, sample, category, rule in found:
        key, text = reply_group(provider, code, enhanced, sample)
        db.execute(
            "INSERT OR IGNORE INTO reply VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (key, provider, code, enhanced, text, sample, category, rule),
        )
        db.execute(
            "UPDATE recipient SET reply = ?3, provider = ?4, site = ?5"
            " WHERE queue = ?1 AND provider = '' AND reply = ?2",
            (queue, old, key, provider, site),
        )
    return bool(found)


def sweep(transaction: Transaction) -> None:
    """Queues without mail go, and names of messages that have left by an outcome."""
    transaction.db.execute("DELETE FROM queue WHERE NOT EXISTS (SELECT 1 FROM recipient WHERE queue = queue.id)")
    transaction.db.execute("DELETE FROM mirrored WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = mirrored.message)")
