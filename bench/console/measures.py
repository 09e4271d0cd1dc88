"""The measurements, each a function that gives a value."""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.console.terminal import Terminal, rss_bytes
from bench.idle import cpu_s
from bench.report import quantile

MAILCTL = str(Path(sys.executable).with_name("mailctl"))
START_S = 120.0


@dataclass(frozen=True)
class Running:
    """A running world."""

    fleet: Path
    process: subprocess.Popen[str]

    def subscribed(self) -> int:
        """Hosts that the console follows."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(json.loads(self.process.stdout.readline())["subscribed"])


@contextmanager
def world(hosts: int, cells: int = 12, changed: int = -1) -> Iterator[Running]:
    """Simulated hosts; see `bench.console.world`."""
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.console.world", name, str(hosts), str(cells), str(changed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the simulated hosts did not start")
            yield Running(Path(name) / "fleet.yaml", process)
        finally:
            process.kill()
            process.wait()


def console(fleet: Path) -> Terminal:
    """The console on a fleet file, as an operator starts it."""
    return Terminal([MAILCTL, "--fleet", str(fleet)])


def connected(hosts: Running, count: int) -> float:
    """Seconds of `time.perf_counter` at which all hosts are followed."""
    deadline = time.monotonic() + START_S
    while hosts.subscribed() < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{hosts.subscribed()} of {count} hosts after {START_S:g} s")
        time.sleep(0.05)
    return time.perf_counter()


@dataclass(frozen=True)
class Scale:
    """Many hosts at 1 Hz."""

    hosts: int
    connect_s: float
    connect_cpu_s: float
    cpu: float  # share of one core, once all are connected
    rss_bytes: int


def scale(hosts: int, watch_s: float) -> Scale:
    """Open the console on `hosts` busy hosts and watch it on its first screen."""
    with world(hosts) as running, console(running.fleet) as screen:
        took_s = connected(running, hosts) - screen.started_at
        connect_cpu_s = cpu_s(screen.pid)
        time.sleep(min(5.0, watch_s))
        before, at = cpu_s(screen.pid), time.perf_counter()
        time.sleep(watch_s)
        cpu = (cpu_s(screen.pid) - before) / (time.perf_counter() - at)
        return Scale(hosts, took_s, connect_cpu_s, cpu, rss_bytes(screen.pid))


@dataclass(frozen=True)
class Keys:
    """From key to paint."""

    rows: int
    changed: int
    presses: int
    p50_s: float
    p99_s: float
    max_s: float
    cpu: float
    rss_bytes: int


def keys(rows: int, changed: int, presses: int) -> Keys:
    """Move the cursor through the destinations of 200 hosts."""
    hosts = max(1, min(200, rows // 12))
    with world(hosts, rows // hosts, changed) as running, console(running.fleet) as screen:
        connected(running, hosts)
        screen.press("3")
        screen.until(b"PROVIDER", within_s=START_S)
        time.sleep(5.0)
        taken = []
        before, at = cpu_s(screen.pid), time.perf_counter()
        for press in range(presses):
            since, began = screen.written, time.perf_counter()
            screen.press("j" if press % 20 < 10 else "k")
            taken.append(screen.until("▌".encode(), since=since) - began)
            time.sleep(0.05 + 0.013 * (press % 7))
        cpu = (cpu_s(screen.pid) - before) / (time.perf_counter() - at)
        return Keys(
            hosts * (rows // hosts), changed, presses, quantile(taken, 0.5), quantile(taken, 0.99), max(taken), cpu,
            rss_bytes(screen.pid),
        )  # fmt: skip


@dataclass(frozen=True)
class Start:
    """First frame with no host answering."""

    hosts: int
    runs_s: tuple[float, ...]
    cpu_s: float  # of the last run

    @property
    def median_s(self) -> float:
        return statistics.median(self.runs_s)


def first_frame(runs: int, hosts: int = 20) -> Start:
    """Hosts that take a connection and say nothing."""
    import socket

    from bench.console.world import fleet_text

    with socket.create_server(("127.0.0.1", 0), backlog=256) as silent, tempfile.TemporaryDirectory() as name:
        from mailagent.api.ids import HostName

        fleet = Path(name) / "fleet.yaml"
        names = [HostName(f"mx{number}") for number in range(1, hosts + 1)]
        fleet.write_text(fleet_text(names, silent.getsockname()[1]))
        _key(Path(name))
        taken, spent = [], 0.0
        for _ in range(runs):
            with console(fleet) as screen:
                taken.append(screen.until(f"connecting to {hosts} hosts".encode()) - screen.started_at)
                spent = cpu_s(screen.pid)
        return Start(hosts, tuple(taken), spent)


def _key(directory: Path) -> None:
    import asyncssh

    asyncssh.generate_private_key("ssh-ed25519").write_private_key(directory / "key")
    (directory / "known_hosts").touch()


@dataclass(frozen=True)
class Drained:
    """A pool drained on all hosts."""

    hosts: int
    plan_s: float
    execute_s: float
    applied: int


def drain(hosts: int) -> Drained:
    """Plan and execute over links that stand, as the console does."""
    from mailagent.config import load_fleet
    from mailctl.fleet import Fleet
    from mailctl.ops import parse
    from mailctl.ops.execution import execute
    from mailctl.ops.plan import Options, Verb
    from mailctl.ops.verbs import plan

    async def work(path: Path) -> Drained:
        async with Fleet(load_fleet(path)) as fleet:
            await fleet.settled(START_S)
            began = time.perf_counter()
            made = await plan(fleet, Verb.DRAIN, parse(("pool:marketing",)), Options(reason="bench"))
            planned = time.perf_counter()
            report = await execute(fleet, made)
            done = time.perf_counter()
            applied = sum(line.result == "applied" for line in report.lines)
            return Drained(hosts, planned - began, done - planned, applied)

    with world(hosts) as running:
        return asyncio.run(work(running.fleet))


@dataclass(frozen=True)
class Status:
    """`mailctl status --json`, from process start to its end."""

    hosts: int
    runs_s: tuple[float, ...]
    cpu_s: float  # of one run, mean

    @property
    def median_s(self) -> float:
        return statistics.median(self.runs_s)


def status(hosts: int, runs: int) -> Status:
    """Through SSH, with nothing open before."""
    import resource

    with world(hosts) as running:
        taken = []
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(runs):
            began = time.perf_counter()
            ran = subprocess.run([MAILCTL, "--fleet", str(running.fleet), "status", "--json"], stdout=subprocess.PIPE)
            taken.append(time.perf_counter() - began)
            if ran.returncode or len(json.loads(ran.stdout)["hosts"]) != hosts:
                raise RuntimeError(f"mailctl status ended with {ran.returncode}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Status(hosts, tuple(taken), spent / runs)


@dataclass(frozen=True)
class Replayed:
    """Memory of the console over a long recording."""

    hosts: int
    minutes: int
    file_bytes: int
    speed: int  # times as fast as it was recorded
    wall_s: float  # that playing it took
    rss_bytes: tuple[int, ...]  # after each sixth of it

    @property
    def growth(self) -> float:
        """By how much memory grew from the middle on, when its history has long been full, as a share."""
        half = self.rss_bytes[len(self.rss_bytes) // 2 - 1]
        return self.rss_bytes[-1] / half - 1


LOOKS = 6


def replayed(hosts: int, minutes: int, speed: int = 60) -> Replayed:
    """Write so many minutes with a clock of our own, then play them at `speed` in a terminal."""
    from datetime import timedelta

    import msgspec

    from bench.console.world import Host
    from mailagent.api import codec
    from mailagent.api.replies import Hello
    from mailctl.fleet.state import FleetState, HostState, LinkState
    from mailctl.replay import Recorder

    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name:
        path = Path(name) / "long.jsonl.gz"
        now = codec.now()
        recorder = Recorder(path, now=lambda: now)
        simulated = [Host(number, 12) for number in range(1, hosts + 1)]
        hello = simulated[0].answer("hello", None)
        assert isinstance(hello, Hello)
        recorder.begin(
            lambda: FleetState(
                hosts=tuple(
                    HostState(host.name, "eu", LinkState.LIVE, 0.0, hello=hello, snapshot=host.snapshot)
                    for host in simulated
                )
            )
        )
        for _ in range(minutes * 60):
            now += timedelta(seconds=1)
            for host in simulated:
                recorder.changed(host.name, msgspec.Raw(codec.encode(host.changes(-1))))
            recorder.tick()
        recorder.close()
        with Terminal([MAILCTL, "replay", str(path), "--speed", str(speed)]) as screen:
            began = screen.until(b"REPLAY")
            length_s = minutes * 60 / speed
            looks = []
            for look in range(1, LOOKS):
                time.sleep(max(0.0, began + length_s * look / LOOKS - time.perf_counter()))
                looks.append(rss_bytes(screen.pid))
            ended = screen.until("■ end".encode(), within_s=2 * length_s + 60)
            looks.append(rss_bytes(screen.pid))
            return Replayed(hosts, minutes, recorder.bytes, speed, ended - began, tuple(looks))
