"""What hosts answer alike, whatever carries their mail: history, sums, operations, a page of queues, one message."""

import asyncio
from collections.abc import Iterable, Sequence

from mailagent.api import replies, requests, views
from mailagent.api.errors import InvalidRequest
from mailagent.api.operations import OperationRecord
from mailagent.api.reasons import WaitReason
from mailagent.api.sums import Sums, SumsRequest
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, by_field, is_like
from mailagent.intake.parameters import xtext_decoded
from mailagent.spool.inspection import StoredMessage
from mailagent.spool.store import Spool
from mailagent.telemetry.archive import HOUR, KEPT_S, MINUTE, Archive
from mailagent.telemetry.history import History


class Answers:
    """Reading methods that ask the agent's own records."""

    def __init__(self, spool: Spool, history: History, archive: Archive) -> None:
        self._spool = spool
        self._history = history
        self._archive = archive

    async def history(self, request: requests.HistoryRequest) -> views.Series:
        """Counts of one scope per second, minute or hour: seconds are in memory, the others in the archive.

        Raises:
            InvalidRequest: a step that is not counted.
        """
        if request.step_s == 1:
            return self._history.series(request)
        if request.step_s not in KEPT_S or request.seconds < 0:
            raise InvalidRequest(f"history has steps of 1, 60 and 3600 s, not of {request.step_s}")
        return await asyncio.to_thread(self._archive.series, request)

    async def sums(self, request: SumsRequest) -> Sums:
        """What happened in each pool, stream, provider … in a time.

        Raises:
            InvalidRequest: a time that the archive does not keep.
        """
        if not MINUTE <= request.seconds <= KEPT_S[HOUR]:
            raise InvalidRequest(f"sums are kept of 60 s to 400 days, not of {request.seconds} s")
        return await asyncio.to_thread(self._archive.sums, request)

    async def operations(self, request: requests.PageRequest) -> replies.OperationPage:
        """Operations, newest first."""
        return await self._spool.operations(request.cursor, page_size(request))

    async def operation(self, request: requests.OperationRequest) -> OperationRecord | None:
        """What became of one operation."""
        stored = await self._spool.stored_operation(request.op_id)
        return stored.record if stored is not None else None


def page_size(request: requests.PageRequest) -> int:
    """Rows of a page: as asked, within bounds."""
    return min(request.limit, requests.PAGE_LIMIT)


def queue_page(rows: Iterable[views.QueueView], request: requests.PageRequest) -> replies.QueuePage:
    """The queues of `rows`, which are sorted by key, that come after the cursor.

    Raises:
        InvalidRequest: see `matches`.
    """
    found = [row for row in rows if row.key > request.cursor and matches(request.filter, row)]
    page = found[: page_size(request)]
    return replies.QueuePage(rows=tuple(page), cursor=page[-1].key if len(found) > len(page) > 0 else "")


def detail(
    stored: StoredMessage,
    summary: views.MessageSummary,
    reasons: Sequence[WaitReason],
    *,
    headers: str,
    headers_truncated: bool,
) -> views.MessageDetail:
    """One message as it is stored, with why it waits."""
    return views.MessageDetail(
        summary=summary,
        recipients=stored.recipients,
        headers=headers,
        headers_truncated=headers_truncated,
        job=stored.job,
        client=stored.client,
        user=stored.user,
        envid=stored.envid,
        original=xtext_decoded(stored.orcpt.partition(";")[2]),
        attempts=stored.attempts,
        reasons=tuple(reasons),
        in_doubt=stored.in_doubt,
    )


def matches(filter: MessageFilter, row: views.QueueView) -> bool:
    """Whether `filter` lets a ready queue through.

    Raises:
        InvalidRequest: a term about something that a ready queue has not.
    """
    wanted = ((filter.vmta, row.vmta), (filter.provider, row.provider), (filter.site, row.site))
    return all(not want or want == has for want, has in wanted) and all(
        any(is_like(term.value, _of_queue(term.field, row)) != term.negated for term in group)
        for group in by_field(filter.terms)
    )


def _of_queue(field: Field, row: views.QueueView) -> str:
    match field:
        case Field.VMTA:
            return row.vmta
        case Field.PROVIDER:
            return row.provider
        case Field.SITE:
            return row.site
    raise InvalidRequest(f"ready queues are not narrowed by {field}; vmta, provider and site are known of them")
