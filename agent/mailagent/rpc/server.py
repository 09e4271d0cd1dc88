"""The agent's socket: JSON-RPC lines in, roles enforced, verbs audited, subscriptions served."""

import asyncio
import contextlib
import logging
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mailagent.api import codec, replies, requests
from mailagent.api.errors import ApiError, InvalidRequest, RoleRefused, Unavailable, VersionMismatch
from mailagent.api.methods import CHANGES, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, METHODS, PROTOCOL_VERSION, Method
from mailagent.config.structs import Rpc
from mailagent.host import Host, Principal
from mailagent.rpc.audit import AuditLog, AuditRecord
from mailagent.rpc.errors import MethodUnknown, SocketInUse
from mailagent.rpc.peer import Peer, lowered, may, peer_of, principal_of
from mailagent.rpc.subscriptions import Subscriber
from mailagent.version import __version__

log = logging.getLogger(__name__)

CALLS_AT_ONCE = 16
"""Calls of one connection under way at a time; the next ones wait unread."""
CALL_S = 60.0
"""Longest time of one call."""
MIN_INTERVAL_S = 0.25
MAX_INTERVAL_S = 60.0
BEAT_S = 0.05
"""How precisely subscriptions keep their interval."""
STALLED_S = 30.0
"""A subscriber whose buffer has not emptied for this long is disconnected."""
STOP_S = 5.0
SOCKET_MODE = 0o660


def clear(path: Path) -> None:
    """Remove a socket that nobody listens on any more.

    Raises:
        SocketInUse: somebody does.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink()
            return
    raise SocketInUse(path)


class RpcServer:
    """Serves one host on one Unix socket."""

    def __init__(
        self, config: Rpc, host: Host, audit_path: Path, *, look: Callable[[socket.socket], Peer] = peer_of
    ) -> None:
        """`look` asks the kernel who a peer is."""
        self.config = config
        self.host = host
        self.boot_id = uuid.uuid4().hex
        self._look = look
        self._audit_path = audit_path
        self._connections: set[_Connection] = set()

    async def start(self) -> None:
        """Open the socket; a dead one in its place is replaced.

        Raises:
            SocketInUse: another agent answers on it.
            OSError: the socket or the audit log cannot be made.
        """
        path = self.config.socket
        path.parent.mkdir(parents=True, exist_ok=True)
        clear(path)
        self.audit = AuditLog(self._audit_path)
        self._server = await asyncio.start_unix_server(
            self._serve, str(path), limit=MAX_REQUEST_BYTES, backlog=self.config.backlog
        )
        path.chmod(SOCKET_MODE)
        self._pulse = asyncio.get_running_loop().create_task(self._beat(), name="rpc:subscriptions")
        log.info("rpc listens socket=%s", path)

    async def stop(self) -> None:
        """Close the socket and every connection."""
        self._server.close()
        self._pulse.cancel()
        await asyncio.gather(self._pulse, return_exceptions=True)
        tasks = [connection.task for connection in self._connections]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(*tasks, return_exceptions=True)
        self.config.socket.unlink(missing_ok=True)
        self.audit.close()

    def reopen_audit(self) -> None:
        """Go on in a new audit file, after the old one was moved away."""
        self.audit.reopen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            connection.identify(self._look(writer.get_extra_info("socket")))
            await connection.run()
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("rpc connection failed")
        finally:
            self._connections.discard(connection)
            writer.close()

    async def _beat(self) -> None:
        """Send to each subscriber what has changed, when its interval is over and its buffer is empty."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(BEAT_S)
            now = loop.time()
            due = [one for one in self._connections if one.subscriber is not None and one.subscriber.due <= now]
            if due:
                snapshot = self.host.snapshot()
                for connection in due:
                    connection.send_changes(snapshot, now)


class _Connection:
    """One caller. Calls run side by side; their replies go out as they come."""

    def __init__(self, server: RpcServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.subscriber: Subscriber | None = None
        self.task = _current_task()
        self._server = server
        self._reader = reader
        self._writer = writer
        self._peer = Peer(pid=0, uid=0, groups=())
        self._principal: Principal | None = None  # after hello
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)

    def identify(self, peer: Peer) -> None:
        """Take note of who is there."""
        self._peer = peer

    async def run(self) -> None:
        """Answer calls until the caller leaves or sends what is no line of ours."""
        async with asyncio.TaskGroup() as calls:
            while True:
                try:
                    line = await self._reader.readuntil(b"\n")
                except asyncio.IncompleteReadError:
                    return
                except asyncio.LimitOverrunError:
                    self._send(codec.failure(None, InvalidRequest(f"a call has at most {MAX_REQUEST_BYTES} bytes")))
                    return
                await self._slots.acquire()
                calls.create_task(self._answer(line), name="rpc:call")

    async def _answer(self, line: bytes) -> None:
        call_id: int | str | None = None
        try:
            call = codec.parse_call(line)
            call_id = call.id
            async with asyncio.timeout(CALL_S):
                result = await self._call(call)
            answer = codec.reply(call_id, result)
            if len(answer) > MAX_REPLY_BYTES:
                raise InvalidRequest(f"the answer to {call.method} is larger than a frame; ask for a smaller page")
        except ApiError as exc:
            answer = codec.failure(call_id, exc)
        except TimeoutError:
            answer = codec.failure(call_id, Unavailable(f"no result within {CALL_S:g} s; ask for the operation again"))
        except Exception:
            log.exception("call failed")
            answer = codec.failure(call_id, ApiError("internal error; the agent's log has the details"))
        finally:
            self._slots.release()
        self._send(answer)

    async def _call(self, call: codec.Request) -> Any:
        method = METHODS.get(call.method)
        if method is None:
            raise MethodUnknown(call.method)
        params = codec.decode(call.params, method.params)
        if isinstance(params, requests.HelloRequest):
            return self._hello(params)
        if self._principal is None:
            raise InvalidRequest("hello comes first")
        if method.mutates:
            return await self._mutate(method, params, call.params, self._principal)
        match method.name:
            case "snapshot":
                return self._server.host.snapshot()
            case "subscribe":
                return self._subscribe(params)
            case "unsubscribe":
                self.subscriber = None
                return requests.Empty()
            case name:
                return await _listing(getattr(self._server.host, name)(params))

    def _hello(self, params: requests.HelloRequest) -> replies.Hello:
        if params.protocol != PROTOCOL_VERSION:
            raise VersionMismatch(
                f"{self._server.host.name} speaks protocol {PROTOCOL_VERSION}, the caller {params.protocol};"
                f" upgrade the {'caller' if params.protocol < PROTOCOL_VERSION else 'agent'}"
            )
        try:
            principal = lowered(principal_of(self._peer, self._server.config.roles), params.as_role)
        except RoleRefused as exc:
            log.warning("access refused uid=%d pid=%d: %s", self._peer.uid, self._peer.pid, exc)
            raise
        self._principal = principal
        return replies.Hello(
            protocol=PROTOCOL_VERSION,
            version=__version__,
            host=self._server.host.name,
            spool_id=self._server.host.spool_id,
            boot_id=self._server.boot_id,
            features=tuple(METHODS),
            user=principal.user,
            role=principal.role,
            server_time=codec.now(),
        )

    async def _mutate(self, method: Method, params: requests.Mutation, raw: msgspec.Raw, principal: Principal) -> Any:
        """Run a verb; the audit log has it, and what came of it, before the caller does. Dry runs change nothing."""
        try:
            if not may(principal, method.role):
                raise RoleRefused(f"{method.name} wants the role {method.role}; {principal.user} has {principal.role}")
            result = await getattr(self._server.host, method.name)(params, principal)
        except ApiError as exc:
            if not params.dry_run:
                await self._audit(method, params, raw, principal, type(exc).__name__, exc.message)
            raise
        if not params.dry_run:
            await self._audit(method, params, raw, principal, result.result, result.detail)
        return result

    async def _audit(
        self,
        method: Method,
        params: requests.Mutation,
        raw: msgspec.Raw,
        principal: Principal,
        result: str,
        detail: str,
    ) -> None:
        record = AuditRecord(
            at=codec.now(),
            user=principal.user,
            role=principal.role,
            pid=self._peer.pid,
            method=method.name,
            op_id=params.op_id,
            reason=params.reason,
            request=raw,
            result=result,
            detail=detail,
        )
        try:
            await asyncio.to_thread(self._server.audit.write, record)
        except OSError as exc:
            log.critical("audit failed op=%s: %s", params.op_id, exc)
            raise Unavailable(f"{method.name} is in effect, but the audit log cannot be written: {exc}") from exc

    def _subscribe(self, params: requests.SubscribeRequest) -> replies.Subscription:
        interval_s = min(max(params.interval_s, MIN_INTERVAL_S), MAX_INTERVAL_S)
        snapshot = self._server.host.snapshot()
        self.subscriber = Subscriber(snapshot, interval_s, asyncio.get_running_loop().time())
        return replies.Subscription(snapshot=snapshot, interval_s=interval_s)

    def send_changes(self, snapshot: Any, now: float) -> None:
        """Send what has changed, unless the last of it is still on the way."""
        subscriber = self.subscriber
        assert subscriber is not None  # noqa: S101  the caller looked
        subscriber.due = now + subscriber.interval_s
        if self._writer.transport.get_write_buffer_size() > 0:
            if now - subscriber.progress_at > STALLED_S:
                log.warning("subscriber stalled pid=%d; disconnected", self._peer.pid)
                self._writer.transport.abort()
            return
        subscriber.progress_at = now
        changes = subscriber.changes(snapshot)
        if changes is not None:
            self._send(codec.notification(CHANGES, changes))

    def _send(self, line: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(line)


async def _listing(answer: Any) -> Any:
    """A listing's bad cursor is the caller's mistake."""
    try:
        return await answer
    except ApiError:
        raise
    except ValueError as exc:
        raise InvalidRequest(str(exc)) from exc


def _current_task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  a connection is made by its own task
    return task
