"""Operators, peers and crashes all at once: nothing acknowledged is lost, and every repetition is explained."""

import asyncio
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailagent.api.errors import ApiError
from mailagent.api.targets import MessageFilter
from tests.integration.client import BODY, Client
from tests.integration.rig import Rig, rig
from tests.integration.sink import CLOSE

MESSAGES = 1500
DOMAINS = 12
STREAMS = ("default", "news", "tx")
TEXT = """\
virtual_mtas:
  mkt-1: {address: 127.0.1.1}
  mkt-2: {address: 127.0.1.2}
  mkt-3: {address: 127.0.1.3}
  tx-1: {address: 127.0.2.1}
  tx-2: {address: 127.0.2.2}
pools:
  marketing: {active: [mkt-1, mkt-2], standby: [mkt-3]}
  tx: {active: [tx-1, tx-2]}
streams:
  default: {pool: marketing}
  news: {pool: marketing, priority: bulk}
  tx: {pool: tx, priority: high}
providers:
  big: {mx: [d0.example, d1.example, d2.example], provider_connections: 3}
queue: {window: 200, ready: 20, bodies_bytes: 16K}
retry: {waits: [1s], greylist: [1s], dns: [1s], jitter: 0.15}
"""
MOVED = TEXT.replace("127.0.1.2", "127.0.1.9").replace("provider_connections: 3", "provider_connections: 1")
TARGETS = (
    "pool:marketing", "pool:tx", "vmta:mkt-1", "vmta:mkt-2", "vmta:tx-1", "stream:news", "stream:tx", "provider:big",
    "queue:mx.d1.example/mkt-1", "queue:mx.d5.example/tx-2",
)  # fmt: skip


@pytest.mark.timeout(120)
async def test_nothing_is_lost_and_every_repetition_is_explained(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"{seed=}")
    chance = random.Random(seed)
    async with rig(tmp_path, TEXT) as one:
        one.sink.greet = lambda source: b"421 4.7.0 too many\r\n" if chance.random() < 0.01 else None
        one.sink.refuse = lambda mail, recipient: _at_rcpt(chance)
        one.sink.at_dot = lambda mail: _at_dot(chance)
        clients = [
            Client(one.port, _recipients(stream), body=f"X-Virtual-MTA: {stream}\r\n".encode() + BODY)
            for stream in STREAMS
        ]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.run(3), name="client")
            group.create_task(_operate(one, chance), name="operators")
        for view in (await one.snapshot()).directives:
            await one.do("cancel", op_id=f"end-{view.directive.id}", directive=view.directive.id, override=True)
        acknowledged = {recipient for client in clients for recipient in client.acknowledged}
        assert len(acknowledged) == MESSAGES
        await one.delivered(*acknowledged, timeout_s=60)
        await one.shows(lambda now: now.host.waiting == 0, "nothing waits")
        pages = (await one.call("in_doubt")).rows
        explained = {entry.recipient for entry in pages} | {one for client in clients for one in client.repeated}
        assert {recipient for recipient, count in one.sink.received.items() if count > 1} <= explained
        snapshot = await one.snapshot()
        assert (snapshot.host.window, snapshot.host.in_doubt) == (0, 0)
        assert "Traceback" not in one.agent.log.read_text(encoding="utf-8")


async def _operate(one: Rig, chance: random.Random) -> None:
    """Some forty orders, two reloads, a stop and a kill."""
    disruptions = {10: "reload", 15: "kill", 25: "reload back", 30: "stop"}
    for turn in range(40):
        await asyncio.sleep(chance.uniform(0.02, 0.1))
        match disruptions.get(turn):
            case "kill":
                await one.restart(signal.SIGKILL)
            case "stop":
                await one.restart()
            case "reload":
                one.configure(MOVED)
                await one.do("reload")
            case "reload back":
                one.configure(TEXT)
                await one.do("reload")
            case _:
                await _order(one, chance)


async def _order(one: Rig, chance: random.Random) -> None:
    """One verb of an operator, who may be refused."""
    target = chance.choice(TARGETS)
    how = {"override": True, "reason": "chaos", "ttl_s": chance.choice((1, 2, 600))}
    try:
        match chance.choice(("suspend", "resume", "drain", "undrain", "rotate", "limit", "retry", "undo")):
            case "suspend":
                await one.do("suspend", target, **how)
            case "resume":
                await one.do("resume", target)
            case "drain":
                await one.do("drain", target, **how)
            case "undrain":
                await one.do("undrain", target)
            case "rotate":
                await one.do("rotate", chance.choice(("vmta:mkt-1", "vmta:mkt-2")), **how)
            case "limit":
                await one.do("limit", "vmta:mkt-1", limit="connections", value="1", **how)
            case "retry":
                await one.do("retry", filter=MessageFilter(pool=chance.choice(("marketing", "tx"))), spread_s=1)
            case "undo":
                (*_, row) = (await one.call("operations", limit=5)).rows
                await one.do("undo", undoes=row.op_id, override=True)
    except (ApiError, ValueError):
        pass


def _recipients(stream: str) -> Iterator[str]:
    return (f"{stream}{n}@d{n % DOMAINS}.example" for n in range(MESSAGES // len(STREAMS)))


def _at_rcpt(chance: random.Random) -> bytes | None:
    return _one_of(chance, {b"450 4.2.0 Greylisted\r\n": 0.04, b"451 4.3.0 no\r\n": 0.04, b"421 4.7.0 no\r\n": 0.02})


def _at_dot(chance: random.Random) -> bytes | None:
    return _one_of(chance, {CLOSE: 0.01, b"421 4.7.0 no\r\n": 0.01, b"452 4.3.1 full\r\n": 0.02})


def _one_of(chance: random.Random, answers: dict[bytes, float]) -> bytes | None:
    left = chance.random()
    for answer, share in answers.items():
        if left < share:
            return answer
        left -= share
    return None
