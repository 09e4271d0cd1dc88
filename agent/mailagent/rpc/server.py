"""The agent's Unix socket: its life, its connections and their clock."""

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Callable, Coroutine, Hashable
from pathlib import Path
from typing import Any, Final

from mailagent.config.structs import Rpc
from mailagent.host import Host
from mailagent.rpc.audit import AuditLog
from mailagent.rpc.calls import Calls
from mailagent.rpc.errors import SocketTaken
from mailagent.rpc.peer import Connected, Peer, RoleTable, peer_of
from mailagent.rpc.session import Session
from mailagent.rpc.subscriptions import MIN_INTERVAL_S, Differ
from mailagent.witness import Looker

log = logging.getLogger(__name__)

MAX_SESSIONS: Final = 512
PROBE_S: Final = 1.0
"""Longest wait for a living owner of the socket."""
END_S: Final = 5.0
"""Longest wait for verbs under way when the server stops."""


class RpcServer:
    """Serves one host over JSON-RPC (DESIGN section 4.4). `start`, then `stop`."""

    def __init__(
        self,
        config: Rpc,
        host: Host,
        audit_path: Path,
        *,
        peer_of: Callable[[Connected], Peer] = peer_of,
    ) -> None:
        """`peer_of` tells who is at the other end of a connected socket; the kernel does."""
        self._config = config
        self._host = host
        self._audit = AuditLog(audit_path)
        self._calls = Calls(host, RoleTable(config.roles), self._audit)
        self._peer_of = peer_of
        self._sessions: set[Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._differ = Differ()
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Open the audit log and listen.

        Raises:
            SocketTaken: another process answers there, or the path is no socket.
            OSError: the socket or the audit log cannot be made.
        """
        self._audit.open()
        try:
            listener = self._listener()
        except BaseException:
            self._audit.close()
            raise
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._session, sock=listener, backlog=self._config.backlog)
        self._timer = loop.call_later(MIN_INTERVAL_S, self._tick)
        log.info("rpc listens socket=%s", self._config.socket)

    async def stop(self) -> None:
        """Take no more connections, close those that stand once their verbs are done, and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        if self._timer is not None:
            self._timer.cancel()
        for session in tuple(self._sessions):
            session.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._remove()
        self._audit.close()

    def lookers(self) -> dict[Hashable, Looker]:
        """Who follows the host's state, by their connection."""
        return {session: looker for session in self._sessions if (looker := session.looker) is not None}

    def configure(self, config: Rpc) -> None:
        """Other roles hold from the next call on; the socket stays."""
        self._config = config
        self._calls.roles = RoleTable(config.roles)

    def reopen_audit(self) -> None:
        """Go on in a new audit file after the old one was moved away; keep the old when that cannot be opened."""
        try:
            self._audit.open()
        except OSError as exc:
            log.error("audit log stays the old one: %s", exc)

    # -- connections -----------------------------------------------------------------------------------------------

    def _session(self) -> Session:
        return Session(
            self._calls,
            peer_of=self._peer_of,
            opened=self._opened,
            closed=self._sessions.discard,
            spawn=self._spawn,
        )

    def _opened(self, session: Session) -> bool:
        if len(self._sessions) >= MAX_SESSIONS:
            return False
        self._sessions.add(session)
        return True

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = loop.call_later(MIN_INTERVAL_S, self._tick)
        try:
            for session in tuple(self._sessions):
                session.tick(now, self._host.snapshot, self._differ)
        except Exception:
            log.exception("rpc changes could not be made; trying again")

    # -- the socket ------------------------------------------------------------------------------------------------

    def _listener(self) -> socket.socket:
        """A bound socket. Nobody can connect before it listens, so its mode needs no umask."""
        path = self._config.socket
        _clear(path)
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o755)  # whoever has a role must reach the socket; its own mode and group decide
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind(str(path))
            self._inode = path.stat().st_ino
            path.chmod(0o660)
        except BaseException:
            listener.close()
            raise
        self._give_to_group(path)
        return listener

    def _give_to_group(self, path: Path) -> None:
        """Let the widest group of the roles connect."""
        gid = self._calls.roles.widest_gid
        if gid is None:
            return
        try:
            os.chown(path, -1, gid)
        except OSError as exc:
            log.warning("rpc socket=%s not given to gid=%d: %s; make the agent's account a member", path, gid, exc)

    def _remove(self) -> None:
        path = self._config.socket
        try:
            if path.stat().st_ino == self._inode:
                path.unlink()
        except OSError as exc:
            log.debug("rpc socket=%s is gone already: %s", path, exc)


def _clear(path: Path) -> None:
    """Remove a dead socket at `path`.

    Raises:
        SocketTaken: it is alive, or no socket.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SocketTaken(path, "there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            log.info("rpc socket=%s was left by a dead process; replaced", path)
        except (TimeoutError, BlockingIOError):
            raise SocketTaken(path, "a process listens there and does not answer") from None
        else:
            raise SocketTaken(path, f"process {peer_of(probe).pid} answers there")
    path.unlink(missing_ok=True)
