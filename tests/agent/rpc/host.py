"""A host that answers without a mail flow, a server in front of it, and a client that speaks lines."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from mailagent.api import codec, replies, requests, views
from mailagent.api.automation import AutomationView
from mailagent.api.errors import GuardRefused
from mailagent.api.ids import HostName, PoolName, StreamName
from mailagent.api.methods import METHODS, PROTOCOL_VERSION
from mailagent.api.operations import OperationRecord, OperationResult, Result
from mailagent.api.requests import Role
from mailagent.config.structs import Rpc
from mailagent.host import Act, Principal, Read
from mailagent.rpc import RpcServer
from mailagent.rpc.calls import OWN
from mailagent.rpc.peer import Connected, Peer

NOBODY_IN_PARTICULAR = 54_321
"""A uid without an account."""
DEADLINE_S = 10.0


def pool(name: str, waiting: int = 0) -> views.PoolView:
    return views.PoolView(
        name=PoolName(name),
        state=views.PoolState.ACTIVE,
        reason="",
        members=(),
        active=1,
        standby=0,
        waiting=waiting,
        deferred=0,
        ready=0,
        connections=0,
        oldest_at=None,
        flow=views.Flow(),
        generation=1,
    )


def snapshot(seq: int = 1, pools: tuple[views.PoolView, ...] = (), waiting: int = 0) -> views.Snapshot:
    host = views.HostView(
        host=HostName("mx1"),
        region="eu",
        version="1",
        engine="mailagent",
        state=views.EngineState.RUNNING,
        accepting=True,
        intake_reason="",
        started_at=codec.now(),
        waiting=waiting,
        deferred=0,
        ready=0,
        window=0,
        window_limit=1,
        oldest_at=None,
        connections_in=0,
        connections_out=0,
        in_doubt=0,
        in_doubt_listed=0,
        flow=views.Flow(),
        disk_free_bytes=0,
        rss_bytes=0,
        history_bytes=0,
        generation=1,
        config_hash="",
    )
    return views.Snapshot(seq=seq, at=codec.now(), host=host, pools=pools, streams=(StreamName("news"),))


@dataclass
class QuietHost:
    """Writes down what it is asked."""

    name: str = "mx1"
    spool_id: str = "spool"
    now: views.Snapshot = field(default_factory=snapshot)
    orders: list[tuple[str, requests.Mutation, Principal]] = field(default_factory=list)
    pages: list[requests.PageRequest] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: int = 0
    headers: str = ""
    refuse: bool = False
    lacks: tuple[str, ...] = ()
    other: dict[str, Read] = field(default_factory=dict)  # answers of a test's own

    emulated: Mapping[str, str] = field(default_factory=dict)

    def snapshot(self) -> views.Snapshot:
        return self.now

    async def history(self, request: requests.HistoryRequest) -> views.Series:
        raise ZeroDivisionError("secret path /etc/shadow")

    async def queues(self, request: requests.PageRequest) -> replies.QueuePage:
        self.pages.append(request)
        return replies.QueuePage(rows=(), cursor=self.headers)

    async def deferred(self, request: requests.PageRequest) -> replies.DeferredGroups:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return replies.DeferredGroups(groups=())

    async def messages(self, request: requests.PageRequest) -> replies.MessagePage:
        raise TimeoutError

    async def message(self, request: requests.MessageRequest) -> views.MessageDetail:
        raise NotImplementedError

    async def in_doubt(self, request: requests.PageRequest) -> replies.InDoubtPage:
        return replies.InDoubtPage(rows=())

    async def operations(self, request: requests.PageRequest) -> replies.OperationPage:
        return replies.OperationPage(rows=())

    async def operation(self, request: requests.OperationRequest) -> OperationRecord | None:
        return None

    async def automation(self, request: requests.Empty) -> AutomationView:
        return AutomationView(mode="on")

    async def _order(self, verb: str, request: requests.Mutation, caller: Principal) -> OperationResult:
        if self.refuse:
            raise GuardRefused("no eligible IP would be left")
        self.orders.append((verb, request, caller))
        return OperationResult(op_id=request.op_id, result=Result.APPLIED, detail=f"{verb} done")

    async def suspend(self, request: requests.Suspend, caller: Principal) -> OperationResult:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await self._order("suspend", request, caller)

    async def _other(self, request: msgspec.Struct) -> object:
        raise NotImplementedError

    @property
    def reads(self) -> Mapping[str, Read]:
        names = [method.name for method in METHODS.values() if not method.mutates and method.name not in OWN]
        return dict.fromkeys(names, self._other) | {
            read.__name__: read
            for read in (
                self.history, self.queues, self.deferred, self.messages, self.message, self.in_doubt, self.operations,
                self.operation, self.automation,
            )
        } | self.other  # fmt: skip

    @property
    def verbs(self) -> Mapping[str, Act]:
        names = [method.name for method in METHODS.values() if method.mutates and method.name not in self.lacks]
        return {**{name: partial(self._order, name) for name in names}, "suspend": self.suspend}


def somebody(gids: set[int] | None = None, *, uid: int = NOBODY_IN_PARTICULAR, pid: int = 4242) -> Peer:
    return Peer(pid=pid, uid=uid, gids=frozenset(gids or ()))


class Lines:
    """One connection to the server under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._last = 0

    async def call(self, method: str, params: msgspec.Struct | None = None) -> Any:
        """The decoded result; errors raise."""
        self._last += 1
        self.writer.write(codec.call(method, params or requests.Empty(), self._last))
        frame = await self.frame()
        assert frame.id == self._last
        return codec.decode(frame.result, METHODS[method].result)

    async def frame(self) -> codec.Frame:
        """The next frame; errors raise."""
        async with asyncio.timeout(DEADLINE_S):
            line = await self.reader.readline()
        assert line, "the server closed the connection"
        frame = codec.parse_frame(line)
        if frame.error is not None:
            raise codec.to_exception(frame.error)
        return frame

    async def hello(self, *, protocol: int = PROTOCOL_VERSION, as_role: Role | None = None) -> replies.Hello:
        hello = await self.call("hello", requests.HelloRequest(protocol=protocol, client="test", as_role=as_role))
        assert isinstance(hello, replies.Hello)
        return hello

    async def ended(self) -> bool:
        """Whether the server closes the connection, with nothing more said."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read() == b""

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


class Bench:
    """A running server and what stands around it."""

    def __init__(self, tmp_path: Path, roles: dict[Role, tuple[str, ...]] | None = None) -> None:
        self.config = Rpc(socket=tmp_path / "run" / "rpc.sock", roles=roles or {})
        self.audit_path = tmp_path / "state" / "audit.jsonl"
        self.host = QuietHost()
        self.peer: Callable[[Connected], Peer] = lambda _: somebody(uid=os.getuid())
        self.server = RpcServer(self.config, self.host, self.audit_path, peer_of=lambda sock: self.peer(sock))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Lines]:
        lines = Lines(*await asyncio.open_unix_connection(str(self.config.socket), limit=2 * 1024 * 1024))
        try:
            yield lines
        finally:
            await lines.close()

    def audit(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.audit_path.read_bytes().splitlines()]


@asynccontextmanager
async def serving(tmp_path: Path, roles: dict[Role, tuple[str, ...]] | None = None) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, roles)
    await bench.server.start()
    try:
        yield bench
    finally:
        bench.host.gate.set()
        await bench.server.stop()
