"""An hour of mixed traffic on a clock that jumps: providers judge by their own logs that no limit is ever exceeded."""

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import HostName, PoolName, ProviderName, SiteName, StreamName, VmtaName
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.config.structs import (
    AgentConfig,
    ByteRate,
    Delivery,
    Domain,
    Pool,
    Priority,
    Provider,
    Rate,
    Stream,
    VirtualMta,
)
from mailagent.control.state import HostState
from mailagent.delivery.transaction import Transaction
from mailagent.outcome.return_path import Envelopes
from mailagent.routing import LimitTable, PathLimits, Site
from mailagent.scheduling.bodies import Bodies
from mailagent.scheduling.connection import Connection
from mailagent.scheduling.item import Item
from mailagent.scheduling.limits import BURST_S
from mailagent.scheduling.lookups import Lookups
from mailagent.scheduling.placing import Placing
from mailagent.scheduling.ready import ReadyQueue
from mailagent.scheduling.window import Hot, Window
from mailagent.spool.records import QueueName, Waiting
from tests.agent.control.fleet import directive
from tests.agent.scheduling.peer import Silent
from tests.agent.scheduling.test_bodies import Shelf

HOUR_S = 3600.0
OK = SmtpReply(code=250, text="ok", verb=Verb.DOT)
LATER = SmtpReply(code=451, text="later", verb=Verb.RCPT)
CLOSING = SmtpReply(code=421, enhanced="4.7.0", text="too fast", verb=Verb.MAIL)
LOST = SmtpReply(code=0, text="connection lost", local=True)


def rate(count: int, period_s: int) -> Rate:
    return Rate(count=count, period_s=period_s)


CONFIG = AgentConfig(
    host=HostName("mx1"),
    virtual_mtas={
        VmtaName("a1"): VirtualMta(vmta_connections=7, vmta_rate=rate(4, 1)),
        VmtaName("a2"): VirtualMta(weight=2),
        VmtaName("b1"): VirtualMta(),
    },
    pools={PoolName("a"): Pool(active=(VmtaName("a1"), VmtaName("a2"))), PoolName("b"): Pool(active=(VmtaName("b1"),))},
    streams={
        StreamName("high"): Stream(pool=PoolName("a"), priority=Priority.HIGH),
        StreamName("bulk"): Stream(pool=PoolName("a"), pools={"hourly": PoolName("b")}, priority=Priority.BULK),
    },
    providers={
        ProviderName("wide"): Provider(connections=4, messages_per_connection=5, provider_connections=5,
                                       provider_rate=rate(3, 1), connect_rate=rate(12, 60)),
        ProviderName("hourly"): Provider(connections=2, rate=rate(120, 3600), recipients_per_transaction=2),
        ProviderName("narrow"): Provider(connections=1, recipients_per_connection=7,
                                         bytes_rate=ByteRate(count=100_000, period_s=1)),
        ProviderName("default"): Provider(connections=10, rate=rate(2, 1)),
    },
    domains={"c.example": Domain(rollup="joined", connections=2, rate=rate(30, 60))},
    delivery=Delivery(max_connections=12),
)  # fmt: skip
SITES = {
    name: Site(name=SiteName(name), provider=ProviderName(provider), hosts=(), rollup=rollup)
    for name, provider, rollup in (
        ("w1", "wide", ""),
        ("w2", "wide", ""),
        ("h", "hourly", ""),
        ("n", "narrow", ""),
        ("c1", "default", "joined"),
        ("c2", "default", "joined"),
        ("d", "default", ""),
    )
}


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time stands still while there is something to do, and jumps to the next timer when there is not."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        inside = cast(Any, self)
        if not inside._ready and inside._scheduled:
            self.now = max(self.now, inside._scheduled[0].when())
        cast(Any, super())._run_once()


@dataclass
class Log:
    """What the providers wrote down."""

    opened: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))  # (site, vmta)
    messages: dict[tuple[str, str], list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    most_open: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    breaches: list[str] = field(default_factory=list)


class Peer(Silent):
    """One connection to a simulated provider."""

    def __init__(self, world: "World", queue: ReadyQueue) -> None:
        self.world, self.queue = world, queue
        self.sent = self.recipients = 0
        self.past_dot = False
        self._transaction: Transaction | None = None
        self._quitting = self._over = False
        self._carried = 0
        world.open(queue, 1)

    @property
    def busy(self) -> bool:
        return self._transaction is not None

    def send(self, transaction: Transaction) -> None:
        assert self._transaction is None
        self._transaction = transaction
        self._carried += len(transaction.recipients)
        self.world.message(self.queue, transaction, self.sent + 1, self._carried)
        self.world.loop.call_later(self.world.chance.uniform(0.02, 1.5), self._answer)

    def _answer(self) -> None:
        if self._over or self._transaction is None:
            return
        drawn = self.world.chance.random()
        if drawn < 0.02:
            self._close(LOST)
        elif drawn < 0.04:
            self._close(CLOSING)
        else:
            transaction, self._transaction = self._transaction, None
            self.sent += 1
            self.recipients += len(transaction.recipients)
            reply = LATER if drawn < 0.1 else OK
            self.queue.settled(self, transaction, [reply] * len(transaction.recipients), 0.0)
            if self._quitting:
                self._close(OK)
            else:
                self.queue.ready(self)

    def quit(self) -> None:
        self._quitting = True
        if self._transaction is None:
            self.world.loop.call_later(0.05, self._close, OK)

    def abort(self, why: str = "") -> None:
        self.world.loop.call_soon(self._close, LOST)

    def _close(self, reply: SmtpReply) -> None:
        if not self._over:
            self._over = True
            transaction, self._transaction = self._transaction, None
            self.world.open(self.queue, -1)
            self.queue.closed(self, reply, transaction, False)


class World:
    """Mail, providers and directives of one hour; implements `mailagent.scheduling.ready.Home`."""

    def __init__(self, loop: JumpingLoop, seed: int) -> None:
        self.loop = loop
        self.chance = random.Random(seed)
        self.log = Log()
        self.clock = loop.time
        self.call_at = loop.call_at
        self.bodies = Bodies(Shelf(), 1 << 30, self._spawn)
        self.envelopes: Envelopes | None = None
        self.suppressed: Callable[[Waiting], SmtpReply | None] | None = None
        self.stopping = False
        self.table = LimitTable(CONFIG)
        self.state = HostState(CONFIG, ())
        self.backlog: dict[str, deque[Item]] = defaultdict(deque)  # by site
        self.delivered = 0
        self.handed_in = 0
        self._open: dict[tuple[str, str], int] = defaultdict(int)
        self._ids = 0
        self._site_of: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pulling = False
        lookups = Lookups(lambda: cast(Any, None), lambda work, name: work.close(), lambda *_: None, lambda: None)
        self.placing = Placing(CONFIG, self.state, Window(20_000), self.limits, self, lookups)

    def without_suppressed(self, item: Item, suppressed: Callable[[Waiting], SmtpReply | None]) -> Item | None:
        raise AssertionError("nobody is suppressed")

    def limits(self, site: Site, vmta: VmtaName) -> PathLimits:
        overrides = self.state.limits(vmta, site.provider, site.group)
        return self.table.limits(site, vmta).lowered({name: one.limit for name, one in overrides.items()})

    # -- mail

    def hand_in(self, site: str, stream: str, recipients: int, size: int) -> None:
        rows = []
        for _ in range(recipients):
            self._ids += 1
            self._site_of[self._ids] = site
            rows.append(
                Waiting(
                    id=self._ids, queue=1, due=0, address=b"r@x", attempts=0, vmta="", site="", message=self._ids,
                    sender=b"", size=size, eightbit=False, added=b"", received_at=0, expires_at=0, stream=stream,
                    pool="a", job="",
                )
            )  # fmt: skip
        self.handed_in += recipients
        self.backlog[site].append(Item(rows, CONFIG.streams[StreamName(stream)].priority, b"x", plain=True))

    def pull(self) -> None:
        """Place what has a place."""
        if self._pulling:
            return
        self._pulling = True
        for name, items in self.backlog.items():
            for _ in range(len(items)):
                item = items.popleft()
                hot = Hot(1, QueueName("a", item.first.stream, item.priority, name))
                queue = self.placing.choose(item, hot, SITES[name])
                if queue is None:
                    items.append(item)
                else:
                    queue.push(item)
        self._pulling = False

    def has_room(self, queue: ReadyQueue) -> None:
        pass  # `pull` looks every second

    def place_again(self, item: Item) -> None:
        self.backlog[self._site_of[item.first.id]].append(item)

    # -- the scheduler's other duties

    def open_connection(self, queue: ReadyQueue) -> asyncio.Task[None]:
        return self._spawn(self._connect(queue), "connect")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self.loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connect(self, queue: ReadyQueue) -> None:
        self.opening(queue)
        await asyncio.sleep(self.chance.uniform(0.01, 0.3))
        if self.chance.random() < 0.03:
            queue.failed(CLOSING, bind=False)
        else:
            queue.ready(Peer(self, queue))

    def settle(
        self,
        queue: ReadyQueue,
        connection: Connection | None,
        item: Item,
        replies: Sequence[SmtpReply],
        duration_s: float = 0.0,
    ) -> None:
        if replies[0].is_success:
            self.delivered += len(replies)
        else:
            self.loop.call_later(self.chance.uniform(1, 120), self.backlog[queue.site.name].append, item)
        if connection is not None:
            queue.committed(connection)

    def unroutable(self, item: Item, reply: SmtpReply, *, permanent: bool) -> None:
        raise AssertionError

    def cut_after_dot(self, queue: ReadyQueue, connection: Connection, item: Item, reply: SmtpReply) -> None:
        raise AssertionError

    def end(self, queue: ReadyQueue, connection: Connection, recipients: Sequence[int]) -> None:
        raise AssertionError

    def queue_failed(self, queue: ReadyQueue, reply: SmtpReply) -> None:
        pass

    def heard(self, queue: ReadyQueue, reply: SmtpReply) -> None:
        pass

    # -- the judges

    def opening(self, queue: ReadyQueue) -> None:
        self.log.opened[queue.site.group, queue.vmta].append(self.clock())

    def open(self, queue: ReadyQueue, change: int) -> None:
        site, vmta = queue.site, queue.vmta
        limits = self.limits(site, vmta)
        for bound, limit in (
            (f"site {site.group}", limits.connections),
            (f"provider {site.provider}", limits.provider_connections),
            ("all", limits.vmta_connections),
        ):
            self._open[bound, vmta] += change
            now = self._open[bound, vmta]
            self.log.most_open[bound, vmta] = max(self.log.most_open[bound, vmta], now)
            if change > 0 and limit.value is not None and now > max(limit.value, self.allowed(bound, vmta)):
                self.log.breaches.append(f"{now} connections of {vmta} to {bound}")
        self._open["host", VmtaName("")] += change
        if self._open["host", VmtaName("")] > 12:
            self.log.breaches.append("too many connections of the host")

    lowered_at = -10.0
    before: dict[tuple[str, str], int] = {}  # noqa: RUF012

    def allowed(self, bound: str, vmta: str) -> int:
        """Connections that were being opened when a limit was lowered may still come about."""
        return self.before.get((bound, vmta), 0) if self.clock() - self.lowered_at < 1 else 0

    def message(self, queue: ReadyQueue, transaction: Transaction, n: int, carried: int) -> None:
        site, vmta, now = queue.site, queue.vmta, self.clock()
        item = cast(Item, transaction.token)
        limits = self.limits(site, vmta)
        for limit, value in (
            (limits.messages_per_connection, n),
            (limits.recipients_per_connection, carried),
            (limits.recipients_per_transaction, len(transaction.recipients)),
        ):
            if limit.value is not None and value > limit.value:
                self.log.breaches.append(f"{value} > {limit}")
        for bound in (f"site {site.group}", f"provider {site.provider}", "all"):
            self.log.messages[bound, vmta].append((now, item.first.size))

    # -- directives

    def direct(self, *orders: Directive) -> None:
        self.before = dict(self._open)
        self.lowered_at = self.clock()
        self.state = HostState(CONFIG, orders)
        for item in self.placing.apply(CONFIG, self.state, lambda item, site: False):
            self.place_again(item)
        self.placing.pump()


async def hour(world: World) -> None:
    """Mail for every site, more than the limits let through, with lowered limits and suspensions in between."""
    chance = world.chance
    orders: list[Directive] = []
    for second in range(int(HOUR_S)):
        for site in SITES:
            if chance.random() < (0.9 if second % 600 < 300 else 0.1):
                stream = chance.choice(["high", "bulk"])
                world.hand_in(site, stream, chance.choice([1, 1, 1, 3, 9]), chance.choice([2_000, 50_000, 900_000]))
        if second % 300 == 200:
            orders = [
                directive(DirectiveKind.LIMIT, "cell:wide/a2", 1, limit="provider_connections", value="2"),
                directive(DirectiveKind.LIMIT, "cell:wide/a2", 2, limit="provider_rate", value="30/m"),
                directive(DirectiveKind.LIMIT, "queue:joined/a1", 3, limit="connections", value="1"),
            ]
            world.direct(*orders)
        if second % 300 == 260:
            world.direct(*orders, directive(DirectiveKind.SUSPEND, "cell:narrow/a2", 4))
        if second % 300 == 290:
            world.direct()
        if second % 5 == 0:
            world.placing.sweep(world.clock(), 20.0)
        world.pull()
        await asyncio.sleep(1)


def most_in(times: Sequence[tuple[float, int]], span_s: float, weigh: Callable[[int], int]) -> int:
    """The largest sum in any window of `span_s`."""
    window: deque[tuple[float, int]] = deque()
    total = most = 0
    for at, size in times:
        window.append((at, weigh(size)))
        total += weigh(size)
        while at - window[0][0] >= span_s:
            total -= window.popleft()[1]
        most = max(most, total)
    return most


@pytest.mark.parametrize("seed", range(2))
def test_an_hour_of_mixed_traffic_never_exceeds_a_limit(seed: int) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        loop = cast(JumpingLoop, runner.get_loop())
        world = World(loop, seed)
        runner.run(hour(world))
        log = world.log
        assert loop.now >= HOUR_S
        for task in list(world._tasks):
            task.cancel()
    assert log.breaches == []
    assert world.delivered > 5000
    for (bound, vmta), messages in log.messages.items():
        for limit in rates(bound, VmtaName(vmta)):
            times = messages if isinstance(limit, ByteRate) else [(at, 1) for at, _ in messages]
            for span in (1.0, 10.0, 60.0, 600.0):
                # even spacing: one to begin with, and a tenth of a second's worth; of bytes, the last message whole
                ahead = max(size for _, size in times) if isinstance(limit, ByteRate) else 1
                allowed = (span + BURST_S) / limit.interval_s + ahead
                assert most_in(times, span, lambda size: size) <= allowed + 1e-6, (bound, vmta, str(limit), span)
    opened = [[(at, 1) for at in times] for (group, _), times in log.opened.items() if group in ("w1", "w2")]
    assert max(most_in(times, 60.0, lambda one: one) for times in opened) in (12, 13)
    busy = {bound for (bound, _), most in log.most_open.items() if most > 1}
    assert {"site w1", "provider wide", "site joined", "all"} <= busy


def rates(bound: str, vmta: VmtaName) -> list[Rate]:
    """The message and byte rates of one bound."""
    if bound == "all":
        limit = CONFIG.virtual_mtas[vmta].vmta_rate
        return [limit] if limit is not None else []
    kind, _, name = bound.partition(" ")
    if kind == "provider":
        limit = CONFIG.providers[ProviderName(name)].provider_rate
        return [limit] if limit is not None else []
    site = next(one for one in SITES.values() if one.group == name)
    limits = LimitTable(CONFIG).limits(site)
    return [one.value for one in (limits.rate, limits.bytes_rate) if one.value is not None]
