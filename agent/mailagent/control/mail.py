"""What verbs on waiting mail would change: pure functions from a situation, a request and a count to a `Change`."""

from dataclasses import replace
from typing import Final

import msgspec

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.errors import InvalidRequest, Refused
from mailagent.api.mail import MailVerb
from mailagent.api.operations import Impact
from mailagent.api.requests import Retry
from mailagent.api.targets import Target, TargetKind
from mailagent.control.change import Change, Situation
from mailagent.control.flow import SUSPEND_S
from mailagent.control.guards import SUSPEND_MAX_S, guard, too_long
from mailagent.control.targets import require

GRACE_S: Final = 300
"""How long mail that is to be given up waits, so that the order can be taken back."""
ORDERS: Final = (
    DirectiveKind.HOLD,
    DirectiveKind.RELEASE,
    DirectiveKind.REBIND,
    DirectiveKind.BOUNCE,
    DirectiveKind.DELETE,
    DirectiveKind.RETRY,
    DirectiveKind.REQUEUE,
)
ENDS_MAIL: Final = (DirectiveKind.BOUNCE, DirectiveKind.DELETE)


def order(
    at: Situation,
    request: MailVerb | Retry,
    *,
    kind: DirectiveKind,
    counted: Impact,
    on_the_way: int,
    pool: str = "",
    value: str = "",
) -> Change:
    """Give an order on the mail that `request.filter` matches, of which there is `counted`; `value` goes into it.

    Raises:
        Refused: more recipients match than the request allows.
        InvalidRequest: a time for an order that has none.
    """
    which = request.filter
    target = Target(kind=TargetKind.MAIL, name=str(which))
    if kind is DirectiveKind.REBIND:
        require(at.config, Target(kind=TargetKind.POOL, name=pool), (TargetKind.POOL,), "rebind")
    if request.max_affected is not None and counted.messages > request.max_affected:
        raise Refused(f"{counted.messages} recipients match, more than {request.max_affected}; narrow the filter")
    if request.ttl_s is not None and kind is not DirectiveKind.HOLD:
        raise InvalidRequest(f"{kind} has no time of its own" + (GRACE_NOTE if kind in ENDS_MAIL else ""))
    change = Change(target=target, filter=which, detail="no mail matches", counted=counted)
    if counted.messages == 0:
        return change
    made = at.directive(kind, target, request, default_s=_LIFE_S[kind])
    before = {part.pool for part in counted.parts}
    made = msgspec.structs.replace(
        made, filter=which, value=pool or value, base=before.pop() if pool and len(before) == 1 else ""
    )
    undoable = kind is not DirectiveKind.REBIND or bool(made.base)
    change = replace(
        change,
        detail=_detail(made, counted.messages),
        created=(made,),
        undoable=undoable,
        undo_note=_UNDO_NOTE[kind] if undoable else "it comes from several pools; rebind them one by one",
    )
    problems = []
    if request.ttl_s is not None and request.ttl_s > SUSPEND_MAX_S:
        problems.append(too_long("a hold", request.ttl_s))
    warnings = guard(problems, override=request.override)
    if on_the_way:
        warnings = (*warnings, f"{on_the_way} more are on their way now and are left alone")
    return replace(change, warnings=warnings)


def finished(at: Situation, *, done: Directive, empty: frozenset[str], detail: str = "") -> Change:
    """A release, rebind, retry or requeue has nothing left to do; holds that have no mail any more end with it."""
    over = tuple(
        one
        for one in at.state.directives
        if one.id == done.id or (one.kind is DirectiveKind.HOLD and (one.continues or one.id) in empty)
    )
    return Change(
        target=done.target,
        detail=detail or f"{done.filter or 'mail'} " + (f"is in pool {done.value}" if done.value else "is free again"),
        ended=over,
        undoable=False,
        undo_note="undo the order itself",
    )


def _detail(made: Directive, count: int) -> str:
    one = count == 1
    what = "1 recipient" if one else f"{count:,} recipients"
    waits, are = ("waits", "is") if one else ("wait", "are")
    until = f"{made.expires_at:%H:%M:%S} UTC" if made.expires_at is not None else ""
    match made.kind:
        case DirectiveKind.HOLD:
            return f"{what} {waits} until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        case DirectiveKind.REBIND:
            return f"{what} {'leaves' if one else 'leave'} from pool {made.value}"
        case DirectiveKind.BOUNCE:
            return f"{what} {waits}, and {are} given up with a DSN at {until}"
        case DirectiveKind.DELETE:
            return f"{what} {waits}, and {are} deleted without a DSN at {until}"
        case DirectiveKind.RETRY:
            return f"{what} {'becomes' if one else 'become'} due within {made.value} s"
        case DirectiveKind.REQUEUE:
            return f"{what} {'goes' if one else 'go'} through the queue anew"
        case _:
            return f"{what} may go again"


GRACE_NOTE: Final = f": mail is given up after {GRACE_S // 60} minutes, in which the order can be undone"
_LIFE_S: Final = {
    DirectiveKind.HOLD: SUSPEND_S,
    DirectiveKind.RELEASE: None,
    DirectiveKind.REBIND: None,
    DirectiveKind.BOUNCE: GRACE_S,
    DirectiveKind.DELETE: GRACE_S,
    DirectiveKind.RETRY: None,
    DirectiveKind.REQUEUE: None,
}
_UNDO_NOTE: Final = {
    DirectiveKind.HOLD: "",
    DirectiveKind.RELEASE: "undo holds again what has not left by then, for 30 minutes",
    DirectiveKind.REBIND: "undo moves what matches back, also what was in that pool before",
    DirectiveKind.BOUNCE: f"for {GRACE_S // 60} minutes; then it is final",
    DirectiveKind.DELETE: f"for {GRACE_S // 60} minutes; then it is final",
    DirectiveKind.RETRY: "undo stops what is left of it; mail that was tried cannot be called back",
    DirectiveKind.REQUEUE: "undo stops what is left of it",
}
