"""The safety budget: what an act on single virtual MTAs or hosts must leave in the fleet. Pure.

A host guards its own pools; what only the whole fleet can tell is guarded here: the least number of members that a
pool wants (`min_active`), the last host of a region, pools that a host drain would close to new mail, and several
members of one host taken in one act. Hosts that do not answer are not counted as capacity. A drain or suspension of a
pool as a whole states its intent and is exempt.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import HostName, PoolName
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import MemberState
from mailagent.config.structs import FleetConfig
from mailctl.fleet.state import FleetState
from mailctl.ops.plan import Verb
from mailctl.ops.selector import Selection, TermKind

_TAKES = {Verb.DRAIN: (TargetKind.VMTA, TargetKind.HOST), Verb.SUSPEND: (TargetKind.VMTA,)}
_SENDS = (MemberState.ACTIVE, MemberState.WARMING)


class Taken(NamedTuple):
    """One object that an act takes out of service on its host."""

    host: HostName
    target: Target


class _Member(NamedTuple):
    """A virtual MTA that may send now, on a host that takes new mail."""

    host: HostName
    pool: PoolName
    name: str


def is_about_the_fleet(verb: Verb, selection: Selection) -> bool:
    """Whether hosts that are not selected must be known before the verb can be judged."""
    return verb in _TAKES and (not selection.kinds or TermKind.VMTA in selection.kinds)


def breaches(
    config: FleetConfig, state: FleetState, verb: Verb, acts: Iterable[Taken]
) -> Mapping[Taken, tuple[str, ...]]:
    """What `verb` would leave too little of, for each of the acts that have a part in it; none when all is well."""
    taken = [act for act in acts if act.target.kind in _TAKES.get(verb, ())]
    if not taken:
        return {}
    found: dict[Taken, list[str]] = {}
    open_hosts = {host.name for host in state.hosts if host.state.is_fresh} - _drained(state)
    silent = [host.name for host in state.hosts if not host.state.is_fresh]
    members = [
        _Member(row.host, row.view.pool, row.view.name)
        for row in state.vmtas
        if row.host in open_hosts and row.view.state in _SENDS
    ]
    uncounted = f" ({', '.join(silent)} {'does' if len(silent) == 1 else 'do'} not answer)" if silent else ""
    for pool in dict.fromkeys(member.pool for member in members):
        _pool(config, pool, [one for one in members if one.pool == pool], taken, uncounted, found)
    _regions(config, open_hosts, taken, uncounted, found)
    return {act: tuple(texts) for act, texts in found.items()}


def _pool(
    config: FleetConfig,
    pool: PoolName,
    members: Collection[_Member],
    taken: Collection[Taken],
    uncounted: str,
    found: dict[Taken, list[str]],
) -> None:
    """A pool keeps its least number in the fleet, and on each host that loses several members at once its last."""
    by = {member: act for member in members for act in taken if _takes(act, member)}
    left = len(members) - len(by)
    known = config.pools.get(pool)
    least = (known.min_active if known is not None else None) or 1
    if by and left < least:
        wants = f", its min_active is {least}" if least > 1 else ""
        text = f"pool {pool} would have {left} of {len(members)} virtual MTAs left in the fleet{wants}{uncounted}"
        _add(found, by.values(), text)
    for host in dict.fromkeys(member.host for member in by):
        acts = [act for member, act in by.items() if member.host == host and act.target.kind is TargetKind.VMTA]
        if len(acts) > 1 and len(acts) == sum(member.host == host for member in members):
            _add(found, acts, f"no eligible IP of pool {pool} would be left on {host}")


def _regions(
    config: FleetConfig,
    open_hosts: Collection[HostName],
    taken: Collection[Taken],
    uncounted: str,
    found: dict[Taken, list[str]],
) -> None:
    """A region keeps a host that takes new mail."""
    by_region: dict[str, list[Taken]] = {}
    for act in taken:
        host = config.hosts.get(act.host)
        if act.target.kind is TargetKind.HOST and host is not None and host.region and act.host in open_hosts:
            by_region.setdefault(host.region, []).append(act)
    for region, acts in by_region.items():
        here = {name for name, host in config.hosts.items() if host.region == region and name in open_hosts}
        if here == {act.host for act in acts}:
            _add(found, acts, f"no host of region {region} would take new mail{uncounted}")


def _takes(act: Taken, member: _Member) -> bool:
    if act.target.kind is TargetKind.HOST:
        return act.host == member.host
    return (act.host, act.target.name) == (member.host, member.name)


def _drained(state: FleetState) -> set[HostName]:
    """Hosts that refuse new mail by order."""
    return {
        host
        for row in state.directives
        if row.directive.kind is DirectiveKind.DRAIN and row.directive.target.kind is TargetKind.HOST
        for host in row.hosts
    }


def _add(found: dict[Taken, list[str]], acts: Iterable[Taken], text: str) -> None:
    for act in dict.fromkeys(acts):
        found.setdefault(act, []).append(text)
