"""What a Postfix host answers when it is asked: its queue with Postfix's own ids, and why mail waits."""

from collections.abc import Mapping
from functools import partial

import msgspec

from mailagent.api import replies, requests, views
from mailagent.api.errors import InvalidRequest, NotFound
from mailagent.api.ids import PoolName, ProviderName, SiteName, VmtaName, queue_key
from mailagent.api.operations import OperationRecord
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.sums import Sums, SumsRequest
from mailagent.api.targets import MessageFilter
from mailagent.api.why import QueueWhy, WhyRequest
from mailagent.host import Read
from mailagent.postfix.acts import is_id
from mailagent.postfix.commands import Programs, run
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.mirror import Mirror
from mailagent.postfix.names import Names
from mailagent.postfix.reasons import reasons
from mailagent.reads import history, matches, sums
from mailagent.spool import mirror as rows
from mailagent.spool.inspection import HEADER_BYTES, when
from mailagent.spool.records import UNKNOWN_DUE
from mailagent.spool.store import Spool
from mailagent.telemetry.archive import Archive
from mailagent.telemetry.history import History
from mailagent.why import deferred_reason

GROUPS = 5
"""Replies shown of one queue's deferred mail."""
_UNKNOWN_AT = when(UNKNOWN_DUE)


class Reads:
    """The reading methods of the method table, by name in `methods`."""

    def __init__(
        self, host: str, spool: Spool, mirror: Mirror, names: Names, programs: Programs, history: History,
        archive: Archive,
    ) -> None:  # fmt: skip
        self._host = host
        self._spool = spool
        self._mirror = mirror
        self._names = names
        self._programs = programs
        self._history = history
        self._archive = archive

    @property
    def methods(self) -> Mapping[str, Read]:
        """By wire name."""
        return {
            read.__name__: read
            for read in (
                self.history, self.sums, self.queues, self.deferred, self.messages, self.message, self.operations,
                self.operation, self.why,
            )
        }  # fmt: skip

    async def history(self, request: requests.HistoryRequest) -> views.Series:
        """Counts of one scope per second, minute or hour."""
        return await history(request, self._history, self._archive)

    async def sums(self, request: SumsRequest) -> Sums:
        """What happened in each pool, provider … in a time."""
        return await sums(request, self._archive)

    async def operations(self, request: requests.PageRequest) -> replies.OperationPage:
        """Operations, newest first."""
        return await self._spool.operations(request.cursor, min(request.limit, requests.PAGE_LIMIT))

    async def operation(self, request: requests.OperationRequest) -> OperationRecord | None:
        """What became of one operation."""
        stored = await self._spool.stored_operation(request.op_id)
        return stored.record if stored is not None else None

    # -- the queue -----------------------------------------------------------------------------------------------

    async def queues(self, request: requests.PageRequest) -> replies.QueuePage:
        """Mail in the active queue by site and virtual MTA, after the cursor, by key."""
        active = await self._spool.on_mirror(rows.active_by_site)
        found = sorted((_queue(*one) for one in active), key=lambda row: row.key)
        shown = [row for row in found if row.key > request.cursor and matches(request.filter, row)]
        limit = min(request.limit, requests.PAGE_LIMIT)
        page = shown[:limit]
        return replies.QueuePage(rows=tuple(page), cursor=page[-1].key if len(shown) > limit else "")

    async def deferred(self, request: requests.PageRequest) -> replies.DeferredGroups:
        """Deferred recipients grouped by reply and provider."""
        chosen = await self._names.filter(request.filter)
        return await self._spool.groups(chosen, min(request.limit, requests.PAGE_LIMIT))

    async def messages(self, request: requests.PageRequest) -> replies.MessagePage:
        """Waiting recipients, a window."""
        chosen = await self._names.filter(request.filter)
        page = await self._spool.messages(chosen, request.cursor, min(request.limit, requests.PAGE_LIMIT))
        named = await self._names.outward(page.rows)
        return replies.MessagePage(rows=tuple(map(told, named)), cursor=page.cursor)

    async def message(self, request: requests.MessageRequest) -> views.MessageDetail:
        """One message and why it waits."""
        known = await self._spool.on_mirror(partial(rows.known, queue_ids=[request.message_id]))
        stored = await self._spool.message(await self._names.inward(request.message_id), request.n)
        if stored is None or request.message_id not in known:
            raise NotFound(f"{self._host}: no message {request.message_id} waits here; it has left or was never here")
        summary = told(msgspec.structs.replace(stored.summary, message_id=request.message_id))
        headers = await self._headers(request.message_id)
        last = stored.attempts[-1] if stored.attempts else None
        mirror = self._mirror
        return views.MessageDetail(
            summary=summary,
            recipients=stored.recipients,
            headers=headers[:HEADER_BYTES].decode("utf-8", "backslashreplace"),
            headers_truncated=len(headers) > HEADER_BYTES,
            job=stored.job,
            client=stored.client,
            user=stored.user,
            envid=stored.envid,
            attempts=stored.attempts,
            reasons=tuple(
                reasons(
                    summary,
                    known[request.message_id].folder,
                    last,
                    mirror.instance,
                    active=mirror.folders["active"],
                    running=mirror.running,
                )
            ),
            in_doubt=False,
        )

    async def _headers(self, queue_id: str) -> bytes:
        """The header block, as far as this account may read the queue file."""
        if not is_id(queue_id):
            return b""
        try:
            return await run(
                self._programs.argv("postcat", "-h", "-q", queue_id), timeout_s=self._programs.timeout_s,
                limit_bytes=64 * HEADER_BYTES,
            )  # fmt: skip
        except PostfixError:
            return b""

    # -- why -----------------------------------------------------------------------------------------------------

    async def why(self, request: WhyRequest) -> QueueWhy:
        """Why the mail of one site waits; with `site/` that of every virtual MTA.

        Raises:
            InvalidRequest: that is no key of a queue.
        """
        site, slash, vmta = request.queue.rpartition("/")
        if not slash or not site:
            raise InvalidRequest(f"`{request.queue}` is no queue; write site/vmta, as in gmail/mkt-1, or gmail/")
        found = await self._spool.groups(MessageFilter(site=site, vmta=vmta, deferred_only=True), requests.PAGE_LIMIT)
        active = [one for one in await self._spool.on_mirror(rows.active_by_site) if one[0] == site]
        active = [one for one in active if not vmta or one[2] == vmta]
        groups, ready = found.groups, sum(one[3] for one in active)
        deferred = sum(group.count for group in groups)
        next_try = min((group.next_try_at for group in groups if group.next_try_at), default=None)
        causes = []
        if ready:
            causes.append(
                WaitReason(
                    kind=ReasonKind.SENDING,
                    detail=f"{ready} recipient(s) are in the active queue: being delivered, or waiting for a place;"
                    " Postfix does not tell which",
                    value=str(ready),
                )
            )
        if groups:
            causes.append(deferred_reason(found, deferred, next_try, f"{site}/{vmta}"))
        return QueueWhy(
            key=queue_key(SiteName(site), VmtaName(vmta)),
            site=SiteName(site),
            vmta=VmtaName(vmta),
            pool=PoolName(""),
            provider=ProviderName(active[0][1] if active else groups[0].provider if groups else ""),
            ready=ready,
            connections=0,
            deferred=deferred,
            next_try_at=next_try,
            reasons=tuple(causes),
            limits=(),
            groups=groups[:GROUPS],
        )


def told(summary: views.MessageSummary) -> views.MessageSummary:
    """`summary` with the names of what Postfix does not tell."""
    unknown = [name for name in ("stream", "pool") if not getattr(summary, name)]
    if summary.next_try_at >= _UNKNOWN_AT:
        unknown.append("next_try_at")
    return msgspec.structs.replace(summary, unknown=tuple(unknown))


def _queue(site: str, provider: str, vmta: str, count: int) -> views.QueueView:
    return views.QueueView(
        key=queue_key(SiteName(site), VmtaName(vmta)),
        site=SiteName(site),
        vmta=VmtaName(vmta),
        provider=ProviderName(provider),
        ready=count,
        connections=0,
        connection_limit=None,
        messages_per_connection=None,
        rate_limit="",
        binding=None,
        generation=0,
    )
