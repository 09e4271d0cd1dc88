"""A scheduler with its real spool, acceptor and settler, and peers whose answers a test decides."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from mailagent.accepting import Acceptor
from mailagent.api.directives import Directive
from mailagent.api.ids import HostName, PoolName, StreamName, VmtaName
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.config.structs import (
    AgentConfig,
    Endpoint,
    Pool,
    Priority,
    QueueLimits,
    Retry,
    Route,
    Stream,
    VirtualMta,
)
from mailagent.control.state import HostState
from mailagent.delivery.transaction import Transaction
from mailagent.dkim import KeyRing, Signing
from mailagent.dns import Resolver
from mailagent.intake.guard import Guard
from mailagent.intake.pressure import Pressure
from mailagent.intake.submission import Submission
from mailagent.outcome.classification import Classifier, load_rules
from mailagent.routing import LimitTable, Router
from mailagent.scheduling.ready import ReadyQueue
from mailagent.scheduling.scheduler import Scheduler
from mailagent.settlement import Settler
from mailagent.spool.store import Spool
from mailagent.telemetry.counters import Counters
from tests.agent.scheduling.peer import Silent

DEADLINE_S = 30.0
OK = SmtpReply(code=250, enhanced="2.0.0", text="ok", verb=Verb.DOT)
LATER = SmtpReply(code=451, enhanced="4.3.0", text="later", verb=Verb.DOT)
NEVER = SmtpReply(code=550, enhanced="5.1.1", text="unknown user", verb=Verb.RCPT)
LOST = SmtpReply(code=0, enhanced="4.4.2", text="connection lost", verb=Verb.DOT, local=True)

A1, A2, B1 = VmtaName("a1"), VmtaName("a2"), VmtaName("b1")
SOON = Retry(waits=(timedelta(milliseconds=5),), jitter=0.5)

SITES = tuple(Route(match=f"*.{site}.example", to=Endpoint(host=f"{site}.example", port=25)) for site in "xyz")


def config(*, window: int = 30, ready: int = 4, **sections: Any) -> AgentConfig:
    """Two pools, a stream of each priority in the first; every domain `*.x.example` goes to a site `x`."""
    return AgentConfig(
        host=HostName("mx1"),
        virtual_mtas={A1: VirtualMta(), A2: VirtualMta(weight=2), B1: VirtualMta()},
        pools={PoolName("a"): Pool(active=(A1, A2)), PoolName("b"): Pool(active=(B1,))},
        streams={
            StreamName("high"): Stream(pool=PoolName("a"), priority=Priority.HIGH),
            StreamName("normal"): Stream(pool=PoolName("a")),
            StreamName("bulk"): Stream(pool=PoolName("a"), priority=Priority.BULK),
            StreamName("other"): Stream(pool=PoolName("b")),
        },
        routes=sections.pop("routes", SITES),
        retry=sections.pop("retry", SOON),
        queue=QueueLimits(window=window, ready=ready, bodies_bytes=200),
        **sections,
    )


class Peer(Silent):
    """One connection to a peer that answers as `answer` says: a reply, None to cut the line before the final dot, or
    "doubt" to cut it after."""

    def __init__(self, queue: ReadyQueue, host: "Host") -> None:
        self._queue = queue
        self._host = host
        self._transaction: Transaction | None = None
        self._planned: SmtpReply | str | None = None  # its answer, while the final dot is not out
        self._quitting = False
        self._over = False
        self._aborted = False
        self.past_dot = False
        self.sent = self.recipients = 0
        self.source = self.mx = self.remote = self.session_id = self.extensions = "peer"

    @property
    def busy(self) -> bool:
        return self._transaction is not None

    def send(self, transaction: Transaction) -> None:
        assert self._transaction is None
        self._transaction = transaction
        self._host.soon(self._take)

    @property
    def at_dot(self) -> bool:
        return self._planned is not None and not (self._over or self._aborted or self.past_dot)

    def _take(self) -> None:
        if self._over or self._aborted or self._transaction is None:
            return
        self._planned = self._host.answer(self._queue, self._transaction)
        if self._planned is None:
            self._close(LOST)
            return
        self._queue.before_dot(self, self._transaction, range(len(self._transaction.recipients)))

    def end(self) -> None:
        answer = self._planned
        if answer is None or not self.at_dot:
            return
        assert self._transaction is not None
        self._planned = None
        self.past_dot = True
        self._host.saw_dot(self._queue, self._transaction)
        self._host.soon(lambda: self._answer(answer))

    def _answer(self, answer: SmtpReply | str) -> None:
        if self._over or self._aborted or self._transaction is None:
            return
        if isinstance(answer, str):
            self._close(LOST)
            return
        transaction, self._transaction = self._transaction, None
        self.past_dot = False
        self.sent += 1
        self.recipients += len(transaction.recipients)
        if answer.is_success:
            self._host.delivered.update(recipient.decode() for recipient in transaction.recipients)
        self._queue.settled(self, transaction, [answer] * len(transaction.recipients), 0.0)
        if self._quitting:
            self._close(OK)
        else:
            self._queue.ready(self)

    def quit(self) -> None:
        self._quitting = True
        if self._transaction is None:
            self._host.soon(lambda: self._close(OK))

    def abort(self, why: str = "cut") -> None:
        self._aborted = True
        self._host.soon(lambda: self._close(LOST))

    def _close(self, reply: SmtpReply) -> None:
        if not self._over:
            self._over = True
            transaction, self._transaction = self._transaction, None
            in_doubt, self.past_dot = self.past_dot, False
            self._queue.closed(self, reply, transaction, in_doubt)


class Settling:
    """The settler; a test may put a method of its own before one of its, which compiled code does not allow."""

    def __init__(self, settler: Settler) -> None:
        self._settler = settler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._settler, name)


class Host:
    """What the engine is for the scheduler."""

    def __init__(self, config: AgentConfig, spool: Spool) -> None:
        self.config = config
        self.spool = spool
        self.state = HostState(config, ())
        self.delivered: Counter[str] = Counter()
        self.dots: list[tuple[ReadyQueue, Transaction]] = []
        self.answer: Callable[[ReadyQueue, Transaction], SmtpReply | str | None] = lambda queue, transaction: OK
        self.connecting: Callable[[ReadyQueue], Coroutine[Any, Any, None]] = self.connect
        self.accepted = 0
        self.pending = 0
        self.tasks: set[asyncio.Task[None]] = set()
        table = LimitTable(config)
        counters = Counters()
        self.settler = Settler(config, spool.tag, counters, lambda *_: None, Classifier(load_rules()))
        self.settling: Any = Settling(self.settler)
        self.scheduler = Scheduler(
            config,
            spool=spool,
            router=Router(config, Resolver(config.dns)),
            policy=self.state,
            attempts=self.settling,
            limits=table.limits,
            connect=lambda queue: self.connecting(queue),
            spawn=self.spawn,
            removed=self._removed,
        )
        signing = Signing(config.dkim, KeyRing({}), config.state_dir)
        self.acceptor = Acceptor(
            config,
            spool,
            self.scheduler,
            counters,
            signing,
            Pressure(config.queue, free=lambda: spool.free, rss_bytes=lambda: 0),
            Guard(config, signs=signing.signs, resolver=Resolver(config.dns), spawn=self.spawn),
        )
        self.waiting = 0

    def soon(self, step: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(step)

    def saw_dot(self, queue: ReadyQueue, transaction: Transaction) -> None:
        self.dots.append((queue, transaction))

    async def connect(self, queue: ReadyQueue) -> None:
        await asyncio.sleep(0)
        queue.ready(Peer(queue, self))

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # those of connections are part of the tests; that of the scheduler is raised at the end

    def _removed(self, count: int) -> None:
        self.waiting -= count

    def submit(self, *recipients: str, stream: str = "normal", job: str = "") -> None:
        """Hand in a message; `pending` counts those that are not answered yet."""
        self.pending += 1
        self.waiting += len(recipients)
        submission = Submission(
            sender=b"",
            recipients=tuple(recipient.encode() for recipient in recipients),
            body=b"Subject: x\r\n\r\nx\r\n",
            plain=True,
            eightbit=False,
            headers={},
            job=job,
            virtual_mta=stream,
            client="127.0.0.1",
            helo="c",
            hops=0,
        )
        self.acceptor.submit(submission, self.state, self._answered)

    def _answered(self, reply: SmtpReply) -> None:
        assert reply.code == 250, reply
        self.pending -= 1

    def direct(self, *directives: Directive) -> None:
        """These directives are in effect, and no others."""
        self.state = HostState(self.config, directives)
        self.scheduler.apply(self.config, self.state)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until `condition` holds; the books are right all the time."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.check()
                await asyncio.sleep(0.001)

    def check(self) -> None:
        """What always holds of the books (see `mailagent.scheduling.books`)."""
        books, window = self.scheduler._books, self.scheduler.window
        counted = sum(hot.count for hot in books.hots.values())
        assert (window.used, window.used) == (len(books.inside), counted)
        assert window.used == sum(window.used_by.values())
        assert min(window.used_by.values()) >= 0
        for hot in books.hots.values():
            assert hot.count >= 0
            assert hot.count or hot.lane is not None or hot.loading
        for queue in self.scheduler.ready.values():
            assert all(gate.used >= 0 for gate in queue.gates)
            assert len(queue.items) == len(list(queue.items))

    async def rest(self) -> None:
        """Everything is delivered and nothing is left behind anywhere."""
        await self.until(lambda: self.waiting == 0 and not self.pending and not self.scheduler._books.hots)
        assert not self.scheduler._books.inside
        assert self.scheduler.bodies.used == 0
        assert self.spool.open_marks == 0
        for queue in self.scheduler.ready.values():
            queue.close_connections()
        await self.until(lambda: not any(queue.connections for queue in self.scheduler.ready.values()))
        for queue in self.scheduler.ready.values():
            assert [gate.used for gate in queue.gates] == [0] * len(queue.gates)
        assert sum(total.count for total in await self.spool.waiting_totals()) == 0


@asynccontextmanager
async def running(state_dir: Path, config: AgentConfig) -> AsyncIterator[Host]:
    """A host whose scheduler runs."""
    spool = await Spool.open(state_dir)
    try:
        host = Host(config, spool)
        run = host.spawn(host.scheduler.run(), "scheduler")
        try:
            yield host
        finally:
            failed = run.done()
            host.scheduler.halt()
            tasks = list(host.tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert not failed, run
    finally:
        await spool.close(clean=True)


def names(transactions: Sequence[tuple[ReadyQueue, Transaction]]) -> list[str]:
    """Recipients of final dots, in order."""
    return [address.decode() for _, transaction in transactions for address in transaction.recipients]
