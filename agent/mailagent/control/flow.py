"""Verbs about the flow of mail: drain, suspend, freeze, limit, and their ends; retry.

Pure functions from a situation and a request to a `Change`, or a refusal.
"""

from dataclasses import replace
from typing import Final

import msgspec

from mailagent.api import requests
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.errors import InvalidRequest
from mailagent.api.ids import PoolName, VmtaName
from mailagent.api.suppression import SuppressionFreeze, SuppressionThaw
from mailagent.api.targets import Target, TargetKind
from mailagent.config.scalars import parse_limit
from mailagent.config.structs import Rate
from mailagent.control.change import Change, Situation, after, due_change, ended_detail
from mailagent.control.guards import SUSPEND_MAX_S, check_spread, floor, too_long
from mailagent.control.limits import configured, limit_names
from mailagent.control.state import IN_SERVICE, HostState, MemberStatus, PoolStatus, called, is_stricter, sentence
from mailagent.control.targets import pool_of, require
from mailagent.routing import Limit

SUSPEND_S: Final = 30 * 60
"""Life of a suspension when the request does not say."""
FREEZE_S: Final = 4 * 3600
"""Life of a freeze of suppression when the request does not say."""
LIMIT_S: Final = 4 * 3600
"""Life of a limit override when the request does not say."""

_ENDED: Final = {
    DirectiveKind.DRAIN: "drained",
    DirectiveKind.SUSPEND: "suspended",
    DirectiveKind.FREEZE_SUPPRESSION: "frozen for suppression",
}
# what each verb acts on
DRAINED: Final = (TargetKind.VMTA, TargetKind.POOL, TargetKind.HOST)
FROZEN: Final = (TargetKind.HOST, TargetKind.PROVIDER)
HELD: Final = (
    TargetKind.VMTA,
    TargetKind.POOL,
    TargetKind.PROVIDER,
    TargetKind.QUEUE,
    TargetKind.STREAM,
    TargetKind.CELL,
    TargetKind.TRAFFIC,
    TargetKind.JOB,
)
LIMITED: Final = (TargetKind.VMTA, TargetKind.PROVIDER, TargetKind.QUEUE, TargetKind.CELL)


def drain(at: Situation, request: requests.Drain) -> Change:
    """Stop new mail from going to a virtual MTA, a pool or the host."""
    target = request.target
    require(at.config, target, DRAINED, "drain")
    if request.refuse and target.kind is not TargetKind.POOL:
        raise InvalidRequest(f"refuse is for pools; {target} is none")
    live = at.live(DirectiveKind.DRAIN, target)
    if live is not None and live.refuse == request.refuse and request.ttl_s is None:
        return Change(target=target, detail=f"{target.name} is already {sentence(live)}")
    made = msgspec.structs.replace(at.directive(DirectiveKind.DRAIN, target, request), refuse=request.refuse)
    change = Change(target=target, detail="", created=(made,), ended=(live,) if live else ())
    warnings = floor(at, change, override=request.override)
    return replace(change, detail=_drain_detail(at, change, request), warnings=warnings)


def undrain(at: Situation, request: requests.Undrain) -> Change:
    """End the drain of a target."""
    require(at.config, request.target, DRAINED, "undrain")
    return _end(at, DirectiveKind.DRAIN, request.target)


def _drain_detail(at: Situation, change: Change, request: requests.Drain) -> str:
    target = request.target
    if target.kind is TargetKind.HOST:
        return f"{target.name} refuses new mail and goes on delivering what waits"
    if target.kind is TargetKind.POOL:
        new_mail = "new mail is refused with 451" if request.refuse else "new mail is accepted and waits"
        senders = len(at.state.fit(PoolName(target.name)))
        who = "1 virtual MTA stops" if senders == 1 else f"{senders} virtual MTAs stop"
        return f"{who} sending for {target.name}; {new_mail}"
    pool = pool_of(at.config, target.name)
    others = after(at, change).fit(pool) if pool is not None else ()
    return f"{target.name} stops sending; " + (
        f"its mail goes out through {', '.join(others)}" if others else "mail of its pool waits"
    )


def suspend(at: Situation, request: requests.Suspend) -> Change:
    """Hold delivery of a target for a time."""
    target = request.target
    require(at.config, target, HELD, "suspend")
    who = called(target) if target.name.endswith("/") else target.name
    live = at.live(DirectiveKind.SUSPEND, target)
    if live is not None and not live.rule and request.ttl_s is None:  # automation's end soon, and then it tries again
        return Change(target=target, detail=f"{who} is already {sentence(live)}")
    is_job = target.kind is TargetKind.JOB  # whoever pauses it owns it
    made = at.directive(DirectiveKind.SUSPEND, target, request, default_s=None if is_job else SUSPEND_S)
    until = f"until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC" if made.expires_at is not None else "until it is resumed"
    change = Change(
        target=target,
        detail=f"{who} holds its mail {until}",
        created=(made,),
        ended=(live,) if live else (),
    )
    problems = []
    if request.ttl_s is not None and request.ttl_s > SUSPEND_MAX_S and not is_job:
        problems.append(too_long("a suspension", request.ttl_s))
    return replace(change, warnings=floor(at, change, override=request.override, problems=problems))


def resume(at: Situation, request: requests.Resume) -> Change:
    """End the suspension of a target."""
    require(at.config, request.target, HELD, "resume")
    return _end(at, DirectiveKind.SUSPEND, request.target)


def freeze(at: Situation, request: SuppressionFreeze) -> Change:
    """What bounces suppress is only pending for a time."""
    target = request.target
    require(at.config, target, FROZEN, "suppression freeze")
    live = at.live(DirectiveKind.FREEZE_SUPPRESSION, target)
    if live is not None and request.ttl_s is None:
        return Change(target=target, detail=f"{target.name} is already {sentence(live)}")
    made = at.directive(DirectiveKind.FREEZE_SUPPRESSION, target, request, default_s=FREEZE_S)
    return Change(
        target=target,
        detail=f"bounces of {target.name} suppress nothing until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        created=(made,),
        ended=(live,) if live else (),
    )


def thaw(at: Situation, request: SuppressionThaw) -> Change:
    """End a freeze."""
    require(at.config, request.target, FROZEN, "suppression thaw")
    return _end(at, DirectiveKind.FREEZE_SUPPRESSION, request.target)


def limit(at: Situation, request: requests.Limit) -> Change:
    """Lower one limit for a time."""
    target = request.target
    require(at.config, target, LIMITED, "limit")
    names = limit_names(target.kind)
    if request.limit not in names:
        raise InvalidRequest(f"{request.limit} is no limit of a {target.kind}; there are {', '.join(names)}")
    try:
        value = str(parse_limit(request.limit, request.value))
    except ValueError as exc:
        raise InvalidRequest(f"{request.limit}: {exc}") from exc
    same = at.all_live(DirectiveKind.LIMIT, target, request.limit)
    if request.ttl_s is None and any(one.value == value for one in same):
        return Change(target=target, detail=f"{request.limit} of {target.name} is already {sentence(same[-1])}")
    made = msgspec.structs.replace(
        at.directive(DirectiveKind.LIMIT, target, request, default_s=LIMIT_S), limit=request.limit, value=value
    )
    lower = _lower(at, made)
    return Change(
        target=target,
        detail=f"{request.limit} of {target.name} is at most {value} until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        created=(made,),
        ended=tuple(one for one in same if not one.rule or one not in lower),  # people take their own words back
        warnings=tuple(
            f"{one.author} holds {one.limit} of {one.target.name} at {one.value}: that is lower and stays in force"
            for one in lower
            if one.rule or one not in same
        )
        + tuple(said for one in configured(at.config, target, request.limit) if (said := _compared(one, made))),
    )


def _compared(configured: Limit[int | Rate], made: Directive) -> str:
    """What to say of a limit of the configuration beside which `made` does nothing; empty: it does something."""
    value, wanted = configured.value, parse_limit(made.limit, made.value)
    if value is None or type(value) is not type(wanted) or is_stricter(wanted, value):
        return ""
    if is_stricter(value, wanted):
        return f"{configured.origin} is {configured}: that is lower and stays in force"
    return f"{configured.origin} is {configured} already"


def _lower(at: Situation, made: Directive) -> tuple[Directive, ...]:
    """Limits that let less through than `made` wherever that holds: it does nothing while they live."""
    names = (made.limit, f"provider_{made.limit}")  # what all sites of a provider share, each has at most
    around = {made.target}
    if made.target.kind in (TargetKind.CELL, TargetKind.QUEUE):
        place, _, vmta = made.target.name.rpartition("/")
        around.add(Target(kind=TargetKind.VMTA, name=vmta))
        if made.target.kind is TargetKind.CELL:
            around.add(Target(kind=TargetKind.PROVIDER, name=place))
    value = parse_limit(made.limit, made.value)
    return tuple(
        one
        for one in at.state.directives
        if one.kind is DirectiveKind.LIMIT
        and one.limit in names
        and one.target in around
        and is_stricter(parse_limit(one.limit, one.value), value)
    )


def retry(at: Situation, request: requests.Retry) -> Change:
    """Make deferred mail due, spread out. How much there is, only the spool knows."""
    check_spread(request.spread_s)
    which = msgspec.structs.replace(request.filter, deferred_only=True)
    return Change(
        filter=which,
        detail=f"matching mail becomes due within {request.spread_s} s",
        due=due_change(which, at.now, request.spread_s),
        undoable=False,
        undo_note="mail that was tried again cannot be called back",
    )


def _end(at: Situation, kind: DirectiveKind, target: Target) -> Change:
    live = [one for one in at.state.directives if one.kind is kind and one.target == target]
    if live:
        change = Change(target=target, detail="; ".join(map(ended_detail, live)), ended=tuple(live))
        still = _still_held(after(at, change), target)
        return replace(change, warnings=(f"{target.name} stays held: {still}",)) if still else change
    word = "paused" if target.kind is TargetKind.JOB else _ENDED[kind]
    still = _still_held(at.state, target)
    return Change(target=target, detail=f"{target.name} is not {word}" + (f" itself; it is {still}" if still else ""))


def _still_held(state: HostState, target: Target) -> str:
    """What else holds a virtual MTA or a pool, as a sentence."""
    status: MemberStatus | PoolStatus | None = None
    if target.kind is TargetKind.VMTA:
        status = state.member(VmtaName(target.name))
    elif target.kind is TargetKind.POOL:
        status = state.pool(PoolName(target.name))
    if status is None or status.directive is None or status.state in IN_SERVICE:
        return ""
    return status.reason
