"""What holds the mail of a ready queue, from the same state by which it sends."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.smtp import SmtpReply
from mailagent.routing import Limit
from mailagent.scheduling.ready import ReadyQueue
from mailagent.scheduling.shortage import shortage
from mailagent.words import many


def binding(queue: ReadyQueue) -> WaitReason | None:
    """The one reason that holds its mail now; None when there is none to hold."""
    return next(_all(queue), None)


def reasons(queue: ReadyQueue) -> list[WaitReason]:
    """All of them, the one that binds first."""
    found: list[WaitReason] = []
    for reason in _all(queue):
        if all(reason.kind is not other.kind or reason.key != other.key for other in found):
            found.append(reason)
    return found


def _all(queue: ReadyQueue) -> Iterator[WaitReason]:
    if queue.block is not None:
        yield queue.block
        return
    failing = queue.resting or bool(queue.failures and queue.pause_until > queue.now)
    if failing:
        yield _rest(queue)
    if not queue.items:
        if queue.busy and not failing:
            yield WaitReason(kind=ReasonKind.SENDING, detail="being sent")
        return
    holds = failing
    if not failing and queue.pause_until > queue.now and queue.last_reply is not None:
        holds = True
        yield _pause(queue, queue.last_reply)
    used_up = [queue.bound] if queue.bound else []
    used_up += [gate.key for gate in queue.gates if not gate.is_open]
    used_up += [rate.key for rate in queue.rates if rate.delay_s(queue.now) > 0]
    for name in used_up:
        yield _limit(queue, name)
    if holds or used_up:
        return
    if queue.opening and not queue.busy:
        yield WaitReason(kind=ReasonKind.CONNECTING, detail=f"opening {many(queue.opening, 'connection')}")
    else:
        yield WaitReason(kind=ReasonKind.SENDING, detail=f"{many(len(queue.busy), 'connection')} at work")


def _in(seconds: float) -> datetime:
    """Wall time so far from now."""
    return datetime.now(UTC) + timedelta(seconds=max(0.0, seconds))


def _limit(queue: ReadyQueue, name: str) -> WaitReason:
    if name == "max_connections":
        gate = queue.gates[-1]
        key, limit = gate.origin, Limit(gate.limit, gate.origin)
    else:
        key, limit = name, getattr(queue.limits, name)
    delays = [rate.delay_s(queue.now) for rate in queue.rates if rate.key == name]
    kind = ReasonKind.THROTTLE if name.endswith("rate") else ReasonKind.LIMIT
    return WaitReason(
        kind=ReasonKind.RULE if limit.rule else kind,
        detail=f"{name} {limit} is used up",
        key=key,
        value=str(limit),
        origin=limit.origin,
        until=_in(max(delays)) if delays else None,
        release=limit.release or f"raise {name}, or add virtual MTAs",
        reply=limit.reply,
    )


def _pause(queue: ReadyQueue, reply: SmtpReply) -> WaitReason:
    until = _in(queue.pause_until - queue.now)
    short = shortage(reply)
    if short is not None:
        return msgspec.structs.replace(short, until=until)
    return WaitReason(
        kind=ReasonKind.REPLY,
        detail=reply.line(),
        value=str(reply.code or ""),
        origin=queue.site.name,
        until=until,
        release="the end of the pause",
        reply=reply,
    )


def _rest(queue: ReadyQueue) -> WaitReason:
    left_s = max(0.0, queue.pause_until - queue.now)
    short = shortage(queue.last_reply) if queue.last_reply is not None else None
    if short is not None:
        return msgspec.structs.replace(short, until=_in(left_s))
    what = queue.bind_problem or f"{many(queue.failures, 'connection')} failed in a row"
    return WaitReason(
        kind=ReasonKind.BIND if queue.bind_problem else ReasonKind.REST,
        detail=f"{what}; next try in {left_s:.0f} s",
        value=str(queue.failures),
        origin=queue.vmta if queue.bind_problem else queue.site.name,
        until=_in(left_s),
        release=f"a connection that succeeds; mailctl retry site:{queue.site.name} has one tried at once",
        reply=queue.last_reply,
    )
