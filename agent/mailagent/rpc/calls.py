"""From a call to its answer: hello, role, audit, the host's method, and every error as one line."""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

import msgspec

from mailagent.api import codec, replies, requests
from mailagent.api.codec import Request
from mailagent.api.errors import ApiError, InvalidRequest, Refused, RoleRefused, Unavailable, VersionMismatch
from mailagent.api.methods import MAX_REPLY_BYTES, METHODS, PROTOCOL_VERSION, TRACE, Method
from mailagent.api.operations import OperationResult
from mailagent.api.trace import TraceStarted
from mailagent.api.words import asked, command
from mailagent.host import Host, Principal, Stream
from mailagent.rpc.audit import AuditEntry, AuditLog, Event
from mailagent.rpc.errors import UnknownMethod
from mailagent.rpc.peer import Peer, RoleTable, at_most, includes, user_name
from mailagent.rpc.subscriptions import Subscription, clamped
from mailagent.version import __version__

log = logging.getLogger(__name__)

READ_S: Final = 20.0
"""Longest time for a call that only reads."""
VERB_S: Final = 90.0
"""Longest time for a verb; beyond what control waits for the disk."""
NAME_S: Final = 3.0
"""Longest time for the name service; then the caller is known by number."""

OWN: Final = frozenset(("hello", "snapshot", "subscribe", "unsubscribe", "untrace"))
"""Methods that are answered here, for every host."""


@dataclass(slots=True)
class Conversation:
    """What the server knows of one connection."""

    peer: Peer
    user: str = ""
    ceiling: requests.Role | None = None  # of `hello`: the caller wants no higher role
    greeted: bool = False
    subscription: Subscription | None = None
    stream: Stream | None = None
    gone: bool = False  # the connection is closed

    def end_stream(self) -> None:
        """The caller has gone, or wants no more lines."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()


class Calls:
    """Answers calls. `roles` may be replaced while connections stand; it holds from the next call on."""

    def __init__(self, host: Host, roles: RoleTable, audit: AuditLog) -> None:
        self.roles = roles
        self._host = host
        self._audit = audit
        self._boot_id = secrets.token_hex(8)
        self._under_way: dict[asyncio.Task[Any], str] = {}  # verbs that have not come to their end -> op_id

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the methods that this host has, in the order of the table."""
        host = self._host
        return tuple(name for name in METHODS if name in OWN or name in host.reads or name in host.verbs)

    async def answer(self, talk: Conversation, call: Request) -> bytes:
        """The line that answers `call`, never an exception but cancellation."""
        try:
            method = METHODS.get(call.method)
            if method is None or method.name not in self.features:
                raise UnknownMethod(f"no method {call.method}; hello lists them")
            if call.id is None:
                raise InvalidRequest(f"{call.method} without an id could not be answered")
            result = await self._call(talk, method, call.params)
            line = codec.reply(call.id, result)
            if len(line) > MAX_REPLY_BYTES:
                raise Refused(f"the answer has {len(line)} bytes, over {MAX_REPLY_BYTES}; ask for fewer rows")
        except ApiError as exc:
            return codec.failure(call.id, exc)
        except Exception:
            log.exception("rpc %s failed user=%s", call.method, talk.user)
            return codec.failure(call.id, ApiError("internal error; the agent's log has the details"))
        return line

    async def _call(self, talk: Conversation, method: Method, raw: msgspec.Raw) -> object:
        if method.name == "hello":
            return await self._hello(talk, codec.decode(raw, requests.HelloRequest))
        if not talk.greeted:
            raise InvalidRequest("hello comes first")
        role = at_most(self.roles.role_of(talk.peer), talk.ceiling)
        if method.mutates:
            return await self._order(talk, role, method, raw)
        await self._admit(talk, role, method, raw)
        params = codec.decode(raw, method.params)
        if isinstance(params, requests.PageRequest):
            params = msgspec.structs.replace(params, limit=min(max(1, params.limit), requests.PAGE_LIMIT))
        match method.name:
            case "snapshot":
                return self._host.snapshot()
            case "subscribe":
                return self._subscribe(talk, params)
            case "unsubscribe":
                talk.subscription = None
                return requests.Empty()
            case "untrace":
                talk.end_stream()
                return requests.Empty()
        try:
            async with asyncio.timeout(READ_S):
                if isinstance(params, requests.OperationRequest):
                    await self._ended(params.op_id)
                result = await self._host.reads[method.name](params)
        except ValueError as exc:
            if isinstance(params, requests.PageRequest) and params.cursor:
                raise InvalidRequest(f"{command(method.name)}: {exc}") from exc
            raise
        except OSError as exc:  # also its own deadline: TimeoutError is one
            why = str(exc) or f"no answer within {READ_S:g} s"
            raise Unavailable(f"{command(method.name)}: {why}; ask for less, or later") from exc
        return self._streams(talk, cast(Stream, result)) if method.name == TRACE else result

    def _streams(self, talk: Conversation, stream: Stream) -> TraceStarted:
        """A connection has one trace: a new one takes the place of the last."""
        talk.end_stream()
        if talk.gone:
            stream.close()
        else:
            talk.stream = stream
        return stream.started

    async def _ended(self, op_id: str) -> None:
        """Wait for the verbs of that op_id, so that no record means that nothing was done and nothing will be.

        A verb whose caller has gone comes to its end all the same, perhaps after the caller is back and asks.
        """
        if tasks := [task for task, one in self._under_way.items() if one == op_id]:
            await asyncio.wait(tasks)

    async def _admit(self, talk: Conversation, role: requests.Role, method: Method, raw: msgspec.Raw) -> None:
        """Let a read happen: the role is high enough, and what is to go on record is there."""
        if not includes(role, method.role):
            await self._deny(talk, role, method, raw)
        if method.audited:
            try:
                await self._note(talk, Event.LOOKED, role, method.name, request=raw)
            except OSError as exc:
                raise Unavailable(
                    f"{command(method.name)} is not done: the audit log cannot be written: {exc}"
                ) from exc

    async def _deny(self, talk: Conversation, role: requests.Role, method: Method, raw: msgspec.Raw) -> NoReturn:
        words = command(method.name)
        with contextlib.suppress(InvalidRequest):  # who may not, need not hear what is wrong with it
            words = asked(method.name, codec.decode(raw, method.params))
        denied = RoleRefused(f"{words} wants the role {method.role}; {talk.user} has {role}")
        await self._note(talk, Event.DENIED, role, method.name, request=raw, detail=denied.message)
        raise denied

    async def _hello(self, talk: Conversation, request: requests.HelloRequest) -> replies.Hello:
        if talk.greeted:
            raise InvalidRequest("hello was said already")
        talk.user = await _name(talk.peer.uid)
        if request.protocol != PROTOCOL_VERSION:
            older = "console" if request.protocol < PROTOCOL_VERSION else "agent"
            raise VersionMismatch(
                f"the agent ({__version__}) speaks protocol {PROTOCOL_VERSION}, the caller {request.protocol};"
                f" upgrade the {older}"
            )
        try:
            role = at_most(self.roles.role_of(talk.peer), request.as_role)
        except RoleRefused as exc:
            await self._note(talk, Event.DENIED, None, "hello", detail=exc.message)
            raise
        talk.ceiling, talk.greeted = request.as_role, True
        if talk.peer.uid == 0 != os.getuid():
            log.warning("rpc break-glass: root connects pid=%d role=%s", talk.peer.pid, role)
        log.info("rpc hello user=%s role=%s pid=%d client=%r", talk.user, role, talk.peer.pid, request.client[:80])
        return replies.Hello(
            protocol=PROTOCOL_VERSION,
            version=__version__,
            host=self._host.name,
            spool_id=self._host.spool_id,
            boot_id=self._boot_id,
            features=self.features,
            user=talk.user,
            role=role,
            server_time=codec.now(),
            emulated=dict(self._host.emulated),
        )

    def _subscribe(self, talk: Conversation, request: requests.SubscribeRequest) -> replies.Subscription:
        interval_s = clamped(request.interval_s)
        snapshot = self._host.snapshot()
        due_at = asyncio.get_running_loop().time() + interval_s
        talk.subscription = Subscription(interval_s=interval_s, snapshot=snapshot, due_at=due_at)
        return replies.Subscription(snapshot=snapshot, interval_s=interval_s)

    async def _order(self, talk: Conversation, role: requests.Role, method: Method, raw: msgspec.Raw) -> object:
        """Execute a verb, written down before it happens and before the caller hears what came of it."""
        if not includes(role, method.role):
            await self._deny(talk, role, method, raw)
        request: requests.Mutation = codec.decode(raw, method.params)
        execute = self._host.verbs[method.name]
        caller, words = Principal(user=talk.user, role=role), asked(method.name, request)
        if request.dry_run:
            return await _in_time(words, execute(request, caller))
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._under_way[task] = request.op_id
        task.add_done_callback(self._under_way.pop)
        try:
            await self._note(talk, Event.ASKED, role, method.name, op_id=request.op_id, request=raw)
        except OSError as exc:
            raise Unavailable(f"{words} is not done: the audit log cannot be written: {exc}") from exc
        try:
            result: OperationResult = await _in_time(words, execute(request, caller))
        except ApiError as exc:
            event = Event.FAILED if isinstance(exc, Unavailable) else Event.REFUSED
            await self._close(talk, event, role, method.name, request.op_id, detail=exc.message)
            raise
        except Exception as exc:
            await self._close(talk, Event.FAILED, role, method.name, request.op_id, detail=repr(exc))
            raise
        await self._close(
            talk, Event.DONE, role, method.name, request.op_id, result=result.result, detail=result.detail
        )
        return result

    async def _close(
        self, talk: Conversation, event: Event, role: requests.Role, verb: str, op_id: str, **more: str
    ) -> None:
        """The second line of a verb. Its first one is on disk, so a failure does not hide what was done."""
        try:
            await self._note(talk, event, role, verb, op_id=op_id, **more)
        except OSError:
            log.exception("audit: %s of op=%s user=%s is missing from the log", event, op_id, talk.user)

    async def _note(self, talk: Conversation, event: Event, role: requests.Role | None, verb: str, **more: Any) -> None:
        uid, pid = talk.peer.uid, talk.peer.pid
        await self._audit.write(
            AuditEntry(at=codec.now(), event=event, user=talk.user, uid=uid, pid=pid, role=role, verb=verb, **more)
        )


async def _in_time(words: str, work: Awaitable[OperationResult]) -> OperationResult:
    try:
        async with asyncio.timeout(VERB_S):
            return await work
    except TimeoutError as exc:
        raise Unavailable(f"{words}: no end within {VERB_S:g} s; ask what became of it by its op_id") from exc


async def _name(uid: int) -> str:
    try:
        async with asyncio.timeout(NAME_S):
            return await asyncio.to_thread(user_name, uid)
    except TimeoutError:
        log.warning("the name service does not know uid %d within %g s", uid, NAME_S)
        return f"uid {uid}"
