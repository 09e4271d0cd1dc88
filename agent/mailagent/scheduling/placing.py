"""Which ready queue a message goes into, and what the ready queues of one provider share."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from mailagent.api.directives import Directive
from mailagent.api.ids import PoolName, ProviderName, StreamName, VmtaName
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.config.structs import AgentConfig, Rate
from mailagent.routing import PathLimits, Site
from mailagent.routing.domains import PoolTable
from mailagent.scheduling.allowance import Ceilings
from mailagent.scheduling.item import Item
from mailagent.scheduling.lanes import Lane
from mailagent.scheduling.lookups import Lookups
from mailagent.scheduling.meters import Meters
from mailagent.scheduling.ready import Home, ReadyQueue
from mailagent.scheduling.selection import Rotation
from mailagent.scheduling.window import Hot, Window
from mailagent.spool.records import QueueName

NO_PROVIDER = ProviderName("")
MAX_AVOIDED = 10_000
"""Recipients whose next attempt avoids one source address; the oldest are forgotten first."""
RETIRED = WaitReason(kind=ReasonKind.NO_SOURCE, detail="a reload gave the queue another source or destination")


class Policy(Protocol):
    """What configuration and live directives allow; `mailagent.control.state.HostState` is one."""

    def eligible(self, pool: PoolName) -> tuple[VmtaName, ...]:
        """Members of `pool` that may send now."""

    def queue_block(
        self, pool: PoolName, stream: StreamName, provider: ProviderName, job: str = ""
    ) -> WaitReason | None:
        """Why mail of this pool, stream, provider and job may not be sent; empty ones are not asked for."""

    @property
    def job_rates(self) -> Mapping[str, Rate]:
        """Jobs that have a rate of their own."""

    def cancelled_job(self, job: str) -> Directive | None:
        """The directive that has mail of the job given up."""

    def vmta_block(self, vmta: VmtaName, site: str, provider: ProviderName) -> WaitReason | None:
        """Why `vmta` may not send to `site`."""


class Placing:
    """Owner of all ready queues."""

    def __init__(
        self,
        config: AgentConfig,
        policy: Policy,
        window: Window,
        limits: Callable[[Site, VmtaName], PathLimits],
        home: Home,
        lookups: Lookups,
    ) -> None:
        self._config = config
        self._policy = policy
        self._window = window
        self._limits = limits
        self._home = home
        self._lookups = lookups
        self.ready: dict[tuple[str, VmtaName], ReadyQueue] = {}
        self._retired: list[ReadyQueue] = []  # others have taken their place, and their connections end
        self._rotations: dict[str, Rotation] = {}
        self._pools = _pools_of(config)
        self._avoided: dict[int, VmtaName] = {}  # recipient -> the virtual MTA whose address was refused
        self._meters = Meters(config.delivery.max_connections, home.clock)
        self._clock = home.clock
        self.ceilings: Ceilings | None = None
        """What members that are warming may send; None: no member is."""

    # -- room ----------------------------------------------------------------------------------------------------

    def depth_limit(self, priority: str) -> int:
        """Messages of one class that a ready queue takes now: at most `queue.ready`, and as many as half of what is
        free in the window, so that slow sites cannot fill it among themselves.
        """
        half = (self._window.room(priority) + 1) // 2
        ready = self._config.queue.ready
        return half if half < ready else ready

    def pool_of(self, queue: Hot | QueueName | Lane, site: Site | None) -> PoolName:
        """The pool that mail of a queue leaves from: the stream's own, or the one it has for that destination."""
        if site is not None and self._pools is not None and self._is_own(queue):
            return self._pools.pool(StreamName(queue.stream), site) or PoolName(queue.pool)
        return queue.pool  # type: ignore[return-value]  # per message, where the call of a name's type costs as any other

    def _is_own(self, queue: Hot | QueueName | Lane) -> bool:
        """Whether the queue is of the stream's own pool; what was bound to another stays there for any destination."""
        stream = self._config.streams.get(StreamName(queue.stream))
        return stream is None or stream.pool == queue.pool

    def block(self, queue: Hot | QueueName | Lane, site: Site | None) -> WaitReason | None:
        """The directive that holds mail of a queue. What is given up is not held."""
        if queue.job and self._policy.cancelled_job(queue.job) is not None:
            return None
        provider = site.provider if site is not None else NO_PROVIDER
        pool, stream = self.pool_of(queue, site), queue.stream
        return self._policy.queue_block(pool, stream, provider, queue.job)  # type: ignore[arg-type]  # likewise

    def is_blocked(self, lane: Lane) -> bool:
        """Whether a directive holds the lane."""
        return self.block(lane, lane.site) is not None

    def room(self, lane: Lane) -> int:
        """Places in the ready queues that may carry the lane; of unknown sites, as many look-ups as one queue."""
        if self.is_blocked(lane):
            return 0
        limit = self.depth_limit(lane.priority)
        if lane.job and self._policy.cancelled_job(lane.job) is not None:
            return limit
        if lane.site is None:
            return max(0, limit - self._lookups.depth(lane.priority))
        free = 0
        for vmta in self._policy.eligible(self.pool_of(lane, lane.site)):
            free += self._places(lane.site, vmta, lane.priority, limit)
        return free

    def has_place(self, name: QueueName, site: Site | None) -> bool:
        """Whether one more message of a queue can move."""
        if self.block(name, site) is not None:
            return False
        limit = self.depth_limit(name.priority)
        if site is None:
            return self._lookups.depth(name.priority) < limit
        for vmta in self._policy.eligible(self.pool_of(name, site)):
            if self._places(site, vmta, name.priority, limit):
                return True
        return False

    def _places(self, site: Site, vmta: VmtaName, priority: str, limit: int) -> int:
        """Messages of one class that `vmta` takes now, `limit` of them at most in its ready queue."""
        depth = self._depth(site, vmta, priority)
        if depth is None or depth >= limit:
            return 0
        allowance = self.ceilings.of(vmta, site.provider) if self.ceilings is not None else None
        return limit - depth if allowance is None else min(limit - depth, allowance.room(self._clock()))

    def _depth(self, site: Site, vmta: VmtaName, priority: str) -> int | None:
        """Messages of one class before a new one; None when the path is closed."""
        queue = self.ready.get((site.name, vmta))
        if queue is not None:
            return None if queue.is_closed() else queue.items.depth(priority)
        return 0 if self._policy.vmta_block(vmta, site.name, site.provider) is None else None

    # -- choice --------------------------------------------------------------------------------------------------

    def avoid(self, recipients: Sequence[int], vmta: VmtaName) -> None:
        """The next attempt for these goes from another virtual MTA than `vmta`, if the pool has one."""
        self._avoided.update(dict.fromkeys(recipients, vmta))
        while len(self._avoided) > MAX_AVOIDED:
            del self._avoided[next(iter(self._avoided))]

    def choose(self, item: Item, hot: Hot, site: Site) -> ReadyQueue | None:
        """The ready queue whose turn it is; None when none has a place. It is to `count` the item.

        The virtual MTA of the last attempt goes on while it may, also above the ceiling of its warm-up: greylisting
        knows its address. One whose address was refused gives way to others. Who has room for all recipients goes
        before who has room for some.
        """
        if self.block(hot, site) is not None:
            return None
        pool = self.pool_of(hot, site)
        limit = self.depth_limit(item.priority) or 1  # its own place is one of those taken
        avoided = self._avoided.get(item.first.id) if self._avoided else None
        candidates: list[tuple[VmtaName, int]] = []
        partly: list[tuple[VmtaName, int]] = []
        for vmta in self._policy.eligible(pool):
            if vmta == item.first.vmta and item.first.site == site.name and vmta != avoided:
                depth = self._depth(site, vmta, item.priority)
                if depth is not None and depth < limit and self._may_go_on(site, vmta):
                    return self._queue(site, vmta)
            elif self._places(site, vmta, item.priority, limit):
                has_all = self.ceilings is None or self._room(item, site, vmta) == len(item.recipients)
                (candidates if has_all else partly).append((vmta, self._config.virtual_mtas[vmta].weight))
        candidates = candidates or partly
        if not candidates:
            return None
        if avoided is not None:
            del self._avoided[item.first.id]
            candidates = [one for one in candidates if one[0] != avoided] or candidates
        rotation = self._rotations.get(pool)
        if rotation is None:
            rotation = self._rotations[pool] = Rotation()
        return self._queue(site, rotation.pick(candidates))

    def _may_go_on(self, site: Site, vmta: VmtaName) -> bool:
        """Whether `vmta` may try again what it has tried: unless its warm-up is paused."""
        allowance = self.ceilings.of(vmta, site.provider) if self.ceilings is not None else None
        return allowance is None or not allowance.is_closed()

    def _room(self, item: Item, site: Site, vmta: VmtaName) -> int:
        """How many of its recipients the warm-up of `vmta` has room for."""
        allowance = self.ceilings.of(vmta, site.provider) if self.ceilings is not None else None
        most = len(item.recipients)
        return most if allowance is None else min(most, allowance.room(self._clock()))

    def count(self, item: Item, queue: ReadyQueue) -> tuple[Item, Item | None]:
        """What of `item` goes there, counted if the virtual MTA is warming, and what it has no room for."""
        allowance = self.ceilings.of(queue.vmta, queue.site.provider) if self.ceilings is not None else None
        if allowance is None:
            return item, None
        rest = None
        if item.first.vmta != queue.vmta and (room := self._room(item, queue.site, queue.vmta)) < len(item.recipients):
            item, rest = item.split(room)
        item.allowance = allowance
        allowance.take(self._clock(), len(item.recipients))
        return item, rest

    def warm_up(self, vmta: VmtaName, site: Site) -> WaitReason | None:
        """Why its warm-up has no room for mail to `site` now."""
        return self.ceilings.reason(vmta, site.provider) if self.ceilings is not None else None

    def _queue(self, site: Site, vmta: VmtaName) -> ReadyQueue:
        """The ready queue of `site` and `vmta`, made when needed."""
        queue = self.ready.get((site.name, vmta))
        if queue is None:
            queue = ReadyQueue(self._home, site, vmta, self._meters.of(site, vmta), self._meters.host)
            queue.block = self._policy.vmta_block(vmta, site.name, site.provider)
            queue.set_limits(self._limits(site, vmta))
            self.ready[site.name, vmta] = queue
        return queue

    # -- changes -------------------------------------------------------------------------------------------------

    def apply(self, config: AgentConfig, policy: Policy, is_held: Callable[[Item, Site], bool]) -> list[Item]:
        """New configuration or directives: limits and blocks of every ready queue; the mail to be placed again."""
        before, self._config, self._policy = self._config, config, policy
        self._pools = _pools_of(config)
        self._meters.host.limit = config.delivery.max_connections
        self._window.resize(config.queue.window)
        items: list[Item] = []
        if config is not before:
            rerouted = _rules(before) != _rules(config)
            for queue in list(self.ready.values()):
                if rerouted or _identity(before, queue.vmta) != _identity(config, queue.vmta):
                    items += self._retire(queue)
        for queue in self.ready.values():
            queue.set_limits(self._limits(queue.site, queue.vmta))
            queue.block = policy.vmta_block(queue.vmta, queue.site.name, queue.site.provider)
            if queue.block is not None:
                items += queue.enforce_block()
            else:
                items += queue.recall(partial(_at, queue.site, is_held))
                if self.ceilings is not None and self.ceilings.of(queue.vmta, queue.site.provider) is not None:
                    items += queue.recall(_is_uncounted)
        return items

    def _retire(self, queue: ReadyQueue) -> list[Item]:
        """Another queue takes its place: its mail."""
        queue.block = RETIRED
        del self.ready[queue.site.name, queue.vmta]
        self._retired.append(queue)
        return queue.enforce_block()

    def guest(self, home: Home, site: Site, vmta: VmtaName) -> ReadyQueue:
        """A ready queue beside the others, with the limits of its path and no order that holds it; end with `leave`."""
        queue = ReadyQueue(home, site, vmta, self._meters.of(site, vmta), self._meters.host)
        queue.set_limits(self._limits(site, vmta))
        return queue

    def leave(self, queue: ReadyQueue) -> None:
        """Its connections end; what it has is left to it."""
        queue.block = RETIRED
        queue.close_connections()
        self._retired.append(queue)

    def pump(self) -> None:
        """Every ready queue looks again."""
        for queue in list(self.ready.values()):
            queue.pump()
        for gate in self._meters.gates:
            gate.call()

    def sweep(self, now: float, idle_s: float) -> None:
        """Close idle connections, forget spent queues."""
        for key, queue in list(self.ready.items()):
            if queue.idle:
                queue.close_idle(now, idle_s)
            if queue.is_spent(now):
                del self.ready[key]
                self._meters.leave(queue.site, queue.vmta)
        for queue in [queue for queue in self._retired if not queue.connections]:
            self._retired.remove(queue)
            self._meters.leave(queue.site, queue.vmta)
        self._meters.sweep()

    def close(self) -> None:
        """End all connections that are not past the final dot."""
        for queue in (*self.ready.values(), *self._retired):
            queue.close_connections()

    @property
    def is_busy(self) -> bool:
        """Whether a message is under way."""
        return any(queue.busy for queue in (*self.ready.values(), *self._retired))


def _pools_of(config: AgentConfig) -> PoolTable | None:
    """Pools by destination; None: no stream has any."""
    table = PoolTable(config.streams)
    return table if table else None


def _identity(config: AgentConfig, vmta: VmtaName) -> tuple[object, ...]:
    """What peers see of a virtual MTA."""
    one = config.virtual_mtas.get(vmta)
    return (one.address, one.address6, one.ehlo or config.host) if one is not None else ()


def _rules(config: AgentConfig) -> tuple[object, ...]:
    """What decides about the site, the provider and the TLS of a domain, beside DNS."""
    routes = [(route.match, route.to, route.tls, route.auth) for route in config.routes]
    providers = {name: (one.mx, one.sites, one.tls) for name, one in config.providers.items()}
    domains = {name: (block.rollup_of(name), block.queue_to) for name, block in config.domains.items()}
    return routes, providers, domains, config.tls


def _is_uncounted(item: Item) -> bool:
    """Whether it was placed before the virtual MTA had a ceiling."""
    return item.allowance is None


def _at(site: Site, is_held: Callable[[Item, Site], bool], item: Item) -> bool:
    return is_held(item, site)
