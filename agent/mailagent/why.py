"""Why mail waits, for one message and for one queue: typed reasons, each with its origin and what would release it.

The parts that hold mail (scheduler, ready queues, directives) say so in their own words. Here the last reply, the
retry schedule and the state of the host are added, and keys become file and line.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from mailagent.api.classification import Category
from mailagent.api.directives import DirectiveKind
from mailagent.api.errors import InvalidRequest, NotFound
from mailagent.api.ids import PoolName, ProviderName, SiteName, StreamName, VmtaName, queue_key
from mailagent.api.outcome import Attempt
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.replies import DeferredGroups
from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import MessageFilter
from mailagent.api.views import MessageSummary
from mailagent.api.why import EffectiveLimit, QueueWhy, WhyRequest
from mailagent.config.structs import AgentConfig
from mailagent.control.state import HostState, wait_reason
from mailagent.routing import PathLimits
from mailagent.routing.limits import LIMIT_NAMES
from mailagent.scheduling import holds
from mailagent.scheduling.scheduler import Scheduler
from mailagent.scheduling.shortage import shortage
from mailagent.spool.ids import parse_message_name, recipient_id
from mailagent.spool.store import Spool
from mailagent.words import many

NO_POOL: Final = PoolName("")
GROUPS: Final = 5
"""Replies shown of one queue's deferred mail."""
_HELD: Final = frozenset({ReasonKind.DIRECTIVE, ReasonKind.RULE, ReasonKind.STORAGE})
"""Reasons that hold mail whatever its next try is."""


class Why:
    """Composes reasons; keeps nothing. `trouble` is what is wrong with the host itself, if anything."""

    def __init__(
        self,
        spool: Spool,
        scheduler: Scheduler,
        *,
        config: Callable[[], AgentConfig],
        state: Callable[[], HostState],
        origin: Callable[[str], str],
        trouble: Callable[[], WaitReason | None],
    ) -> None:
        """`origin` turns a key into file and line."""
        self._spool = spool
        self._scheduler = scheduler
        self._config = config
        self._state = state
        self._origin = origin
        self._trouble = trouble

    # -- a message -----------------------------------------------------------------------------------------------

    def reasons(self, summary: MessageSummary, job: str, last: Attempt | None = None) -> list[WaitReason]:
        """Why one recipient, of a message of `job`, waits: what holds it now, or its schedule and what is behind that.

        `last` is its last attempt, if that is at hand.
        """
        if summary.held:
            return [self._held(summary)]
        found = self._scheduler.reasons.of_recipient(
            recipient_id(parse_message_name(summary.message_id)[0], summary.n),
            PoolName(summary.pool),
            StreamName(summary.stream),
            summary.domain,
            job,
        )
        trouble = self._trouble()
        if trouble is not None:
            found.insert(0, trouble)
        if summary.next_try_at > datetime.now(UTC):
            behind = [cause(last)] if last is not None else []
            found = [self._schedule(summary), *behind, *(one for one in found if one.kind in _HELD)]
        return [self._placed(one) for one in found]

    def _held(self, summary: MessageSummary) -> WaitReason:
        for one in self._state().directives:
            if summary.held in (one.id, one.continues):
                reason = wait_reason(one)
                if one.kind is DirectiveKind.HOLD:
                    return msgspec.structs.replace(reason, release=f"mailctl release message:{summary.message_id}")
                return reason
        return WaitReason(
            kind=ReasonKind.HELD, detail="the order that had it has ended; it is about to leave it", key=summary.held
        )

    def _schedule(self, summary: MessageSummary) -> WaitReason:
        return WaitReason(
            kind=ReasonKind.SCHEDULE,
            detail=f"attempt {summary.attempts} failed; the next one is by the retry schedule",
            key=self._retry_key(summary),
            value=f"attempt {summary.attempts + 1}",
            until=summary.next_try_at,
            release=f"mailctl retry message:{summary.message_id}",
            reply=summary.reply,
        )

    def _retry_key(self, summary: MessageSummary) -> str:
        """Where the schedule of this mail is written: the domain's, the stream's, the provider's, or the shared one."""
        config = self._config()
        domain = config.domains.get(summary.domain)
        if domain is not None and domain.retry is not None:
            return f"domains.{summary.domain}.retry"
        stream = config.streams.get(StreamName(summary.stream))
        if stream is not None and stream.retry is not None:
            return f"streams.{summary.stream}.retry"
        provider = config.providers.get(ProviderName(summary.provider))
        if provider is not None and provider.retry is not None:
            return f"providers.{summary.provider}.retry"
        return "retry"

    # -- a queue -------------------------------------------------------------------------------------------------

    async def why(self, request: WhyRequest) -> QueueWhy:
        """Why the mail of one ready queue waits.

        Raises:
            InvalidRequest: that is no key of a queue.
            NotFound: there is no such virtual MTA.
        """
        site, vmta = site_and_vmta(request.queue)
        config, state = self._config(), self._state()
        pool = next((name for name, one in config.pools.items() if vmta in one.members), PoolName(""))
        if vmta and vmta not in config.virtual_mtas:
            raise NotFound(f"there is no virtual MTA {vmta} on this host")
        found = await self._spool.groups(MessageFilter(site=site, vmta=vmta, deferred_only=True), 500)
        ready = self._scheduler.ready
        queues = [queue for (at, by), queue in ready.items() if at == site and vmta in ("", by)]
        groups = found.groups
        provider = ProviderName(queues[0].site.provider if queues else groups[0].provider if groups else "")
        if queues:
            held = [reason for queue in queues for reason in holds.reasons(queue)]
            reasons = list(dict.fromkeys(held)) + self._scheduler.reasons.on_disk(queues[0].site)
        else:
            block = state.vmta_block(vmta, site, provider) if vmta else state.site_block(site, provider)
            reasons = [block] if block is not None else []
        if (trouble := self._trouble()) is not None:
            reasons.insert(0, trouble)
        if groups:
            reasons.append(deferred_reason(found, request.queue))
        return queue_why(
            site,
            vmta,
            provider,
            found,
            pool=pool,
            ready=sum(len(item.recipients) for queue in queues for item in queue.items),
            connections=sum(queue.connections for queue in queues),
            reasons=[self._placed(one) for one in reasons],
            limits=_effective(queues[0].limits) if vmta and queues else (),
        )

    def _placed(self, reason: WaitReason) -> WaitReason:
        """With file and line, where its key is one of the configuration."""
        if (
            reason.key
            and reason.origin in ("", reason.key)
            and reason.kind not in (ReasonKind.DIRECTIVE, ReasonKind.RULE)
        ):
            return msgspec.structs.replace(reason, origin=self._origin(reason.key))
        return reason


def cause(last: Attempt) -> WaitReason:
    """What the last attempt met: a reply, DNS, connections that fail, or a host that is short of something."""
    reply, verdict = last.reply, last.verdict
    category = verdict.category if verdict is not None else ""
    value = f"{verdict.category}, {verdict.action}" if verdict is not None else str(reply.code or "")
    if not reply.local:
        return WaitReason(
            kind=ReasonKind.REPLY,
            detail=f"to {last.vmta}: {reply.line()}",
            key=f"rule {verdict.rule}" if verdict is not None and verdict.rule else "",
            value=value,
            origin=f"{last.mx} ({last.remote})" if last.mx else last.site,
            release="an attempt that is answered with 250",
            reply=reply,
        )
    short = shortage(reply)
    if short is not None:
        return short
    if category == Category.DNS_TEMP or reply.enhanced.startswith(("4.4.3", "4.1.2")):
        return WaitReason(
            kind=ReasonKind.DNS, detail=reply.text, key="dns", value=value, release="an answer of DNS", reply=reply
        )
    return WaitReason(
        kind=ReasonKind.REST,
        detail=f"from {last.vmta or 'no address'}: {reply.text}",
        value=value,
        origin=f"{last.mx} ({last.remote})" if last.mx else last.site,
        release="a connection that succeeds",
        reply=reply,
    )


def site_and_vmta(queue: str) -> tuple[SiteName, VmtaName]:
    """The parts of `gmail/mkt-1`; of `gmail/`, which is the whole site, the second is empty.

    Raises:
        InvalidRequest: it is no queue.
    """
    site, slash, vmta = queue.rpartition("/")
    if not slash or not site:
        raise InvalidRequest(f"`{queue}` is no queue; write site/vmta, as in gmail/mkt-1, or gmail/ for all of a site")
    return SiteName(site), VmtaName(vmta)


def queue_why(
    site: SiteName,
    vmta: VmtaName,
    provider: ProviderName,
    found: DeferredGroups,
    *,
    ready: int,
    reasons: Sequence[WaitReason],
    pool: PoolName = NO_POOL,
    connections: int = 0,
    limits: tuple[EffectiveLimit, ...] = (),
) -> QueueWhy:
    """The answer about a queue; `found` is its deferred mail."""
    return QueueWhy(
        key=queue_key(site, vmta),
        site=site,
        vmta=vmta,
        pool=pool,
        provider=provider,
        ready=ready,
        connections=connections,
        deferred=sum(group.count for group in found.groups),
        next_try_at=_next_try(found),
        reasons=tuple(reasons),
        limits=limits,
        groups=found.groups[:GROUPS],
    )


def _next_try(found: DeferredGroups) -> datetime | None:
    return min((group.next_try_at for group in found.groups if group.next_try_at), default=None)


def deferred_reason(found: DeferredGroups, key: str) -> WaitReason:
    """What the deferred mail of the queue `key` waits for, in one reason."""
    first, count = found.groups[0], sum(group.count for group in found.groups)
    site, _, vmta = key.rpartition("/")
    return WaitReason(
        kind=ReasonKind.SCHEDULE,
        detail=f"{'at least ' if found.truncated else ''}{many(count, 'recipient')} to be tried again;"
        f" {first.count} of them after: {first.code or 'no reply'} {first.enhanced} {first.sample}".rstrip(),
        value=str(count),
        until=_next_try(found),
        release=f"mailctl retry site:{site}{f' vmta:{vmta}' if vmta else ''}",
        reply=SmtpReply(code=first.code, enhanced=first.enhanced, text=first.sample) if first.code else None,
    )


def _effective(limits: PathLimits) -> tuple[EffectiveLimit, ...]:
    found = ((name, getattr(limits, name)) for name in LIMIT_NAMES)
    return tuple(
        EffectiveLimit(name=name, value=str(limit), origin=limit.origin)
        for name, limit in found
        if limit.value is not None
    )


def host_trouble(failed: asyncio.Future[str], stuck: str) -> WaitReason | None:
    """What is wrong with the host itself, so that nothing is sent or no outcome gets to disk."""
    if failed.done():
        return WaitReason(
            kind=ReasonKind.STORAGE,
            detail=f"delivery has stopped: {failed.result()}",
            key="state_dir",
            release="a disk that works, and a new start of the agent",
        )
    if stuck:
        return WaitReason(
            kind=ReasonKind.STORAGE,
            detail=f"outcomes cannot be written: {stuck}",
            key="state_dir",
            release="room on the disk, or what else it names",
        )
    return None
