"""What a host answers when it is asked: queues, messages and why they wait, operations, history."""

import asyncio
from collections.abc import Mapping

from mailagent.api import replies, requests, views
from mailagent.api.errors import InvalidRequest, NotFound
from mailagent.api.ids import HostName
from mailagent.api.operations import OperationRecord
from mailagent.api.sums import Sums, SumsRequest
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, by_field, is_like
from mailagent.host import Read
from mailagent.overview import Overview
from mailagent.scheduling.scheduler import Scheduler
from mailagent.spool.store import Spool
from mailagent.telemetry.archive import HOUR, KEPT_S, MINUTE, Archive
from mailagent.telemetry.history import History
from mailagent.why import Why


class Reads:
    """The reading methods of the method table, by name in `methods`."""

    def __init__(
        self,
        host: HostName,
        spool: Spool,
        scheduler: Scheduler,
        overview: Overview,
        history: History,
        archive: Archive,
        why: Why,
    ) -> None:
        self._host = host
        self._spool = spool
        self._scheduler = scheduler
        self._overview = overview
        self._history = history
        self._archive = archive
        self._why = why

    @property
    def methods(self) -> Mapping[str, Read]:
        """By wire name."""
        return {
            read.__name__: read
            for read in (
                self.history, self.sums, self.queues, self.deferred, self.messages, self.message, self.in_doubt,
                self.operations, self.operation, self._why.why,
            )
        }  # fmt: skip

    async def history(self, request: requests.HistoryRequest) -> views.Series:
        """Counts of one scope per second, minute or hour."""
        return await history(request, self._history, self._archive)

    async def sums(self, request: SumsRequest) -> Sums:
        """What happened in each pool, stream, provider … in a time."""
        return await sums(request, self._archive)

    async def queues(self, request: requests.PageRequest) -> replies.QueuePage:
        """Ready queues after the cursor, by key."""
        rows = [row for row in self._overview.queues() if row.key > request.cursor and matches(request.filter, row)]
        limit = min(request.limit, requests.PAGE_LIMIT)
        page = rows[:limit]
        return replies.QueuePage(rows=tuple(page), cursor=page[-1].key if len(rows) > limit else "")

    async def deferred(self, request: requests.PageRequest) -> replies.DeferredGroups:
        """Deferred recipients grouped by reply and provider."""
        return await self._spool.groups(request.filter, min(request.limit, requests.PAGE_LIMIT))

    async def messages(self, request: requests.PageRequest) -> replies.MessagePage:
        """Waiting recipients, a window."""
        return await self._spool.messages(request.filter, request.cursor, min(request.limit, requests.PAGE_LIMIT))

    async def message(self, request: requests.MessageRequest) -> views.MessageDetail:
        """One message and why it waits."""
        stored = await self._spool.message(request.message_id, request.n)
        if stored is None:
            raise NotFound(f"{self._host}: no message {request.message_id} waits here; it has left or was never here")
        return views.MessageDetail(
            summary=stored.summary,
            recipients=stored.recipients,
            headers=stored.headers,
            headers_truncated=stored.headers_truncated,
            job=stored.job,
            client=stored.client,
            user=stored.user,
            envid=stored.envid,
            attempts=stored.attempts,
            reasons=tuple(
                self._why.reasons(stored.summary, stored.job, stored.attempts[-1] if stored.attempts else None)
            ),
            in_doubt=stored.in_doubt,
        )

    async def in_doubt(self, request: requests.PageRequest) -> replies.InDoubtPage:
        """Possible duplicates, newest first."""
        return await self._spool.in_doubt(request.cursor, min(request.limit, requests.PAGE_LIMIT))

    async def operations(self, request: requests.PageRequest) -> replies.OperationPage:
        """Operations, newest first."""
        return await self._spool.operations(request.cursor, min(request.limit, requests.PAGE_LIMIT))

    async def operation(self, request: requests.OperationRequest) -> OperationRecord | None:
        """What became of one operation."""
        stored = await self._spool.stored_operation(request.op_id)
        return stored.record if stored is not None else None


async def history(request: requests.HistoryRequest, recent: History, archive: Archive) -> views.Series:
    """Counts of one scope: seconds are in memory, minutes and hours in the archive.

    Raises:
        InvalidRequest: a step that is not counted.
    """
    if request.step_s == 1:
        return recent.series(request)
    if request.step_s not in KEPT_S or request.seconds < 0:
        raise InvalidRequest(f"history has steps of 1, 60 and 3600 s, not of {request.step_s}")
    return await asyncio.to_thread(archive.series, request)


async def sums(request: SumsRequest, archive: Archive) -> Sums:
    """What the archive has of a time.

    Raises:
        InvalidRequest: a time that it does not keep.
    """
    if not MINUTE <= request.seconds <= KEPT_S[HOUR]:
        raise InvalidRequest(f"sums are kept of 60 s to 400 days, not of {request.seconds} s")
    return await asyncio.to_thread(archive.sums, request)


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
