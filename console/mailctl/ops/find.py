"""One recipient, message, job or sender over the queues and the accounting files of all hosts, as one timeline."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, datetime
from typing import Any

import msgspec

from mailagent.api.accounting import EventType
from mailagent.api.errors import ApiError
from mailagent.api.find import FindPage, FindRequest, Found
from mailagent.api.ids import HostName
from mailagent.api.replies import MessagePage
from mailagent.api.requests import PAGE_LIMIT, PageRequest
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import MailState
from mailagent.api.views import MessageSummary
from mailctl.fleet.errors import LinkError
from mailctl.fleet.lists import reason
from mailctl.ops.errors import SelectorError
from mailctl.ops.filters import Filter
from mailctl.ops.grammar import TermKind, Token, folded
from mailctl.ops.happened import Asks

DEADLINE_S = 25.0
"""For one page of one host: longer than hosts give a read."""
MOST_ROWS = 1000
WAITING = "waiting"
"""State of mail that is still in a queue; its time is that of the next try."""
HERE = frozenset({WAITING, str(MailState.HELD)})
"""States of rows that tell what will be, not what was."""
STATES = frozenset({*map(str, EventType), *map(str, MailState), WAITING})

_TELLING = frozenset(
    {
        TermKind.RECIPIENT,
        TermKind.SENDER,
        TermKind.ADDRESS,
        TermKind.MESSAGE,
        TermKind.JOB,
        TermKind.DOMAIN,
    }
)
_ID_CHARS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTVWXYZ")
_ID_LENGTH = 17


@dataclass(frozen=True, slots=True)
class Trace:
    """What was found, and what it lacks."""

    rows: tuple[tuple[HostName, Found], ...]  # oldest first, what waits last
    failed: dict[HostName, str]  # hosts that gave not all, and why
    truncated: bool  # there is more, older


def sought(terms: Iterable[Token]) -> Filter:
    """The filter of a search: a bare address is one of recipient or sender, a bare message id is a message.

    Raises:
        SelectorError: nothing to search for, or a term that accounting files do not know.
    """
    wanted = Filter.made(map(_meant, terms))
    if not wanted.words and not any(kind in _TELLING for kind in wanted.selection.kinds):
        raise SelectorError(
            "a search names whom or what: an address, a message id, to:, from:, job:, domain: or a word of a reply"
        )
    kinds = {one.kind for one in wanted.tokens}
    if TermKind.GROUP in kinds:
        raise SelectorError("accounting files do not know groups; search for words of the reply")
    _of_records(wanted)
    return wanted


async def find(
    fleet: Asks,
    wanted: Filter,
    *,
    since: datetime,
    now: datetime,
    limit: int,
    hosts: Sequence[HostName],
    deadline_s: float = DEADLINE_S,
) -> Trace:
    """Ask `hosts` for what is in their queues and files; a host that fails is part of the answer."""
    async with asyncio.TaskGroup() as group:
        tasks = {
            host: (
                group.create_task(_records(fleet, host, wanted, since, now, limit, deadline_s), name=f"find:{host}"),
                group.create_task(_queue(fleet, host, wanted, limit, deadline_s), name=f"find:queue:{host}"),
            )
            for host in hosts
        }
    parts = {host: [task.result() for task in pair] for host, pair in tasks.items()}
    rows = [(host, row) for host, pair in parts.items() for part in pair for row in part.rows]
    merged = timeline(rows, since)
    return Trace(
        merged[-limit:],
        {host: error for host, pair in parts.items() if (error := next((one.error for one in pair if one.error), ""))},
        len(merged) > limit or any(part.more for pair in parts.values() for part in pair),
    )


def timeline(rows: Iterable[tuple[HostName, Found]], since: datetime) -> tuple[tuple[HostName, Found], ...]:
    """`rows` in order of time, each event once, with the arrival of each recipient from what its other rows tell."""
    once = {(host, row.event or (row.message_id, row.n, row.state)): (host, row) for host, row in rows}
    arrived: dict[tuple[HostName, str, int], tuple[HostName, Found]] = {}
    known = {(host, row.message_id, row.n) for host, row in once.values() if row.state == EventType.RECEIVED}
    for host, row in once.values():
        place = (host, row.message_id, row.n)
        if row.arrived_at is not None and row.arrived_at >= since and place not in known:
            arrived[place] = (host, _arrival(row, row.arrived_at))
    found = [*arrived.values(), *once.values()]
    return tuple(sorted(found, key=lambda one: (one[1].state in HERE, one[1].time, one[1].message_id, one[1].n)))


def when(row: Found) -> datetime | None:
    """When it happened or is tried next; None for mail that has no next try, or whose engine does not tell it."""
    return None if row.state in HERE and row.time.year == MAXYEAR else row.time


def said(row: Found) -> str:
    """What stands behind a row: the reply, or where the mail came from."""
    if row.state == EventType.RECEIVED:
        return f"from {row.sender or '<>'}, stream {row.stream}, pool {row.pool}"
    if row.code and row.text.startswith(str(row.code)):  # the diagnostic of a later DSN has its codes
        return " ".join(row.text.split())
    return " ".join(f"{row.code or ''} {row.enhanced} {row.text}".split())


@dataclass(frozen=True, slots=True)
class _Part:
    rows: list[Found]
    more: bool = False
    error: str = ""


async def _records(
    fleet: Asks, host: HostName, wanted: Filter, since: datetime, now: datetime, limit: int, deadline_s: float
) -> _Part:
    """What the files of one host say, the newest first."""
    rows: list[Found] = []
    narrowed, cursor = _of_records(wanted), ""
    while True:
        request = FindRequest(
            filter=narrowed, since=since, until=now, cursor=cursor, limit=min(limit - len(rows), PAGE_LIMIT)
        )
        page = await _ask(fleet, host, "find", request, deadline_s)
        if not isinstance(page, FindPage):
            return _Part(rows, error=page)
        rows += page.rows
        cursor = page.cursor
        if not cursor or len(rows) >= limit:
            return _Part(rows, more=bool(cursor))


async def _queue(fleet: Asks, host: HostName, wanted: Filter, limit: int, deadline_s: float) -> _Part:
    """What waits on one host."""
    rows: list[Found] = []
    waiting, cursor = _of_queue(wanted), ""
    if waiting is None:
        return _Part(rows)
    narrowed = waiting.message_filter()
    while True:
        request = PageRequest(filter=narrowed, cursor=cursor, limit=min(limit - len(rows), PAGE_LIMIT))
        page = await _ask(fleet, host, "messages", request, deadline_s)
        if not isinstance(page, MessagePage):
            return _Part(rows, error=page)
        rows += map(_waiting, page.rows)
        cursor = page.cursor
        if not cursor or len(rows) >= limit:
            return _Part(rows, more=bool(cursor))


async def _ask(fleet: Asks, host: HostName, method: str, request: msgspec.Struct, deadline_s: float) -> Any:
    """The answer of one host, or why there is none."""
    (answer,) = (await fleet.ask_all(method, request, hosts=(host,), deadline_s=deadline_s)).values()
    return reason(answer) if isinstance(answer, LinkError | ApiError) else answer


def _meant(one: Token) -> Token:
    if one.kind is None:
        before, at, after = one.value.rpartition("@")
        if at and before and "." in after and not any(char.isspace() for char in one.value):
            return one._replace(kind=TermKind.ADDRESS, value=folded(TermKind.ADDRESS, one.value))
        name = one.value.partition(".")[0].upper()
        if len(name) == _ID_LENGTH and _ID_CHARS.issuperset(name):
            return one._replace(kind=TermKind.MESSAGE)
    return one


def _of_records(wanted: Filter) -> MessageFilter:
    return wanted.message_filter(states=STATES)


def _of_queue(wanted: Filter) -> Filter | None:
    """What narrows the queue; None when nothing in it is wanted."""
    states = wanted.selection.names(TermKind.STATE)
    live = {WAITING, *map(str, MailState)}
    excluded = {one.value for one in wanted.without if one.kind is TermKind.STATE}
    if WAITING in excluded or (states and not live.intersection(states)):
        return None
    return Filter.made(
        one
        for one in wanted.tokens
        if one.kind is not TermKind.STATE or (one.value in set(MailState) and (one.negated or WAITING not in states))
    )


def _waiting(row: MessageSummary) -> Found:
    reply = row.reply
    return Found(
        time=row.next_try_at,
        state=str(MailState.HELD) if row.held else WAITING,
        message_id=row.message_id,
        n=row.n,
        recipient=row.recipient,
        sender=row.sender,
        stream=row.stream,
        pool=row.pool,
        vmta=row.vmta,
        site=row.site,
        provider=row.provider,
        attempt=row.attempts,
        smtp_verb=reply.verb if reply else "",
        code=reply.code if reply else 0,
        enhanced=reply.enhanced if reply else "",
        text=reply.text if reply else "",
        arrived_at=row.received_at,
    )


def _arrival(row: Found, at: datetime) -> Found:
    return Found(
        time=at,
        state=str(EventType.RECEIVED),
        message_id=row.message_id,
        n=row.n,
        recipient=row.recipient,
        sender=row.sender,
        stream=row.stream,
        pool=row.pool,
        job=row.job,
        arrived_at=at,
    )
