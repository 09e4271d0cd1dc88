"""An agent in front of a Postfix with 100,000 deferred messages: first figures, all of them, and its memory."""

import asyncio
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.integration.processes import Agent, free_port, wait_until
from tests.integration.rpc import Caller
from tests.postfix.instances import OwnPostfix, own_postfix

from bench.idle import cpu_s
from mailagent.api.requests import PageRequest
from mailagent.postfix.queue_ids import DIGITS

MESSAGES = 100_000
DOMAINS = 100
AGENT = """\
host: mx1
engine: postfix
state_dir: ./state
rpc: {{socket: ./state/rpc.sock}}
postfix: {{instance: {instance}, poll: 5s}}
log: {{level: DEBUG}}
dns: {{servers: ["127.0.0.1:{dns}"], timeout: 1s}}
routes: [{{match: "*", to: "127.0.0.1:25"}}]
"""
PAUSE_S = 0.02


@dataclass(frozen=True)
class Seen:
    """Seconds since the agent was started; bytes."""

    messages: int
    first_s: float
    complete_s: float
    again_s: float
    rss_bytes: int


async def measure(messages: int = MESSAGES) -> Seen:
    """Fill a queue, start an agent, and ask it until it has seen everything."""
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name:
        place = Path(name)
        with own_postfix(place / "postfix") as own:
            fill(own, messages)
            text = AGENT.format(instance=own.config_dir, dns=free_port())
            one = Agent(place, text, 0)
            started = time.monotonic()
            one.start()
            try:
                return await _watch(one, messages, started)
            finally:
                one.stop()


def fill(own: OwnPostfix, messages: int) -> None:
    """Let some messages be deferred for real, then copy their queue files and what was said about them."""
    ids = []
    for n in range(DOMAINS):
        ids += own.send("news@example.test", [f"user{n}@d{n}.test"])
    own.settle("deferred", len(ids))
    wait_until(lambda: all(_path(own, "defer", one).exists() for one in ids), "reasons are on disk")
    for n in range(messages - len(ids)):
        source = ids[n % len(ids)]
        copy = f"{source[:6]}{_micros(n * 9)}z{source.rpartition('z')[2]}"
        for folder in ("deferred", "defer"):
            old, new = _path(own, folder, source), _path(own, folder, copy)
            new.parent.mkdir(exist_ok=True)
            shutil.copyfile(old, new)
            shutil.copystat(old, new)
            for path in (new, new.parent):
                shutil.chown(path, "postfix")


def _path(own: OwnPostfix, folder: str, queue_id: str) -> Path:
    """Where Postfix keeps the file of a long id: by the first hexadecimal digit of its microseconds."""
    micros = 0
    for char in queue_id[6:10]:
        micros = micros * 52 + DIGITS.index(char)
    return own.queue_dir / folder / f"{micros:05X}"[0] / queue_id


def _micros(value: int) -> str:
    text = ""
    for _ in range(4):
        value, digit = divmod(value, 52)
        text = DIGITS[digit] + text
    return text


async def _watch(one: Agent, messages: int, started: float) -> Seen:
    assert one.process is not None
    caller = await Caller.connect(one.socket, all_methods=False)
    first_s = complete_s = 0.0
    highest = 0
    while not complete_s:
        await asyncio.sleep(PAUSE_S)
        view = (await caller.call("snapshot")).host
        highest = max(highest, one.rss_bytes())
        if not first_s and view.waiting >= messages:
            first_s = time.monotonic() - started
        if not view.notice and view.waiting == view.deferred == messages:
            complete_s = time.monotonic() - started
    groups = await caller.call("deferred", PageRequest())
    assert sum(group.count for group in groups.groups) == messages
    before = cpu_s(one.process.pid)
    listings = _listings(one)
    while _listings(one) == listings:
        await asyncio.sleep(PAUSE_S)
        highest = max(highest, one.rss_bytes())
    await caller.close()
    return Seen(messages, first_s, complete_s, cpu_s(one.process.pid) - before, highest)


def _listings(one: Agent) -> int:
    """Looks at the queue so far, by the agent's log."""
    return one.log.read_text(encoding="utf-8").count("queue read ")
