"""The agents of the loopback hosts: started, watched, killed and brought back as processes."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from mailagent.api import codec
from mailagent.api.methods import MAX_REPLY_BYTES, PROTOCOL_VERSION
from mailagent.api.requests import HelloRequest
from mailctl.demo.blueprint import Blueprint
from mailctl.demo.errors import AgentFailed
from mailctl.demo.tether import tethered

log = logging.getLogger(__name__)

AGENT = (sys.executable, "-P", "-m", "mailagent", "run", "--config")
"""How an agent is started; its file follows."""
READY_S = 20.0
PROBE_S = 2.0
"""Longest wait for one answer of a starting agent."""
POLL_S = 0.05
RESTART_S = 2.0
"""An agent that ends by itself is started again after so long, as a service manager would."""
STOP_S = 6.0
"""Beyond `stop_grace_s` of the demo's agents, and then some."""
_TAIL_LINES = 8


class Agent:
    """One agent's process. `run` keeps it alive until `stop`; between `kill` and `revive` it stays dead."""

    def __init__(
        self, host: str, *, config: Path, socket: Path, smtp_port: int, log_file: Path, command: Sequence[str] = AGENT
    ) -> None:
        self.host = host
        self._command = [*command, str(config)]
        self._socket = socket
        self._smtp_port = smtp_port
        self._log_file = log_file
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._answered = False
        self._alive = asyncio.Event()
        self._alive.set()

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self) -> None:
        """Start the agent, and again when it ends.

        Raises:
            AgentFailed: it ended before it ever answered.
        """
        while True:
            await self._alive.wait()
            if self._stopping.is_set():
                return
            code = await self._run_once()
            if self._stopping.is_set() or not self._alive.is_set():
                continue
            if not self._answered:
                raise self._failure(f"ended with exit code {code}")
            log.warning("%s: the agent ended with exit code %s, next start in %g s", self.host, code, RESTART_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESTART_S):
                    await self._stopping.wait()

    async def ready(self, *, deadline_s: float = READY_S) -> None:
        """Return when the agent answers on its socket and takes mail.

        Raises:
            AgentFailed: not within `deadline_s`.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while not (await self._answers_rpc() and await self._takes_mail()):  # noqa: ASYNC110 -- a process
                    await asyncio.sleep(POLL_S)
            self._answered = True
        except TimeoutError:
            raise self._failure(f"did not answer within {deadline_s:g} s") from None

    def kill(self) -> None:
        """Kill it now; it stays dead."""
        self._alive.clear()
        self._signal(signal.SIGKILL)

    def revive(self) -> None:
        """Let it start again."""
        self._alive.set()

    async def stop(self) -> None:
        """Ask it to end, and see that it does."""
        self._stopping.set()
        self._alive.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            log.warning("%s: the agent did not stop within %g s, killed", self.host, STOP_S)
            self._signal(signal.SIGKILL)
            await process.wait()

    async def _run_once(self) -> int:
        with self._log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *tethered(self._command), stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
        if not self._alive.is_set():  # killed while it started
            self._signal(signal.SIGKILL)
        elif self._stopping.is_set():
            self._signal(signal.SIGTERM)
        try:
            return await self._process.wait()
        except asyncio.CancelledError:
            self._signal(signal.SIGKILL)
            raise

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _failure(self, what: str) -> AgentFailed:
        tail = ""
        with contextlib.suppress(OSError):
            tail = "\n".join(self._log_file.read_text("utf-8", "backslashreplace").splitlines()[-_TAIL_LINES:])
        return AgentFailed(self.host, what, str(self._log_file), tail)

    async def _answers_rpc(self) -> bool:
        hello = codec.call("hello", HelloRequest(protocol=PROTOCOL_VERSION, client="mailctl demo"), 1)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PROBE_S):
                reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=MAX_REPLY_BYTES)
                try:
                    writer.write(hello)
                    return b'"result"' in await reader.readline()
                finally:
                    writer.close()
        return False

    async def _takes_mail(self) -> bool:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PROBE_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._smtp_port)
                try:
                    return (await reader.readline()).startswith(b"220")
                finally:
                    writer.close()
        return False


def agents(blueprint: Blueprint) -> dict[str, Agent]:
    """The agents of a run, not yet started."""
    return {
        host.name: Agent(
            host.name,
            config=blueprint.agent_file(host.name),
            socket=blueprint.rpc_socket(host.name),
            smtp_port=host.smtp_port,
            log_file=blueprint.agent_log(host.name),
        )
        for host in blueprint.hosts
    }
