"""The safety budget: what an act on single virtual MTAs or hosts must leave in the fleet. Pure.

A host guards its own pools; what only the whole fleet can tell is guarded here: the least number of members that a
pool wants (`min_active`), the last host of a region, pools that a host drain would close to new mail, and several
members of one host taken in one act. So is what the members left may send (`capacity`), also where single ones are
suspended at one provider. Hosts that do not answer are not counted as capacity. A drain or suspension of a pool as a
whole states its intent and is exempt; so does a suspension at a provider of all that may send there.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import HostName, PoolName, ProviderName
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import MemberState
from mailagent.config.structs import FleetConfig
from mailctl.fleet.state import FleetState
from mailctl.ops.capacity import Capacity, Member, per_second
from mailctl.ops.plan import Verb
from mailctl.ops.selector import Selection, TermKind

_TAKES = {
    Verb.DRAIN: (TargetKind.VMTA, TargetKind.HOST),
    Verb.SUSPEND: (TargetKind.VMTA, TargetKind.CELL),
    Verb.ROTATE: (TargetKind.VMTA,),
}
_SENDS = (MemberState.ACTIVE, MemberState.WARMING)


class Taken(NamedTuple):
    """One object that an act takes out of service on its host."""

    host: HostName
    target: Target
    standby: str = ""  # a rotation's; empty: the first that is there


def is_about_the_fleet(verb: Verb, selection: Selection) -> bool:
    """Whether hosts that are not selected must be known before the verb can be judged."""
    return verb in (Verb.DRAIN, Verb.SUSPEND) and (not selection.kinds or TermKind.VMTA in selection.kinds)


def breaches(
    config: FleetConfig, state: FleetState, verb: Verb, acts: Iterable[Taken]
) -> Mapping[Taken, tuple[str, ...]]:
    """What `verb` would leave too little of, for each of the acts that have a part in it; none when all is well."""
    taken = [act for act in acts if act.target.kind in _TAKES.get(verb, ())]
    if not taken:
        return {}
    open_hosts = {host.name for host in state.hosts if host.state.is_fresh} - _drained(state)
    silent = [host.name for host in state.hosts if not host.state.is_fresh]
    uncounted = f" ({', '.join(silent)} {'does' if len(silent) == 1 else 'do'} not answer)" if silent else ""
    capacity = Capacity(config, state)
    found = list(_regions(config, open_hosts, taken, uncounted))
    for pool in dict.fromkeys(row.view.pool for row in state.vmtas):
        part = _part(config, state, pool, open_hosts, verb, taken)
        if part.by:
            found += _floors(config, part, uncounted)
            found += _capacity(capacity, part, uncounted)
        found += _at_providers(capacity, part, taken)
    return {act: tuple(dict.fromkeys(text for acts, text in found if act in acts)) for acts, _ in found for act in acts}


class _Part(NamedTuple):
    """What an act does to one pool."""

    pool: PoolName
    members: Sequence[Member]  # that may send now, on hosts that take new mail
    by: Mapping[Member, Taken]  # those that it takes
    left: Sequence[Member]  # the others, and standbys that step in


_Found = Iterator[tuple[Collection[Taken], str]]


def _part(
    config: FleetConfig,
    state: FleetState,
    pool: PoolName,
    open_hosts: Collection[HostName],
    verb: Verb,
    taken: Collection[Taken],
) -> _Part:
    here = {
        row.view.name: Member(row.host, pool, row.view.name, row.view.state, per_second(row.view.flow))
        for row in state.vmtas
        if row.host in open_hosts and row.view.pool == pool
    }
    members = [one for one in here.values() if one.state in _SENDS]
    by = {one: act for one in members for act in taken if _takes(act, one)}
    left = [one for one in members if one not in by]
    if verb is Verb.ROTATE:
        names = config.pools[pool].standby if pool in config.pools else ()
        spare = [one for name in names if (one := here.get(name)) and one.state is MemberState.STANDBY]
        for act in by.values():
            fit = [one for one in spare if one.host == act.host and act.standby in ("", one.name)]
            left += fit[:1]
            spare = [one for one in spare if one not in fit[:1]]
    return _Part(pool, members, by, left)


def _floors(config: FleetConfig, part: _Part, uncounted: str) -> _Found:
    """A pool keeps its least number in the fleet, and on each host that loses several members at once its last."""
    pool, members, by, left = part
    known = config.pools.get(pool)
    least = (known.min_active if known is not None else None) or 1
    if len(left) < least:
        wants = f", its min_active is {least}" if least > 1 else ""
        text = f"pool {pool} would have {len(left)} of {len(members)} virtual MTAs left in the fleet{wants}{uncounted}"
        yield tuple(by.values()), text
    for host, acts in _on_hosts(part).items():
        if len(acts) > 1 and not any(one.host == host for one in left):
            yield acts, f"no eligible IP of pool {pool} would be left on {host}"


def _capacity(capacity: Capacity, part: _Part, uncounted: str) -> _Found:
    """What is left may send what was sent: on a host, whose mail leaves only from there; in the fleet without hosts."""
    pool, members, by, left = part
    for host, acts in _on_hosts(part).items():
        before, after = ([one for one in them if one.host == host] for them in (members, left))
        for text in capacity.shortages(before, after, f"pool {pool} on {host}"):
            yield acts, text
    if any(act.target.kind is TargetKind.HOST for act in by.values()):
        for text in capacity.shortages(members, left, f"pool {pool}"):
            yield tuple(by.values()), f"{text}{uncounted}"


def _at_providers(capacity: Capacity, part: _Part, taken: Collection[Taken]) -> _Found:
    """The same where members are suspended at one provider: on each host, of those that may send there."""
    by: dict[tuple[HostName, str], dict[str, Taken]] = {}
    for act in taken:
        if act.target.kind is TargetKind.CELL:
            provider, _, vmta = act.target.name.rpartition("/")
            by.setdefault((act.host, provider), {})[vmta] = act
    for (host, name), acts in by.items():
        provider = ProviderName(name)
        members = [one for one in part.members if one.host == host and capacity.is_open(one, provider)]
        left = [one for one in members if one.name not in acts]
        for text in capacity.shortages(members, left, f"pool {part.pool} on {host}", (provider,)):
            yield [acts[one.name] for one in members if one.name in acts], text


def _on_hosts(part: _Part) -> dict[HostName, list[Taken]]:
    """Acts on single members of the pool, by host."""
    found: dict[HostName, list[Taken]] = {}
    for member, act in part.by.items():
        if act.target.kind is TargetKind.VMTA:
            found.setdefault(member.host, []).append(act)
    return found


def _regions(config: FleetConfig, open_hosts: Collection[HostName], taken: Collection[Taken], uncounted: str) -> _Found:
    """A region keeps a host that takes new mail."""
    by_region: dict[str, list[Taken]] = {}
    for act in taken:
        host = config.hosts.get(act.host)
        if act.target.kind is TargetKind.HOST and host is not None and host.region and act.host in open_hosts:
            by_region.setdefault(host.region, []).append(act)
    for region, acts in by_region.items():
        here = {name for name, host in config.hosts.items() if host.region == region and name in open_hosts}
        if here == {act.host for act in acts}:
            yield acts, f"no host of region {region} would take new mail{uncounted}"


def _takes(act: Taken, member: Member) -> bool:
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
