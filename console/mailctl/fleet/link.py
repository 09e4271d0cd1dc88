"""SSH links: the one door to asyncssh.

A link is one SSH connection per host with one direct-streamlocal channel to the agent's socket: no listening socket on
our side, no process on theirs, and the agent sees the operator's own account (handbook/reliability 3.2). The operator's
ssh configuration, agent and known_hosts are used as `ssh` would; unknown and changed host keys are refused.
"""

import asyncio
import logging
import os
import shlex
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from mailagent.api.ids import HostName
from mailagent.config.structs import FleetHost, Ssh
from mailctl.fleet.client import Client
from mailctl.fleet.errors import (
    HostKeyChanged,
    HostKeyUnknown,
    LinkError,
    LoginRefused,
    SocketMissing,
    SocketRefused,
    SshMisconfigured,
    Unreachable,
)

CONNECTS = 32
"""Connections in the making at once: each costs about 6 ms of this side's CPU."""
CONNECTS_PER_BASTION = 8
"""sshd drops unauthenticated connections at random from 10 on (MaxStartups 10:30:100)."""
SLOT_S = 2.0
"""A connection that takes longer waits for its host and costs nothing: the next may begin."""
KEEPALIVE_S = 15
KEEPALIVE_MISSES = 3
LOGIN_DEADLINE_S = 15
SSH_CONFIGS = (Path("~/.ssh/config"), Path("/etc/ssh/ssh_config"))
"""What `ssh` reads, in its order; asyncssh by itself leaves out the second."""
NO_KEYS: tuple[list[str], list[str], list[str]] = ([], [], [])
CLOSE_DEADLINE_S = 2.0

logging.getLogger("asyncssh").setLevel(logging.WARNING)  # it logs each connection at INFO


@dataclass(frozen=True, slots=True)
class SshLink:
    """A client and the SSH connection under it."""

    client: Client
    connection: asyncssh.SSHClientConnection
    wire: Any  # its socket; None: through a bastion, which others share

    async def close(self) -> None:
        """Close the channel, then the connection; bounded.

        When an answer is owed, what the host has not got is dropped. The kernel would go on sending it for minutes,
        and a verb would be executed after somebody was told that it was not.
        """
        is_owed = self.client.is_owed
        self.client.close()
        if not is_owed:
            await _close(self.connection)
            return
        if self.wire is not None and self.wire.fileno() >= 0:  # it is closed when the host went first
            self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.abort()


@asynccontextmanager
async def _slot(slots: asyncio.Semaphore) -> AsyncIterator[None]:
    """One of `slots`, for SLOT_S at most: a few hosts that hang must not hold up the fleet."""
    await slots.acquire()
    given_back = asyncio.Event()

    def give_back() -> None:
        if not given_back.is_set():
            given_back.set()
            slots.release()

    timer = asyncio.get_running_loop().call_later(SLOT_S, give_back)
    try:
        yield
    finally:
        timer.cancel()
        give_back()


@dataclass(slots=True)
class _Bastion:
    """One jump host's connection, shared by every host behind it."""

    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTS_PER_BASTION))
    connection: asyncssh.SSHClientConnection | None = None


class SshDialler:
    """Opens links, a bounded number at a time, and owns the bastions' connections."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(CONNECTS)
        self._bastions: dict[tuple[str, Ssh], _Bastion] = {}

    async def dial(self, name: HostName, host: FleetHost) -> SshLink:
        """A link to the agent's socket on `host`.

        Raises:
            LinkError: no connection, login or channel, with what to do about it.
        """
        ssh = host.ssh
        options = await _options(name, ssh, host=ssh.address or name, port=ssh.port, user=ssh.user)
        jump = ssh.jump or (options.tunnel if isinstance(options.tunnel, str) else "")
        if jump:
            async with self._through(name, jump, ssh) as (bastion, slots), _slot(slots), _slot(self._slots):
                connection = await _connect(name, options, bastion)
        else:
            async with _slot(self._slots):
                connection = await _connect(name, options, None)
        client = Client(name)
        try:
            await connection.create_unix_connection(lambda: _Session(client), str(host.rpc.socket))
        except asyncssh.ChannelOpenError as exc:
            await _close(connection)
            raise _no_channel(name, exc, host.rpc.socket, options.username) from exc
        except (OSError, asyncssh.Error) as exc:
            await _close(connection)
            raise Unreachable(name, f"ssh connection broke: {exc}") from exc
        except BaseException:
            connection.abort()
            raise
        return SshLink(client, connection, None if jump else connection.get_extra_info("socket"))

    async def close(self) -> None:
        """Close the bastions; bounded."""
        for bastion in self._bastions.values():
            if bastion.connection is not None:
                await _close(bastion.connection)

    @asynccontextmanager
    async def _through(
        self, name: HostName, jump: str, ssh: Ssh
    ) -> AsyncIterator[tuple[asyncssh.SSHClientConnection, asyncio.Semaphore]]:
        """The open connection to the last hop of `jump` (`a` or `user@a:22,b`), and its slots."""
        first, _, last = jump.rpartition(",")
        key = (
            jump,
            Ssh(config=ssh.config, no_config=ssh.no_config, identity=ssh.identity, known_hosts=ssh.known_hosts),
        )
        bastion = self._bastions.setdefault(key, _Bastion())
        async with bastion.opening:
            if bastion.connection is None or bastion.connection.is_closed():
                user, address, port = _hop(name, last)
                options = await _options(name, ssh, host=address, port=port, user=user)
                try:
                    if first:
                        async with self._through(name, first, ssh) as (before, _):
                            bastion.connection = await _connect(name, options, before)
                    else:
                        bastion.connection = await _connect(name, options, None)
                except LinkError as exc:
                    raise type(exc)(name, f"jump host {last}: {exc.reason}") from exc
            connection = bastion.connection
        yield connection, bastion.slots


class _Session(asyncssh.SSHUNIXSession[bytes]):
    """A client behind an SSH channel."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def connection_made(self, chan: asyncssh.SSHUNIXChannel[bytes]) -> None:
        self._client.connection_made(chan)

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002
        self._client.data_received(data)

    def eof_received(self) -> bool:
        # The agent has gone. Not every server closes the channel then: asyncssh's own leaves it half open.
        self._client.connection_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.connection_lost(exc)


class _Keys(asyncssh.SSHClient):
    """Remembers the key that the host showed when no known_hosts file has it."""

    def __init__(self) -> None:
        self.shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        self.shown = key
        return False


async def _options(
    name: HostName, ssh: Ssh, *, host: str, port: int | None, user: str | None
) -> asyncssh.SSHClientConnectionOptions:
    """What the operator's ssh configuration and the fleet file say together.

    Raises:
        SshMisconfigured: a file is missing or cannot be read.
    """
    try:
        Path.home()  # asyncssh wants to know it whatever the files are
    except RuntimeError as exc:
        raise SshMisconfigured(name, "ssh configuration: this account has no home directory; set HOME") from exc
    settings: dict[str, Any] = {"host": host, "ignore_encrypted": True}
    if port is not None:
        settings["port"] = port
    if user is not None:
        settings["username"] = user
    if ssh.no_config:
        settings["config"] = None
    else:
        files = [ssh.config] if ssh.config else [path for path in SSH_CONFIGS if os.access(path.expanduser(), os.R_OK)]
        settings["config"] = [str(file.expanduser()) for file in files]
    if ssh.identity is not None:
        if not os.access(ssh.identity, os.R_OK):
            raise SshMisconfigured(name, f"cannot read the key {ssh.identity} that the fleet file names")
        settings["client_keys"] = [str(ssh.identity)]
        if ssh.no_config:
            settings["agent_path"] = None
    if ssh.known_hosts is not None:
        settings["known_hosts"] = [str(ssh.known_hosts)]
    try:
        options: asyncssh.SSHClientConnectionOptions = await asyncssh.SSHClientConnectionOptions.construct(**settings)
        if options.known_hosts is None:
            # `UserKnownHostsFile none`: asyncssh would stop checking, ssh would refuse. So do we.
            options = await asyncssh.SSHClientConnectionOptions.construct(options, known_hosts=NO_KEYS)
    except (OSError, ValueError, asyncssh.Error) as exc:
        raise SshMisconfigured(name, f"ssh configuration: {exc}") from exc
    return options


async def _connect(
    name: HostName,
    options: asyncssh.SSHClientConnectionOptions,
    bastion: asyncssh.SSHClientConnection | None,
) -> asyncssh.SSHClientConnection:
    keys = _Keys()
    where = f"{options.host} port {options.port}"
    try:
        return await asyncssh.connect(
            options.orig_host,
            config=options.kwargs["config"],  # else asyncssh would read ~/.ssh/config after all
            options=options,
            tunnel=bastion,
            client_factory=lambda: keys,
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVE_MISSES,
            login_timeout=LOGIN_DEADLINE_S,
            utf8_decode_errors="backslashreplace",
        )
    except asyncssh.HostKeyNotVerifiable as exc:
        raise _host_key_refusal(name, options, keys.shown, str(exc.reason)) from exc
    except asyncssh.PermissionDenied as exc:
        raise LoginRefused(
            name,
            f"{where} accepts none of our keys for user {options.username}; try: {_by_hand(options)}",
        ) from exc
    except asyncssh.ChannelOpenError as exc:
        raise Unreachable(name, f"the jump host cannot reach {where}: {exc.reason}") from exc
    except asyncssh.KeyExchangeFailed as exc:
        raise SshMisconfigured(name, f"no common ssh algorithm with {where}: {exc.reason}") from exc
    except (asyncssh.ConnectionLost, ConnectionResetError) as exc:
        raise Unreachable(
            name,
            f"{where} closed the connection before the login; it may be busy (MaxStartups), or have no host key of a "
            f"kind that known_hosts has for it: compare with ssh-keyscan -p {options.port} {options.host}",
        ) from exc
    except asyncssh.Error as exc:
        raise Unreachable(name, f"ssh to {where} failed: {exc.reason}") from exc
    except socket.gaierror as exc:
        raise Unreachable(name, f"cannot resolve {options.host}: {exc.strerror}") from exc
    except TimeoutError as exc:
        raise Unreachable(name, f"{where} does not answer") from exc
    except FileNotFoundError as exc:
        path = str(exc.filename)
        wanted = isinstance(options.known_hosts, list) and path in map(str, options.known_hosts)
        hint = f"; compare the host's key with its own, then: {_keyscan(options, path)}" if wanted else ""
        raise SshMisconfigured(name, f"no file {path}{hint}") from exc
    except OSError as exc:
        # asyncio's own texts name the address once more and not the cause
        cause = os.strerror(exc.errno).lower() if exc.errno else str(exc)
        raise Unreachable(name, f"cannot connect to {where}: {cause}") from exc
    except ValueError as exc:
        raise SshMisconfigured(name, f"ssh configuration: {exc}") from exc


def _host_key_refusal(
    name: HostName, options: asyncssh.SSHClientConnectionOptions, shown: asyncssh.SSHKey | None, reason: str
) -> LinkError:
    """Why the host's key is refused, with the commands that a careful operator would run next."""
    label = options.host_key_alias or options.host
    entry = label if options.port == 22 else f"[{label}]:{options.port}"
    known_hosts = options.known_hosts if isinstance(options.known_hosts, list) else []
    files = [str(file) for file in known_hosts] or [str(Path("~/.ssh/known_hosts").expanduser())]
    what = f"it shows {shown.get_algorithm()} {shown.get_fingerprint()}" if shown else reason  # revoked, or a CA's
    if shown is None or any(_has_keys(file, label, options.port) for file in files):
        return HostKeyChanged(
            name,
            f"HOST KEY CHANGED: the key of {entry} is not the one in {files[0]} ({what}). Somebody may be in between. "
            f"Only if you know why it changed: ssh-keygen -f {shlex.quote(files[0])} -R {shlex.quote(entry)}",
        )
    return HostKeyUnknown(
        name,
        f"host key of {entry} is unknown ({what}). Compare that with the host's own, "
        f"then: {_keyscan(options, files[0])}",
    )


def _keyscan(options: asyncssh.SSHClientConnectionOptions, path: str) -> str:
    port = "" if options.port == 22 else f"-p {options.port} "
    return f"ssh-keyscan {port}{options.host} >> {shlex.quote(path)}"


def _by_hand(options: asyncssh.SSHClientConnectionOptions) -> str:
    """The same login with OpenSSH, which says more."""
    own = options.kwargs.get("client_keys")
    keys = "".join(f"-i {shlex.quote(str(key))} " for key in own) if isinstance(own, list) else ""
    return f"ssh -v {keys}-p {options.port} {options.username}@{options.host}"


def _has_keys(path: str, label: str, port: int) -> bool:
    try:
        trusted, *_ = asyncssh.match_known_hosts([path], label, "", None if port == 22 else port)
    except (OSError, ValueError):
        return False
    return bool(trusted)


def _no_channel(name: HostName, exc: asyncssh.ChannelOpenError, path: Path, user: str) -> LinkError:
    """Why there is no channel. OpenSSH says `open failed` whatever the cause, so all of them are named."""
    if exc.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return SocketRefused(name, f"sshd does not let {user} reach {path}: {exc.reason}")
    return SocketMissing(
        name,
        f"no channel to {path} ({exc.reason or 'open failed'}): is mailagent running, is {user} in a group of its "
        f"rpc.roles, and does sshd_config allow it (AllowStreamLocalForwarding yes)?",
    )


def _hop(name: HostName, hop: str) -> tuple[str | None, str, int | None]:
    """(user, address, port) of `user@bastion:22`."""
    user, _, rest = hop.rpartition("@")
    address, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        return user or None, rest.strip("[]"), None
    if not port.isdecimal():
        raise SshMisconfigured(name, f"jump host {hop!r} is not of the form user@host:port")
    return user or None, address.strip("[]"), int(port)


async def _close(connection: asyncssh.SSHClientConnection) -> None:
    connection.close()
    try:
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()
