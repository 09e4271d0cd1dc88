"""One transaction of the database: all that is staged, in few large statements.

What is staged may stay so for many groups, with its entries in the journal, until the database gets it.
"""

from collections.abc import Sequence
from typing import Any

import apsw

from mailagent.api.outcome import Attempt
from mailagent.spool import bodies
from mailagent.spool.bulk import execute_rows, fetch, json_text
from mailagent.spool.ids import recipient_id, reply_group
from mailagent.spool.jobs import write_jobs
from mailagent.spool.records import WINDOW, InDoubtMark, NewMessage
from mailagent.spool.staging import RELEASED, Stage, Staging

KEPT_ATTEMPTS = 20
"""Attempts kept per recipient, the last ones."""

_LOWER_NEXT_DUE = (
    "next_due = CASE WHEN {new} IS NULL THEN next_due WHEN next_due IS NULL THEN {new} ELSE min(next_due, {new}) END"
)
NEW_QUEUES = (
    "INSERT INTO queue (id, pool, stream, priority, domain, waiting, next_due) {values}"
    " ON CONFLICT (id) DO UPDATE SET waiting = waiting + excluded.waiting, "
    + _LOWER_NEXT_DUE.replace("{new}", "excluded.next_due")
)
NEW_QUEUES_OF_JOBS = NEW_QUEUES.replace("next_due)", "next_due, job)", 1)
_KNOWN_QUEUES = (
    "UPDATE queue SET waiting = waiting + v.column2, "
    + _LOWER_NEXT_DUE.replace("{new}", "v.column3")
    + " FROM ({values}) AS v WHERE queue.id = v.column1"
)
_LISTED = "(SELECT value FROM json_each(?1))"
_TRUE_NEXT_DUE = "next_due = (SELECT min(due) FROM recipient WHERE recipient.queue = queue.id)"


class Transaction(Staging):
    """What is staged for one transaction of one connection, and the transaction."""

    def __init__(self, db: apsw.Connection, queue_key: bytes, doubtful: set[int]) -> None:
        """`doubtful` as for `Staging`."""
        super().__init__(queue_key, doubtful)
        self.db = db

    def flush(self) -> None:
        """Write everything staged, in the transaction that is open or in a new one.

        Raises:
            apsw.Error: a statement failed; the caller rolls back.
        """
        if not self.db.in_transaction:
            self.db.execute("BEGIN IMMEDIATE")
        for stage in self.take():
            _write(self.db, stage, self._doubtful)


def _write(db: apsw.Connection, stage: Stage, doubtful: set[int]) -> None:
    if stage.released:
        _write_state(db, RELEASED, json_text(list(stage.released)))
    if stage.messages:
        _write_messages(db, stage)
    if stage.doubts:
        list_in_doubt(db, stage.doubts)
    if stage.deferred:
        _write_deferrals(db, stage)
    _write_queues(db, stage)
    if stage.removed:  # counts itself off queues that are there by now
        _write_removals(db, stage, doubtful)
    _write_states(db, stage)
    if stage.jobs:
        write_jobs(db, stage.jobs)


def _write_messages(db: apsw.Connection, stage: Stage) -> None:
    execute_rows(
        db,
        "INSERT INTO message (id, received_at, expires_at, sender, stream, pool, job, client, size, eightbit,"
        " added) {values}",
        [
            (m.id, m.received_at, m.expires_at, m.sender, m.stream, m.pool, m.job, m.client, m.size, m.eightbit,
             m.added)
            for m in stage.messages.values()
        ],
    )  # fmt: skip
    bodies.write(db, stage.messages.values())
    recipients: list[Sequence[Any]] = []
    special: list[NewMessage] = []
    with_options: list[Sequence[Any]] = []
    for message in stage.messages.values():
        first, due = recipient_id(message.id, 0), message.received_at
        for n, recipient in enumerate(message.recipients, first):
            recipients.append((n, recipient.queue, due, recipient.address))
            if recipient.notify or recipient.orcpt:
                with_options.append((n, recipient.notify, recipient.orcpt))
        if message.utf8 or message.user or message.ret or message.envid:
            special.append(message)
    execute_rows(db, "INSERT INTO recipient (id, queue, due, address) {values}", recipients)
    if special or with_options:
        _write_envelopes(db, special, with_options)


def _write_envelopes(db: apsw.Connection, messages: Sequence[NewMessage], recipients: Sequence[Sequence[Any]]) -> None:
    """What few messages have, so that the others are stored in shorter statements."""
    execute_rows(
        db,
        "UPDATE message SET utf8 = v.column2, user = v.column3, ret = v.column4, envid = v.column5"
        " FROM ({values}) AS v WHERE message.id = v.column1",
        [(m.id, m.utf8, m.user, m.ret, m.envid) for m in messages],
    )
    execute_rows(
        db,
        "UPDATE recipient SET notify = v.column2, orcpt = v.column3 FROM ({values}) AS v"
        " WHERE recipient.id = v.column1",
        recipients,
    )


def _write_deferrals(db: apsw.Connection, stage: Stage) -> None:
    moved: list[Sequence[Any]] = []
    tried: list[Sequence[Any]] = []
    attempts: list[Sequence[Any]] = []
    replies: dict[int, Sequence[Any]] = {}
    told: list[Sequence[Any]] = []
    for settlement, at in stage.deferred.values():
        if settlement.notify:
            told.append((settlement.recipient, settlement.notify))
        attempt = settlement.attempt
        if attempt is None:
            moved.append((settlement.recipient, settlement.due, at))
            continue
        reply = attempt.reply
        key, text = reply_group(settlement.provider, reply.code, reply.enhanced, reply.text)
        verdict = attempt.verdict
        meaning = (verdict.category, verdict.rule) if verdict is not None else ("", "")
        replies[key] = (key, settlement.provider, reply.code, reply.enhanced, text, reply.text, *meaning)
        tried.append(
            (settlement.recipient, settlement.due, at, attempt.number, attempt.vmta, attempt.site,
             settlement.provider, key)
        )  # fmt: skip
        attempts.append(_attempt_row(settlement.recipient, attempt))
    execute_rows(
        db,
        "UPDATE recipient SET due = v.column2, tried = v.column3 FROM ({values}) AS v WHERE recipient.id = v.column1",
        moved,
    )
    execute_rows(
        db,
        "UPDATE recipient SET due = v.column2, tried = v.column3, attempts = v.column4, vmta = v.column5,"
        " site = v.column6, provider = v.column7, reply = v.column8 FROM ({values}) AS v"
        " WHERE recipient.id = v.column1",
        tried,
    )
    if told:
        execute_rows(
            db,
            "UPDATE recipient SET notify = v.column2 FROM ({values}) AS v WHERE recipient.id = v.column1",
            told,
        )
    execute_rows(
        db,
        "INSERT INTO reply {values} ON CONFLICT (id) DO UPDATE SET category = excluded.category,"
        " rule = excluded.rule WHERE rule <> excluded.rule",
        list(replies.values()),
    )
    execute_rows(
        db,
        "INSERT OR REPLACE INTO attempt SELECT v.* FROM ({values}) AS v"
        " WHERE EXISTS (SELECT 1 FROM recipient WHERE recipient.id = v.column1)",
        attempts,
    )
    execute_rows(
        db,
        "DELETE FROM attempt WHERE (recipient, n) IN ({values})",
        [(row[0], row[1] - KEPT_ATTEMPTS) for row in attempts if row[1] > KEPT_ATTEMPTS],
    )


def _write_removals(db: apsw.Connection, stage: Stage, doubtful: set[int]) -> None:
    if stage.left_jobs:
        _count_left(db, stage)
    listed = json_text([recipient for recipient, _ in stage.removed])
    db.execute(f"DELETE FROM recipient WHERE id IN {_LISTED}", (listed,))
    if doubtful:
        _resolve_doubts(db, stage, doubtful)


def _count_left(db: apsw.Connection, stage: Stage) -> None:
    """Count what leaves jobs, as far as it is there: who is removed twice leaves once."""
    listed = json_text(list(stage.left_jobs))
    for (recipient,) in fetch(db, f"SELECT id FROM recipient WHERE id IN {_LISTED}", (listed,)):
        settlement = stage.left_jobs[recipient]
        stage.job(settlement.job, stage.removed_at).leave(settlement.resolution)


def _resolve_doubts(db: apsw.Connection, stage: Stage, doubtful: set[int]) -> None:
    resolved: dict[str, list[int]] = {}
    for recipient, resolution in stage.removed:
        if resolution and recipient in doubtful:
            resolved.setdefault(resolution, []).append(recipient)
    for resolution, recipients in resolved.items():
        db.execute(
            "UPDATE in_doubt SET resolution = ?2, resolved_at = ?3"
            f" WHERE recipient IN {_LISTED} AND resolution = 'open'",
            (json_text(recipients), resolution, stage.removed_at),
        )


def _write_queues(db: apsw.Connection, stage: Stage) -> None:
    new: list[Sequence[Any]] = []
    of_jobs: list[Sequence[Any]] = []
    known: list[Sequence[Any]] = []
    for queue, waiting in stage.waiting.items():
        due = stage.next_due.get(queue)
        if not waiting and due is None and (queue not in stage.placed or stage.parked.get(queue) == RELEASED):
            continue  # who is placed has mail coming, and is told its site once
        name = stage.names.get(queue)
        if name is not None:
            row = (queue, name.pool, name.stream, name.priority, name.domain, waiting, due)
            if name.job:
                of_jobs.append((*row, name.job))
            else:
                new.append(row)
        else:
            known.append((queue, waiting, due))
    execute_rows(db, NEW_QUEUES, new)
    execute_rows(db, NEW_QUEUES_OF_JOBS, of_jobs)
    execute_rows(db, _KNOWN_QUEUES, known)
    execute_rows(
        db,
        "UPDATE queue SET site = v.column2, provider = v.column3 FROM ({values}) AS v"
        " WHERE queue.id = v.column1 AND (site <> v.column2 OR provider <> v.column3)",
        [(queue, site, provider) for queue, (site, provider) in stage.placed.items()],
    )


def _write_states(db: apsw.Connection, stage: Stage) -> None:
    states: dict[str, list[int]] = {}
    for queue, key in stage.parked.items():
        states.setdefault(key, []).append(queue)
    for key, queues in states.items():
        _write_state(db, key, json_text(queues))


def _write_state(db: apsw.Connection, key: str, queues: str) -> None:
    if key == WINDOW:
        db.execute(f"UPDATE queue SET parked = '{WINDOW}' WHERE id IN {_LISTED}", (queues,))
        return
    db.execute(
        f"DELETE FROM queue WHERE id IN {_LISTED}"
        " AND NOT EXISTS (SELECT 1 FROM recipient WHERE recipient.queue = queue.id)",
        (queues,),
    )
    db.execute(
        f"UPDATE queue SET parked = ?2, {_TRUE_NEXT_DUE} WHERE id IN {_LISTED}",
        (queues, None if key == RELEASED else key),
    )


def _attempt_row(recipient: int, attempt: Attempt) -> Sequence[Any]:
    reply, verdict = attempt.reply, attempt.verdict
    meaning = (verdict.category, verdict.action, verdict.scope, verdict.rule) if verdict is not None else ("",) * 4
    return (
        recipient, attempt.number, int(attempt.at.timestamp() * 1000), attempt.vmta, attempt.source, attempt.site,
        attempt.mx, attempt.remote, reply.code, reply.enhanced, reply.text, reply.verb.value, reply.local,
        attempt.duration_s, *meaning,
    )  # fmt: skip


def list_in_doubt(db: apsw.Connection, marks: Sequence[InDoubtMark]) -> None:
    """Put marks on the in-doubt list, as far as their recipients are there; twice is once."""
    execute_rows(
        db,
        "INSERT OR IGNORE INTO in_doubt (recipient, address, at, vmta, site, remote)"
        " SELECT r.id, r.address, v.column2, v.column3, v.column4, v.column5"
        " FROM ({values}) AS v JOIN recipient AS r ON r.id = v.column1",
        [(mark.recipient, mark.at, mark.vmta, mark.site, mark.remote) for mark in marks],
    )
