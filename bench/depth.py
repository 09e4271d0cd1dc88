"""A million messages wait: memory, restart, questions, and rates beside those of an empty queue."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.integration.processes import Agent, agent, free_port
from tests.integration.rpc import Caller

from bench.load import Load, hand_in, sink
from bench.systems import AGENT
from mailagent.api.outcome import Attempt
from mailagent.api.requests import PageRequest
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.api.targets import MessageFilter
from mailagent.spool.ids import now_ms, recipient_id
from mailagent.spool.records import NewMessage, NewRecipient, QueueName, Settlement
from mailagent.spool.store import Spool

WAITING = 1_000_000
BODY = b"Subject: news\r\n\r\n" + b"0123456789012345678901234567890123456789\r\n" * 47  # 2 KB
DOMAINS = 20_000
DUE_NOW = 1_000
RUNS = 3
PAGES = (("first page", MessageFilter(), 1), ("20th page", MessageFilter(), 20),
         ("first page of one provider", MessageFilter(provider="gmail"), 1),
         ("first page of one domain", MessageFilter(domain="d77.example"), 1))  # fmt: skip
PROVIDERS = ("gmail", "outlook", "yahoo", "apple", "gmx", "default")
REPLIES = (
    (421, "4.7.28", "Gmail has detected an unusual rate of mail originating from your IP address."),
    (451, "4.7.650", "The mail server has been temporarily rate limited due to IP reputation."),
    (421, "4.7.0", "[TSS04] Messages temporarily deferred due to unexpected volume or user complaints."),
    (452, "4.2.2", "The recipient's inbox is out of storage space."),
    (450, "4.2.0", "Greylisted, please come back later."),
    (451, "4.3.0", "Temporary system problem. Try again later."),
    (421, "4.3.2", "Service not available, closing transmission channel."),
)
LOAD = Load()
IN_FLIGHT = 5_000


@dataclass(frozen=True)
class Depth:
    """What was measured; seconds, bytes, messages per second."""

    waiting: int
    rss_bytes: int
    restart_s: float
    groups_s: float
    pages_s: dict[str, float]
    empty: tuple[float, float]  # intake and delivery rate with an empty queue
    deep: tuple[float, float]  # the same with the million waiting


async def fill(state_dir: Path, waiting: int, *, due_now: int) -> None:
    """`waiting` messages of 2 KB with one failed attempt each, due in hours, and `due_now` untried ones."""
    spool = await Spool.open(state_dir)
    pending = asyncio.Semaphore(IN_FLIGHT)

    def done(error: Exception | None) -> None:
        assert error is None
        pending.release()

    hour_ms = 3_600_000
    for n in range(waiting + due_now):
        await pending.acquire()
        late = n < waiting
        domain = f"d{n % DOMAINS}.example" if late else "now.example"
        name = QueueName("default", "default", "normal", domain)
        now, message = now_ms(), spool.new_message_id()
        queue = spool.queue_id(name)
        spool.accept(
            NewMessage(
                id=message, received_at=now, expires_at=now + 100 * hour_ms, sender=b"a@sender.example",
                stream="default", pool="default", job="", client="127.0.0.1", size=len(BODY), eightbit=False,
                added=b"", body=BODY, recipients=(NewRecipient(f"r{n}@{domain}".encode(), queue, False),),
                queues=(name,),
            ),
            done,
        )  # fmt: skip
        if late:
            provider = PROVIDERS[n % len(PROVIDERS)]
            code, enhanced, text = REPLIES[n % len(REPLIES)]
            attempt = Attempt(
                number=1, at=datetime.now(UTC), vmta="a1", source="127.0.0.1", site=domain, mx=f"mx.{domain}",
                remote="127.0.0.1:25", duration_s=0.1,
                reply=SmtpReply(code=code, enhanced=enhanced, text=text, verb=Verb.RCPT),
            )  # fmt: skip
            due = now + hour_ms * 2 + n % hour_ms
            row = recipient_id(message, 0)
            spool.settle([Settlement(recipient=row, queue=queue, due=due, attempt=attempt, provider=provider)])
    await spool.close(clean=True)


async def measure(waiting: int = WAITING, runs: int = RUNS) -> Depth:
    """Fill, restart, ask, and relay through the full queue and through an empty one in turns."""
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name:
        full, bare = Path(name) / "full", Path(name) / "bare"
        full.mkdir()
        bare.mkdir()
        await fill(full / "state", waiting, due_now=DUE_NOW)
        restart_s = await _restart(full)
        empty, deep = [], []
        groups_s: list[float] = []
        pages_s: dict[str, list[float]] = {}
        rss = 0
        for _ in range(runs):
            empty.append(await _rates(bare, _nothing))

            async def ask(one: Agent) -> None:
                nonlocal rss
                rss = max(rss, one.rss_bytes())
                await _ask(one, groups_s, pages_s)
                rss = max(rss, one.rss_bytes())

            deep.append(await _rates(full, ask))
        return Depth(
            waiting=waiting,
            rss_bytes=rss,
            restart_s=restart_s,
            groups_s=statistics.median(groups_s),
            pages_s={page: statistics.median(times) for page, times in pages_s.items()},
            empty=_medians(empty),
            deep=_medians(deep),
        )


async def _restart(directory: Path) -> float:
    """Seconds from the start of the process to the first message at the receiver."""
    port, sink_port = free_port(), free_port()
    text = AGENT.format(port=port, sink=sink_port, route="", more="")
    with sink(sink_port, 1) as receiver:
        one = Agent(directory, text, port)
        started = time.perf_counter()
        waiter = asyncio.create_task(asyncio.to_thread(receiver.wait, 120), name="first delivery")
        await asyncio.to_thread(one.start)
        try:
            await waiter
            return time.perf_counter() - started
        finally:
            assert one.process is not None
            one.process.kill()
            one.process.wait()


async def _rates(directory: Path, then: Callable[[Agent], Awaitable[None]]) -> tuple[float, float]:
    """Intake and delivery rate of one relay run; `then` looks at the agent afterwards."""
    port, sink_port = free_port(), free_port()
    text = AGENT.format(port=port, sink=sink_port, route="", more="")
    with sink(sink_port), agent(directory, text, port) as one:
        await _settled(one)
    with sink(sink_port, LOAD.messages) as receiver, agent(directory, text, port) as one:
        started = time.perf_counter()
        await asyncio.to_thread(hand_in, port, LOAD)
        taken_in = time.perf_counter() - started
        await asyncio.to_thread(receiver.wait, 600)
        delivered = time.perf_counter() - started
        await then(one)
        return LOAD.messages / taken_in, LOAD.messages / delivered


async def _settled(one: Agent) -> None:
    """Everything that was due at the start has left."""
    async with asyncio.timeout(120):
        caller = await Caller.connect(one.socket)
        while (await caller.call("snapshot")).host.ready:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await caller.close()


async def _nothing(_: Agent) -> None:
    pass


async def _ask(one: Agent, groups_s: list[float], pages_s: dict[str, list[float]]) -> None:
    caller = await Caller.connect(one.socket)
    started = time.perf_counter()
    groups = await caller.call("deferred", PageRequest())
    groups_s.append(time.perf_counter() - started)
    assert groups.groups
    for name, mail, number in PAGES:
        cursor = ""
        for _ in range(number):
            started = time.perf_counter()
            page = await caller.call("messages", PageRequest(filter=mail, cursor=cursor))
            took = time.perf_counter() - started
            cursor = page.cursor
        pages_s.setdefault(name, []).append(took)
    await caller.close()


def _medians(rates: list[tuple[float, float]]) -> tuple[float, float]:
    intake, delivery = zip(*rates, strict=True)
    return statistics.median(intake), statistics.median(delivery)
