"""What a host answers when it is asked: queues, messages and why they wait, operations, history."""

from collections.abc import Mapping

from mailagent.answers import Answers, detail, page_size, queue_page
from mailagent.api import replies, requests, views
from mailagent.api.errors import NotFound
from mailagent.api.ids import HostName
from mailagent.host import Read
from mailagent.overview import Overview
from mailagent.scheduling.scheduler import Scheduler
from mailagent.spool.store import Spool
from mailagent.telemetry.archive import Archive
from mailagent.telemetry.history import History
from mailagent.why import Why


class Reads(Answers):
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
        super().__init__(spool, history, archive)
        self._host = host
        self._scheduler = scheduler
        self._overview = overview
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

    async def queues(self, request: requests.PageRequest) -> replies.QueuePage:
        """Ready queues after the cursor, by key."""
        return queue_page(self._overview.queues(), request)

    async def deferred(self, request: requests.PageRequest) -> replies.DeferredGroups:
        """Deferred recipients grouped by reply and provider."""
        return await self._spool.groups(request.filter, page_size(request))

    async def messages(self, request: requests.PageRequest) -> replies.MessagePage:
        """Waiting recipients, a window."""
        return await self._spool.messages(request.filter, request.cursor, page_size(request))

    async def message(self, request: requests.MessageRequest) -> views.MessageDetail:
        """One message and why it waits."""
        stored = await self._spool.message(request.message_id, request.n)
        if stored is None:
            raise NotFound(f"{self._host}: no message {request.message_id} waits here; it has left or was never here")
        last = stored.attempts[-1] if stored.attempts else None
        return detail(
            stored,
            stored.summary,
            self._why.reasons(stored.summary, stored.job, last),
            headers=stored.headers,
            headers_truncated=stored.headers_truncated,
        )

    async def in_doubt(self, request: requests.PageRequest) -> replies.InDoubtPage:
        """Possible duplicates, newest first."""
        return await self._spool.in_doubt(request.cursor, page_size(request))
