"""Rotation: a standby takes the place of an active virtual MTA of its pool on this host (DESIGN section 6)."""

from collections.abc import Callable
from dataclasses import replace

import msgspec

from mailagent.api import requests
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.errors import Refused
from mailagent.api.ids import PoolName, VmtaName
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import MemberState
from mailagent.control.change import Change, Situation, moved
from mailagent.control.guards import floor, guard
from mailagent.control.state import IN_SERVICE, sentence
from mailagent.control.targets import pool_of, require


def rotate(
    at: Situation,
    request: requests.Rotate,
    unfit: Callable[[VmtaName], list[str]],
    doubts: Callable[[VmtaName], list[str]],
) -> Change:
    """Put the first fit standby, or the named one, in the place of an active virtual MTA.

    `unfit` says why a virtual MTA should not begin to send now, `doubts` what is not known of it. Mail that waits only
    because of the old address becomes due.

    Raises:
        NotFound: target or standby do not exist.
        Refused: the target does not serve its pool, or no standby of the pool is on this host.
        GuardRefused: the pre-flight fails: another directive on either, an address that cannot be bound or
            is on a block list.
    """
    target = request.target
    require(at.config, target, (TargetKind.VMTA,), "rotate")
    old = VmtaName(target.name)
    pool = pool_of(at.config, old)
    if pool is None:
        raise Refused(f"{old} belongs to no pool")
    live = at.live(DirectiveKind.ROTATE, target)
    if live is not None and request.standby in ("", live.standby):
        return Change(target=target, detail=f"{old} is already {sentence(live)}")
    if at.state.service(old) not in IN_SERVICE:
        raise Refused(f"{old} is {at.state.member(old).state} in pool {pool}; only an active virtual MTA rotates")
    problems = [f"{old} is {sentence(one)}" for one in _holding(at, old)]
    faults = {vmta: _faults(at, vmta, unfit(vmta)) for vmta in _candidates(at, request, pool)}
    new = min(faults, key=lambda vmta: len(faults[vmta]))  # the first of those with the fewest
    if faults[new]:
        problems += [fault for found in faults.values() for fault in found]
    warnings = guard(problems, override=request.override) + tuple(f"{new} {doubt}" for doubt in doubts(new))
    for one in _limits_of(at, old):
        warnings += (f"{old} is {sentence(one)}; that does not pass to {new}",)
    held = at.live(DirectiveKind.DRAIN, _pool_target(pool)) or at.live(DirectiveKind.SUSPEND, _pool_target(pool))
    if held is not None:
        warnings += (f"pool {pool} is {sentence(held)}: nothing is sent before that ends",)
    made = msgspec.structs.replace(at.directive(DirectiveKind.ROTATE, target, request), standby=new)
    change = Change(
        target=target,
        detail=f"{new} takes the place of {old} in pool {pool}; {old} drains and is then quarantined",
        created=(made,),
        due=moved(old, at.now),
        undo_note=f"what left from {new} by then stays sent",
    )
    return replace(change, warnings=warnings + floor(at, change, override=request.override))


def _candidates(at: Situation, request: requests.Rotate, pool: PoolName) -> tuple[VmtaName, ...]:
    """The standbys of `pool` that the request allows, in configuration order; at least one."""
    members = at.config.pools[pool].members
    found = tuple(vmta for vmta in members if at.state.service(vmta) is MemberState.STANDBY)
    if not found:
        raise Refused(f"pool {pool} has no standby on {at.config.host} to take the place of {request.target.name}")
    if not request.standby:
        return found
    chosen = VmtaName(request.standby)
    require(at.config, Target(kind=TargetKind.VMTA, name=chosen), (TargetKind.VMTA,), "rotate")
    if chosen not in found:
        state = at.state.member(chosen).state if chosen in members else "of another pool"
        raise Refused(f"{chosen} is no standby of pool {pool}, it is {state}; there are {', '.join(found)}")
    return (chosen,)


def _faults(at: Situation, vmta: VmtaName, unfit: list[str]) -> list[str]:
    """Why a standby should not take over; none when it is fit."""
    faults = [f"is {sentence(one)}" for one in (*_holding(at, vmta), *_limits_of(at, vmta))]
    return [f"{vmta} {fault}" for fault in (*faults, *unfit)]


def _holding(at: Situation, vmta: VmtaName) -> list[Directive]:
    """Drains, suspensions and rotations of one virtual MTA."""
    on = Target(kind=TargetKind.VMTA, name=vmta)
    return [
        one
        for one in at.state.directives
        if (one.target == on and one.kind is not DirectiveKind.LIMIT) or one.standby == vmta
    ]


def _limits_of(at: Situation, vmta: VmtaName) -> list[Directive]:
    on = Target(kind=TargetKind.VMTA, name=vmta)
    return [one for one in at.state.directives if one.target == on and one.kind is DirectiveKind.LIMIT]


def _pool_target(pool: PoolName) -> Target:
    return Target(kind=TargetKind.POOL, name=pool)
