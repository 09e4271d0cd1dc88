"""SSH servers of the loopback hosts. Each opens one thing only: the socket of its own agent.

Keys are made for the run; no personal ssh configuration is read and `~/.ssh` is never touched. The channel reaches
the agent as the user who runs the demo, who is the account of the agent too: an admin there.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import asyncssh

from mailctl.demo.blueprint import OPERATOR, Blueprint

LOGIN_TIMEOUT_S = 10
_KEY = "ssh-ed25519"


def write_keys(blueprint: Blueprint) -> None:
    """Make a host key for each host, the operator's key, and a `known_hosts` that names the hosts."""
    directory = blueprint.ssh_directory
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = []
    for host in blueprint.hosts:
        key = asyncssh.generate_private_key(_KEY)
        _write_private(key, _host_key(directory, host.name))
        public = key.export_public_key().decode().split()
        known.append(f"[{host.ssh_address}]:{blueprint.world_port} {public[0]} {public[1]}\n")
    operator = asyncssh.generate_private_key(_KEY)
    _write_private(operator, directory / "id_ed25519")
    operator.write_public_key(directory / "id_ed25519.pub")
    (directory / "known_hosts").write_text("".join(known), "ascii")


def _host_key(directory: Path, host: str) -> Path:
    return directory / f"host_{host}_ed25519"


def _write_private(key: asyncssh.SSHKey, path: Path) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    key.write_private_key(path)


class SshHost:
    """The SSH server of one host; it can go away and come back, as a host does."""

    def __init__(self, *, address: str, port: int, host_key: Path, operator_key: Path, socket: Path) -> None:
        self._address = address
        self._port = port
        self._host_key = host_key
        self._operator = asyncssh.read_public_key(operator_key)
        self._socket = str(socket)
        self._sessions: set[asyncssh.SSHServerConnection] = set()
        self._alive = asyncio.Event()
        self._alive.set()
        self._dead = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled, except between `kill` and `revive`.

        Raises:
            OSError: the address or port is taken.
        """
        while True:
            await self._alive.wait()
            acceptor = await asyncssh.listen(
                self._address,
                self._port,
                server_factory=lambda: _Login(self._operator, self._socket, self._sessions),
                server_host_keys=[str(self._host_key)],
                config=None,
                reuse_address=True,
                login_timeout=LOGIN_TIMEOUT_S,
                allow_pty=False,
                agent_forwarding=False,
                x11_forwarding=False,
                gss_host=None,
            )
            try:
                await self._dead.wait()
            finally:
                acceptor.close()
                for session in tuple(self._sessions):
                    session.abort()

    def kill(self) -> None:
        """Close the listener and cut every connection, as a dead host does."""
        self._alive.clear()
        self._dead.set()

    def revive(self) -> None:
        """Let it listen again."""
        self._dead.clear()
        self._alive.set()


def servers(blueprint: Blueprint) -> Mapping[str, SshHost]:
    """The server of each host, not yet listening."""
    directory = blueprint.ssh_directory
    return {
        host.name: SshHost(
            address=host.ssh_address,
            port=blueprint.world_port,
            host_key=_host_key(directory, host.name),
            operator_key=directory / "id_ed25519.pub",
            socket=blueprint.rpc_socket(host.name),
        )
        for host in blueprint.hosts
    }


class _Login(asyncssh.SSHServer):
    """One connection: the operator's key, and channels to one socket."""

    def __init__(self, operator: asyncssh.SSHKey, socket: str, sessions: set[asyncssh.SSHServerConnection]) -> None:
        self._operator = operator
        self._socket = socket
        self._sessions = sessions

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._sessions.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the library's signature
        self._sessions.discard(self._connection)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == OPERATOR and key.public_data == self._operator.public_data

    def unix_connection_requested(self, dest_path: str) -> bool:
        return dest_path == self._socket
