"""A Postfix queue on paper: what is in it, what postsuper does to it, and what may go wrong while it does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from mailagent.api import mail, requests
from mailagent.api.ids import OpId
from mailagent.api.operations import Impact, OperationRecord, OperationResult
from mailagent.api.requests import Role, Undo
from mailagent.api.targets import MessageFilter, Target
from mailagent.control.state import HostState
from mailagent.control.verbs import Control
from mailagent.host import Principal
from mailagent.ledger import Ledger
from mailagent.postfix.acts import Act, Done
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.listing import Entry
from mailagent.postfix.orders import QueueOrders
from mailagent.spool import held
from mailagent.spool.frozen import Known
from mailagent.spool.ids import recipient_id
from mailagent.spool.records import MailOrder
from mailagent.spool.store import Spool
from tests.agent.scheduling.host import config
from tests.agent.spool.mail import accept, message

EVERYTHING = MessageFilter()
ALICE = Principal(user="alice", role=Role.OPERATOR)
DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxy"
KINDS: dict[str, type[mail.MailVerb]] = {
    "hold": mail.Hold,
    "release": mail.Release,
    "bounce": mail.Bounce,
    "delete": mail.Delete,
    "requeue": mail.Requeue,
}


def queue_id(n: int) -> str:
    """The `n`-th long queue id."""
    return f"4jXnt{DIGITS[n // 2500 % 50]}{DIGITS[n // 50 % 50]}{DIGITS[n % 50]}00zJM"


@dataclass
class PaperQueue:
    """Entries by queue id, and every act that was done, with the sender of the message that it hit."""

    entries: dict[str, Entry] = field(default_factory=dict)
    numbers: dict[int, Known] = field(default_factory=dict)
    acts: list[tuple[Act, str, str]] = field(default_factory=list)
    long_ids: bool = True
    config_dir: str = "/etc/postfix"
    stirs: Callable[[], None] = lambda: None
    """Called before a listing."""
    before: Callable[[Act, Sequence[str]], None] = lambda _, __: None
    """Called before postsuper: what others do meanwhile."""
    trouble: str = ""
    """postsuper does the first half, and fails so."""
    unlisted: str = ""
    listings: int = 0

    async def has_long_ids(self) -> bool:
        return self.long_ids

    async def inward(self, filter: MessageFilter) -> MessageFilter:
        return filter

    async def known(self, messages: Sequence[int]) -> Mapping[int, Known]:
        return {one: self.numbers[one] for one in messages if one in self.numbers}

    async def live(self, names: Collection[str]) -> Mapping[str, Entry]:
        self.listings += 1
        self.stirs()
        await asyncio.sleep(0)
        if self.unlisted:
            raise PostfixError(self.unlisted)
        return {name: self.entries[name] for name in names if name in self.entries}

    def look(self) -> None:
        pass

    def folder(self, name: str) -> str:
        """Where a message is; empty: not in the queue."""
        return self.entries[name].queue_name if name in self.entries else ""

    def put(self, name: str, folder: str) -> None:
        """Move it."""
        self.entries[name] = _moved(self.entries[name], folder)

    async def act(self, act: Act, ids: Sequence[str]) -> Done:
        self.before(act, ids)
        await asyncio.sleep(0)
        wanted = list(ids)[: len(ids) // 2] if self.trouble else list(ids)
        return Done(frozenset(name for name in wanted if self._does(act, name)), self.trouble)

    def _does(self, act: Act, name: str) -> bool:
        entry = self.entries.get(name)
        if entry is None:
            return act is Act.FLUSH
        on_hold = entry.queue_name == "hold"
        if (act is Act.HOLD and on_hold) or (act is Act.RELEASE and not on_hold):
            return False
        self.acts.append((act, name, entry.sender))
        match act:
            case Act.HOLD:
                self.put(name, "hold")
            case Act.RELEASE:
                self.put(name, "deferred")
            case Act.DELETE | Act.EXPIRE | Act.REQUEUE:
                del self.entries[name]
        return True

    def did(self, act: Act) -> list[str]:
        """The ids that `act` was done to, in order."""
        return [name for done, name, _ in self.acts if done is act]


def _moved(entry: Entry, folder: str) -> Entry:
    return msgspec.structs.replace(entry, queue_name=folder)


@dataclass
class Desk:
    """Orders on a paper queue; `later` moves the clock on."""

    spool: Spool
    queue: PaperQueue
    later: timedelta = timedelta()
    ops: int = 0

    def __post_init__(self) -> None:
        self.control = Control(
            config(),
            ledger=Ledger(self.spool, lambda: None),
            effects=self,
            clock=lambda: datetime.now(UTC) + self.later,
        )
        self.orders = QueueOrders(self.control, self.spool, self.queue, self.queue)

    def apply(self, state: HostState) -> None:
        self.orders.look()

    def unfit(self, vmta: str) -> list[str]:
        return []

    def doubts(self, vmta: str) -> list[str]:
        return []

    async def impact(self, target: Target | None, filter: MessageFilter | None) -> Impact:
        return Impact()

    async def mail(self, *addresses: str, name: str = "", folder: str = "deferred", **fields: Any) -> str:
        """A message in the queue and in its mirror: its queue id."""
        new = message(self.spool, *addresses, **fields)
        await accept(self.spool, new)
        name = name or queue_id(len(self.queue.numbers))
        sender = new.sender.decode()
        known = Known(name, new.received_at // 1000, new.sender, new.size)
        self.queue.numbers[new.id] = known
        self.queue.entries[name] = Entry(
            queue_name=folder, queue_id=name, arrival_time=known.arrived_at, message_size=new.size, sender=sender
        )
        if folder == "hold":
            ids = [recipient_id(new.id, n) for n in range(len(new.recipients))]
            order = MailOrder(id="postfix", settled=True)
            await self.spool.change_held(partial(held.take, order=order, recipients=ids))
            await self.spool.change_held(partial(held.forget, order="postfix"))
        return name

    async def do(self, verb: str, filter: MessageFilter = EVERYTHING, **fields: Any) -> OperationResult:
        self.ops += 1
        op_id = fields.pop("op_id", OpId(f"op{self.ops}"))
        if verb == "retry":
            retry = requests.Retry(op_id=op_id, filter=filter, **fields)
            return await self.orders.verbs[verb](retry, ALICE)
        return await self.orders.verbs[verb](KINDS[verb](op_id=op_id, filter=filter, **fields), ALICE)

    async def undo(self, result: OperationResult) -> OperationResult:
        self.ops += 1
        return await self.control.undo(Undo(op_id=OpId(f"op{self.ops}"), undoes=result.op_id), ALICE)

    async def grace_over(self) -> None:
        self.later += timedelta(minutes=6)
        await self.control.expire(datetime.now(UTC) + self.later)

    async def idle(self) -> None:
        """Until no order is left."""
        await self.until(lambda: not self.control.state.directives and not self.orders._orders)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                self.orders.look()
                await asyncio.sleep(0.002)

    async def records(self) -> list[OperationRecord]:
        return list((await self.spool.operations("", 100)).rows)


@asynccontextmanager
async def desk(tmp_path: Path, queue: PaperQueue | None = None) -> AsyncIterator[Desk]:
    """A desk whose orders are carried out."""
    spool = await Spool.open(tmp_path / "state")
    one = Desk(spool, queue or PaperQueue())
    await one.control.load()
    task = asyncio.create_task(one.orders.run(), name="orders")
    try:
        yield one
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await spool.close(clean=True)
