"""The lock of a host: who holds it, and what becomes of the verbs of others.

A lock is a directive on the host, with owner, reason and end. It binds people: automation, expiries and the flow of
mail go on.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.errors import InvalidRequest, Locked
from mailagent.api.lock import LockRelease, LockTake
from mailagent.api.operations import OperationResult
from mailagent.api.requests import Mutation
from mailagent.api.targets import Target, TargetKind
from mailagent.control.change import Change, Situation
from mailagent.control.effects import Caller
from mailagent.control.state import HostState, sentence

if TYPE_CHECKING:
    from mailagent.control.verbs import Control, Verb

LOCK_S: Final = 30 * 60
"""Life of a lock when the request does not say."""
LOCK_MAX_S: Final = 24 * 3600


def holder(state: HostState) -> Directive | None:
    """The lock that lives, if there is one."""
    return next((one for one in reversed(state.directives) if one.kind is DirectiveKind.LOCK), None)


def passed(state: HostState, request: Mutation, user: str) -> str:
    """What to add to the detail of a verb of `user`: which lock it breaks, mostly nothing.

    Raises:
        Locked: somebody else holds the lock, and the request does not break it.
    """
    lock = holder(state)
    if lock is None or lock.author == user:
        return ""
    if not request.break_lock:
        since = f"{lock.created_at:%H:%M:%S} UTC"
        raise Locked(f"{lock.target.name} is {sentence(lock)} (since {since}); wait, ask them, or break the lock")
    return f" (breaks the lock of {lock.author})"


def take(at: Situation, request: LockTake) -> Change:
    """Take the lock; one's own gets another end."""
    if request.ttl_s is not None and request.ttl_s > LOCK_MAX_S:
        raise InvalidRequest(f"a lock lasts {LOCK_MAX_S // 3600} h at most")
    host = Target(kind=TargetKind.HOST, name=at.config.host)
    live = holder(at.state)
    if live is not None and live.author == at.author and request.ttl_s is None:
        return Change(target=host, detail=f"{host.name} is already {sentence(live)}")
    made = at.directive(DirectiveKind.LOCK, host, request, default_s=LOCK_S)
    return Change(
        target=host,
        detail=f"{host.name} obeys {at.author} alone until {made.expires_at:%H:%M:%S} UTC",
        created=(made,),
        ended=(live,) if live is not None else (),
    )


def release(at: Situation, request: LockRelease) -> Change:  # noqa: ARG001
    """Give the lock back."""
    host = Target(kind=TargetKind.HOST, name=at.config.host)
    live = holder(at.state)
    if live is None:
        return Change(target=host, detail=f"{host.name} is not locked")
    return Change(target=host, detail=f"the lock of {live.author} on {host.name} ends", ended=(live,))


class LockVerbs:
    """Take and release, by wire name in `verbs`."""

    def __init__(self, control: "Control") -> None:
        self._control = control

    @property
    def verbs(self) -> "Mapping[str, Verb]":
        """The mutating methods."""
        return {"lock_take": self.take, "lock_release": self.release}

    async def take(self, request: LockTake, caller: Caller) -> OperationResult:
        """Take the lock."""
        return await self._control.execute("lock_take", request, caller, partial(take, request=request))

    async def release(self, request: LockRelease, caller: Caller) -> OperationResult:
        """Give it back."""
        return await self._control.execute("lock_release", request, caller, partial(release, request=request))


def told(change: Change, broken: str) -> Change:
    """`change` with the lock that it breaks in its detail, and so in log and audit."""
    return replace(change, detail=change.detail + broken) if broken else change
