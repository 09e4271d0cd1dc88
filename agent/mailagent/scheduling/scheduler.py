"""From waiting mail to ready queues and back: the shell that drives the pure parts.

A recipient is on disk (its scheduled queue is due, parked or waits for a later time) or in the active window. In the
window it resolves its site, is placed into a ready queue, is sent, and leaves when its outcome is on disk:

    disk --admit or load--> window --place--> ready queue --settle--> disk (deferred) or gone
                              window --park--> disk (nothing can send it now)

A parked queue costs nothing: its rows are not rewritten, and it is read again, a few queues at a time, when the
thing it waits for has room. That staggers the end of every suspension by itself.
"""

import asyncio
import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from mailagent.api.ids import PoolName, ProviderName, StreamName, VmtaName
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.smtp import SmtpReply
from mailagent.config.structs import AgentConfig, VirtualMta
from mailagent.delivery.connection import Connection
from mailagent.routing import PathLimits, Router, Site, Unroutable
from mailagent.scheduling.bodies import Bodies
from mailagent.scheduling.item import Item, grouped
from mailagent.scheduling.limits import Gate, RateLimit
from mailagent.scheduling.ready import ReadyQueue
from mailagent.scheduling.selection import Rotation
from mailagent.scheduling.window import Hot, Window
from mailagent.spool.ids import recipient_id
from mailagent.spool.records import DueQueue, InDoubtMark, NewMessage, QueueName, Settlement, Waiting
from mailagent.spool.store import Spool

log = logging.getLogger(__name__)

DUE_QUEUES = 256
"""Scheduled queues read at a time."""
LOAD_ROWS = 1000
"""Recipients of one queue read at a time."""
UNKNOWN_SITE_ROWS = 200
"""The same before the site of the queue is known."""
RESOLVERS = 128
"""Look-ups under way at a time."""
SWEEP_S = 1.0
"""Interval in which idle connections and spent queues are cleared away."""
MOVED = WaitReason(kind=ReasonKind.NO_SOURCE, detail="a reload gave the queue another source or destination")


class Policy(Protocol):
    """What configuration and live directives allow; `mailagent.control.state.HostState` is one."""

    def eligible(self, pool: PoolName) -> tuple[VmtaName, ...]:
        """Members of `pool` that may send now."""

    def queue_block(self, pool: PoolName, stream: StreamName, provider: ProviderName) -> WaitReason | None:
        """Why mail of this pool, stream and provider may not be sent; an empty provider asks for the others only."""

    def vmta_block(self, vmta: VmtaName, site: str, provider: ProviderName) -> WaitReason | None:
        """Why `vmta` may not send to `site`."""


class Attempts(Protocol):
    """Turns replies into outcomes: classification, accounting, DSN. Declared here, built above."""

    def settlements(
        self,
        queue: ReadyQueue,
        connection: Connection | None,
        item: Item,
        replies: Sequence[SmtpReply],
        duration_s: float,
    ) -> list[Settlement]:
        """One per recipient of `item`, for an attempt through `queue`."""

    def unroutable(self, hot: Hot, item: Item, reply: SmtpReply, *, permanent: bool) -> list[Settlement]:
        """The same when no path to the destination was found."""

    def expired(self, hot: Hot, item: Item) -> list[Settlement]:
        """The same for mail whose time is over."""

    def in_doubt(self, queue: ReadyQueue, connection: Connection, item: Item, reply: SmtpReply) -> list[Settlement]:
        """The same for a connection cut after the final dot: tried again, and listed as a possible duplicate."""


@dataclass(frozen=True, slots=True)
class Parked:
    """What a parking key waits for."""

    pool: PoolName
    stream: StreamName  # set for keys of pool and stream
    site: Site | None  # set for keys of a site


class Scheduler:
    """Owner of the window and of all ready queues. Everything here runs on the loop thread."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        spool: Spool,
        router: Router,
        policy: Policy,
        attempts: Attempts,
        limits: Callable[[Site, VmtaName], PathLimits],
        connect: Callable[[ReadyQueue], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        removed: Callable[[int], None],
    ) -> None:
        self._config = config
        self._spool = spool
        self._router = router
        self.policy = policy
        self._attempts = attempts
        self._limits = limits
        self._connect = connect
        self._spawn = spawn
        self._removed = removed
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        self.stopping = False
        self.window = Window(config.queue.window)
        self.bodies = Bodies(spool, config.queue.bodies_bytes, lambda bodies: spawn(bodies.load(), "bodies"))
        self.ready: dict[tuple[str, VmtaName], ReadyQueue] = {}
        self._hot: dict[int, Hot] = {}
        self._inside: set[int] = set()  # recipients in the window
        self._gone: set[int] | None = None  # those that left it while rows are being read: what is read may be stale
        self._backlogged: dict[int, None] = {}  # hot queues with due rows on disk, in turn
        self._due: list[tuple[int, int]] = []  # heap of (next_due, hot queue)
        self._next_cold = 0  # when a queue outside the window is due next (milliseconds; 0: look)
        self._parked: dict[str, Parked | None] = {}  # None: parked before the start, unknown until read
        self._rotations: dict[str, Rotation] = {}
        self._resolving: dict[str, list[Item]] = {}
        self._to_resolve: deque[str] = deque()
        self._resolvers = 0
        self._host_gate = Gate("max_connections", config.delivery.max_connections, "delivery.max_connections")
        self._provider_gates: dict[tuple[str, VmtaName], Gate] = {}
        self._provider_rates: dict[tuple[str, VmtaName], RateLimit] = {}
        self._wake = asyncio.Event()

    # -- new mail ------------------------------------------------------------------------------------------------

    def admit(self, queue: int, name: QueueName, count: int) -> bool:
        """Whether `count` new recipients may go straight into the window; if so, their places are taken.

        Mail that cannot be sent now, or that has older mail of its queue before it, waits on disk.
        """
        hot = self._hot.get(queue)
        if hot is not None and (hot.backlog or hot.park is not None):
            return False
        if self.window.room(name.priority) < count or self.stopping:
            if hot is not None:
                self._note_backlog(hot)
            return False
        pool = PoolName(name.pool)
        if hot is None and self.policy.queue_block(pool, StreamName(name.stream), ProviderName("")) is not None:
            return False
        site = self._router.cached(name.domain)
        if site is not None and self._room(pool, StreamName(name.stream), site) < count:
            if hot is not None:
                self._note_backlog(hot)
            return False
        if hot is None:
            hot = self._heat(queue, name)
        self.window.take(name.priority, count)
        hot.count += count
        return True

    def enter(self, item: Item) -> None:
        """Accepted mail whose place was taken by `admit` is on disk now."""
        for row in item.recipients:
            self._inside.add(row.id)
        self._locate(item)

    def refused(self, queue: int, count: int) -> None:
        """The places that `admit` took are not needed: the message did not reach the disk."""
        hot = self._hot[queue]
        self.window.give_back(hot.priority, count)
        self._leave(hot, count)

    def on_disk(self, message: NewMessage) -> None:
        """Recipients of `message` that got no place in the window are on disk."""
        for n, recipient in enumerate(message.recipients):
            if recipient.admitted:
                continue
            hot = self._hot.get(recipient.queue)
            if hot is None:
                self._next_cold = 0
            else:
                hot.note_arrival((message.received_at, recipient_id(message.id, n)))
                self._backlogged.setdefault(hot.id)
        self.wake()

    # -- from disk -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the window filled until cancelled."""
        self._parked = dict.fromkeys(await self._spool.parked_keys())
        self._loop.call_later(SWEEP_S, self._sweep)
        while True:
            await self._refill()
            try:
                async with asyncio.timeout(self._sleep_s()):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    def wake(self) -> None:
        """Look again whether mail can move."""
        self._wake.set()

    def recheck(self) -> None:
        """Due times on disk were changed behind our back (retry now, rotation)."""
        for hot in self._hot.values():
            hot.rewind = True
            self._backlogged.setdefault(hot.id)
        self._next_cold = 0
        self.wake()

    @property
    def low_water(self) -> int:
        """Depth at which a ready queue asks for more."""
        return self._config.queue.ready // 2

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Call back on the loop."""
        self._loop.call_later(delay, callback)

    def _sleep_s(self) -> float:
        if not self._has_room():
            return SWEEP_S
        soonest = self._next_cold
        if self._due:
            soonest = min(soonest, self._due[0][0])
        return min(60.0, max(0.01, soonest / 1000 - time.time()))

    async def _refill(self) -> None:
        while not self.stopping:
            now = _now_ms()
            self._turn_due(now)
            found = await self._find_cold(now)
            loaded = await self._load_hot(now)
            if not (found or loaded):
                return
            if not loaded:
                await asyncio.sleep(0.002)  # what was just parked shows after the next commit

    def _turn_due(self, now: int) -> None:
        """Hot queues whose later rows have become due."""
        while self._due and self._due[0][0] <= now:
            _, queue = heapq.heappop(self._due)
            hot = self._hot.get(queue)
            if hot is not None and hot.has_due(now):
                self._backlogged.setdefault(queue)

    async def _find_cold(self, now: int) -> bool:
        """Bring due queues from disk into the window's books. True when there may be more."""
        more = False
        if self._next_cold <= now and self._has_room():
            self._next_cold = now + 3_600_000  # news that come while the disk is read bring it forward again
            queues, following = await self._spool.due_queues(now, DUE_QUEUES)
            if following is not None:
                self._next_cold = min(self._next_cold, following)
            if len(queues) == DUE_QUEUES:
                self._next_cold, more = 0, True
            for queue in queues:
                self._warm_up(queue)
        for key in list(self._parked):
            waits_for = self._parked.get(key)
            if not self._has_room() or (waits_for is not None and not self._opens(waits_for)):
                continue
            self._parked.pop(key, None)  # a queue that is parked while the disk is read enters it again
            queues, _ = await self._spool.due_queues(now, DUE_QUEUES, parked=key)
            if len(queues) == DUE_QUEUES:
                self._parked.setdefault(key, waits_for)
            for queue in queues:
                self._warm_up(queue)
            more = more or len(queues) == DUE_QUEUES
        return more and self._has_room()

    def _has_room(self) -> bool:
        return self.window.used < self.window.limit * 0.9

    def _opens(self, parked: Parked) -> bool:
        if parked.site is None:
            return self.policy.queue_block(parked.pool, parked.stream, ProviderName("")) is None
        return self._room(parked.pool, parked.stream, parked.site) >= self._config.queue.ready // 2

    def _warm_up(self, queue: DueQueue) -> None:
        """A queue with due mail on disk: take it into the books, or park it when nothing can send it."""
        if queue.id in self._hot:
            self._spool.hold(queue.id)
            self._backlogged.setdefault(queue.id)
            return
        name = queue.name
        hot = self._heat(queue.id, name)
        site = self._router.cached(name.domain)
        if self._cannot_move(hot, site):
            self._park(hot, site)
        else:
            hot.backlog = True
            self._spool.hold(queue.id)

    async def _load_hot(self, now: int) -> bool:
        """Read due rows of queues in the books. True when something was read."""
        wanted: list[tuple[Hot, int]] = []
        shares: dict[str, int] = {}
        for queue in list(self._backlogged):
            hot = self._hot.get(queue)
            if hot is None:
                del self._backlogged[queue]
                continue
            if hot.park is not None:
                continue
            room = min(self.window.room(hot.priority) - shares.get(hot.priority, 0), LOAD_ROWS)
            site = self._router.cached(hot.domain)
            if site is None:
                room = min(room, UNKNOWN_SITE_ROWS)
            else:
                free = self._room(PoolName(hot.pool), StreamName(hot.stream), site)
                if free == 0:
                    if hot.count == 0 or not self._is_full(hot, site):
                        self._park(hot, site)
                    continue
                room = min(room, free)
            if room > 0 and (hot.count == 0 or room >= LOAD_ROWS // 10 or hot.count < LOAD_ROWS // 10):
                wanted.append((hot, room))
                shares[hot.priority] = shares.get(hot.priority, 0) + room
                if len(wanted) >= DUE_QUEUES:
                    break
        if not wanted:
            return False
        for hot, _ in wanted:  # the next turn starts with the others
            self._backlogged.pop(hot.id)
        self._gone = set()
        try:
            loads = await self._spool.load([(hot.id, hot.start(), limit) for hot, limit in wanted], now)
            for (cold, limit), loaded in zip(wanted, loads, strict=True):
                hot = self._hot.setdefault(cold.id, cold)  # it may have cooled down while the disk was read
                self._loaded(hot, loaded.rows, now, more=len(loaded.rows) == limit)
                if loaded.next_due is not None:
                    self._note_due(hot.id, loaded.next_due)
                if hot.count == 0 and self._hot.get(hot.id) is hot:
                    self._cool(hot)
        finally:
            self._gone = None
        return True

    def _loaded(self, hot: Hot, rows: Sequence[Waiting], now: int, *, more: bool) -> None:
        if rows:
            hot.cursor = (rows[-1].due, rows[-1].id)
        hot.backlog = more or hot.has_news
        if hot.backlog:
            self._backlogged.setdefault(hot.id)
        gone = self._gone or ()
        fresh = [row for row in rows if row.id not in self._inside and row.id not in gone]
        if not fresh:
            return
        self._inside.update(row.id for row in fresh)
        self.window.take(hot.priority, len(fresh))
        hot.count += len(fresh)
        over = [row for row in fresh if row.expires_at <= now]
        if over:
            for item in grouped(over, hot.priority, self._config.delivery.max_recipients):
                self._with_body(item, partial(self._attempts.expired, hot, item))
        alive = [row for row in fresh if row.expires_at > now] if over else fresh
        for item in grouped(alive, hot.priority, self._config.delivery.max_recipients):
            self._locate(item)

    # -- the books -----------------------------------------------------------------------------------------------

    def _heat(self, queue: int, name: QueueName) -> Hot:
        hot = self._hot[queue] = Hot(
            queue, pool=name.pool, stream=name.stream, priority=name.priority, domain=name.domain
        )
        self._backlogged.setdefault(queue)  # whether the disk holds older mail of it is not known yet
        return hot

    def _leave(self, hot: Hot, count: int) -> None:
        hot.count -= count
        if hot.count == 0:
            self._cool(hot)

    def _cool(self, hot: Hot) -> None:
        """Its last row has left the window: the disk knows the rest."""
        self._hot.pop(hot.id, None)
        self._backlogged.pop(hot.id, None)
        if hot.park is not None:
            self._parked.setdefault(hot.park)  # it may have been read, and found empty, since it was chosen
            self._spool.park(hot.id, hot.park)
            return
        self._spool.release([hot.id])
        if hot.has_due(_now_ms()):
            self._next_cold = 0
            self.wake()
        elif hot.next_due is not None:
            self._next_cold = min(self._next_cold, hot.next_due)
            self.wake()

    def _note_backlog(self, hot: Hot) -> None:
        hot.backlog = True
        self._backlogged.setdefault(hot.id)

    def _note_due(self, queue: int, due: int) -> None:
        hot = self._hot.get(queue)
        if hot is None:
            if due < self._next_cold:
                self._next_cold = due
                self.wake()
            return
        if hot.next_due is None or due < hot.next_due:
            hot.next_due = due
            heapq.heappush(self._due, (due, queue))
            if self._due[0][1] == queue:
                self.wake()

    def _cannot_move(self, hot: Hot, site: Site | None) -> bool:
        """Whether no mail of the queue can go into a ready queue now."""
        pool, stream = PoolName(hot.pool), StreamName(hot.stream)
        if site is not None:
            return self._room(pool, stream, site) == 0
        return self.policy.queue_block(pool, stream, ProviderName("")) is not None

    def _is_full(self, hot: Hot, site: Site) -> bool:
        """Whether the mail cannot move only because ready queues that are open have no place: that ends by itself."""
        pool = PoolName(hot.pool)
        if self.policy.queue_block(pool, StreamName(hot.stream), ProviderName(site.provider)) is not None:
            return False
        queues = (self.ready.get((site.name, vmta)) for vmta in self.policy.eligible(pool))
        return any(queue is not None and not queue.is_closed for queue in queues)

    def _park(self, hot: Hot, site: Site | None) -> None:
        """Park the queue under what it waits for, as soon as its last row has left the window."""
        pool, stream = PoolName(hot.pool), StreamName(hot.stream)
        if site is None or self.policy.queue_block(pool, stream, ProviderName("")) is not None:
            key, site = f"pool:{pool}/{stream}", None
        else:
            key = f"site:{pool}/{stream}/{site.name}"
        hot.park = key
        if self._parked.get(key) is None:
            self._parked[key] = Parked(pool, stream, site)
        if hot.count == 0:
            self._cool(hot)

    def _room(self, pool: PoolName, stream: StreamName, site: Site) -> int:
        """Places free in the ready queues that may carry mail of `pool` to `site`."""
        if self.policy.queue_block(pool, stream, ProviderName(site.provider)) is not None:
            return 0
        free = 0
        for vmta in self.policy.eligible(pool):
            queue = self.ready.get((site.name, vmta))
            if queue is None:
                if self.policy.vmta_block(vmta, site.name, ProviderName(site.provider)) is None:
                    free += self._config.queue.ready
            elif not queue.is_closed:
                free += max(0, self._config.queue.ready - len(queue.items))
        return free

    # -- placing -------------------------------------------------------------------------------------------------

    def _locate(self, item: Item) -> None:
        """Find the site of `item`, then place it."""
        hot = self._hot[item.queue]
        site = self._router.cached(hot.domain)
        if site is not None:
            self._place(item, hot, site)
        elif hot.domain in self._resolving:
            self._resolving[hot.domain].append(item)
        else:
            self._resolving[hot.domain] = [item]
            self._to_resolve.append(hot.domain)
            self._resolve_next()

    def _resolve_next(self) -> None:
        while self._to_resolve and self._resolvers < RESOLVERS:
            self._resolvers += 1
            domain = self._to_resolve.popleft()
            self._spawn(self._resolve(domain), f"resolve:{domain}")

    async def _resolve(self, domain: str) -> None:
        try:
            found = await self._router.site(domain)
        finally:
            self._resolvers -= 1
            items = self._resolving.pop(domain, [])
        for item in items:
            if isinstance(found, Unroutable):
                self.unroutable(item, found.reply, permanent=found.permanent)
            else:
                self._place(item, self._hot[item.queue], found)
        self._resolve_next()

    def _place(self, item: Item, hot: Hot, site: Site) -> None:
        if hot.site != site.name:
            hot.site = site.name
            self._spool.placed(hot.id, site.name, site.provider)
        if not self._cannot_move(hot, site):
            self._choose(item, PoolName(hot.pool), site).push(item)
            return
        if not self._is_full(hot, site):
            self._park(hot, site)
        self._send_back(item, hot)

    def _choose(self, item: Item, pool: PoolName, site: Site) -> ReadyQueue:
        """The ready queue whose turn it is; there is one with room."""
        candidates: list[tuple[str, int]] = []
        full = self._config.queue.ready
        vmtas = self._config.virtual_mtas
        for vmta in self.policy.eligible(pool):
            queue = self.ready.get((site.name, vmta))
            if queue is None:
                if self.policy.vmta_block(vmta, site.name, ProviderName(site.provider)) is not None:
                    continue
            elif queue.is_closed or len(queue.items) >= full:
                continue
            if vmta == item.first.vmta and item.first.site == site.name:
                return self.queue(site, vmta)  # affinity: greylisting knows the address
            candidates.append((vmta, vmtas[vmta].weight))
        rotation = self._rotations.get(pool)
        if rotation is None:
            rotation = self._rotations[pool] = Rotation()
        return self.queue(site, VmtaName(rotation.pick(candidates)))

    def queue(self, site: Site, vmta: VmtaName) -> ReadyQueue:
        """The ready queue of `site` and `vmta`, made when needed."""
        queue = self.ready.get((site.name, vmta))
        if queue is None:
            limits = self._limits(site, vmta)
            gates, rate = self._shared(site, vmta, limits)
            block = self.policy.vmta_block(vmta, site.name, ProviderName(site.provider))
            queue = ReadyQueue(self, site, vmta, limits, gates=gates, provider_rate=rate, block=block)
            self.ready[site.name, vmta] = queue
        return queue

    def _shared(self, site: Site, vmta: VmtaName, limits: PathLimits) -> tuple[tuple[Gate, ...], RateLimit | None]:
        """Gates and rate that the queue shares with the other sites of its provider."""
        key = (site.provider, vmta)
        rate: RateLimit | None = None
        if limits.provider_rate.value is not None:
            rate = self._provider_rates.get(key)
            if rate is None:
                rate = self._provider_rates[key] = RateLimit(limits.provider_rate.value)
            rate.change(limits.provider_rate.value)
        gate = self._provider_gates.get(key)
        if gate is None:
            gate = self._provider_gates[key] = Gate("provider_connections", None, "")
        gate.limit, gate.origin = limits.provider_connections.value, limits.provider_connections.origin
        return (gate, self._host_gate), rate

    def place_again(self, item: Item) -> None:
        """Mail that its ready queue gives up without an attempt: elsewhere, or back to disk."""
        self._locate(item)

    def _send_back(self, item: Item, hot: Hot) -> None:
        """Out of the window without an attempt; its rows on disk are as they were."""
        self._drop(item)
        hot.rewind = True
        self._note_backlog(hot)
        self._leave(hot, len(item.recipients))

    def forget(self, item: Item) -> None:
        """A message in the window is no longer on disk."""
        hot = self._hot[item.queue]
        self._drop(item)
        self._leave(hot, len(item.recipients))

    def _drop(self, item: Item) -> None:
        self.bodies.drop(item)
        self.window.give_back(item.priority, len(item.recipients))
        for row in item.recipients:
            self._inside.discard(row.id)
            if self._gone is not None:
                self._gone.add(row.id)

    # -- outcomes ------------------------------------------------------------------------------------------------

    def settle(
        self, queue: ReadyQueue, connection: Connection, item: Item, replies: Sequence[SmtpReply], duration_s: float
    ) -> None:
        """An attempt ended with one reply per recipient."""
        settlements = self._attempts.settlements(queue, connection, item, replies, duration_s)
        self._commit(item, settlements, partial(queue.committed, connection))

    def unroutable(self, item: Item, reply: SmtpReply, *, permanent: bool) -> None:
        """No path to the destination, for now or for good."""
        hot = self._hot[item.queue]
        self._with_body(item, partial(self._attempts.unroutable, hot, item, reply, permanent=permanent))

    def charge(self, queue: ReadyQueue, item: Item, reply: SmtpReply) -> None:
        """An attempt ended before there was a connection."""
        replies = [reply] * len(item.recipients)
        self._with_body(item, partial(self._attempts.settlements, queue, None, item, replies, 0.0))

    def cut_after_dot(self, queue: ReadyQueue, connection: Connection, item: Item, reply: SmtpReply) -> None:
        """The final dot is out and no reply came."""
        self._commit(item, self._attempts.in_doubt(queue, connection, item, reply))

    def mark_in_doubt(self, queue: ReadyQueue, connection: Connection, recipients: Iterable[int]) -> None:
        """Write the marks that make possible duplicates a list after a crash."""
        at = _now_ms()
        self._spool.mark(
            [
                InDoubtMark(recipient=recipient, at=at, vmta=queue.vmta, site=queue.site.name, remote=connection.remote)
                for recipient in recipients
            ]
        )

    def _with_body(self, item: Item, make: Callable[[], list[Settlement]]) -> None:
        """Settle with the body at hand: a DSN quotes its header."""
        if item.body is None and item.first.sender:
            self.bodies.want(item, lambda: self._commit(item, make()))
        else:
            self._commit(item, make())

    def _commit(self, item: Item, settlements: list[Settlement], then: Callable[[], None] | None = None) -> None:
        self.bodies.drop(item)
        self._spool.settle(settlements, partial(self._settled, item, settlements, then))

    def _settled(self, item: Item, settlements: list[Settlement], then: Callable[[], None] | None) -> None:
        """The outcome is on disk: the places are free."""
        if then is not None:
            then()
        self._drop(item)
        hot = self._hot[item.queue]
        gone = 0
        for settlement in settlements:
            if settlement.due is not None:
                self._note_due(item.queue, settlement.due)
            else:
                gone += 1
            if settlement.dsn is not None:
                self.on_disk(settlement.dsn)
        if gone:
            self._removed(gone)
        self._leave(hot, len(item.recipients))
        if self._backlogged or self._next_cold == 0 or self._parked:
            self.wake()

    # -- connections ---------------------------------------------------------------------------------------------

    def open_connection(self, queue: ReadyQueue) -> None:
        """Start to connect; the queue hears of the end through `ready` or `failed`."""
        self._spawn(self._connect(queue), f"connect:{queue.key}")

    def _sweep(self) -> None:
        """Close idle connections, forget spent queues."""
        now = self.clock()
        idle_s = self._config.delivery.timeouts.idle.total_seconds()
        for key, queue in list(self.ready.items()):
            if queue.idle:
                queue.close_idle(now, idle_s)
            if queue.is_spent:
                del self.ready[key]
        if not self.stopping:
            self._loop.call_later(SWEEP_S, self._sweep)
        self.wake()

    # -- changes -------------------------------------------------------------------------------------------------

    def use_router(self, router: Router) -> None:
        """The configuration was reloaded: sites come from here from now on."""
        self._router = router

    def apply(self, config: AgentConfig, policy: Policy) -> None:
        """New configuration or directives: every ready queue looks again, and what was parked may move."""
        moved = self._retire(config)
        self._config, self.policy = config, policy
        self._host_gate.limit = config.delivery.max_connections
        self.window.limit = config.queue.window
        for queue in list(self.ready.values()):
            limits = self._limits(queue.site, queue.vmta)
            gates, rate = self._shared(queue.site, queue.vmta, limits)
            queue.set_limits(limits, gates, rate)
            queue.block = policy.vmta_block(queue.vmta, queue.site.name, ProviderName(queue.site.provider))
        for queue in moved:
            queue.enforce_block()
        for queue in list(self.ready.values()):
            if queue.block is not None:
                queue.enforce_block()
            self._recall(queue)
            queue.pump()
        for gate in (*self._provider_gates.values(), self._host_gate):
            gate.call()
        self._unpark_open()
        self._next_cold = 0
        self.wake()

    def _retire(self, config: AgentConfig) -> list[ReadyQueue]:
        """Ready queues with another source, site or provider in `config`: blocked, others take their place.

        Nothing leaves from an address, or to a next hop, that no longer stands in the file.
        """
        before = self._config
        if config is before:
            return []
        rerouted = _rules(config) != _rules(before)
        if rerouted:
            self._parked = dict.fromkeys(self._parked)  # what it waits for may be another site now: look again
        moved = []
        for key, queue in list(self.ready.items()):
            old, new = before.virtual_mtas.get(queue.vmta), config.virtual_mtas.get(queue.vmta)
            if rerouted or (old is not None and new is not None and _identity(old) != _identity(new)):
                queue.block = MOVED
                moved.append(self.ready.pop(key))
        return moved

    def _recall(self, queue: ReadyQueue) -> None:
        """Mail in an open ready queue whose pool, stream or provider is held now goes back to disk."""
        held = []
        for item in queue.items:
            hot = self._hot[item.queue]
            if self._held(hot, queue.site) is not None:
                held.append(item)
        if held:
            gone = set(map(id, held))
            queue.items = deque(item for item in queue.items if id(item) not in gone)
            for item in held:
                self._locate(item)

    def _held(self, hot: Hot, site: Site) -> WaitReason | None:
        return self.policy.queue_block(PoolName(hot.pool), StreamName(hot.stream), ProviderName(site.provider))

    def _unpark_open(self) -> None:
        """Hot queues that were to be parked may stay when their reason is gone."""
        for hot in self._hot.values():
            if hot.park is not None and not self._cannot_move(hot, self._router.cached(hot.domain)):
                hot.park = None
                self._note_backlog(hot)

    async def stop(self, grace_s: float) -> None:
        """QUIT idle connections, let final dots finish for `grace_s`, leave the rest in doubt."""
        self.stopping = True
        for queue in self.ready.values():
            queue.close_connections()
        deadline = self.clock() + grace_s
        while any(queue.busy for queue in self.ready.values()) and self.clock() < deadline:  # noqa: ASYNC110  no hot path pays for this
            await asyncio.sleep(0.02)

    # -- views ---------------------------------------------------------------------------------------------------

    def reason_of(self, recipient: int, pool: PoolName, stream: StreamName, domain: str) -> list[WaitReason]:
        """Why one recipient that is due or in the window is not sent yet."""
        site = self._router.cached(domain)
        provider = ProviderName(site.provider) if site is not None else ProviderName("")
        block = self.policy.queue_block(pool, stream, provider)
        if block is not None:
            return [block]
        if site is None:
            if domain in self._resolving:
                return [WaitReason(kind=ReasonKind.DNS, detail=f"looking up the MX of {domain}")]
            return [WaitReason(kind=ReasonKind.WINDOW, detail="due, and waits for a place in the active window")]
        eligible = self.policy.eligible(pool)
        if not eligible:
            return [
                WaitReason(
                    kind=ReasonKind.NO_SOURCE,
                    detail=f"no member of pool {pool} may send",
                    release="undrain, resume or rotate in a member",
                )
            ]
        reasons = []
        for vmta in eligible:
            queue = self.ready.get((site.name, vmta))
            binding = queue.binding() if queue is not None else self.policy.vmta_block(vmta, site.name, provider)
            if binding is not None:
                reasons.append(binding)
        if recipient not in self._inside:
            reasons.append(
                WaitReason(
                    kind=ReasonKind.WINDOW,
                    detail=f"due, and waits for the active window ({self.window.used} of {self.window.limit} taken)",
                    key="queue.window",
                    value=str(self.window.limit),
                )
            )
        return reasons or [WaitReason(kind=ReasonKind.SENDING, detail="on its way, or its outcome is being written")]


def _identity(vmta: VirtualMta) -> tuple[object, ...]:
    """What peers see of a virtual MTA."""
    return vmta.address, vmta.address6, vmta.ehlo


def _rules(config: AgentConfig) -> tuple[object, ...]:
    """What decides about the site and the provider of a domain, beside DNS."""
    routes = [(route.match, route.to) for route in config.routes]
    return routes, {name: (provider.mx, provider.sites) for name, provider in config.providers.items()}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
