"""What is wrong in the fleet now, the worst first, each with the act that makes it safe. Pure, from one state.

An alarm ends by itself as soon as the trouble ends or somebody has dealt with it: what an order of a person holds, and
addresses that are not in use, raise none. Thresholds for monitoring are another thing: `mailctl check`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import is_
from typing import NamedTuple

import msgspec
from msgspec import structs

from mailagent.api.ids import HostName, PoolName
from mailagent.api.reasons import ReasonKind
from mailagent.api.reputation import IdentityKind, matters
from mailagent.api.smtp import SmtpReply
from mailagent.api.views import DestinationView, EngineState, MemberState, PoolView, VmtaView
from mailctl.fleet.state import FleetState, HostState, LinkState
from mailctl.ops import selector
from mailctl.ops.findings import (
    IN_USE,
    Addresses,
    Finding,
    Trouble,
    fails,
    findings,
    is_dns,
    pace,
    said_of,
    size,
    using_of,
)
from mailctl.ops.plan import Verb
from mailctl.ops.selector import TermKind

SEVERAL = 3
"""Throttled addresses of a provider from which on it is not about an address, if they are a quarter of all."""
ACTIVE = 50_000
ACTIVE_SHARE = 0.8
"""Messages in the active queue of a Postfix, or that share of its limit, whichever is less."""
ORDER = tuple(Trouble)
_SPOKEN = (Trouble.BLOCKED, Trouble.THROTTLED, Trouble.BOUNCING, Trouble.MAILBOXES)
"""What a reply tells more about than what binds."""

_DECISIVE = {IdentityKind.SPF, IdentityKind.DKIM}
"""Of a domain: without them mail counts as forged. Other faults are told where they are asked for."""
_LACK = {
    IdentityKind.PTR: ("has no name that leads back to it", "have no name that leads back to them"),
    IdentityKind.SPF: ("is not in the SPF record of what it sends", "are not in the SPF record of what they send"),
}
"""What is bad about one address, and about several."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One trouble."""

    trouble: Trouble
    text: str  # `gmail throttles mkt-1`
    hosts: tuple[HostName, ...]
    cells: tuple[str, ...] = ()  # `gmail/mkt-1`, those with most mail first; none: it is about the hosts
    vmta: str = ""  # or about this one, at no provider alone
    pool: str = ""  # or about this one, whichever address sends for it
    waiting: int = 0  # recipients behind it
    evidence: str = ""  # the reply or error, verbatim
    advice: str = ""  # what to do, a sentence
    verb: Verb | None = None  # that makes it safe, or ends it
    selection: str = ""  # what the verb is about

    @property
    def command(self) -> str:
        """The verb for the shell."""
        return f"mailctl {self.verb.words} {self.selection}" if self.verb is not None else ""


def alarms(state: FleetState) -> tuple[Alarm, ...]:
    """All alarms of `state`, the worst first."""
    return Lookout().see(state)


class _Member(NamedTuple):
    """A virtual MTA in use that is on block lists that matter."""

    host: HostName
    view: VmtaView
    why_not: str  # no standby takes over; empty: one can


class _Seen(NamedTuple):
    """What was found on a host, and what that hangs on."""

    basis: tuple[object, ...]
    findings: tuple[Finding, ...]
    using: Addresses
    listed: tuple[_Member, ...]
    has_faults: bool


class Lookout:
    """Alarms of one state after the other; a host is looked through again when what they hang on is another value."""

    def __init__(self) -> None:
        self._seen: dict[HostName, _Seen] = {}

    def see(self, state: FleetState) -> tuple[Alarm, ...]:
        """All alarms of `state`, the worst first."""
        groups: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
        failing: list[HostState] = []
        every: list[Alarm] = []
        listed: list[_Member] = []
        for host in state.hosts:
            seen, basis = self._seen.get(host.name), _basis(host)
            if seen is None or not all(map(is_, seen.basis, basis)):
                seen = self._seen[host.name] = _Seen(
                    basis, findings(host), using_of(host), _listed(host), _has_faults(host)
                )
            for one in seen.findings:
                groups[_about(one)].append(one)
            if _is_failing(host) and (not seen.findings or _is_by_dns(host)):  # no finding explains that
                failing.append(host)
            if (alarm := _of_host(host)) is not None:
                every.append(alarm)
            listed += seen.listed
        every += _of_listings(listed)
        every += _of_faults([host for host in state.hosts if self._seen[host.name].has_faults])
        troubled = {str(one.cell.provider) for group in groups.values() for one in group}
        using = Addresses.together([self._seen[host.name].using for host in state.hosts], troubled)
        for provider in [about[1] for about in groups if about[0] == Trouble.MAILBOXES]:
            groups[Trouble.MAILBOXES, provider] += _without_reply(groups, provider)
        for provider in [about[1] for about in groups if about[0] == Trouble.BLOCKED]:
            _join(groups, provider, using)
        for by_dns in (True, False):
            if alike := [host for host in failing if _is_by_dns(host) is by_dns]:
                part = groups.pop((Trouble.DNS,), ()) if by_dns else ()  # the same trouble, where it has a name
                every.append(_of_failing(alike, part, by_dns=by_dns))
        for group in groups.values():
            every += [_of_cells(part, using) for part in _parts(group, using)]
        return tuple(sorted(every, key=lambda alarm: (ORDER.index(alarm.trouble), -alarm.waiting, alarm.text)))


def _basis(host: HostState) -> tuple[object, ...]:
    """What the findings of a host hang on. An agent says each second that it is there: that alone changes nothing."""
    snapshot = host.snapshot
    if snapshot is None:
        return (host.state, None, None, None, None, None)
    return (host.state, host.hello, snapshot.destinations, snapshot.vmtas, snapshot.pools, snapshot.directives)


def _about(one: Finding) -> tuple[str, ...]:
    """Findings with the same are one alarm."""
    match one.trouble:
        case Trouble.DNS:
            return (one.trouble,)
        case Trouble.SOURCE:
            return (one.trouble, one.cell.vmta)
        case _:
            return (one.trouble, one.cell.provider)


def _without_reply(groups: dict[tuple[str, ...], list[Finding]], provider: str) -> list[Finding]:
    """Take out cells of a provider that defer without a reply that is known: what others were told holds for them."""
    silent = [one for one in groups.get((Trouble.THROTTLED, provider), ()) if said_of(one.cell) is None]
    rest = [one for one in groups.pop((Trouble.THROTTLED, provider), ()) if said_of(one.cell) is not None]
    if rest:
        groups[Trouble.THROTTLED, provider] = rest
    return [structs.replace(one, trouble=Trouble.MAILBOXES) for one in silent]


def _join(groups: dict[tuple[str, ...], list[Finding]], provider: str, using: Addresses) -> None:
    """Where a provider blocks most addresses, those that automation has not suspended (yet) belong to that."""
    throttled = groups.get((Trouble.THROTTLED, provider), [])
    joined = [*groups[Trouble.BLOCKED, provider], *(structs.replace(one, trouble=Trouble.BLOCKED) for one in throttled)]
    if throttled and _is_common(joined, using):
        groups[Trouble.BLOCKED, provider] = joined
        del groups[Trouble.THROTTLED, provider]


def _of_host(host: HostState) -> Alarm | None:
    view = host.view

    def alarm(trouble: Trouble, text: str, evidence: str, advice: str, verb: Verb | None = None) -> Alarm:
        return Alarm(
            trouble=trouble,
            text=text,
            hosts=(host.name,),
            waiting=view.waiting if view is not None else 0,
            evidence=evidence,
            advice=advice,
            verb=verb,
            selection=str(host.name) if verb is not None else "",
        )

    if host.state in (LinkState.LOST, LinkState.DENIED, LinkState.INCOMPATIBLE):
        advice = "what it has is on its disk and leaves when it is back; hand new mail to others"
        return alarm(Trouble.LOST, f"{host.name} does not answer", host.error, advice)
    if view is None or not host.state.is_fresh:
        return None
    if view.state is EngineState.FAILED:
        advice = "look at the disk and the agent's log, then start the agent again"
        return alarm(Trouble.FAILED, f"storage of {host.name} failed", view.intake_reason, advice)
    if view.stuck:
        advice = "make room on the disk of its agent, which goes on by itself then"
        return alarm(Trouble.FAILED, f"{host.name} cannot store what happens", view.stuck, advice)
    if view.state is EngineState.RUNNING and not view.accepting:
        text, why = f"{host.name} takes no mail", view.intake_reason
        if host.other_engine:
            advice = "start it again, or make room, as the reason says; its agent does neither"
            return alarm(Trouble.REFUSING, text, why, advice)
        advice = "make room; meanwhile clients go to the other hosts, and V moves its queue there"
        return alarm(Trouble.REFUSING, text, why, advice, Verb.EVACUATE)
    if host.other_engine and view.window >= min(ACTIVE, ACTIVE_SHARE * view.window_limit):
        text = f"the active queue of {host.name} holds {view.window:,} of {view.window_limit:,}"
        advice = "when it is full, mail for every destination waits: hold what is stuck, or suspend its destination"
        return alarm(Trouble.CROWDED, text, view.notice, advice)
    return None


def _listed(host: HostState) -> tuple[_Member, ...]:
    snapshot = host.snapshot
    if snapshot is None or not host.state.is_fresh or not any(view.listings for view in snapshot.vmtas):
        return ()
    fit = {view.pool for view in snapshot.vmtas if view.state is MemberState.STANDBY and not matters(view.listings)}
    cannot = "the agent there cannot rotate" if host.lacks(Verb.ROTATE) else ""
    return tuple(
        _Member(host.name, view, cannot or ("" if view.pool in fit else "no standby of its pool could take over"))
        for view in snapshot.vmtas
        if view.state in IN_USE and matters(view.listings)
    )


def _of_listings(members: Sequence[_Member]) -> Iterator[Alarm]:
    """One for each virtual MTA, or for all that the same list has, when they are several."""
    groups: dict[str, list[_Member]] = defaultdict(list)
    for member in members:
        groups[member.view.listings[0].zone].append(member)
    for zone, group in groups.items():
        if len(group) >= SEVERAL:
            yield _of_list(
                group, f"{len(group)} addresses are on {zone}", "it is about their network, or what all send"
            )
        else:
            for one in group:
                yield _of_list([one], f"{one.view.name} is {one.view.listings[0].sentence}", one.why_not)


def _of_list(group: Sequence[_Member], text: str, why_not: str) -> Alarm:
    first = group[0].view
    ask = "ask the list to take it off once you know what it was listed for"
    return Alarm(
        trouble=Trouble.LISTED,
        text=text,
        hosts=tuple(sorted({one.host for one in group})),
        vmta=first.name,
        waiting=sum(one.view.ready for one in group),
        evidence=", ".join(
            f"{one.address} {one.sentence} since {one.since:%Y-%m-%d %H:%M} UTC" for one in first.listings
        ),
        advice=f"{why_not or 'its standby takes over'}; {ask}",
        verb=None if why_not else Verb.ROTATE,
        selection="" if why_not else f"vmta:{first.name}",
    )


def _has_faults(host: HostState) -> bool:
    snapshot = host.snapshot
    if snapshot is None or not host.state.is_fresh:
        return False
    return any(view.faults.count for view in snapshot.vmtas) or any(pool.faults.count for pool in snapshot.pools)


def _of_faults(hosts: Sequence[HostState]) -> Iterator[Alarm]:
    """One for each thing that is bad about who we say we are, and makes receivers refuse mail."""
    own: dict[IdentityKind, list[tuple[HostState, VmtaView]]] = defaultdict(list)
    shared: dict[tuple[PoolName, IdentityKind], list[tuple[HostState, PoolView]]] = defaultdict(list)
    for host in hosts:
        snapshot = host.snapshot
        for view in snapshot.vmtas if snapshot is not None else ():
            for kind in {fault.kind for fault in view.faults.told} & _LACK.keys() if view.state in IN_USE else ():
                own[kind].append((host, view))
        for pool in snapshot.pools if snapshot is not None else ():
            for kind in {fault.kind for fault in pool.faults.told} & _DECISIVE:
                shared[pool.name, kind].append((host, pool))
    for kind, members in own.items():
        if len(members) >= SEVERAL:
            yield _of_fault(members, kind, f"{len(members)} addresses {_LACK[kind][1]}", is_one=False)
        else:
            for member in members:
                yield _of_fault([member], kind, f"{member[1].name} {_LACK[kind][0]}", is_one=True)
    for (name, kind), pools in shared.items():
        told = dict.fromkeys(fault.sentence for _, pool in pools for fault in pool.faults.told if fault.kind is kind)
        first, *others = told
        yield Alarm(
            trouble=Trouble.UNPROVEN,
            text=f"{name}: {kind} of its domains is bad" if others else f"{name}: {first}",
            hosts=tuple(sorted({host.name for host, _ in pools})),
            pool=name,
            waiting=sum(pool.ready for _, pool in pools),
            evidence=", ".join(told),
            advice=f"mend the record; mailctl identity --now pool:{name} looks again",
        )


def _of_fault(members: Sequence[tuple[HostState, VmtaView]], kind: IdentityKind, text: str, *, is_one: bool) -> Alarm:
    host, view = members[0]
    mates = host.snapshot.vmtas if host.snapshot is not None else ()
    can_rotate = (
        is_one
        and not host.lacks(Verb.ROTATE)
        and any(
            mate.pool == view.pool
            and mate.state is MemberState.STANDBY
            and not mate.faults.count
            and not matters(mate.listings)
            for mate in mates
        )
    )
    look = f"mend the record; mailctl identity --now vmta:{view.name} looks again"
    return Alarm(
        trouble=Trouble.UNPROVEN,
        text=text,
        hosts=tuple(sorted({one.name for one, _ in members})),
        vmta=view.name,
        waiting=sum(one.ready for _, one in members),
        evidence=", ".join(fault.sentence for fault in view.faults.told if fault.kind is kind),
        advice=f"its standby takes over; {look}" if can_rotate else look,
        verb=Verb.ROTATE if can_rotate else None,
        selection=f"vmta:{view.name}" if can_rotate else "",
    )


def _is_failing(host: HostState) -> bool:
    flow = host.view.flow if host.view is not None and host.state.is_fresh else None
    return flow is not None and fails(flow)


def _deferred_for(host: HostState) -> SmtpReply | None:
    """The reply that stands for most deferrals of the last minute there."""
    deferring = host.view.deferring if host.view is not None else None
    return deferring.reply if deferring is not None else None


def _is_by_dns(host: HostState) -> bool:
    reply = _deferred_for(host)
    return reply is not None and is_dns(reply)


def _of_failing(hosts: Sequence[HostState], part: Sequence[Finding], *, by_dns: bool) -> Alarm:
    """One for all these hosts; cells of others (`part`) have the same."""
    failing = {host.name for host in hosts}
    others = [one for one in part if one.host not in failing]
    names = tuple(sorted(failing.union(one.host for one in others)))
    reply = next(filter(None, map(_deferred_for, hosts)), None)
    what = "DNS does not answer" if by_dns else "attempts fail"
    return Alarm(
        trouble=Trouble.FAILING,
        text=f"{what} on {names[0] if len(names) == 1 else f'{len(names)} hosts'}",
        hosts=names,
        waiting=sum(host.view.waiting for host in hosts if host.view is not None) + sum(map(size, others)),
        evidence=reply.line() if reply is not None else "no provider stands out: the replies say why",
        advice="nothing is lost; see to the resolvers of dns.servers, and when they answer T tries at once"
        if by_dns
        else "the first group says why; nothing is lost, and when it is over T tries at once",
        verb=Verb.RETRY,
        selection=str(selector.of(TermKind.HOST, names)),
    )


def _of_cells(group: Sequence[Finding], using: Addresses) -> Alarm:
    group = sorted(group, key=size, reverse=True)
    first = group[0]
    trouble, provider = first.trouble, first.cell.provider
    cells = tuple(dict.fromkeys(f"{one.cell.provider}/{one.cell.vmta}" for one in group))
    addresses = tuple(dict.fromkeys(one.cell.vmta for one in group))
    who = addresses[0] if len(addresses) == 1 else f"{len(addresses)} of {using.all[provider]} addresses"
    verb, advice = _remedy(group, is_common=_is_common(group, using))
    match verb:
        case Verb.ROTATE:
            selection = str(selector.of(TermKind.VMTA, addresses))
        case Verb.SUSPEND if len(addresses) == using.all[provider] > 1:  # standbys would only be next
            selection = str(selector.of(TermKind.PROVIDER, (str(provider),)))
        case Verb.SUSPEND:
            selection = str(selector.of(TermKind.CELL, cells))
        case _:
            selection = ""
    return Alarm(
        trouble=trouble,
        text={
            Trouble.SOURCE: f"{who} cannot send",
            Trouble.BOUNCING: f"{provider} refuses mail from {who}",
            Trouble.BLOCKED: f"{provider} blocks {who}",
            Trouble.THROTTLED: f"{provider} throttles {who}",
            Trouble.MAILBOXES: f"mailboxes at {provider} are full",
            Trouble.UNREACHABLE: f"no connection to {provider} from {who}",
            Trouble.SLOW: f"{provider} is slow" if _is_common(group, using) else f"{provider} is slow towards {who}",
            Trouble.DNS: f"DNS does not answer about {provider}"
            if len({one.cell.provider for one in group}) == 1
            else "DNS does not answer",
        }[trouble],
        hosts=tuple(sorted({one.host for one in group})),
        cells=cells,
        waiting=sum(map(size, group)),
        evidence=_evidence(group),
        advice=advice,
        verb=verb,
        selection=selection,
    )


def _parts(group: Sequence[Finding], using: Addresses) -> list[Sequence[Finding]]:
    """What belongs into one alarm: trouble with a provider is each address's own, unless most have it."""
    if group[0].trouble in (Trouble.DNS, Trouble.MAILBOXES, Trouble.SOURCE) or _is_common(group, using):
        return [group]
    return [[one] for one in group]


def _is_common(group: Sequence[Finding], using: Addresses) -> bool:
    """Whether most of several addresses have it: then it is not about an address."""
    provider = group[0].cell.provider
    addresses = len({one.cell.vmta for one in group})
    if group[0].trouble is Trouble.SLOW:  # mail piles up behind some of them
        addresses = using.slow[provider]
    if group[0].trouble is Trouble.THROTTLED and addresses >= SEVERAL:
        return addresses * 4 >= using.all[provider]  # more will follow
    return addresses > 1 and addresses * 2 > using.all[provider]


def _evidence(group: Sequence[Finding]) -> str:
    """What the far side said, else what binds."""
    if (slow := max(group, key=lambda one: one.cell.answer_ms or 0.0)).trouble is Trouble.SLOW:
        return f"{pace(slow.cell)}; {slow.cell.connections} connections are at work"
    spoken, bound = "", ""
    for one in group:
        binding, reply = one.cell.binding, said_of(one.cell)
        if binding is not None:
            reply = binding.reply or reply
            bound = bound or binding.detail
        if one.trouble in _SPOKEN and reply is not None:
            spoken = spoken or reply.line()
    return spoken or bound


def _is_by_rule(cell: DestinationView) -> bool:
    """Whether automation holds it."""
    return cell.binding is not None and cell.binding.kind is ReasonKind.RULE


def _remedy(group: Sequence[Finding], *, is_common: bool) -> tuple[Verb | None, str]:
    """The act that makes it safe, and why this one."""
    trouble = group[0].trouble
    match trouble:
        case Trouble.DNS:
            return None, "nothing is lost, it is tried again; see to the resolvers of dns.servers"
        case Trouble.MAILBOXES:
            return None, "this is about recipients, not about us: it is tried again, and expires by itself"
        case Trouble.UNREACHABLE:
            return None, "nothing is lost, it is tried again; w follows it live, the network between may be down"
        case Trouble.SLOW if is_common or not group[0].has_standby:
            return None, "only mail for it is late, none is lost: wait; more connections make it slower"
    if not is_common and group[0].has_standby:
        return Verb.ROTATE, "its standby takes over; other addresses are well"
    if trouble is Trouble.SOURCE:
        return None, "the pane below says what binds; other members of the pool go on"
    if not any(one.can_suspend for one in group):
        return None, "the agent there can neither rotate nor suspend: act where the mail comes from"
    why = "several addresses have it, another one does not help" if is_common else "there is no standby"
    if trouble is Trouble.BLOCKED and any(_is_by_rule(one.cell) for one in group):
        return Verb.SUSPEND, f"automation will try again soon, you decide when; {why}"
    return Verb.SUSPEND, f"mail for it waits, nothing burns; {why}"
