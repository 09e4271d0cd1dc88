"""What a Postfix host answers when it is asked: its queue with Postfix's own ids, and why mail waits."""

from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from mailagent.answers import Answers, detail, page_size, queue_page
from mailagent.api import replies, requests, views
from mailagent.api.errors import NotFound
from mailagent.api.ids import ProviderName, SiteName, VmtaName, queue_key
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.targets import MessageFilter
from mailagent.api.why import QueueWhy, WhyRequest
from mailagent.config.structs import AgentConfig
from mailagent.control.state import HostState
from mailagent.host import Read
from mailagent.postfix.holding import Destination, Holds
from mailagent.postfix.mirror import Mirror
from mailagent.postfix.names import Names
from mailagent.postfix.reasons import emulated, reasons
from mailagent.postfix.texts import Texts
from mailagent.routing.streams import StreamTable
from mailagent.spool import mirror as rows
from mailagent.spool.inspection import HEADER_BYTES, when
from mailagent.spool.records import UNKNOWN_DUE
from mailagent.spool.store import Spool
from mailagent.telemetry.archive import Archive
from mailagent.telemetry.history import History
from mailagent.why import deferred_reason, queue_why, site_and_vmta
from mailagent.words import many

Standing = Callable[[], tuple[AgentConfig, HostState] | None]
"""The file and the orders that Postfix's maps obey; None while it is not set up for them."""
NO_PROVIDER = ProviderName("")
_UNKNOWN_AT = when(UNKNOWN_DUE)


class Reads(Answers):
    """The reading methods of the method table, by name in `methods`."""

    def __init__(
        self, host: str, spool: Spool, mirror: Mirror, names: Names, texts: Texts, history: History,
        archive: Archive, standing: Standing,
    ) -> None:  # fmt: skip
        super().__init__(spool, history, archive)
        self._host = host
        self._mirror = mirror
        self._names = names
        self._texts = texts
        self._standing = standing

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

    # -- the queue -----------------------------------------------------------------------------------------------

    async def queues(self, request: requests.PageRequest) -> replies.QueuePage:
        """Mail in the active queue by site and virtual MTA, after the cursor, by key."""
        active = await self._spool.on_mirror(rows.active_by_site)
        queues = [_queue(*one, held=self._block(one[0], ProviderName(one[1]), VmtaName(one[2]))) for one in active]
        return queue_page(sorted(queues, key=lambda row: row.key), request)

    async def deferred(self, request: requests.PageRequest) -> replies.DeferredGroups:
        """Deferred recipients grouped by reply and provider."""
        chosen = await self._names.filter(request.filter)
        return await self._spool.groups(chosen, page_size(request))

    async def messages(self, request: requests.PageRequest) -> replies.MessagePage:
        """Waiting recipients, a window."""
        chosen = await self._names.filter(request.filter)
        page = await self._spool.messages(chosen, request.cursor, page_size(request))
        named = await self._names.outward(page.rows)
        return replies.MessagePage(rows=tuple(map(told, named)), cursor=page.cursor)

    async def message(self, request: requests.MessageRequest) -> views.MessageDetail:
        """One message and why it waits."""
        known = await self._spool.on_mirror(partial(rows.known, queue_ids=[request.message_id]))
        stored = await self._spool.message(await self._names.inward(request.message_id), request.n)
        if stored is None or request.message_id not in known:
            raise NotFound(f"{self._host}: no message {request.message_id} waits here; it has left or was never here")
        summary = told(msgspec.structs.replace(stored.summary, message_id=request.message_id))
        headers = await self._texts.header(request.message_id, HEADER_BYTES + 1)
        last = stored.attempts[-1] if stored.attempts else None
        mirror = self._mirror
        return detail(
            stored,
            summary,
            reasons(
                summary,
                known[request.message_id].folder,
                last,
                mirror.instance,
                active=mirror.folders["active"],
                running=mirror.running,
                held=self._held(summary),
            ),
            headers=headers[:HEADER_BYTES].decode("utf-8", "backslashreplace"),
            headers_truncated=len(headers) > HEADER_BYTES,
        )

    # -- why -----------------------------------------------------------------------------------------------------

    async def why(self, request: WhyRequest) -> QueueWhy:
        """Why the mail of one site waits; with `site/` that of every virtual MTA.

        Raises:
            InvalidRequest: that is no key of a queue.
        """
        site, vmta = site_and_vmta(request.queue)
        found = await self._spool.groups(MessageFilter(site=site, vmta=vmta, deferred_only=True), requests.PAGE_LIMIT)
        there = [one for one in await self._spool.on_mirror(rows.active_by_site) if one[0] == site]
        active = [one for one in there if vmta in ("", one[2])]
        groups, ready = found.groups, sum(one[3] for one in active)
        provider = ProviderName(active[0][1] if active else groups[0].provider if groups else "")
        block = self._block(site, provider, vmta)
        causes = []
        if block is not None:
            waiting = await self._spool.count(MessageFilter(site=site)) - sum(one[3] for one in there)
            said = f"{block.detail}; {waiting:,} recipient(s) of the site wait"
            causes.append(msgspec.structs.replace(block, detail=said))
        if ready:
            causes.append(
                WaitReason(
                    kind=ReasonKind.SENDING,
                    detail=f"{many(ready, 'recipient')} in the active queue: being delivered, or waiting for a place;"
                    " Postfix does not tell which",
                    value=str(ready),
                )
            )
        if groups:
            causes.append(deferred_reason(found, request.queue))
        return queue_why(site, vmta, provider, found, ready=ready, reasons=causes)

    def _block(self, site: str, provider: ProviderName, vmta: VmtaName) -> WaitReason | None:
        """What holds mail of a queue, as Postfix is told; an empty `vmta` is any."""
        if (standing := self._standing()) is None:
            return None
        config, state = standing
        block = Holds(config, state).of(Destination("", site, provider))
        if block is None and vmta in config.virtual_mtas:
            block = state.vmta_block(vmta, site, provider)
        return emulated(block) if block is not None else None

    def _held(self, summary: views.MessageSummary) -> WaitReason | None:
        """What holds one message: its destination, or its stream, which is that of the sender."""
        if (standing := self._standing()) is None:
            return None
        config, state = standing
        place = Destination(summary.domain, summary.site, ProviderName(summary.provider))
        block = Holds(config, state).of(place)
        if block is None:
            name = StreamTable(config).classify(summary.sender.encode(), {}, "")
            block = state.queue_block(config.streams[name].pool, name, NO_PROVIDER) if name is not None else None
        return emulated(block) if block is not None else None


def told(summary: views.MessageSummary) -> views.MessageSummary:
    """`summary` with the names of what Postfix does not tell."""
    unknown = [name for name in ("stream", "pool") if not getattr(summary, name)]
    if summary.next_try_at >= _UNKNOWN_AT:
        unknown.append("next_try_at")
    return msgspec.structs.replace(summary, unknown=tuple(unknown))


def _queue(site: str, provider: str, vmta: str, count: int, *, held: WaitReason | None) -> views.QueueView:
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
        binding=held,
        generation=0,
    )
