"""One agent between a client and a receiver, with a name server, and a caller at its socket."""

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import apsw

from mailagent.api.methods import METHODS
from mailagent.api.operations import OperationResult
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailagent.api.views import MessageDetail, MessageSummary, Snapshot
from tests.agent.dns.responder import Responder, responding
from tests.integration.client import hand_in
from tests.integration.processes import Agent, agent, free_port, until
from tests.integration.rpc import Caller
from tests.integration.sink import Sink

HEAD = """\
host: mx1
state_dir: ./state
rpc: {{socket: ./state/rpc.sock}}
intake:
  listeners: [{{address: 127.0.0.1, port: {port}{listener}}}]
  relay_from: [{relay_from}]{intake}
dns: {{servers: ["127.0.0.1:{dns}"], timeout: 1s}}
delivery: {{port: {sink}, allow_networks: [127.0.0.0/8, "::1/128"]}}
stop_grace_s: 5
"""
POOLS = """\
virtual_mtas:
  mkt-1: {address: 127.0.1.1, ehlo: m1.example.test}
  mkt-2: {address: 127.0.1.2, ehlo: m2.example.test}
  mkt-3: {address: 127.0.1.3, ehlo: m3.example.test}
  tx-1: {address: 127.0.2.1}
pools:
  marketing: {active: [mkt-1, mkt-2], standby: [mkt-3]}
  tx: {active: [tx-1]}
streams:
  marketing: {pool: marketing}
  tx: {pool: tx, priority: high, senders: ["*@tx.example"]}
default_stream: marketing
"""
MKT1, MKT2, MKT3, TX1 = "127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.2.1"
MARKETING = {MKT1, MKT2, MKT3}
SOON = "retry: {waits: [1s], greylist: [1s], dns: [1s], jitter: 0}\n"
LATE = "retry: {waits: [1h], greylist: [1h], dns: [1h], jitter: 0}\n"


class Rig:
    """All domains `*.example` exist and have their own MX on loopback, unless the test says otherwise."""

    def __init__(self, agent: Agent, sink: Sink, dns: Responder, head: str) -> None:
        self.agent = agent
        self.sink = sink
        self.dns = dns
        self.port = agent.port
        self._head = head
        self._caller: Caller | None = None
        self._ops = itertools.count(1)

    # -- the agent

    def configure(self, text: str) -> None:
        """Put other sections into the agent's file, for a reload or a restart."""
        self.agent.config.write_text(self._head + text, encoding="utf-8")

    async def start(self) -> None:
        """Start the agent again."""
        await asyncio.to_thread(self.agent.start)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop the agent: its exit code."""
        await self.hang_up()
        return await asyncio.to_thread(self.agent.stop, how)

    async def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop and start it."""
        await self.stop(how)
        await self.start()

    def expire_orders(self, kind: str = "") -> None:
        """Let the time of each live order, or of those of one kind, be over (the agent is stopped)."""
        db = apsw.Connection(str(self.agent.directory / "state" / "spool.db"))
        with db:
            db.execute(
                "UPDATE directive SET data = CAST(json_set(CAST(data AS TEXT), '$.expires_at', '2020-01-01T00:00:00Z')"
                " AS BLOB) WHERE state = 'live' AND ?1 IN ('', json_extract(CAST(data AS TEXT), '$.kind'))",
                (kind,),
            )
        db.close()

    # -- its socket

    async def call(self, method: str, **fields: Any) -> Any:
        """Call a method with the fields of its request."""
        if self._caller is None:
            self._caller = await Caller.connect(self.agent.socket)
        return await self._caller.call(method, METHODS[method].params(**fields))

    async def do(self, verb: str, target: str = "", **fields: Any) -> OperationResult:
        """Execute a verb, on `pool:marketing` and the like."""
        if target:
            kind, _, name = target.partition(":")
            fields["target"] = Target(kind=TargetKind(kind), name=name)
        fields.setdefault("op_id", f"op-{next(self._ops)}")
        fields.setdefault("reason", "test")
        result: OperationResult = await self.call(verb, **fields)
        return result

    async def snapshot(self) -> Snapshot:
        """The host as it is."""
        found: Snapshot = await self.call("snapshot")
        return found

    async def waiting(self, **narrow: Any) -> tuple[MessageSummary, ...]:
        """Waiting recipients, the first page."""
        page = await self.call("messages", **{"filter": MessageFilter(**narrow)})
        rows: tuple[MessageSummary, ...] = page.rows
        return rows

    async def explain(self, recipient: str) -> MessageDetail:
        """Why the one message to `recipient` waits."""
        (row,) = await self.waiting(recipient=recipient)
        detail: MessageDetail = await self.call("message", message_id=row.message_id, n=row.n)
        return detail

    async def explained(self, recipient: str, condition: Callable[[MessageDetail], bool], what: str) -> MessageDetail:
        """The same, once it satisfies `condition`."""
        seen: list[MessageDetail] = []

        async def check() -> bool:
            seen.append(await self.explain(recipient))
            return condition(seen[-1])

        await until(check, what)
        return seen[-1]

    async def hang_up(self) -> None:
        """Close the connection to the agent's socket."""
        if self._caller is not None:
            caller, self._caller = self._caller, None
            await caller.close()

    # -- mail

    async def send(self, *recipients: str, **how: str) -> str:
        """Hand in one message (see `hand_in`): the last reply."""
        return await hand_in(self.port, *recipients, **how)

    async def accepted(self, *recipients: str, **how: str) -> None:
        """Hand in one message for each of `recipients`."""
        for recipient in recipients:
            reply = await self.send(recipient, **how)
            assert reply.startswith("250"), reply

    async def delivered(self, *recipients: str, timeout_s: float = 30) -> None:
        """Wait until the receiver has mail for all of `recipients`."""
        await self.holds(
            lambda: set(recipients) <= self.sink.received.keys(), f"mail for {recipients[:5]}", timeout_s=timeout_s
        )

    async def holds(self, condition: Callable[[], bool], what: str, *, timeout_s: float = 30) -> None:
        """Wait for something that the receiver sees."""

        async def check() -> bool:
            return condition()

        await until(check, what, timeout_s=timeout_s)

    async def shows(self, condition: Callable[[Snapshot], bool], what: str, *, timeout_s: float = 30) -> Snapshot:
        """Wait for a snapshot that says so."""
        seen: list[Snapshot] = []

        async def check() -> bool:
            seen.append(await self.snapshot())
            return condition(seen[-1])

        await until(check, what, timeout_s=timeout_s)
        return seen[-1]

    async def deferred(self, count: int) -> None:
        """Wait until at least so many recipients wait after a failed attempt."""
        await until(lambda: self._deferred(count), f"{count} deferred")

    async def _deferred(self, count: int) -> bool:
        return len(await self.waiting(deferred_only=True)) >= count

    def accounting(self) -> list[dict[str, Any]]:
        """Lines of the finished accounting files."""
        files = sorted((self.agent.directory / "state" / "accounting").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


@asynccontextmanager
async def rig(
    directory: Path,
    text: str = POOLS + SOON,
    *,
    sink: Sink | None = None,
    listener: str = "",
    relay_from: str = "127.0.0.0/8",
    intake: str = "",
) -> AsyncIterator[Rig]:
    """A running rig whose agent has the sections `text` beside those that bind it to the others.

    `listener` has more keys of its listener: `, auth: local`; `intake` has another key of its intake.
    """
    port = free_port()
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(sink or Sink())
        dns = await stack.enter_async_context(responding())
        dns.fallback = _every_example
        head = HEAD.format(
            port=port,
            sink=receiver.port,
            dns=dns.port,
            listener=listener,
            relay_from=relay_from,
            intake=intake and f"\n  {intake}",
        )
        with agent(directory, head + text, port) as one:
            made = Rig(one, receiver, dns, head)
            try:
                yield made
            finally:
                await made.hang_up()


def _every_example(name: str, kind: str) -> list[str] | None:
    if not name.endswith(".example"):
        return None
    if kind == "MX":
        return [f"10 mx.{name}."]
    return ["127.0.0.1"] if kind == "A" and name.startswith("mx.") else None
