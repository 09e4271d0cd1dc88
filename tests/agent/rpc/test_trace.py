"""Traces on the wire: the role, the record, the lines, and every way to an end."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailagent.api import codec
from mailagent.api.errors import RoleRefused
from mailagent.api.methods import TRACE
from mailagent.api.requests import Role
from mailagent.api.trace import Side, TraceKind, TraceLine, TraceLines, TraceRequest, TraceStarted
from tests.agent.rpc.host import Bench, Lines, serving

WANTED = TraceRequest(kind=TraceKind.PROVIDER, name="gmail")


@dataclass
class FakeStream:
    """A trace that says what it is given."""

    said: list[TraceLines] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    started: TraceStarted = field(default_factory=lambda: TraceStarted(ends_at=codec.now(), connections=2))

    def batch(self) -> TraceLines | None:
        return self.said.pop(0) if self.said else None

    def close(self) -> None:
        self.closed.set()


def streams(bench: Bench) -> list[FakeStream]:
    """The traces that were begun, filled as they begin."""
    made: list[FakeStream] = []

    async def trace(_: TraceRequest) -> object:
        made.append(FakeStream())
        return made[-1]

    bench.host.other["trace"] = trace
    return made


def lines(text: str, ended: str = "") -> TraceLines:
    line = TraceLine(at=codec.now(), session="1", queue="gmail/mkt-1", peer="p", side=Side.SERVER, text=text)
    return TraceLines(lines=(line,), ended=ended)


async def heard(talk: Lines) -> TraceLines:
    frame = await talk.frame()
    assert frame.method == TRACE
    found: TraceLines = codec.decode(frame.params, TraceLines)
    return found


async def test_lines_come_until_the_trace_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as talk:
        made = streams(bench)
        await talk.hello()
        assert (await talk.call("trace", WANTED)).connections == 2
        made[0].said += [lines("250 ok"), lines("221 bye", ended="over")]
        assert (await heard(talk)).lines[0].text == "250 ok"
        assert (await heard(talk)).ended == "over"
        made[0].said.append(lines("never heard"))
        assert (await talk.call("snapshot")).seq == 1
        assert [(one["event"], one["verb"]) for one in bench.audit()] == [("looked", "trace")]


async def test_a_trace_ends_with_its_connection_by_untrace_and_by_another(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench:
        made = streams(bench)
        async with bench.connected() as talk:
            await talk.hello()
            await talk.call("trace", WANTED)
            await talk.call("trace", WANTED)
            assert made[0].closed.is_set()
            await talk.call("untrace")
            assert made[1].closed.is_set()
            await talk.call("trace", WANTED)
            assert not made[2].closed.is_set()
        async with asyncio.timeout(10):
            await made[2].closed.wait()


async def test_a_viewer_may_not_trace_and_that_is_on_record(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as talk:
        made = streams(bench)
        await talk.hello(as_role=Role.VIEWER)
        with pytest.raises(RoleRefused, match="wants the role operator"):
            await talk.call("trace", WANTED)
        assert made == []
        assert [(one["event"], one["verb"]) for one in bench.audit()] == [("denied", "trace")]
