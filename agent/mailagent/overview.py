"""The host as it is now: rows of a snapshot, from counters, ready queues, the census, and what directives allow."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import msgspec

from mailagent.api.codec import cut
from mailagent.api.directives import Directive, DirectiveKind, DirectiveView, DrainProgress
from mailagent.api.ids import PoolName, ProviderName, VmtaName
from mailagent.api.mail import MailProgress
from mailagent.api.operations import Impact
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.reputation import Faults
from mailagent.api.requests import HistoryRequest, HistoryScope
from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailagent.api.views import Deferring, DestinationView, MemberState, PoolView, ProviderView, QueueView, VmtaView
from mailagent.api.warm_up import WarmUpView, sentence
from mailagent.census import Census
from mailagent.config.structs import AgentConfig, VirtualMta
from mailagent.control.generations import Generations
from mailagent.control.state import IN_SERVICE, HostState
from mailagent.reputation import Standing
from mailagent.scheduling.holds import binding
from mailagent.scheduling.ready import ReadyQueue
from mailagent.spool.records import DeferredTotal
from mailagent.spool.store import Spool
from mailagent.telemetry.connect_times import ConnectTimes
from mailagent.telemetry.deferrals import Deferrals
from mailagent.telemetry.history import History
from mailagent.telemetry.paces import Paces
from mailagent.words import many

QUEUES_SHOWN = 8
"""Ready queues named in one destination."""
REPLY_CHARS = 200
"""Characters of a remote text in one row; the message screen has all of it."""
DEFERRING_CHARS = 120
"""The same, of what most deferrals are: the third text of a row."""
MAX_DESTINATIONS = 512
"""Cells in a snapshot, busiest first."""

Cell = tuple[ProviderName, VmtaName]
K = TypeVar("K")


class Ready(Protocol):
    """Who has ready queues."""

    @property
    def ready(self) -> Mapping[tuple[str, VmtaName], ReadyQueue]:
        """By site and virtual MTA."""


class Overview:
    """Builds rows, and keeps none."""

    def __init__(
        self,
        config: AgentConfig,
        spool: Spool,
        scheduler: Ready,
        census: Census,
        history: History,
        generations: Generations,
        deferrals: Deferrals,
        connect_times: ConnectTimes,
        paces: Paces,
    ) -> None:
        self.config = config
        self._spool = spool
        self._scheduler = scheduler
        self._census = census
        self._history = history
        self._generations = generations
        self._deferrals = deferrals
        self._connect_times = connect_times
        self._paces = paces
        self.mail: Callable[[Directive], MailProgress | None] = lambda _: None
        """How far an order on mail is."""
        self.standing: Callable[[VmtaName], Standing] = lambda _: Standing()
        """What others think of a virtual MTA."""
        self.last_sent: Callable[[VmtaName], datetime | None] = lambda _: None
        """When a virtual MTA last tried to deliver, to the minute."""
        self.warm_up: Callable[[VmtaName], tuple[WarmUpView, ...]] = lambda _: ()
        """How far the warm-up of a virtual MTA is."""
        self.pool_faults: Callable[[PoolName], Faults] = lambda _: Faults()
        """What is bad about the domains that a pool sends for."""

    def deferring(self) -> Deferring | None:
        """What most deferrals on this host are."""
        return _brief(self._deferrals.most_of_all(time.time()))

    # -- rows ----------------------------------------------------------------------------------------------------

    def pools(self, state: HostState) -> tuple[PoolView, ...]:
        """One row per pool, in configuration order."""
        queues = _by(self._scheduler.ready.values(), lambda queue: queue.vmta)
        deferred, oldest = self._deferred_by(lambda total: total.vmta)
        rows = []
        for name, pool in self.config.pools.items():
            status = state.pool(name)
            own = [queue for vmta in pool.members for queue in queues.get(vmta, ())]
            members = [state.member(vmta).state for vmta in pool.members]
            faults = self.pool_faults(name)
            rows.append(
                PoolView(
                    name=name,
                    state=status.state,
                    reason=status.reason or faults.sentence,
                    members=pool.members,
                    active=sum(one in IN_SERVICE for one in members),
                    standby=members.count(MemberState.STANDBY),
                    waiting=self._waiting_in(name),
                    deferred=sum(deferred.get(vmta, 0) for vmta in pool.members),
                    ready=_ready(own),
                    connections=_connections(own),
                    oldest_at=_oldest([oldest.get(vmta) for vmta in pool.members], own),
                    flow=self._history.flow(HistoryScope.POOL, name),
                    generation=self._generations.pool(name),
                    faults=faults,
                )
            )
        return tuple(rows)

    def vmtas(self, state: HostState) -> tuple[VmtaView, ...]:
        """One row per virtual MTA, by pool."""
        queues = _by(self._scheduler.ready.values(), lambda queue: queue.vmta)
        rows = []
        for pool_name, pool in self.config.pools.items():
            for name in pool.members:
                vmta = self.config.virtual_mtas.get(name, VirtualMta())
                own = queues.get(name, [])
                status = state.member(name, empty=self._progress(name, own).empty)
                problem = next((queue.bind_problem for queue in own if queue.bind_problem), "")
                standing = self.standing(name)
                warm_up = self.warm_up(name)
                known = [*(one.sentence for one in standing.listings), standing.faults.sentence, sentence(warm_up)]
                rows.append(
                    VmtaView(
                        name=name,
                        pool=pool_name,
                        address=str(vmta.address or ""),
                        address6=str(vmta.address6 or ""),
                        public=vmta.public,
                        ehlo=vmta.ehlo or self.config.host,
                        state=status.state,
                        reason=problem or status.reason or ", ".join(filter(None, known)),
                        ready=_ready(own),
                        connections=_connections(own),
                        in_doubt=self._spool.open_marks_of(name),
                        flow=self._history.flow(HistoryScope.VMTA, name),
                        generation=self._generations.vmta(name),
                        listings=standing.listings,
                        lists_unknown=standing.lists_unknown,
                        faults=standing.faults,
                        identity_unknown=standing.identity_unknown,
                        warm_up=warm_up,
                        last_at=self.last_sent(name),
                    )
                )
        return tuple(rows)

    def providers(self, state: HostState) -> tuple[ProviderView, ...]:
        """One row per provider with mail or with history."""
        queues = _by(self._scheduler.ready.values(), lambda queue: queue.site.provider)
        deferred, oldest = self._deferred_by(lambda total: total.provider)
        names = dict.fromkeys([*self.config.providers, *self._census.by_provider, *queues])
        rows = []
        for name in map(ProviderName, names):
            flow = self._history.flow(HistoryScope.PROVIDER, name)
            own = queues.get(name, [])
            waiting = self._census.by_provider.get(name, 0)
            status = state.provider(name)
            if not name or not (waiting or own or flow.delivered or flow.deferred or flow.bounced or status.reason):
                continue
            rows.append(
                ProviderView(
                    name=name,
                    state=status.state,
                    waiting=waiting,
                    deferred=deferred.get(name, 0),
                    ready=_ready(own),
                    connections=_connections(own),
                    oldest_at=_oldest([oldest.get(name)], own),
                    flow=flow,
                    generation=self._generations.provider(name),
                    connect_ms=self._connect_times.median_ms(name),
                )
            )
        return tuple(rows)

    def destinations(self, state: HostState) -> tuple[DestinationView, ...]:
        """One row per provider × virtual MTA in use, the 512 with the most waiting mail."""
        queues = _by(
            self._scheduler.ready.values(), lambda queue: (ProviderName(queue.site.provider), VmtaName(queue.vmta))
        )
        deferred, oldest = self._deferred_by(lambda total: (ProviderName(total.provider), VmtaName(total.vmta)))
        pool_of = {vmta: name for name, pool in self.config.pools.items() for vmta in pool.members}
        known = ((ProviderName(provider), VmtaName(vmta)) for provider, vmta in self._history.cells())
        cells = {cell for cell in (*queues, *deferred, *known) if all(cell) and cell[1] in pool_of}
        rows = [
            self._destination(
                state, cell, pool_of[cell[1]], queues.get(cell, []), deferred.get(cell, 0), oldest.get(cell)
            )
            for cell in cells
        ]
        rows.sort(key=lambda row: (-row.ready - row.deferred, row.provider, row.vmta))
        return tuple(sorted(rows[:MAX_DESTINATIONS], key=lambda row: (row.provider, row.vmta)))

    def _destination(
        self,
        state: HostState,
        cell: Cell,
        pool: PoolName,
        queues: list[ReadyQueue],
        deferred: int,
        oldest: int | None,
    ) -> DestinationView:
        provider, vmta = cell
        queues.sort(key=lambda queue: -len(queue.items))
        limits = [queue.limits for queue in queues]
        caps = [one.provider_connections.value for one in limits] if len(limits) > 1 else []
        caps += [one.provider_connections.value or one.connections.value for one in limits if len(limits) == 1]
        rates = [str(one.provider_rate) or str(one.rate) for one in limits]
        last_reply = self._deferrals.last.get(cell)
        pace = self._paces.get(cell)
        return DestinationView(
            provider=provider,
            vmta=vmta,
            pool=pool,
            queues=tuple(queue.key for queue in queues[:QUEUES_SHOWN]),
            sites=len(queues),
            ready=_ready(queues),
            deferred=deferred,
            connections=_connections(queues),
            connection_limit=caps[0] if caps else None,
            rate_limit=rates[0] if rates else "",
            oldest_at=_oldest([oldest], queues),
            flow=self._history.flow(HistoryScope.CELL, f"{provider}/{vmta}"),
            binding=_brief_reason(self._binding(state, cell, queues, deferred, last_reply)),
            last_reply=_brief_reply(last_reply),
            answer_ms=pace.now_ms(one.working_s for queue in queues for one in queue.busy)
            if pace is not None
            else None,
            usual_ms=pace.usual_ms() if pace is not None else None,
            deferring=_brief(self._deferrals.most(cell, time.time())),
        )

    def _binding(
        self, state: HostState, cell: Cell, queues: Sequence[ReadyQueue], deferred: int, last_reply: SmtpReply | None
    ) -> WaitReason | None:
        """The directive that holds the cell, else what holds its fullest queue, else the reply behind its deferrals."""
        provider, vmta = cell
        block = state.vmta_block(vmta, "", provider)
        if block is not None and (deferred or queues):
            return block
        for queue in queues:
            reason = binding(queue)
            if reason is not None and (reason.kind is not ReasonKind.SENDING or not deferred):
                return reason
        if deferred and last_reply is not None:
            return WaitReason(
                kind=ReasonKind.REPLY,
                detail=last_reply.line(),
                value=str(deferred),
                release="time: each message has its own next try; or `mailctl retry`",
                reply=last_reply,
            )
        if deferred:
            return WaitReason(kind=ReasonKind.SCHEDULE, detail=f"{many(deferred, 'recipient')} to be tried again")
        return None

    def queues(self) -> list[QueueView]:
        """All ready queues, by key."""
        rows = [
            QueueView(
                key=queue.key,
                site=queue.site.name,
                vmta=queue.vmta,
                provider=ProviderName(queue.site.provider),
                ready=sum(len(item.recipients) for item in queue.items),
                connections=queue.connections,
                connection_limit=queue.limits.connections.value,
                messages_per_connection=queue.limits.messages_per_connection.value,
                rate_limit=str(queue.limits.rate),
                binding=_brief_reason(binding(queue)),
                generation=self._generations.queue(queue.key),
            )
            for queue in self._scheduler.ready.values()
        ]
        return sorted(rows, key=lambda row: row.key)

    def directives(self, state: HostState, waiting: int) -> tuple[DirectiveView, ...]:
        """Live directives with the progress of drains; `waiting` recipients are in the spool."""
        return tuple(
            DirectiveView(
                directive=directive,
                progress=self.progress(directive.target, waiting)
                if directive.kind in (DirectiveKind.DRAIN, DirectiveKind.ROTATE)
                else None,
                waiting=mail.held if (mail := self.mail(directive)) is not None else self._held_by(directive),
                mail=mail,
            )
            for directive in state.directives
        )

    def _held_by(self, directive: Directive) -> int:
        name = directive.target.name
        match directive.target.kind:
            case TargetKind.POOL:
                return self._waiting_in(PoolName(name))
            case TargetKind.PROVIDER:
                return self._census.by_provider.get(name, 0)
            case TargetKind.STREAM:
                return self._census.by_stream.get(name, 0)
            case _:
                return 0

    # -- drains --------------------------------------------------------------------------------------------------

    def progress(self, target: Target, waiting: int) -> DrainProgress:
        """How far a drain of `target` is (DESIGN section 6)."""
        match target.kind:
            case TargetKind.VMTA:
                return self.vmta_progress(VmtaName(target.name))
            case TargetKind.POOL:
                pool = self.config.pools.get(PoolName(target.name))
                parts = [self.vmta_progress(vmta) for vmta in (pool.members if pool is not None else ())]
                return DrainProgress(
                    connections=sum(part.connections for part in parts),
                    ready=sum(part.ready for part in parts),
                    in_doubt=sum(part.in_doubt for part in parts),
                    waiting=self._waiting_in(PoolName(target.name)),
                    empty=all(part.empty for part in parts),
                )
            case _:
                queues = self._scheduler.ready.values()
                return DrainProgress(
                    connections=_connections(queues),
                    ready=_ready(queues),
                    in_doubt=self._spool.open_marks,
                    waiting=waiting,
                    empty=waiting == 0,
                )

    def vmta_progress(self, vmta: VmtaName) -> DrainProgress:
        """No connection, nothing in its ready queues, no open in-doubt mark: empty."""
        return self._progress(vmta, [queue for queue in self._scheduler.ready.values() if queue.vmta == vmta])

    def _progress(self, vmta: VmtaName, own: Sequence[ReadyQueue]) -> DrainProgress:
        connections, ready, in_doubt = _connections(own), _ready(own), self._spool.open_marks_of(vmta)
        return DrainProgress(
            connections=connections,
            ready=ready,
            in_doubt=in_doubt,
            waiting=0,
            empty=not (connections or ready or in_doubt),
        )

    # -- size of a verb ------------------------------------------------------------------------------------------

    async def impact(self, target: Target | None, mail: MessageFilter | None, waiting: int) -> Impact:
        """What a verb on `target`, or on the mail that a filter selects, touches; `waiting` are in the spool."""
        if target is None:
            return Impact(messages=await self._spool.count(mail or MessageFilter()))
        queues = [queue for queue in self._scheduler.ready.values() if self._concerns(target, queue)]
        match target.kind:
            case TargetKind.HOST:
                messages = waiting
            case TargetKind.POOL:
                messages = self._waiting_in(PoolName(target.name))
            case TargetKind.PROVIDER:
                messages = self._census.by_provider.get(target.name, 0)
            case TargetKind.STREAM:
                messages = self._census.by_stream.get(target.name, 0)
            case TargetKind.JOB:
                messages = await self._spool.count(MessageFilter(job=target.name))
            case TargetKind.DKIM | TargetKind.MAIL:
                messages = 0  # mail that waits is signed already; who has orders on mail counts theirs
            case _:
                deferred = await self._spool.count(_filter_of(target))
                messages = deferred + sum(len(item.recipients) for queue in queues for item in queue.items)
        return Impact(
            messages=messages,
            connections=_connections(queues),
            share=self._share(target),
            untouched=self._untouched(target),
        )

    def _concerns(self, target: Target, queue: ReadyQueue) -> bool:
        match target.kind:
            case TargetKind.HOST:
                return True
            case TargetKind.POOL:
                pool = self.config.pools.get(PoolName(target.name))
                return pool is not None and queue.vmta in pool.members
            case TargetKind.VMTA:
                return queue.vmta == target.name
            case TargetKind.PROVIDER:
                return queue.site.provider == target.name
            case TargetKind.QUEUE:
                return target.name in (queue.key, f"{queue.site.name}/")
            case TargetKind.CELL:
                return f"{queue.site.provider}/{queue.vmta}" == target.name
            case TargetKind.STREAM | TargetKind.TRAFFIC | TargetKind.DKIM | TargetKind.JOB | TargetKind.MAIL:
                return False

    def _share(self, target: Target) -> float:
        """Part of the host's deliveries of the last 15 minutes; 0 where it is not counted."""
        scope = {
            TargetKind.HOST: HistoryScope.HOST,
            TargetKind.POOL: HistoryScope.POOL,
            TargetKind.VMTA: HistoryScope.VMTA,
            TargetKind.PROVIDER: HistoryScope.PROVIDER,
        }.get(target.kind)
        if scope is None:
            return 0.0
        name = "" if scope is HistoryScope.HOST else target.name
        part = sum(self._history.series(HistoryRequest(scope=scope, name=name)).delivered)
        whole = sum(self._history.series(HistoryRequest(scope=HistoryScope.HOST)).delivered)
        return part / whole if whole else 0.0

    def _untouched(self, target: Target) -> tuple[str, ...]:
        match target.kind:
            case TargetKind.POOL:
                others = [str(name) for name in self.config.pools if name != target.name]
                return (f"pools {', '.join(others)}",) if others else ()
            case TargetKind.VMTA:
                for name, pool in self.config.pools.items():
                    others = [str(vmta) for vmta in pool.active if vmta != target.name]
                    if target.name in pool.members and others:
                        return (f"{', '.join(others)} of pool {name}", "all other pools")
                return ("all other pools",)
            case TargetKind.PROVIDER:
                return ("mail for all other providers",)
            case TargetKind.QUEUE:
                return ("all other sites" if target.name.endswith("/") else "all other queues",)
            case TargetKind.CELL | TargetKind.TRAFFIC:
                return ("mail for all other providers",)
            case TargetKind.STREAM:
                others = [str(name) for name in self.config.streams if name != target.name]
                return (f"streams {', '.join(others)}",) if others else ()
            case TargetKind.JOB:
                return ("all other jobs",)
            case TargetKind.DKIM:
                return ("mail that waits: it is signed already",)
            case TargetKind.MAIL:
                return ("all other mail",)
            case TargetKind.HOST:
                return ("delivery of what is already here",)

    # -- inside --------------------------------------------------------------------------------------------------

    def _waiting_in(self, name: PoolName) -> int:
        pool = self.config.pools.get(name)
        return self._census.in_pool(name, pool.members if pool is not None else ())

    def _deferred_by(self, key: Callable[[DeferredTotal], K]) -> tuple[dict[K, int], dict[K, int]]:
        """(deferred recipients, arrival of the oldest) by what `key` makes of a total."""
        counts: dict[K, int] = defaultdict(int)
        oldest: dict[K, int] = {}
        for total in self._census.deferred:
            name = key(total)
            counts[name] += total.count
            oldest[name] = min(total.oldest_at, oldest.get(name, total.oldest_at))
        return counts, oldest


def _by(queues: Iterable[ReadyQueue], key: Callable[[ReadyQueue], K]) -> dict[K, list[ReadyQueue]]:
    groups: dict[K, list[ReadyQueue]] = defaultdict(list)
    for queue in queues:
        groups[key(queue)].append(queue)
    return groups


def _ready(queues: Iterable[ReadyQueue]) -> int:
    return sum(len(queue.items) + len(queue.busy) for queue in queues)


def _connections(queues: Iterable[ReadyQueue]) -> int:
    return sum(queue.connections for queue in queues)


def _oldest(on_disk: Iterable[int | None], queues: Iterable[ReadyQueue]) -> datetime | None:
    """The earliest arrival among deferred mail and the heads of ready queues."""
    arrivals = [at for at in on_disk if at is not None]
    arrivals += [next(iter(queue.items)).first.received_at for queue in queues if queue.items]
    return datetime.fromtimestamp(min(arrivals) / 1000, UTC) if arrivals else None


def _filter_of(target: Target) -> MessageFilter:
    """Deferred mail that a virtual MTA, a ready queue or a stream tried last."""
    if target.kind is TargetKind.QUEUE:
        site, _, vmta = target.name.rpartition("/")
        return MessageFilter(site=site, vmta=vmta, deferred_only=True)
    if target.kind is TargetKind.CELL:
        provider, _, vmta = target.name.rpartition("/")
        return MessageFilter(provider=provider, vmta=vmta, deferred_only=True)
    if target.kind is TargetKind.TRAFFIC:
        provider, _, stream = target.name.rpartition("/")
        return MessageFilter(provider=provider, stream=stream, deferred_only=True)
    return MessageFilter(vmta=target.name, deferred_only=True)


def _brief_reply(reply: SmtpReply | None) -> SmtpReply | None:
    """A reply for a row: hundreds of rows with the longest text that a peer may send must fit in one frame."""
    if reply is None or len(reply.text) <= REPLY_CHARS:
        return reply
    return msgspec.structs.replace(reply, text=cut(reply.text, REPLY_CHARS))


def _brief(deferring: Deferring | None) -> Deferring | None:
    """The same for what most deferrals are."""
    if deferring is None or len(deferring.reply.text) <= DEFERRING_CHARS:
        return deferring
    text = cut(deferring.reply.text, DEFERRING_CHARS)
    return msgspec.structs.replace(deferring, reply=msgspec.structs.replace(deferring.reply, text=text))


def _brief_reason(reason: WaitReason | None) -> WaitReason | None:
    """The same for a reason."""
    if reason is None or (len(reason.detail) <= REPLY_CHARS and reason.reply is None):
        return reason
    return msgspec.structs.replace(reason, detail=cut(reason.detail, REPLY_CHARS), reply=_brief_reply(reason.reply))
