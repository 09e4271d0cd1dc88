"""OpenSSH's sshd on loopback, run as the current user with keys of its own."""

import asyncio
import getpass
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mailagent.config.structs import FleetHost, Rpc, Ssh
from tests.conftest import program
from tests.integration.processes import free_port

START_S = 30.0


@dataclass(frozen=True, slots=True)
class Sshd:
    """One running server."""

    directory: Path
    port: int
    pid: int
    log: list[str]

    @property
    def identity(self) -> Path:
        return self.directory / "client"

    @property
    def host_key(self) -> str:
        return " ".join((self.directory / "host.pub").read_text().split()[:2])

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file with this server's key."""
        path = self.directory / "known_hosts"
        path.write_text(f"[127.0.0.1]:{self.port} {self.host_key}\n")
        return path

    def host(self, socket: Path, **ssh: object) -> FleetHost:
        """The fleet's entry for an agent behind this server; `ssh` replaces the defaults."""
        settings: dict[str, object] = {
            "address": "127.0.0.1",
            "port": self.port,
            "identity": self.identity,
            "known_hosts": self.directory / "known_hosts",
            "no_config": True,
        }
        return FleetHost(ssh=Ssh(**{**settings, **ssh}), rpc=Rpc(socket=socket))  # type: ignore[arg-type]

    @property
    def logins(self) -> int:
        return sum("Accepted publickey" in line for line in self.log)

    def sessions(self) -> list[int]:
        """Processes of the open connections."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


@asynccontextmanager
async def sshd(directory: Path, *, options: str = "") -> AsyncIterator[Sshd]:
    """A server in `directory`, which keeps its keys over restarts; `options` are lines of its configuration."""
    path = program("sshd")
    assert path is not None
    # sshd cannot bind port 0, so a port that is free now is tried; somebody else may be quicker.
    for _ in range(5):
        port = free_port()
        config = (
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nPidFile none\n"
            f"AuthorizedKeysFile {directory}/authorized_keys\nStrictModes no\nUsePAM no\nLogLevel VERBOSE\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\n{options}\n"
        )
        prepare(directory, config)
        process = await asyncio.create_subprocess_exec(
            path, "-D", "-e", "-f", str(directory / "sshd_config"), stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        log: list[str] = []
        async with asyncio.timeout(START_S):
            while line := await process.stderr.readline():
                log.append(line.decode(errors="replace"))
                if "Server listening" in log[-1]:
                    break
        if line:
            break
        await process.wait()
    else:
        raise RuntimeError("".join(log))

    async def read(stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            log.append(line.decode(errors="replace"))

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read(process.stderr), name="sshd:log")
        try:
            yield Sshd(directory, port, process.pid, log)
        finally:
            reading.cancel()
            process.terminate()
            await process.wait()


def prepare(directory: Path, config: str) -> None:
    """Write what the server reads; keys that are there stay."""
    directory.mkdir(exist_ok=True)
    for name in ("host", "client"):
        if not (directory / name).exists():
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
            subprocess.run(keygen, check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd drops its privileges; the package's unit makes it
    (directory / "authorized_keys").write_text((directory / "client.pub").read_text())
    (directory / "known_hosts").touch()
    (directory / "sshd_config").write_text(config)


USER = getpass.getuser()
