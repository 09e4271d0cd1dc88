"""Orders on mail that moves: nothing is lost, nothing goes twice, and what is on its way is left alone."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailagent import mail_orders
from mailagent.api import mail
from mailagent.api.errors import NotFound
from mailagent.api.ids import OpId
from mailagent.api.operations import Impact, OperationResult, Result
from mailagent.api.requests import Role, Undo
from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailagent.config.structs import Retry
from mailagent.control.state import HostState
from mailagent.control.verbs import Control
from mailagent.delivery.transaction import Transaction
from mailagent.host import Principal
from mailagent.ledger import Ledger
from mailagent.mail_orders import MailOrders
from mailagent.probing import Probing
from mailagent.scheduling.ready import ReadyQueue
from mailagent.spool import held
from mailagent.spool.records import Waiting
from tests.agent.scheduling.host import LATER, OK, Host, config, running
from tests.agent.scheduling.peer import Silent

EVERYTHING = MessageFilter()
SEEDS = range(4)


ALICE = Principal(user="alice", role=Role.OPERATOR)


async def _unsigned(row: Waiting, body: bytes, pool: str) -> bytes:
    return row.added


class PastTheDot(Silent):
    """A connection whose final dot is out."""

    past_dot = True


class Desk:
    """Orders on the mail of a host; `later` moves its clock on."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.later = timedelta()
        self.control = Control(
            host.config,
            ledger=Ledger(host.spool, host.scheduler.recheck),
            effects=self,
            clock=lambda: datetime.now(UTC) + self.later,
        )
        self.orders = MailOrders(self.control, host.spool, host.scheduler, host.settler, host._removed, _unsigned)
        self.probing = Probing(
            self.control,
            host.spool,
            host.scheduler,
            config=lambda: host.config,
            router=lambda: host.scheduler._router,
            spawn=host.spawn,
        )
        self._ops = 0

    def apply(self, state: HostState) -> None:
        self.host.state = state
        self.host.scheduler.apply(self.host.config, state)
        self.orders.look()

    def unfit(self, vmta: str) -> list[str]:
        return []

    def doubts(self, vmta: str) -> list[str]:
        return []

    async def impact(self, target: Target | None, filter: MessageFilter | None) -> Impact:
        return Impact()

    async def do(self, verb: str, filter: MessageFilter = EVERYTHING, **fields: Any) -> OperationResult:
        self._ops += 1
        kind = {"hold": mail.Hold, "release": mail.Release, "delete": mail.Delete}[verb]
        return await self.orders.verbs[verb](kind(op_id=OpId(f"op{self._ops}"), filter=filter, **fields), ALICE)

    async def probe(self, path: str) -> None:
        self._ops += 1
        target = Target(kind=TargetKind.QUEUE, name=path)
        with suppress(NotFound):  # nothing waits there
            await self.probing.probe(mail.Probe(op_id=OpId(f"op{self._ops}"), target=target), ALICE)

    async def undo(self, result: OperationResult) -> OperationResult:
        self._ops += 1
        return await self.control.undo(Undo(op_id=OpId(f"op{self._ops}"), undoes=result.op_id), ALICE)

    async def idle(self) -> None:
        """Until no order is left, and nothing is held."""
        async with asyncio.timeout(30):
            while self.control.state.directives or await self._stands():
                self.host.check()
                await asyncio.sleep(0.005)

    async def _stands(self) -> bool:
        orders = await self.host.spool.on_held(held.orders)
        counts = await self.host.spool.on_held(held.counts)
        return bool(orders or counts)


@asynccontextmanager
async def desk(tmp_path: Path, **sections: Any) -> AsyncIterator[Desk]:
    async with running(tmp_path, config(**sections)) as host:
        one = Desk(host)
        await one.control.load()
        task = asyncio.create_task(one.orders.run(), name="orders")
        try:
            yield one
        finally:
            assert not task.done(), task
            task.cancel()


async def test_what_stands_in_line_is_taken_and_what_is_on_a_connection_is_left_alone(tmp_path: Path) -> None:
    async with desk(tmp_path, window=200, ready=50) as one:
        host = one.host
        door = asyncio.Event()
        connect = host.connecting

        async def slowly(queue: ReadyQueue) -> None:
            await door.wait()
            await connect(queue)

        host.connecting = slowly
        for n in range(20):
            host.submit(f"r{n}@d.x.example")
        await host.until(lambda: not host.pending and sum(len(q.items) for q in host.scheduler.ready.values()) == 20)
        queue = next(queue for queue in host.scheduler.ready.values() if queue.items)
        under_way = queue.items.pop()
        queue.busy[PastTheDot()] = under_way  # as if a connection had it
        taken = await one.do("hold")
        assert taken.impact.messages == 19
        assert taken.warnings == ("1 more are on their way now and are left alone",)
        assert taken.detail.endswith("; 1 were on their way and were left alone")
        assert one.orders.progress(taken.directives[0]) == mail.MailProgress(held=19, in_flight=1, settled=True)
        assert sum(len(queue.items) for queue in host.scheduler.ready.values()) == 0
        queue.busy.clear()
        queue.push(under_way)
        door.set()
        host.submit("new@d.x.example")
        await host.until(lambda: host.delivered.total() == 2)  # the new one, and the one under way
        await one.undo(taken)
        await one.idle()
        await host.rest()
        assert set(host.delivered.values()) == {1}
        assert host.delivered.total() == 21


@pytest.mark.parametrize("seed", SEEDS)
async def test_orders_in_any_order_lose_nothing_and_send_nothing_twice(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_orders, "STEP_ROWS", 3)
    monkeypatch.setattr(mail_orders, "GIVEN_UP_ROWS", 2)
    monkeypatch.setattr(mail_orders, "EACH_MS", 0)
    rng = random.Random(seed)
    async with desk(tmp_path, window=20, ready=3, retry=Retry(waits=(timedelta(milliseconds=5),), jitter=0.5)) as one:
        host = one.host

        def answer(queue: ReadyQueue, transaction: Transaction) -> SmtpReply:
            return OK if rng.random() < 0.2 else LATER

        host.answer = answer
        sent: list[str] = []
        done: list[OperationResult] = []
        for step in range(30):
            for n in range(rng.randrange(4)):
                recipients = [f"r{step}-{n}-{m}@{rng.choice('abc')}.x.example" for m in range(rng.randrange(1, 4))]
                sent += recipients
                host.submit(*recipients)
            which = MessageFilter(domain=f"{rng.choice('abc')}.x.example") if rng.random() < 0.7 else EVERYTHING
            verb = rng.choice(["hold", "hold", "release", "undo", "delete", "probe", "probe", "nothing"])
            if verb == "undo" and done:
                await one.undo(done.pop(rng.randrange(len(done))))
            elif verb == "probe":
                await one.probe(f"x.example:25/{rng.choice(['a1', 'a2'])}")
            elif verb in ("hold", "release", "delete"):
                result = await one.do(verb, which)
                if result.result is Result.APPLIED:
                    done.append(result)
            for _ in range(rng.randrange(20)):
                host.check()
                await asyncio.sleep(0)
        host.answer = lambda queue, transaction: OK
        one.later = timedelta(hours=1)  # every hold and every grace is over
        await one.control.expire(datetime.now(UTC) + one.later)
        await one.idle()
        await host.rest()
        deleted = [recipient for recipient in sent if recipient not in host.delivered]
        assert set(host.delivered) <= set(sent)
        assert max(host.delivered.values()) == 1
        assert not deleted or any("deleted" in result.detail for result in done)
