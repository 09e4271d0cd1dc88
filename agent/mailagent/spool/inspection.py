"""Waiting mail as operators see it. Every listing is read in slices: each one short, bounded by rows looked at."""

from array import array
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import apsw
import msgspec

from mailagent.api import codec
from mailagent.api.classification import Action, Category, Scope, Verdict
from mailagent.api.ids import MessageId, PoolName, ProviderName, StreamName, VmtaName
from mailagent.api.methods import MAX_PAGE_BYTES
from mailagent.api.outcome import Attempt
from mailagent.api.replies import InDoubtPage
from mailagent.api.requests import PAGE_LIMIT
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.api.targets import MessageFilter
from mailagent.api.views import DeferredGroup, InDoubt, MessageSummary
from mailagent.spool import bodies
from mailagent.spool.bulk import fetch, rows_of
from mailagent.spool.ids import RECIPIENT_BITS, arrival_ms, group_key, message_name, parse_message_name, split
from mailagent.spool.records import HELD_DUE, UNKNOWN_DUE
from mailagent.spool.selection import JOINED, Selection
from mailagent.spool.terms import PROVIDER, SITE

SLICE_ROWS = 25_000
"""Rows that one slice looks at: some tens of milliseconds."""
HEADER_BYTES = 16 * 1024


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What the spool knows about one waiting recipient; why it waits is for the engine to say."""

    summary: MessageSummary
    recipient: int
    queue: int
    recipients: int  # of its message, still waiting
    headers: str
    headers_truncated: bool
    job: str
    client: str
    user: str
    envid: str
    orcpt: str  # xtext as given, `rfc822;a+2Bb@c.example`
    attempts: tuple[Attempt, ...]  # the last ones, oldest first
    in_doubt: bool


def when(ms: int) -> datetime:
    """Milliseconds since 1970 as an aware time."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def slice_end(db: apsw.Connection, after: int, last: int) -> int | None:
    """The id that ends the slice after `after`; None when nothing is left up to `last`."""
    for (end,) in db.execute(
        "SELECT id FROM recipient WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT 1 OFFSET ?3",
        (after, last, SLICE_ROWS - 1),
    ):
        return int(end)
    ((end,),) = fetch(db, "SELECT max(id) FROM recipient WHERE id > ? AND id <= ?", (after, last))
    return None if end is None else int(end)


def next_slice(db: apsw.Connection, chosen: Selection, after: int) -> tuple[str, int] | None:
    """(condition of the slice after `after`, the id that ends it); None at the end.

    Few rows that an index finds are one slice, however many others wait between them.
    """
    if after >= chosen.last:
        return None
    if chosen.candidates:
        ((few,),) = fetch(
            db,
            f"SELECT count(*) <= :few FROM (SELECT * FROM ({chosen.candidates}) LIMIT :few + 1)",
            chosen.bindings | {"few": SLICE_ROWS},
        )
        if few:
            return f"r.id IN ({chosen.candidates}) AND {chosen.condition}", chosen.last
    end = slice_end(db, after, chosen.last)
    return None if end is None else (chosen.condition, end)


# --- messages ------------------------------------------------------------------------------------------------------

_SUMMARY = f"""json_array(
    r.id, hex(r.address), hex(m.sender), q.stream, q.pool, q.domain, {SITE}, {PROVIDER}, r.vmta, r.attempts, m.size,
    m.received_at, coalesce(h.due, r.due), m.expires_at, a.code, a.enhanced, a.text, a.verb, a.local,
    coalesce(h.mail_order, ''))"""
_WITH_LAST_REPLY = f"{JOINED} LEFT JOIN attempt AS a ON a.recipient = r.id AND a.n = r.attempts"
_WITH_LAST_REPLY += f" LEFT JOIN held AS h ON r.due = {HELD_DUE} AND h.recipient = r.id"
_Summary = tuple[
    int, str, str, str, str, str, str, str, str, int, int, int, int, int,
    int | None, str | None, str | None, str | None, int | None, str,
]  # fmt: skip
_summaries = msgspec.json.Decoder(list[_Summary])


def _summary(row: _Summary, tag: str) -> MessageSummary:
    (recipient, address, sender, stream, pool, domain, site, provider, vmta, attempts, size, received, due, expires,
     code, enhanced, text, verb, local, held) = row  # fmt: skip
    message, n = split(recipient)
    return MessageSummary(
        message_id=message_name(message, tag),
        n=n,
        recipient=codec.text(bytes.fromhex(address)),
        sender=codec.text(bytes.fromhex(sender)),
        stream=StreamName(stream),
        pool=PoolName(pool),
        domain=domain,
        site=site,
        provider=provider,
        vmta=vmta,
        attempts=attempts,
        size_bytes=size,
        received_at=when(received),
        next_try_at=when(due),
        expires_at=when(expires),
        reply=None if code is None else _reply(code, enhanced or "", text or "", verb or "", bool(local)),
        held=held,
    )


def _reply(code: int, enhanced: str, text: str, verb: str, local: bool) -> SmtpReply:
    return SmtpReply(code=code, enhanced=enhanced, text=codec.cut(text), verb=Verb(verb), local=local)


class Page:
    """A page of rows as it fills: full when a row comes that has no place within `limit` and MAX_PAGE_BYTES."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.rows: list[MessageSummary] = []
        self._bytes = 0
        self.is_full = False

    def add(self, row: MessageSummary) -> bool:
        """Take `row`, unless the page is full."""
        self._bytes += len(codec.encode(row)) + 1
        self.is_full = len(self.rows) == self.limit or (bool(self.rows) and self._bytes > MAX_PAGE_BYTES)
        if not self.is_full:
            self.rows.append(row)
        return not self.is_full


def fill_page(db: apsw.Connection, chosen: Selection, after: int, page: Page, tag: str) -> int | None:
    """Add the matches of the slice after `after`; where to go on, None at the end.

    A full page goes on after the last row that it took.
    """
    span = next_slice(db, chosen, after)
    if span is None:
        return None
    condition, end = span
    bindings: Mapping[str, Any] = chosen.bindings | {
        "after": after,
        "end": end,
        "limit": page.limit - len(page.rows) + 1,  # one more shows that there are more
    }
    rows: list[_Summary] = rows_of(
        db,
        f"SELECT json_group_array(json(row) ORDER BY id) FROM (SELECT r.id AS id, {_SUMMARY} AS row"
        f" FROM {_WITH_LAST_REPLY} WHERE r.id > :after AND r.id <= :end AND {condition}"
        " ORDER BY r.id LIMIT :limit)",
        bindings,
        _summaries,
    )
    last = after
    for row in rows:
        if not page.add(_summary(row, tag)):
            return last
        last = row[0]
    return end


def add_count(db: apsw.Connection, chosen: Selection, after: int, counts: list[int]) -> int | None:
    """Add to `counts` how many match in the slice after `after`; where to go on, or None at the end."""
    span = next_slice(db, chosen, after)
    if span is None:
        return None
    condition, end = span
    ((count,),) = fetch(
        db,
        f"SELECT count(*) FROM {JOINED} WHERE r.id > :after AND r.id <= :end AND {condition}",
        chosen.bindings | {"after": after, "end": end},
    )
    counts.append(count)
    return end


_ids = msgspec.json.Decoder(list[int])


def add_later(db: apsw.Connection, chosen: Selection, after: int, now: int, recipients: "array[int]") -> int | None:
    """The same for recipients that match and wait for a time after `now`."""
    span = next_slice(db, chosen, after)
    if span is None:
        return None
    condition, end = span
    found: list[int] = rows_of(
        db,
        f"SELECT json_group_array(id ORDER BY id) FROM (SELECT r.id FROM {JOINED}"
        f" WHERE r.id > :after AND r.id <= :end AND r.due > :now AND r.due < {HELD_DUE} AND {condition})",
        chosen.bindings | {"after": after, "end": end, "now": now},
        _ids,
    )
    recipients.extend(found)
    return end


# --- groups --------------------------------------------------------------------------------------------------------

Group = tuple[int, int, int, int]
"""(count, lowest recipient id, earliest due, held)."""


def is_indexed(filter: MessageFilter) -> bool:
    """Whether the index of deferred recipients alone answers what groups match."""
    narrowed = msgspec.structs.replace(filter, provider="", vmta="", group="", deferred_only=False)
    return narrowed.is_empty


def all_groups(db: apsw.Connection, filter: MessageFilter) -> dict[int, Group]:
    """Groups of a filter that `is_indexed`, by reply id; reads nothing but that index."""
    try:
        reply = int(filter.group, 16) if filter.group else None
    except ValueError:
        return {}
    # grouped in the order of the index first: half the time of sorting every row
    found = fetch(
        db,
        "SELECT reply, sum(n), min(first), min(due), sum(held)"
        " FROM (SELECT reply, count(*) AS n, min(id) AS first, min(due) AS due,"
        f" sum(due = {HELD_DUE}) AS held FROM recipient WHERE reply IS NOT NULL"
        " AND (:provider = '' OR provider = :provider) AND (:vmta = '' OR vmta = :vmta)"
        " AND (:reply IS NULL OR reply = :reply) GROUP BY provider, vmta, reply) GROUP BY reply",
        {"provider": filter.provider, "vmta": filter.vmta, "reply": reply},
    )
    return {key: (count, lowest, due, held) for key, count, lowest, due, held in found}


def add_groups(db: apsw.Connection, chosen: Selection, after: int, groups: dict[int, Group]) -> int | None:
    """Add the groups of the slice after `after`; where to go on or None at the end."""
    span = next_slice(db, chosen, after)
    if span is None:
        return None
    condition, end = span
    found = fetch(
        db,
        f"SELECT r.reply, count(*), min(r.id), min(r.due), sum(r.due = {HELD_DUE}) FROM {JOINED}"
        f" WHERE r.id > :after AND r.id <= :end AND r.reply IS NOT NULL AND {condition} GROUP BY r.reply",
        chosen.bindings | {"after": after, "end": end},
    )
    for key, count, lowest, due, held in found:
        so_far, its_lowest, its_due, its_held = groups.get(key, (0, lowest, due, 0))
        groups[key] = (so_far + count, min(lowest, its_lowest), min(due, its_due), its_held + held)
    return end


def group_views(db: apsw.Connection, groups: Mapping[int, Group], limit: int) -> tuple[DeferredGroup, ...]:
    """The largest groups with their texts."""
    largest = sorted(groups.items(), key=lambda item: (-item[1][0], item[0]))[:limit]
    views = []
    for key, (count, lowest, due, held) in largest:
        for provider, code, enhanced, text, sample, category, rule in fetch(
            db, "SELECT provider, code, enhanced, text, sample, category, rule FROM reply WHERE id = ?", (key,)
        ):
            views.append(
                DeferredGroup(
                    key=group_key(key),
                    provider=ProviderName(provider),
                    code=code,
                    enhanced=enhanced,
                    text=text,
                    sample=codec.cut(sample),
                    count=count,
                    oldest_at=when(arrival_ms(lowest)),
                    next_try_at=when(due) if due < UNKNOWN_DUE else None,
                    category=Category(category) if category else None,
                    rule=rule,
                    held=held,
                )
            )
    return tuple(views)


# --- one message ---------------------------------------------------------------------------------------------------


def message(db: apsw.Connection, name: str, n: int | None, tag: str) -> StoredMessage | None:
    """One waiting recipient; without `n` the message's first. None when it is not here (any more)."""
    try:
        number, its_tag = parse_message_name(name)
    except ValueError:
        return None
    if its_tag != tag or not 0 <= (n or 0) < 1 << RECIPIENT_BITS:
        return None
    first = number << RECIPIENT_BITS | (n or 0)
    last = first if n is not None else ((number + 1) << RECIPIENT_BITS) - 1
    rows: list[_Summary] = rows_of(
        db,
        f"SELECT json_group_array(json(row)) FROM (SELECT {_SUMMARY} AS row FROM {_WITH_LAST_REPLY}"
        " WHERE r.id >= ? AND r.id <= ? ORDER BY r.id LIMIT 1)",
        (first, last),
        _summaries,
    )
    if not rows:
        return None
    recipient = rows[0][0]
    ((queue, job, client, user, envid, orcpt, added, waiting, in_doubt),) = fetch(
        db,
        "SELECT r.queue, m.job, m.client, m.user, m.envid, r.orcpt, m.added,"
        " (SELECT count(*) FROM recipient WHERE id >= ?2 AND id < ?3),"
        " EXISTS (SELECT 1 FROM in_doubt WHERE recipient = ?1 AND resolution = 'open')"
        f" FROM {JOINED} WHERE r.id = ?1",
        (recipient, number << RECIPIENT_BITS, (number + 1) << RECIPIENT_BITS),
    )
    headers, truncated = _headers(added, bodies.head(db, number, HEADER_BYTES + 1))
    return StoredMessage(
        summary=_summary(rows[0], tag),
        recipient=recipient,
        queue=queue,
        recipients=waiting,
        headers=headers,
        headers_truncated=truncated,
        job=job,
        client=client,
        user=user,
        envid=envid,
        orcpt=orcpt,
        attempts=_attempts(db, recipient),
        in_doubt=bool(in_doubt),
    )


def body(db: apsw.Connection, name: str, most: int, tag: str) -> bytes | None:
    """The first `most` bytes of a message; None when it is not here (any more)."""
    try:
        number, its_tag = parse_message_name(name)
    except ValueError:
        return None
    return bodies.head(db, number, most) or None if its_tag == tag else None


def _headers(added: bytes, head: bytes) -> tuple[str, bool]:
    """(header block decoded, whether it was cut)."""
    end = 0 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n") + 2
    block = added + (head[:end] if end != 1 else head)  # without an empty line all of it is headers
    return block[:HEADER_BYTES].decode("utf-8", "backslashreplace"), len(block) > HEADER_BYTES


def _attempts(db: apsw.Connection, recipient: int) -> tuple[Attempt, ...]:
    found = fetch(
        db,
        "SELECT n, at, vmta, source, site, mx, remote, code, enhanced, text, verb, local, duration_s,"
        " category, action, scope, rule FROM attempt WHERE recipient = ? ORDER BY n",
        (recipient,),
    )
    return tuple(
        Attempt(
            number=n,
            at=when(at),
            vmta=vmta,
            source=source,
            site=site,
            mx=mx,
            remote=remote,
            reply=_reply(code, enhanced, text, verb, bool(local)),
            duration_s=duration_s,
            verdict=_verdict(*meaning),
        )
        for n, at, vmta, source, site, mx, remote, code, enhanced, text, verb, local, duration_s, *meaning in found
    )


def _verdict(category: str, action: str, scope: str, rule: str) -> Verdict | None:
    if not category:
        return None
    return Verdict(category=Category(category), action=Action(action), scope=Scope(scope), rule=rule)


def in_doubt(db: apsw.Connection, cursor: str, limit: int, tag: str) -> InDoubtPage:
    """A page of possible duplicates, the last listed first."""
    limit = max(1, min(limit, PAGE_LIMIT))
    found = fetch(
        db,
        "SELECT id, recipient, address, at, vmta, site, remote, resolution FROM in_doubt WHERE id < ?"
        " ORDER BY id DESC LIMIT ?",
        (int(cursor) if cursor else 1 << 62, limit + 1),
    )
    rows = []
    for _, recipient, address, at, vmta, site, remote, resolution in found[:limit]:
        number, n = split(recipient)
        rows.append(
            InDoubt(
                message_id=MessageId(message_name(number, tag)),
                n=n,
                recipient=codec.text(address),
                at=when(at),
                vmta=VmtaName(vmta),
                site=site,
                remote=remote,
                resolution=resolution,
            )
        )
    return InDoubtPage(rows=tuple(rows), cursor=str(found[limit - 1][0]) if len(found) > limit else "")
