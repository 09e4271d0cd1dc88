"""Live traces of a running agent: both directions, nothing secret, and an end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mailagent.api.errors import InvalidRequest, NotFound
from mailagent.api.ids import HostName
from mailagent.api.trace import Side, TraceKind, TraceLine, TraceRequest
from mailagent.config.structs import FleetConfig, FleetHost, Rpc, Transport
from mailctl.fleet import Fleet
from tests.integration.rig import LATE, POOLS, Rig, rig


@asynccontextmanager
async def console(one: Rig) -> AsyncIterator[Fleet]:
    """The console's side of the agent's socket."""
    host = FleetHost(transport=Transport.LOCAL, rpc=Rpc(socket=one.agent.socket))
    async with Fleet(FleetConfig(hosts={HostName("mx1"): host}, pools={})) as fleet:
        await fleet.settled(10)
        yield fleet


async def lines(fleet: Fleet, request: TraceRequest, until: str) -> list[TraceLine]:
    """What a trace says, up to a line with `until`."""
    found: list[TraceLine] = []
    stream = fleet.trace("mx1", request)
    try:
        async with asyncio.timeout(30):
            async for batch in stream:
                found += batch.lines
                if any(until in line.text for line in batch.lines):
                    return found
    finally:
        await stream.aclose()
    return found


async def test_a_provider_and_a_listener_are_followed_without_texts(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one, console(one) as fleet:
        listener = TraceRequest(kind=TraceKind.LISTENER, name=f"127.0.0.1:{one.port}")
        outside = TraceRequest(kind=TraceKind.PROVIDER, name="default", addresses=True)
        async with console(one) as second, asyncio.TaskGroup() as group:
            came = group.create_task(lines(fleet, listener, "queued as"), name="in")
            left = group.create_task(lines(second, outside, "text of"), name="out")
            while not (came.done() and left.done()):
                await one.accepted("anna@a.example", "bert@b.example")
    inside = "\n".join(line.text for line in came.result())
    assert "RCPT TO:<…@a.example>" in inside
    assert "anna" not in inside
    assert "text of" in inside
    assert {line.side for line in came.result()} == set(Side)
    sent = [line for line in left.result() if line.side is Side.CLIENT]
    assert any(line.text.startswith("RCPT TO:<anna@a.example>") or "bert@b.example" in line.text for line in sent)
    assert not any("Subject" in line.text for line in (*came.result(), *left.result()))
    assert all("/" in line.queue for line in left.result())
    audit = (one.agent.directory / "state" / "audit.jsonl").read_text()
    assert audit.count('"event":"looked"') == 2


async def test_what_is_not_there_is_refused_and_a_trace_ends_by_itself(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one, console(one) as fleet:

        async def begin(**fields: object) -> str:
            request = TraceRequest(**{"kind": TraceKind.VMTA, "name": "mkt-1", "seconds": 1, **fields})  # type: ignore[arg-type]
            return [batch.ended async for batch in fleet.trace("mx1", request)][-1]

        with pytest.raises(NotFound, match="mkt-1"):
            await begin(name="mkt-9")
        with pytest.raises(NotFound, match=f"127.0.0.1:{one.port}"):
            await begin(kind=TraceKind.LISTENER, name="127.0.0.1:1")
        with pytest.raises(NotFound, match="this is mx1, not mx9"):
            await begin(kind=TraceKind.HOST, name="mx9")
        with pytest.raises(InvalidRequest, match="1 to 3600"):
            await begin(seconds=0)
        assert await begin() == "its 1 s are over"
        assert await begin(kind=TraceKind.HOST, name="mx1") == "its 1 s are over"


async def test_parts_of_a_waiting_message_are_shown_and_on_record(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        await one.do("suspend", "pool:marketing", ttl_s=600)
        await one.accepted("anna@a.example")
        (row,) = await one.waiting()
        found = await one.call("parts", message_id=row.message_id, part=0)
        assert [part.kind for part in found.parts] == ["text/plain"]
        assert found.text.strip()
        with pytest.raises(NotFound, match="no part 7"):
            await one.call("parts", message_id=row.message_id, part=7)
        with pytest.raises(NotFound, match="no message"):
            await one.call("parts", message_id="nonsense")
        audit = (one.agent.directory / "state" / "audit.jsonl").read_text()
        assert audit.count('"event":"looked"') == 3
