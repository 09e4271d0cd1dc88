"""What becomes of orders that stand: cancel, edit, undo, and the end of their time.

Pure functions from a situation and a request to a `Change`, or a refusal.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from mailagent.api import requests
from mailagent.api.directives import Directive, DirectiveKind, DirectiveState
from mailagent.api.errors import InvalidRequest, NotFound, Refused
from mailagent.api.ids import DirectiveId, OpId, VmtaName
from mailagent.api.operations import Result
from mailagent.api.targets import MessageFilter, TargetKind
from mailagent.api.terms import Field
from mailagent.api.words import command, verb
from mailagent.control.change import Change, Situation, directive_id, ended_detail, moved
from mailagent.control.flow import SUSPEND_S
from mailagent.control.guards import SUSPEND_MAX_S, floor, guard, too_long
from mailagent.control.state import sentence
from mailagent.control.targets import near
from mailagent.spool.records import DueChange


def cancel(at: Situation, request: requests.Cancel) -> Change:
    """End one directive."""
    found = _by_id(at, request.directive)
    due = _rotated_back((found,), at.now)
    change = Change(target=found.target, detail=ended_detail(found), ended=(found,), due=due)
    return replace(change, warnings=floor(at, change, override=request.override))


def edit(at: Situation, request: requests.Edit) -> Change:
    """Give a directive another end, or pin it: the same one goes on under a new id."""
    old = _by_id(at, request.directive)
    if old.target.kind is TargetKind.DKIM:
        raise InvalidRequest(f"{old.target} has verbs of its own; edit is for orders about the flow of mail")
    pinned = old.pinned if request.pin is None else request.pin
    ends = old.expires_at if request.ttl_s is None else at.now + timedelta(seconds=request.ttl_s)
    if (pinned, ends) == (old.pinned, old.expires_at):
        return Change(target=old.target, detail=f"nothing about {old.id} would change")
    if old.kind in (DirectiveKind.BOUNCE, DirectiveKind.DELETE) and (ends is None or ends < (old.expires_at or at.now)):
        raise InvalidRequest(f"the grace of {old.id} can be made longer, not shorter")
    problems = []
    if (
        old.kind in (DirectiveKind.SUSPEND, DirectiveKind.HOLD)
        and old.target.kind is not TargetKind.JOB
        and request.ttl_s is not None
        and request.ttl_s > SUSPEND_MAX_S
    ):
        problems.append(too_long(f"a {verb(old.kind, old.target)}", request.ttl_s))
    made = msgspec.structs.replace(
        old,
        id=directive_id(request.op_id, 1),
        op_id=request.op_id,
        expires_at=ends,
        pinned=pinned,
        continues=old.continues or old.id,
    )
    words = [f"ends at {ends:%Y-%m-%d %H:%M:%S} UTC" if ends is not None else "has no end but undo"]
    if pinned != old.pinned:
        words.append("is left alone by automation" if pinned else "is automation's again")
    return Change(
        target=old.target,
        detail=f"{verb(old.kind, old.target)} of {old.target} {' and '.join(words)}",
        created=(made,),
        ended=(old,),
        warnings=guard(problems, override=request.override),
    )


def _by_id(at: Situation, wanted: DirectiveId) -> Directive:
    """The live directive of that id.

    Raises:
        NotFound: there is none; who ended it, if that was lately.
    """
    live = {one.id: one for one in at.state.directives}
    if (found := live.get(wanted)) is not None:
        return found
    why = f"; it ended with {end}" if (end := at.ended.get(wanted)) is not None else near(wanted, live)
    raise NotFound(f"{at.config.host} has no live directive {wanted}{why}")


def undo(at: Situation, request: requests.Undo) -> Change:
    """The inverse of an operation: what it made ends, what it ended comes back with what was left of its time."""
    stored = at.undone
    if stored is None:
        raise NotFound(f"{at.config.host} has no operation {request.undoes}; it keeps them for 7 days")
    record = stored.record
    deed = f"{command(record.verb, record.target)} {request.undoes}"
    if not record.undoable:
        nothing = record.result is Result.NOTHING_TO_DO
        why = stored.result.undo_note or ("it changed nothing" if nothing else "what it did has no way back")
        raise Refused(f"{deed} cannot be undone: {why}")
    if record.undone_by is not None:
        return Change(target=record.target, detail=f"{deed} is undone by {record.undone_by}")
    ended = tuple(one for one in at.state.directives if one.id in record.created or one.continues in record.created)
    notes = [ended_detail(one) for one in ended]
    if len(ended) < len(record.created):
        notes.append("what it ordered has ended already" if not ended else "the rest has ended already")
    created: list[Directive] = []
    for old in record.cancelled:
        since = [one for one in at.all_live(old.kind, old.target, old.limit) if one not in ended]
        if since:
            notes.append(f"{old.target} is {sentence(since[-1])} since, which stays")
            continue
        left = None if old.expires_at is None else old.expires_at - record.at
        made = msgspec.structs.replace(
            old,
            id=directive_id(request.op_id, len(created) + 1),
            author=at.author,
            created_at=at.now,
            expires_at=None if left is None else at.now + left,
            op_id=request.op_id,
            continues=old.continues or old.id,
        )
        created.append(made)
        notes.append(f"{old.target} is {sentence(made)}")
    for old in stored.result.directives:
        if old.kind in (DirectiveKind.RELEASE, DirectiveKind.REBIND) and old not in ended:
            made = _taken_back(at, old, request)
            created.append(made)
            notes.append(f"{old.target} is {sentence(made)}")
    change = Change(
        target=record.target,
        detail="; ".join(notes),
        created=tuple(created),
        ended=ended,
        due=_rotated_back(ended, at.now),
        undoes=record.op_id,
    )
    return replace(change, warnings=floor(at, change, override=request.override))


def _taken_back(at: Situation, done: Directive, request: requests.Undo) -> Directive:
    """The order that undoes one that is done: a hold, for as long as it lasts by itself, or a rebind back."""
    which = msgspec.structs.replace(done.filter or MessageFilter(), held=False, before=at.now)
    if done.kind is DirectiveKind.RELEASE:
        made = at.directive(DirectiveKind.HOLD, done.target, request, default_s=SUSPEND_S)
        return msgspec.structs.replace(made, filter=which)
    terms = tuple(term for term in which.terms if term.field is not Field.POOL)
    back = at.directive(DirectiveKind.REBIND, done.target, request)
    return msgspec.structs.replace(
        back, filter=msgspec.structs.replace(which, pool=done.value, terms=terms), value=done.base, base=done.value
    )


def _rotated_back(ended: Sequence[Directive], now: datetime) -> DueChange | None:
    """What waits because of a standby that gives its place back."""
    standby = next((one.standby for one in ended if one.kind is DirectiveKind.ROTATE), "")
    return moved(VmtaName(standby), now) if standby else None


def expiry(one: Directive) -> Change:
    """A directive whose time is over ends; a job that reached its end is held."""
    held: tuple[Directive, ...] = ()
    if one.kind is DirectiveKind.JOB_END:
        op_id = OpId(f"expire-{one.id}")
        made = msgspec.structs.replace(
            one,
            id=directive_id(op_id, 1),
            kind=DirectiveKind.SUSPEND,
            op_id=op_id,
            created_at=one.expires_at or one.created_at,
            expires_at=None,
            reason="its end has come" + (f" ({one.reason})" if one.reason else ""),
        )
        held = (made,)
    return Change(
        target=one.target,
        detail=f"{verb(one.kind, one.target)} of {one.target} by {one.author} has expired"
        + ("; what waits is held" if held else ""),
        created=held,
        ended=(one,),
        undoable=False,
        undo_note="it ended by itself",
    )


def ended_now(one: Directive, at: datetime, by: str) -> Directive:
    """`one` as it is kept after its end."""
    expired = one.expires_at is not None and one.expires_at <= at
    state = DirectiveState.EXPIRED if expired else DirectiveState.CANCELLED
    return msgspec.structs.replace(one, state=state, ended_at=at, ended_by=by)
