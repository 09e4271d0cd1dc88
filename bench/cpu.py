"""CPU time per relayed message, by thread: python -m bench.cpu [messages].

Rates depend on what else the machine does; CPU time per message much less. For still steadier figures count
instructions: perf stat --per-thread -e instructions:u,instructions:k -p PID.
"""

import os
import resource
import sys
import tempfile
from pathlib import Path

from tests.integration.processes import free_port

from bench.load import Load, finish, hand_in, sink
from bench.systems import Setup, running_agent

THREADS = {0: "event loop", 1: "spool writer"}
"""The agent's first threads in the order of their start; the others have next to nothing to do."""


def measure(load: Load) -> dict[str, tuple[float, float]]:
    """(user, system) microseconds per message of each thread, and of the programs at both ends."""
    port, sink_port = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory(prefix="mailctl-bench-") as directory,
        sink(sink_port, load.messages) as receiver,
        running_agent(Path(directory), port, sink_port, Setup()) as pid,
    ):
        assert pid is not None
        before, children = _threads(pid), _children()
        hand_in(port, load)
        source = _children()
        finish(receiver)
        after, both = _threads(pid), _children()
    spent = {name: _less(after[n], before[n]) for n, name in THREADS.items()}
    spent |= {"smtp-source": _less(source, children), "smtp-sink": _less(both, source)}
    return {name: (user / load.messages * 1e6, system / load.messages * 1e6) for name, (user, system) in spent.items()}


def _threads(pid: int) -> dict[int, tuple[float, float]]:
    """Seconds of user and system time of each thread, numbered in the order of their start."""
    tick = os.sysconf("SC_CLK_TCK")
    times = {}
    for n, task in enumerate(sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name))):
        fields = (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        times[n] = int(fields[11]) / tick, int(fields[12]) / tick
    return times


def _children() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime, usage.ru_stime


def _less(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return one[0] - other[0], one[1] - other[1]


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    spent = measure(Load(messages=messages))
    for name, (user, system) in spent.items():
        print(f"{name:14}{user:8.1f} us user{system:8.1f} us system")
    print(f"{'together':14}{sum(map(sum, spent.values())):8.1f} us per message of 10 KB")


if __name__ == "__main__":
    main()
