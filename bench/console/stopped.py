"""What a stopped console costs an agent: memory and speed."""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.integration.processes import free_port, wait_until

from bench.console.terminal import rss_bytes
from bench.load import Load, finish, hand_in, sink
from bench.systems import Setup, running_agent

FLEET = """\
hosts:
  mx1:
    transport: local
    rpc: {{socket: {socket}}}
    virtual_mtas: {{a1: {{address: 127.0.0.1, ehlo: mx1.example.test}}}}
pools:
  default: {{active: [a1]}}
"""
CONSOLES = 5
ROUNDS = 3
"""Each way in turn so often: what else the machine does falls on all of them."""


class Consoles(StrEnum):
    """What follows the agent."""

    NONE = "none"
    READING = "reading"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Stopped:
    """The same load without consoles, beside consoles that read, and beside consoles that are stopped: medians."""

    consoles: int
    messages: int
    alone_per_s: float
    reading_per_s: float
    stopped_per_s: float
    ratio: float  # of the rate with stopped consoles to that without any, of one round
    reading_bytes: int  # growth of the agent's memory under the load
    stopped_bytes: int


def measure(messages: int) -> Stopped:
    """One agent for each, from its start."""
    ways = tuple(Consoles)
    rounds = [{way: _loaded(messages, way) for way in (*ways[n:], *ways[:n])} for n in range(ROUNDS)]

    def rate(way: Consoles) -> float:
        return statistics.median(one[way][0] for one in rounds)

    def growth(way: Consoles) -> int:
        return round(statistics.median(one[way][1] for one in rounds))

    return Stopped(
        consoles=CONSOLES,
        messages=messages,
        alone_per_s=rate(Consoles.NONE),
        reading_per_s=rate(Consoles.READING),
        stopped_per_s=rate(Consoles.STOPPED),
        ratio=statistics.median(one[Consoles.STOPPED][0] / one[Consoles.NONE][0] for one in rounds),
        reading_bytes=growth(Consoles.READING),
        stopped_bytes=growth(Consoles.STOPPED),
    )


def _loaded(messages: int, consoles: Consoles) -> tuple[float, int]:
    """(messages per second, growth of memory) of an agent that five consoles follow, or none."""
    port, sink_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        pid = stack.enter_context(running_agent(directory, port, sink_port, Setup()))
        assert pid is not None
        fleet = directory / "fleet.yaml"
        fleet.write_text(FLEET.format(socket=directory / "state/rpc.sock"))
        for number in range(0 if consoles is Consoles.NONE else CONSOLES):
            console = stack.enter_context(_recording(fleet, directory / f"{number}.jsonl"))
            if consoles is Consoles.STOPPED:
                os.kill(console.pid, signal.SIGSTOP)
        warm = Load(messages=max(1, messages // 10))
        with sink(sink_port, warm.messages) as receiver:
            hand_in(port, warm)
            finish(receiver)
        before = rss_bytes(pid)
        load = Load(messages=messages)
        with sink(sink_port, messages) as receiver:
            began = time.perf_counter()
            hand_in(port, load)
            finish(receiver)
            took_s = time.perf_counter() - began
        return messages / took_s, rss_bytes(pid) - before


@contextmanager
def _recording(fleet: Path, file: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A console without a screen that follows the agent."""
    mailctl = str(Path(sys.executable).with_name("mailctl"))
    process = subprocess.Popen([mailctl, "--fleet", str(fleet), "record", str(file)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: file.exists() and b'"kind":"snapshot"' in file.read_bytes(), "the console follows")
        yield process
    finally:
        process.kill()
        process.wait()
