"""Real processes for integration tests: agents, smtp-sink, and waiting for a condition."""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import SystemRandom

from tests.conftest import program as installed

ONE_VMTA = """\
host: mx1
state_dir: ./state                 # spool, accounting, audit
rpc: {{socket: ./state/rpc.sock}}
intake:
  listeners: [{{address: 127.0.0.1, port: {port}}}]
  relay_from: [127.0.0.0/8]
virtual_mtas:
  a1: {{address: 127.0.0.1, ehlo: mx1.example.test}}
pools:
  default: {{active: [a1]}}
streams:
  default: {{pool: default}}
"""
AGENT_YAML = f"""\
{ONE_VMTA}routes:
  - {{{{match: "*", to: "127.0.0.1:{{sink}}"}}}}      # fixed next hop instead of MX lookup
"""
"""The file of the README."""


_ports = itertools.cycle(SystemRandom().sample(range(10_000, 20_000), 10_000))
"""Below those that the kernel gives to connections and to whoever asks for any port, and below those of the demo."""


def free_port() -> int:
    """A port for a process that cannot tell which one it took: nobody is there now, and nobody comes by chance."""
    for port in _ports:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, suppress(OSError):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port
    raise AssertionError("cycle never ends")


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = 30) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.02)


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, timeout_s: float = 30) -> None:
    """The same in a coroutine."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        await asyncio.sleep(0.02)


def accepts(port: int) -> bool:
    """Whether something greets on `port`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
            return sock.recv(3) == b"220"
    except OSError:
        return False


def listens(path: Path) -> bool:
    """Whether somebody takes connections at the Unix socket `path`."""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
    except OSError:
        return False
    return True


MAILAGENT = (sys.executable, "-m", "mailagent")


class Agent:
    """One `mailagent run`, its files in `directory`; port 0: it takes no mail in."""

    def __init__(self, directory: Path, text: str, port: int, command: Sequence[str] = MAILAGENT) -> None:
        self.directory = directory
        self.command = command
        self.config = directory / "agent.yaml"
        self.config.write_text(text, encoding="utf-8")
        self.port = port
        self.log = directory / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "state" / "rpc.sock"

    def launch(self, **env: str) -> None:
        """Start the process, and wait for nothing."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | env,
            )

    def start(self, **env: str) -> None:
        self.launch(**env)
        try:
            wait_until(self._is_up, "agent greets")
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.log.read_text(encoding='utf-8')}") from None

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        return (not self.port or accepts(self.port)) and listens(self.socket)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(timeout=30)
        self.process = None
        return code

    def rss_bytes(self) -> int:
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")


@contextmanager
def agent(directory: Path, text: str, port: int, command: Sequence[str] = MAILAGENT, **env: str) -> Iterator[Agent]:
    """A running agent that is gone afterwards."""
    one = Agent(directory, text, port, command)
    one.start(**env)
    try:
        yield one
    finally:
        if one.process is not None:
            one.process.kill()
            one.process.wait()


def smtp_sink(*arguments: str) -> list[str]:
    """The command of Postfix's smtp-sink, which refuses to run as root unless told that root is meant."""
    user = ("-u", "root") if os.geteuid() == 0 else ()
    return [str(installed("smtp-sink")), *user, *arguments]


@contextmanager
def program(*command: str, ready: Callable[[], bool]) -> Iterator[subprocess.Popen[bytes]]:
    """A running program that is gone afterwards."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(ready, f"{command[0]} is ready")
        yield process
    finally:
        process.kill()
        process.wait()
