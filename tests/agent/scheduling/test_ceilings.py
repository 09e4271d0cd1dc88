"""Members that are warming: no ceiling is exceeded, what is counted was tried, and nothing gets stuck."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import PoolName
from mailagent.api.smtp import SmtpReply
from mailagent.config.structs import AgentConfig, Pool
from mailagent.config.warm_up import WarmUp
from mailagent.delivery.transaction import Transaction
from mailagent.scheduling import ready
from mailagent.scheduling.allowance import Allowance
from mailagent.scheduling.connection import Connection
from mailagent.scheduling.item import Item
from mailagent.scheduling.ready import ReadyQueue
from mailagent.spool.records import Settlement, Waiting
from mailagent.warming import Warming, warming
from tests.agent.control.fleet import directive
from tests.agent.scheduling.host import A1, A2, B1, DEADLINE_S, LATER, NEVER, OK, Host, config, running

DAY = 86_400.0
REFUSED = SmtpReply(code=0, enhanced="4.4.1", text="connection refused", local=True)
HELD = ["stream:normal", "pool:a", "vmta:a1", "vmta:a2", "queue:x.example:25/a1", "job:one"]


class World:
    """A host whose pool `a` has members that are warming, and the clock of their days."""

    def __init__(self, host: Host, config: AgentConfig) -> None:
        self.host = host
        self.wall = 20_000 * DAY
        self.faults: list[str] = []
        self.tried: Counter[Allowance] = Counter()
        self.first: Counter[Allowance] = Counter()
        self.ceilings: dict[Allowance, int] = {}
        self.warming = Warming(
            config,
            leaves=host.settler._counters.leaves,
            unfit=lambda vmta: self.faults,
            note=self._note,
            room_again=host.scheduler.room_again,
            service=lambda vmta: host.state.service(vmta),
            clock=host.scheduler.clock,
            wall=lambda: self.wall,
        )
        host.scheduler.use_ceilings(self.warming)
        self._settlements = host.settler.settlements
        host.settling.settlements = self._tried

    async def _note(self, verb: str, words: str) -> None:
        raise AssertionError("nothing is noted without `run`")

    def _tried(
        self,
        queue: ReadyQueue,
        connection: Connection | None,
        item: Item,
        replies: Sequence[SmtpReply],
        duration_s: float,
    ) -> list[Settlement]:
        if item.allowance is not None:
            self.tried[item.allowance] += len(item.recipients)
            if item.first.vmta != queue.vmta:
                self.first[item.allowance] += len(item.recipients)
        return self._settlements(queue, connection, item, replies, duration_s)

    def tick(self) -> None:
        self.warming.tick()
        for vmta in (A1, A2):
            if (allowance := self.warming.of(vmta, "route")) is not None:
                self.ceilings[allowance] = max(self.ceilings.get(allowance, 0), allowance.ceiling)

    async def rest(self) -> None:
        """Days go by until everything is delivered."""
        async with asyncio.timeout(DEADLINE_S):
            while self.host.waiting or self.host.pending or self.host.scheduler._books.hots:
                self.wall += DAY
                self.tick()
                await asyncio.sleep(0.02)
        await self.host.rest()

    def check(self) -> None:
        """Called while nothing is placed: what was counted was tried, and no more than that."""
        for allowance, ceiling in self.ceilings.items():
            assert allowance.used == self.tried[allowance]
            assert self.first[allowance] <= ceiling


def warm(*, active: bool = False, window: int = 30, ready: int = 4) -> AgentConfig:
    """Both members of pool `a` are warming, or the second one alone; a day's mail goes at once."""
    pool = Pool(active=(A1,), warming=(A2,)) if active else Pool(warming=(A1, A2))
    return msgspec.structs.replace(
        config(window=window, ready=ready),
        pools={PoolName("a"): pool, PoolName("b"): Pool(active=(B1,))},
        warm_up=WarmUp(start=12, target=40, weeks=1, spread=timedelta(seconds=1)),
    )


@asynccontextmanager
async def world(tmp_path: Path, config: AgentConfig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(warming, "ROUTE_PROVIDER", "nobody")  # sites of these tests are routes
    async with running(tmp_path, config) as host:
        yield World(host, config)


async def test_a_message_of_many_recipients_takes_no_more_than_the_ceiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, warm(window=200, ready=50), monkeypatch) as at:
        at.host.submit(*(f"r{n}@d.x.example" for n in range(60)))
        await at.host.until(lambda: len(at.host.delivered) == 24)
        at.tick()
        assert [at.warming.of(vmta, "route").used for vmta in (A1, A2)] == [12, 12]  # type: ignore[union-attr]
        await at.rest()
        assert set(at.host.delivered.values()) == {1}
        at.check()


async def test_a_message_of_many_recipients_goes_as_a_whole_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, warm(active=True, window=200, ready=50), monkeypatch) as at:
        at.host.submit(*(f"r{n}@d.x.example" for n in range(60)))
        await at.host.rest()
        assert [(queue.vmta, len(mail.recipients)) for queue, mail in at.host.dots] == [(A1, 60)]


async def test_what_an_order_takes_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = asyncio.Event()

    async def connecting(queue: ReadyQueue) -> None:
        await never.wait()

    async with world(tmp_path, warm(), monkeypatch) as at:
        at.host.connecting = connecting
        at.host.submit(*(f"r{n}@d.x.example" for n in range(5)))
        ready_queues = at.host.scheduler.ready
        await at.host.until(lambda: any(queue.items for queue in ready_queues.values()))
        (item,) = (item for queue in ready_queues.values() for item in queue.items)
        allowance = item.allowance
        assert allowance is not None
        assert allowance.used == 5
        at.host.scheduler.withdrawal.take([row.id for row in item.recipients])
        assert allowance.used == 0


async def test_who_must_not_be_mailed_any_more_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: set[bytes] = set()

    async def connecting(queue: ReadyQueue) -> None:
        gone.update((b"r0@d.x.example", b"r1@d.x.example"))
        await at.host.connect(queue)

    def suppressed(row: Waiting) -> SmtpReply | None:
        return NEVER if row.address in gone else None

    async with world(tmp_path, warm(), monkeypatch) as at:
        at.host.connecting, at.host.scheduler.suppressed = connecting, suppressed
        at.host.submit(*(f"r{n}@d.x.example" for n in range(5)))
        await at.host.rest()
        assert len(at.host.delivered) == 3
        used = [at.warming.of(vmta, "route").used for vmta in (A1, A2)]  # type: ignore[union-attr]
        assert sorted(used) == [0, 3]


async def test_what_no_connection_came_about_for_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def connecting(queue: ReadyQueue) -> None:
        nonlocal tries
        tries += 1
        queue.failed(REFUSED, bind=False)

    async with world(tmp_path, warm(), monkeypatch) as at:
        at.host.connecting = connecting
        at.host.submit("r@d.x.example")
        await at.host.until(lambda: tries > 1)
        at.host.connecting = at.host.connect
        await at.host.rest()
        used = [at.warming.of(vmta, "route").used for vmta in (A1, A2)]  # type: ignore[union-attr]
        assert sorted(used) == [0, 1]


@pytest.mark.parametrize("seed", range(8))
async def test_any_order_of_events_exceeds_no_ceiling_and_leaves_nothing_behind(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "PAUSE_S", 0.002)
    monkeypatch.setattr(ready, "BUSY_PAUSE_S", 0.002)
    monkeypatch.setattr(ready, "REST_S", 0.02)
    chance = random.Random(seed)

    def answer(queue: ReadyQueue, transaction: Transaction) -> SmtpReply | str | None:
        drawn = chance.random()
        return LATER if drawn < 0.1 else None if drawn < 0.15 else OK

    async with world(tmp_path, warm(active=seed % 2 == 0, window=60, ready=8), monkeypatch) as at:
        host = at.host
        host.answer = answer
        expected: list[str] = []
        for step in range(100):
            if chance.random() < 0.2:
                held = chance.sample(HELD, chance.randrange(3))
                host.direct(
                    *(directive(DirectiveKind.SUSPEND, on, n) for n, on in enumerate(held)),
                    *([directive(DirectiveKind.LIMIT, "job:two", limit="rate", value="300/s")] * chance.randrange(2)),
                )
            for n in range(chance.randrange(4)):
                recipients = [
                    f"r{step}-{n}-{m}@d{chance.randrange(3)}.{chance.choice('xyz')}.example"
                    for m in range(chance.choice((1, 1, 3, 30)))
                ]
                expected += recipients
                host.submit(
                    *recipients, stream=chance.choice(("high", "normal")), job=chance.choice(("", "one", "two"))
                )
            at.faults = ["listed"] if chance.random() < 0.2 else []
            at.wall += chance.choice((0, 60, DAY / 3, DAY, -DAY / 2))
            at.tick()
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.004]))
            host.check()
        at.faults = []
        host.direct()
        await at.rest()
        assert host.delivered.keys() == set(expected)
        assert all(count == 1 for count in host.delivered.values())
        at.check()
