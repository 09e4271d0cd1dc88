"""What a stopped console costs an agent: memory and speed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.processes import free_port, wait_until

from bench.console.terminal import rss_bytes
from bench.load import LONGEST_S, Load, hand_in, sink
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


@dataclass(frozen=True)
class Stopped:
    """The same load beside consoles that read, and beside consoles that are stopped."""

    consoles: int
    messages: int
    reading_per_s: float
    stopped_per_s: float
    reading_bytes: int  # growth of the agent's memory under the load
    stopped_bytes: int


def measure(messages: int) -> Stopped:
    """One agent for each, from its start."""
    reading_per_s, reading = _loaded(messages, stop=False)
    stopped_per_s, stopped = _loaded(messages, stop=True)
    return Stopped(CONSOLES, messages, reading_per_s, stopped_per_s, reading, stopped)


def _loaded(messages: int, *, stop: bool) -> tuple[float, int]:
    """(messages per second, growth of memory) of an agent that five consoles follow."""
    port, sink_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        pid = stack.enter_context(running_agent(directory, port, sink_port, Setup()))
        assert pid is not None
        fleet = directory / "fleet.yaml"
        fleet.write_text(FLEET.format(socket=directory / "state/rpc.sock"))
        for number in range(CONSOLES):
            console = stack.enter_context(_recording(fleet, directory / f"{number}.jsonl"))
            if stop:
                os.kill(console.pid, signal.SIGSTOP)
        warm = Load(messages=max(1, messages // 10))
        with sink(sink_port, warm.messages) as receiver:
            hand_in(port, warm)
            receiver.wait(timeout=LONGEST_S)
        before = rss_bytes(pid)
        load = Load(messages=messages)
        with sink(sink_port, messages) as receiver:
            began = time.perf_counter()
            hand_in(port, load)
            receiver.wait(timeout=LONGEST_S)
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
