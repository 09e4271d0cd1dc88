"""Which ready queue a message goes into, and what the ready queues of one provider share."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from mailagent.api.ids import PoolName, ProviderName, StreamName, VmtaName
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.config.structs import AgentConfig
from mailagent.routing import PathLimits, Site
from mailagent.scheduling.item import Item
from mailagent.scheduling.lanes import Lane
from mailagent.scheduling.limits import Gate, RateLimit
from mailagent.scheduling.lookups import Lookups
from mailagent.scheduling.ready import Home, ReadyQueue
from mailagent.scheduling.selection import Rotation
from mailagent.scheduling.window import Hot, Window
from mailagent.spool.records import QueueName

NO_PROVIDER = ProviderName("")
RETIRED = WaitReason(kind=ReasonKind.NO_SOURCE, detail="a reload gave the queue another source or destination")


class Policy(Protocol):
    """What configuration and live directives allow; `mailagent.control.state.HostState` is one."""

    def eligible(self, pool: PoolName) -> tuple[VmtaName, ...]:
        """Members of `pool` that may send now."""

    def queue_block(self, pool: PoolName, stream: StreamName, provider: ProviderName) -> WaitReason | None:
        """Why mail of this pool, stream and provider may not be sent; an empty provider asks for the others only."""

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
        self._host_gate = Gate("max_connections", config.delivery.max_connections, "delivery.max_connections")
        self._provider_gates: dict[tuple[str, VmtaName], Gate] = {}
        self._provider_rates: dict[tuple[str, VmtaName], RateLimit] = {}

    # -- room ----------------------------------------------------------------------------------------------------

    def depth_limit(self, priority: str) -> int:
        """Messages of one class that a ready queue takes now: at most `queue.ready`, and as many as half of what is
        free in the window, so that slow sites cannot fill it among themselves.
        """
        return min(self._config.queue.ready, (self._window.room(priority) + 1) // 2)

    def block(self, queue: Hot | QueueName | Lane, site: Site | None) -> WaitReason | None:
        """The directive that holds mail of a queue."""
        provider = site.provider if site is not None else NO_PROVIDER
        return self._policy.queue_block(PoolName(queue.pool), StreamName(queue.stream), provider)

    def is_blocked(self, lane: Lane) -> bool:
        """Whether a directive holds the lane."""
        return self.block(lane, lane.site) is not None

    def room(self, lane: Lane) -> int:
        """Places in the ready queues that may carry the lane; of unknown sites, as many look-ups as one queue."""
        if self.is_blocked(lane):
            return 0
        limit = self.depth_limit(lane.priority)
        if lane.site is None:
            return max(0, limit - self._lookups.count)
        free = 0
        for vmta in self._policy.eligible(lane.pool):
            depth = self._depth(lane.site, vmta, lane.priority)
            if depth is not None and depth < limit:
                free += limit - depth
        return free

    def has_place(self, name: QueueName, site: Site | None) -> bool:
        """Whether one more message of a queue can move."""
        if self.block(name, site) is not None:
            return False
        limit = self.depth_limit(name.priority)
        if site is None:
            return self._lookups.count < limit
        for vmta in self._policy.eligible(PoolName(name.pool)):
            depth = self._depth(site, vmta, name.priority)
            if depth is not None and depth < limit:
                return True
        return False

    def _depth(self, site: Site, vmta: VmtaName, priority: str) -> int | None:
        """Messages of one class before a new one; None when the path is closed."""
        queue = self.ready.get((site.name, vmta))
        if queue is not None:
            return None if queue.is_closed else queue.items.depth(priority)
        return 0 if self._policy.vmta_block(vmta, site.name, site.provider) is None else None

    # -- choice --------------------------------------------------------------------------------------------------

    def choose(self, item: Item, hot: Hot, site: Site) -> ReadyQueue | None:
        """The ready queue whose turn it is; None when none has a place.

        The virtual MTA of the last attempt goes on while it may: greylisting knows its address.
        """
        if self.block(hot, site) is not None:
            return None
        pool = PoolName(hot.pool)
        limit = max(1, self.depth_limit(item.priority))  # its own place is one of those taken
        candidates: list[tuple[str, int]] = []
        for vmta in self._policy.eligible(pool):
            depth = self._depth(site, vmta, item.priority)
            if depth is None or depth >= limit:
                continue
            if vmta == item.first.vmta and item.first.site == site.name:
                return self._queue(site, vmta)
            candidates.append((vmta, self._config.virtual_mtas[vmta].weight))
        if not candidates:
            return None
        rotation = self._rotations.get(pool)
        if rotation is None:
            rotation = self._rotations[pool] = Rotation()
        return self._queue(site, VmtaName(rotation.pick(candidates)))

    def _queue(self, site: Site, vmta: VmtaName) -> ReadyQueue:
        """The ready queue of `site` and `vmta`, made when needed."""
        queue = self.ready.get((site.name, vmta))
        if queue is None:
            queue = ReadyQueue(self._home, site, vmta, self._limits(site, vmta), self._gates(site, vmta))
            queue.block = self._policy.vmta_block(vmta, site.name, site.provider)
            self._set_limits(queue)
            self.ready[site.name, vmta] = queue
        return queue

    def _gates(self, site: Site, vmta: VmtaName) -> tuple[Gate, Gate]:
        """Those of the provider over all its sites, and of the host."""
        key = (site.provider, vmta)
        gate = self._provider_gates.get(key)
        if gate is None:
            gate = self._provider_gates[key] = Gate("provider_connections", None, "")
        return gate, self._host_gate

    def _set_limits(self, queue: ReadyQueue) -> None:
        limits = self._limits(queue.site, queue.vmta)
        key = (queue.site.provider, queue.vmta)
        gate = self._provider_gates[key]
        gate.limit, gate.origin = limits.provider_connections.value, limits.provider_connections.origin
        rate: RateLimit | None = None
        if limits.provider_rate.value is not None:
            rate = self._provider_rates.get(key)
            if rate is None:
                rate = self._provider_rates[key] = RateLimit(limits.provider_rate.value)
            rate.change(limits.provider_rate.value)
        queue.set_limits(limits, rate)

    # -- changes -------------------------------------------------------------------------------------------------

    def apply(self, config: AgentConfig, policy: Policy, is_held: Callable[[Item, Site], bool]) -> list[Item]:
        """New configuration or directives: limits and blocks of every ready queue; the mail to be placed again."""
        before, self._config, self._policy = self._config, config, policy
        self._host_gate.limit = config.delivery.max_connections
        self._window.resize(config.queue.window)
        items: list[Item] = []
        if config is not before:
            rerouted = _rules(before) != _rules(config)
            for queue in list(self.ready.values()):
                if rerouted or _identity(before, queue.vmta) != _identity(config, queue.vmta):
                    items += self._retire(queue)
        for queue in self.ready.values():
            self._set_limits(queue)
            queue.block = policy.vmta_block(queue.vmta, queue.site.name, queue.site.provider)
            if queue.block is not None:
                items += queue.enforce_block()
            else:
                items += queue.recall(partial(_at, queue.site, is_held))
        return items

    def _retire(self, queue: ReadyQueue) -> list[Item]:
        """Another queue takes its place: its mail."""
        queue.block = RETIRED
        del self.ready[queue.site.name, queue.vmta]
        self._retired.append(queue)
        return queue.enforce_block()

    def pump(self) -> None:
        """Every ready queue looks again."""
        for queue in list(self.ready.values()):
            queue.pump()
        for gate in (*self._provider_gates.values(), self._host_gate):
            gate.call()

    def sweep(self, now: float, idle_s: float) -> None:
        """Close idle connections, forget spent queues."""
        for key, queue in list(self.ready.items()):
            if queue.idle:
                queue.close_idle(now, idle_s)
            if queue.is_spent(now):
                del self.ready[key]
        if self._retired:
            self._retired = [queue for queue in self._retired if queue.connections]

    def close(self) -> None:
        """End all connections that are not past the final dot."""
        for queue in (*self.ready.values(), *self._retired):
            queue.close_connections()

    @property
    def is_busy(self) -> bool:
        """Whether a message is under way."""
        return any(queue.busy for queue in (*self.ready.values(), *self._retired))


def _identity(config: AgentConfig, vmta: VmtaName) -> tuple[object, ...]:
    """What peers see of a virtual MTA."""
    one = config.virtual_mtas.get(vmta)
    return (one.address, one.address6, one.ehlo or config.host) if one is not None else ()


def _rules(config: AgentConfig) -> tuple[object, ...]:
    """What decides about the site, the provider and the TLS of a domain, beside DNS."""
    routes = [(route.match, route.to, route.tls) for route in config.routes]
    providers = {name: (one.mx, one.sites, one.tls) for name, one in config.providers.items()}
    return routes, providers, config.tls


def _at(site: Site, is_held: Callable[[Item, Site], bool], item: Item) -> bool:
    return is_held(item, site)
