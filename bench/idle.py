"""An agent with nothing to do: memory, and processor time per second."""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.integration.processes import agent, free_port

from bench.systems import AGENT

WARM_S = 5.0
WATCH_S = 60.0


@dataclass(frozen=True)
class Idle:
    """Resident bytes, and the share of one core."""

    rss_bytes: int
    cpu: float


def measure(watch_s: float = WATCH_S) -> Idle:
    """Start an agent, let it settle, and watch it do nothing."""
    port = free_port()
    text = AGENT.format(port=port, sink=free_port(), route="", more="")
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name, agent(Path(name), text, port) as one:
        assert one.process is not None
        time.sleep(WARM_S)
        before = cpu_s(one.process.pid)
        time.sleep(watch_s)
        return Idle(one.rss_bytes(), (cpu_s(one.process.pid) - before) / watch_s)


def cpu_s(pid: int) -> float:
    """Processor seconds that process `pid` has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
