"""A control with a ledger in memory and the flow of mail beside it, both written down."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from mailagent.api import codec
from mailagent.api.directives import Directive, DirectiveState
from mailagent.api.ids import OpId
from mailagent.api.operations import Impact
from mailagent.api.replies import OperationPage
from mailagent.api.targets import MessageFilter, Target
from mailagent.config.structs import AgentConfig
from mailagent.control.state import HostState
from mailagent.control.verbs import Control
from mailagent.spool.errors import StorageFull
from mailagent.spool.records import LedgerEntry, StoredOperation
from tests.agent.control.fleet import CONFIG, T0


@dataclass
class MemoryLedger:
    """Keeps what it is told as bytes, as a disk does."""

    entries: list[LedgerEntry] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, Directive] = field(default_factory=dict)
    full: bool = False

    async def record(self, entry: LedgerEntry) -> int:
        if self.full:
            raise StorageFull("no space left on device")
        self.entries.append(entry)
        operation = entry.operation
        assert operation.record.op_id not in self.stored
        self.stored[operation.record.op_id] = codec.encode(operation)
        self.kept.update({one.id: one for one in entry.directives})
        for op_id in entry.undone:
            undone: StoredOperation = codec.decode(self.stored[op_id], StoredOperation)
            record = msgspec.structs.replace(undone.record, undone_by=operation.record.op_id)
            self.stored[op_id] = codec.encode(msgspec.structs.replace(undone, record=record))
        return 0

    async def stored_operation(self, op_id: OpId) -> StoredOperation | None:
        found = self.stored.get(op_id)
        return None if found is None else codec.decode(found, StoredOperation)

    async def operations(self, cursor: str, limit: int) -> OperationPage:
        rows = [codec.decode(one, StoredOperation).record for one in reversed(self.stored.values())]
        return OperationPage(rows=tuple(rows[:limit]))

    async def directives(self) -> list[Directive]:
        return [one for one in self.kept.values() if one.state is DirectiveState.LIVE]


@dataclass
class Flow:
    """The flow of mail: what it was told, and what it answers."""

    applied: list[HostState] = field(default_factory=list)
    unbindable: dict[str, str] = field(default_factory=dict)
    unproven: dict[str, str] = field(default_factory=dict)
    size: Impact = field(default_factory=lambda: Impact(messages=7, connections=2))
    filters: list[MessageFilter | None] = field(default_factory=list)

    def apply(self, state: HostState) -> None:
        self.applied.append(state)

    def unfit(self, vmta: str) -> list[str]:
        return [f"cannot be bound: {self.unbindable[vmta]}"] if vmta in self.unbindable else []

    def doubts(self, vmta: str) -> list[str]:
        return [f"is {self.unproven[vmta]}"] if vmta in self.unproven else []

    async def impact(self, target: Target | None, filter: MessageFilter | None) -> Impact:
        self.filters.append(filter)
        return self.size


@dataclass(frozen=True)
class User:
    user: str


ALICE, BOB = User("alice"), User("bob")


class Bench:
    """One host's control."""

    def __init__(self, config: AgentConfig = CONFIG) -> None:
        self.now = T0
        self.ledger = MemoryLedger()
        self.flow = Flow()
        self.control = Control(config, ledger=self.ledger, effects=self.flow, clock=self.clock)

    def clock(self) -> datetime:
        return self.now

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)
