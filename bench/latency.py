"""A transactional message among bulk: from its 250 at intake to its 250 at the receiver.

200,000 bulk messages wait when the agent starts and leave at full rate to the same receiver; meanwhile transactional
messages are handed in one by one. Both times are of the machine's one monotonic clock.
"""

import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.integration.client import Session
from tests.integration.preload import preload
from tests.integration.processes import agent, free_port

from bench.load import sink

WAITING = 200_000
LETTERS = 500
PAUSE_S = 0.02
GOAL_S = 0.250

CONFIG = """\
host: mx1
state_dir: ./state
rpc: {{socket: ./state/rpc.sock}}
intake:
  listeners: [{{address: 127.0.0.1, port: {port}}}]
  relay_from: [127.0.0.0/8]
virtual_mtas:
  t1: {{address: 127.0.0.2, ehlo: t1.example.test}}
  b1: {{address: 127.0.0.3, ehlo: b1.example.test}}
pools:
  transactional: {{active: [t1]}}
  marketing: {{active: [b1]}}
streams:
  receipts: {{pool: transactional, priority: high, senders: ["*@tx.example"]}}
  news: {{pool: marketing, priority: bulk}}
default_stream: news
routes:
  - {{match: "*", to: "127.0.0.1:{sink}"}}
"""
BODY = "Subject: Your code\r\n\r\n" + "123456 \r\n" * 200


@dataclass(frozen=True)
class Latency:
    """Seconds from 250 to 250, and what bulk did meanwhile."""

    p50_s: float
    p99_s: float
    max_s: float
    bulk_per_s: float
    waiting_at_end: int


async def measure(waiting: int = WAITING, letters: int = LETTERS) -> Latency:
    """Hand in `letters` while bulk leaves; bulk must outlast them."""
    port, sink_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name:
        directory, log = Path(name), Path(name) / "times"
        addresses = (f"r{n}@bulk{n % 1000}.example" for n in range(waiting))
        await preload(directory / "state", addresses, pool="marketing", stream="news", priority="bulk")
        with (
            sink(sink_port, None, "--log", str(log)),
            agent(directory, CONFIG.format(port=port, sink=sink_port), port),
        ):
            accepted = await _hand_in(port, letters)
            await _until_logged(log, accepted)
        answered: dict[str, float] = {}
        bulk = []
        for line in log.read_text(encoding="utf-8").splitlines():
            recipient, at = line.split()
            if recipient in accepted:
                answered[recipient] = float(at)
            else:
                bulk.append(float(at))
        waits = sorted(answered[recipient] - at for recipient, at in accepted.items())
        during = [at for at in bulk if min(accepted.values()) <= at <= max(answered.values())]
        return Latency(
            p50_s=statistics.median(waits),
            p99_s=waits[int(len(waits) * 0.99)],
            max_s=waits[-1],
            bulk_per_s=len(during) / (max(answered.values()) - min(accepted.values())),
            waiting_at_end=waiting - len(bulk),
        )


async def _hand_in(port: int, letters: int) -> dict[str, float]:
    """When each transactional message was accepted, by recipient."""
    accepted: dict[str, float] = {}
    session, _ = await Session.open(port)
    await session.say("EHLO app.example")
    for n in count():
        recipient = f"tx{n}@person.example"
        for line in ("MAIL FROM:<code@tx.example>", f"RCPT TO:<{recipient}>", "DATA", f"{BODY}."):
            reply = await session.say(line)
        assert reply.startswith("250"), reply
        accepted[recipient] = time.monotonic()
        if len(accepted) == letters:
            await session.close()
            return accepted
        await asyncio.sleep(PAUSE_S)
    raise AssertionError


async def _until_logged(log: Path, accepted: dict[str, float]) -> None:
    """The receiver's log is buffered: wait until all of `accepted` are in it, whole."""
    async with asyncio.timeout(120):
        while True:
            text = await asyncio.to_thread(log.read_text, encoding="utf-8")
            lines = text.splitlines(keepends=True)
            if accepted.keys() <= {line.split()[0] for line in lines if line.endswith("\n")}:
                return
            await asyncio.sleep(0.5)
