"""What verbs on jobs would change: pure functions from a situation and a request to a `Change`, or a refusal."""

from datetime import datetime
from typing import Final

import msgspec

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.errors import InvalidRequest
from mailagent.api.jobs import JobCancel, JobSet
from mailagent.api.targets import MessageFilter, TargetKind
from mailagent.config.scalars import parse_limit
from mailagent.control.change import Change, Situation, directive_id, due_change
from mailagent.control.state import sentence
from mailagent.control.targets import require

CANCELLED_S: Final = 7 * 24 * 3600
"""How long new mail of a cancelled job is refused when the request does not say."""
RATE: Final = "rate"
NO_RATE: Final = "none"


def job_set(at: Situation, request: JobSet) -> Change:
    """Give a job a window or a rate."""
    target = request.target
    require(at.config, target, (TargetKind.JOB,), "job set")
    start, end = _utc(request.start, "start"), _utc(request.end, "end")
    if end is not None and end <= max(at.now, start or at.now):
        raise InvalidRequest(f"end {end:%Y-%m-%d %H:%M:%S} UTC is not after the start, or has passed")
    made: list[Directive] = []
    ended: list[Directive] = []
    notes: list[str] = []

    def put(kind: DirectiveKind, *, until: datetime | None, limit: str = "", value: str = "") -> None:
        one = at.directive(kind, target, request)
        number = directive_id(request.op_id, len(made) + 1)
        made.append(
            msgspec.structs.replace(one, id=number, expires_at=until or one.expires_at, limit=limit, value=value)
        )

    if start is not None:
        ended += at.all_live(DirectiveKind.JOB_START, target)
        if start > at.now:
            put(DirectiveKind.JOB_START, until=start)
            notes.append(f"starts at {start:%Y-%m-%d %H:%M:%S} UTC")
        elif ended:
            notes.append("starts now")
    if end is not None:
        ended += at.all_live(DirectiveKind.JOB_END, target)
        put(DirectiveKind.JOB_END, until=end)
        notes.append(f"is held from {end:%Y-%m-%d %H:%M:%S} UTC on")
    if request.rate:
        old = at.all_live(DirectiveKind.LIMIT, target, RATE)
        if request.rate == NO_RATE:
            ended += old
            notes += ["has no rate of its own"] if old else []
        else:
            try:
                value = str(parse_limit(RATE, request.rate))
            except ValueError as exc:
                raise InvalidRequest(f"rate: {exc}") from exc
            ended += old
            put(DirectiveKind.LIMIT, until=None, limit=RATE, value=value)
            notes.append(f"may send {value} on this host")
    if not made and not ended:
        return Change(target=target, detail=f"{target.name} has that already")
    return Change(target=target, detail=f"{target.name} {', '.join(notes)}", created=tuple(made), ended=tuple(ended))


def job_cancel(at: Situation, request: JobCancel) -> Change:
    """Give up what waits of a job."""
    target = request.target
    require(at.config, target, (TargetKind.JOB,), "job cancel")
    live = at.live(DirectiveKind.JOB_CANCEL, target)
    if live is not None:
        return Change(target=target, detail=f"job {target.name} is already {sentence(live)}")
    made = at.directive(DirectiveKind.JOB_CANCEL, target, request, default_s=CANCELLED_S)
    told = "senders get a DSN" if request.bounce else "nobody is told"
    return Change(
        target=target,
        detail=f"what waits of {target.name} is given up, {told}; new mail of it is refused",
        created=(msgspec.structs.replace(made, bounce=request.bounce),),
        ended=tuple(one for one in at.state.directives if one.target == target),
        due=due_change(MessageFilter(job=target.name), at.now, 0),
        undoable=False,
        undo_note="mail that was given up cannot be called back",
    )


def _utc(at: datetime | None, what: str) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise InvalidRequest(f"{what} has no time zone; write 2026-07-01T09:00:00Z")
    return at
