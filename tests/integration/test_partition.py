"""The line breaks at each step of a verb: its effect is there once or not at all, and asking by op_id tells which."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path

import pytest

from mailagent.api import codec, replies
from mailagent.api.ids import HostName
from mailagent.api.methods import METHODS
from mailagent.api.requests import Empty, OperationRequest, PageRequest
from mailagent.config.structs import FleetConfig, FleetHost, Rpc, Transport
from mailagent.host import Act, Read
from mailagent.rpc import RpcServer
from mailagent.spool.records import LedgerEntry
from mailctl import ops
from mailctl.cli.exits import Exit, of_report
from mailctl.fleet import Fleet, watch
from mailctl.ops import LineResult, Options, Verb, execution, journal
from tests.agent.control.bench import Bench as ControlBench
from tests.agent.control.bench import MemoryLedger
from tests.agent.rpc.host import QuietHost, pool, snapshot

MX1 = HostName("mx1")


class Step(StrEnum):
    """Where the line breaks."""

    BEFORE = "before the host gets it"
    SENT = "before the host acts"
    ACTED = "before the answer"
    ANSWERING = "during the answer"


class Cut(StrEnum):
    """How it breaks."""

    CLOSED = "both ends hear of it"
    SILENT = "nothing arrives any more"


class GatedLedger(MemoryLedger):
    """Writes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.reached = asyncio.Event(), asyncio.Event()

    async def record(self, entry: LedgerEntry) -> int:
        self.reached.set()
        await self.gate.wait()
        return await super().record(entry)


class Host(QuietHost):
    """A host with the agents' own control."""

    def __init__(self) -> None:
        super().__init__(now=snapshot(pools=(pool("transactional"),)))
        self.ledger = GatedLedger()
        bench = ControlBench()
        bench.control._ledger = self.ledger
        self.control = bench.control

    @property
    def reads(self) -> Mapping[str, Read]:
        return {**super().reads, "operation": self._record, "operations": self._records}

    @property
    def verbs(self) -> Mapping[str, Act]:
        return self.control.verbs

    async def _record(self, request: OperationRequest) -> object:
        stored = await self.ledger.stored_operation(request.op_id)
        return None if stored is None else stored.record

    async def _records(self, request: PageRequest) -> replies.OperationPage:
        return await self.ledger.operations(request.cursor, request.limit)


class Line:
    """A socket before the host's. It breaks at one step of the first verb, and stays broken until it is mended."""

    def __init__(self, host: Host, socket: Path, step: Step, cut: Cut) -> None:
        self._host, self._socket, self._step, self._cut = host, socket, step, cut
        self._called: int | None = None  # id of the verb
        self._stuck = asyncio.Event()
        self.broken = asyncio.Event()
        self.asked = asyncio.Event()

    def mend(self) -> None:
        self.broken.clear()
        self._stuck.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.broken.is_set():
            writer.close()
            return
        there, back = await asyncio.open_unix_connection(str(self._socket), limit=1 << 20)
        ways = [asyncio.create_task(self._up(reader, back)), asyncio.create_task(self._down(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if self.broken.is_set() and self._cut is Cut.SILENT:
                await self._stuck.wait()
        finally:
            for way in ways:
                way.cancel()
            writer.close()
            back.close()

    async def _up(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while line := await source.readline():
            call = codec.parse_call(line)
            if call.method == "operation":
                self.asked.set()
            params = codec.decode(call.params, METHODS[call.method].params)
            is_verb = METHODS[call.method].mutates and not params.dry_run and self._called is None
            if is_verb:
                self._called = int(call.id or 0)
            if is_verb and self._step is Step.BEFORE:
                self.broken.set()
                return
            sink.write(line)
            if is_verb and self._step is Step.SENT:
                await self._host.ledger.reached.wait()
                self.broken.set()
                return

    async def _down(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while line := await source.readline():
            if self._called is not None and codec.parse_frame(line).id == self._called and not self.asked.is_set():
                self.broken.set()
                sink.write(line[: len(line) // 2] if self._step is Step.ANSWERING else b"")
                return
            sink.write(line)


@asynccontextmanager
async def through(line: Line, socket: Path) -> AsyncIterator[Fleet]:
    """A console whose only way to the host is the line."""
    config = FleetConfig(hosts={MX1: FleetHost(transport=Transport.LOCAL, rpc=Rpc(socket=socket))})
    async with await asyncio.start_unix_server(line, socket, limit=1 << 20), Fleet(config) as fleet:
        await fleet.settled(10)
        yield fleet
        line.mend()


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize("step", Step)
async def test_the_effect_is_there_once_or_not_at_all(
    step: Step, cut: Cut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EXECUTE_DEADLINE_S", "SETTLE_PAUSE_S"):
        monkeypatch.setattr(execution, name, 0.2)
    for name in ("RETRY_FIRST_S", "RETRY_MAX_S"):
        monkeypatch.setattr(watch, name, 0.02)
    host = Host()
    if step is not Step.SENT:
        host.ledger.gate.set()
    server = RpcServer(Rpc(socket=tmp_path / "a"), host, tmp_path / "audit")
    await server.start()
    try:
        line = Line(host, tmp_path / "a", step, cut)
        async with through(line, tmp_path / "b") as fleet:
            plan = await ops.plan(fleet, Verb.DRAIN, ops.parse("pool:transactional"), Options(reason="night"))
            monkeypatch.setattr(execution, "LOOK_DEADLINE_S", 0.2)
            report = await ops.execute(fleet, plan, settle_s=0.1)
            assert [one.result for one in report.lines] == [LineResult.UNKNOWN]
            assert of_report(report) is Exit.UNKNOWN
            assert report.ask_command == f"mailctl operation {plan.op_id}"

            monkeypatch.setattr(execution, "LOOK_DEADLINE_S", 5.0)
            line.asked.clear()
            line.mend()
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(ops.settle(fleet, report, within_s=20))
                await line.asked.wait()
                await fleet.ask(MX1, "snapshot", Empty())  # what was asked before has been heard
                host.ledger.gate.set()  # a slow host acts only now, and must not have said that it did not
            settled = asking.result()
            done = step is not Step.BEFORE
            assert [one.result for one in settled.lines] == [LineResult.APPLIED if done else LineResult.FAILED]
            assert settled.lines[0].detail.startswith("not done: ") is not done
            assert len(host.ledger.entries) == len(host.control.state.directives) == done
            records = (await journal.everywhere(fleet, plan.op_id))[MX1]
            assert records is not None
            assert [one.op_id for one in records] == [plan.op_id] * done

            again = await ops.execute(fleet, plan)  # the same operation: done now if it was not
            assert [one.result for one in again.lines] == [LineResult.APPLIED]
            assert len(host.ledger.entries) == len(host.control.state.directives) == 1
    finally:
        await server.stop()
