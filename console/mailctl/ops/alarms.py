"""What is wrong in the fleet now, the worst first, each with the act that makes it safe. Pure, from one state.

An alarm ends by itself as soon as the trouble ends or somebody has dealt with it: what an order of a person holds, and
addresses that are not in use, raise none. Thresholds for monitoring are another thing: `mailctl check`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from operator import is_
from typing import NamedTuple

import msgspec
from msgspec import structs

from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import HostName
from mailagent.api.reasons import ReasonKind
from mailagent.api.views import DestinationView, EngineState, Flow, MemberState, Snapshot
from mailctl.fleet.state import FleetState, HostState, LinkState
from mailctl.ops import selector
from mailctl.ops.plan import Verb
from mailctl.ops.selector import TermKind

FAILING = 0.3
"""Share of failed attempts of a cell in the last minute; greylisting and full mailboxes alone stay below."""
FEWEST_FAILURES = 10
"""In that minute: less is not worth an alarm."""
FEWEST_WAITING = 20
"""Behind a limit that automation lowered."""
SLOW_BACKLOG = 0.5
"""Minutes of deliveries that wait behind a provider that answers slowly."""
SEVERAL = 3
"""Throttled addresses of a provider, and that part of all, from which on it is not about an address."""
ACTIVE = 50_000
ACTIVE_SHARE = 0.8
"""Messages in the active queue of a Postfix, or that share of its limit, whichever is less."""
_DNS = ("4.4.3", "5.4.4", "4.7.5")
"""Codes of look-ups that failed (RFC 3463 section 3.5; 4.7.5: of TLSA records)."""
_IN_USE = (MemberState.ACTIVE, MemberState.WARMING)


class Trouble(StrEnum):
    """What is wrong, the worst first."""

    FAILED = "failed"  # a host's storage, or there is no room on it
    LOST = "lost"  # a host does not answer
    REFUSING = "refusing"  # a host takes no mail
    CROWDED = "crowded"  # the active queue of a Postfix is nearly full
    SOURCE = "source"  # an address cannot be used, or a host is short of something
    BOUNCING = "bouncing"  # mail is given up
    BLOCKED = "blocked"  # automation suspended an address at a provider
    THROTTLED = "throttled"  # a provider defers, or automation lowered a limit
    FAILING = "failing"  # attempts of a host, at no place that stands out: DNS, or a fault of ours
    UNREACHABLE = "unreachable"  # connections to a provider fail
    SLOW = "slow"  # a provider takes its time, and mail piles up
    DNS = "dns"  # no answer about destinations
    MAILBOXES = "mailboxes"  # of recipients are full


ORDER = tuple(Trouble)
_SPOKEN = (Trouble.BLOCKED, Trouble.THROTTLED, Trouble.BOUNCING, Trouble.MAILBOXES)
"""What a reply tells more about than what binds."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One trouble."""

    trouble: Trouble
    text: str  # `gmail throttles mkt-1`
    hosts: tuple[HostName, ...]
    cells: tuple[str, ...] = ()  # `gmail/mkt-1`, those with most mail first; none: it is about the hosts
    waiting: int = 0  # recipients behind it
    evidence: str = ""  # the reply or error, verbatim
    advice: str = ""  # what to do, a sentence
    verb: Verb | None = None  # that makes it safe, or ends it
    selection: str = ""  # what the verb is about

    @property
    def command(self) -> str:
        """The verb for the shell."""
        return f"mailctl {self.verb.words} {self.selection}" if self.verb is not None else ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A cell in trouble."""

    trouble: Trouble
    host: HostName
    cell: DestinationView
    has_standby: bool  # and its agent can rotate
    can_suspend: bool


def alarms(state: FleetState) -> tuple[Alarm, ...]:
    """All alarms of `state`, the worst first."""
    return Lookout().see(state)


class _Seen(NamedTuple):
    """What was found on a host, and what that hangs on."""

    basis: tuple[object, ...]
    findings: tuple[Finding, ...]
    using: "Addresses"


class Lookout:
    """Alarms of one state after the other; a host is looked through again when what they hang on is another value."""

    def __init__(self) -> None:
        self._seen: dict[HostName, _Seen] = {}

    def see(self, state: FleetState) -> tuple[Alarm, ...]:
        """All alarms of `state`, the worst first."""
        groups: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
        failing: list[HostState] = []
        every: list[Alarm] = []
        for host in state.hosts:
            seen, basis = self._seen.get(host.name), _basis(host)
            if seen is None or not all(map(is_, seen.basis, basis)):
                seen = self._seen[host.name] = _Seen(basis, findings(host), _using(host))
            for one in seen.findings:
                groups[_about(one)].append(one)
            if not seen.findings and _is_failing(host):
                failing.append(host)
            if (alarm := _of_host(host)) is not None:
                every.append(alarm)
        troubled = {str(one.cell.provider) for group in groups.values() for one in group}
        using = Addresses.together([self._seen[host.name].using for host in state.hosts], troubled)
        for provider in [about[1] for about in groups if about[0] == Trouble.MAILBOXES]:
            groups[Trouble.MAILBOXES, provider] += _without_reply(groups, provider)
        for provider in [about[1] for about in groups if about[0] == Trouble.BLOCKED]:
            _join(groups, provider, using)
        if failing:
            every.append(_of_failing(failing))
        for group in groups.values():
            every += [_of_cells(part, using) for part in _parts(group, using)]
        return tuple(sorted(every, key=lambda alarm: (ORDER.index(alarm.trouble), -alarm.waiting, alarm.text)))


def _basis(host: HostState) -> tuple[object, ...]:
    """What the findings of a host hang on. An agent says each second that it is there: that alone changes nothing."""
    snapshot = host.snapshot
    if snapshot is None:
        return (host.state, None, None, None, None)
    return (host.state, host.hello, snapshot.destinations, snapshot.vmtas, snapshot.directives)


def findings(host: HostState) -> tuple[Finding, ...]:
    """Cells of a host that are in trouble; none of a host that does not answer."""
    snapshot = host.snapshot
    if snapshot is None or not host.state.is_fresh:
        return ()
    members = {view.name: view for view in snapshot.vmtas}
    standby = {view.pool for view in snapshot.vmtas if view.state is MemberState.STANDBY}
    held = _held(snapshot)
    can_rotate, can_suspend = not host.lacks(Verb.ROTATE), not host.lacks(Verb.SUSPEND)
    return tuple(
        Finding(
            trouble=trouble,
            host=host.name,
            cell=cell,
            has_standby=can_rotate and cell.pool in standby,
            can_suspend=can_suspend,
        )
        for cell in snapshot.destinations
        if (trouble := _trouble(cell)) is not None
        and (member := members.get(cell.vmta)) is not None
        and member.state in _IN_USE
        and not held & {f"cell:{cell.provider}/{cell.vmta}", f"provider:{cell.provider}", f"pool:{cell.pool}"}
    )


def _held(snapshot: Snapshot) -> set[str]:
    """What people have suspended."""
    return {
        str(one.directive.target)
        for one in snapshot.directives
        if one.directive.kind is DirectiveKind.SUSPEND and not one.directive.rule
    }


def _trouble(cell: DestinationView) -> Trouble | None:
    binding, flow = cell.binding, cell.flow
    if binding is not None:
        match binding.kind:
            case ReasonKind.DIRECTIVE:
                return None  # somebody has it in hand
            case ReasonKind.NO_SOURCE | ReasonKind.BIND | ReasonKind.STORAGE | ReasonKind.RESOURCE:
                return Trouble.SOURCE
            case ReasonKind.REST:
                return Trouble.UNREACHABLE
            case ReasonKind.DNS:
                return Trouble.DNS
            case ReasonKind.RULE if binding.value.startswith(DirectiveKind.SUSPEND):
                return Trouble.BLOCKED
    if _fails(flow):
        return Trouble.BOUNCING if flow.bounced_1m > flow.deferred_1m else _deferring(cell)
    lowered = binding is not None and binding.kind is ReasonKind.RULE
    if lowered and cell.ready + cell.deferred >= FEWEST_WAITING:
        return Trouble.THROTTLED
    paused = binding is not None and binding.until is not None  # by a rate, or after a reply: nothing is asked now
    backs_up = cell.ready >= max(FEWEST_WAITING, SLOW_BACKLOG * flow.delivered_1m)
    return Trouble.SLOW if backs_up and cell.is_slow and not paused else None


def _fails(flow: Flow) -> bool:
    failed = flow.deferred_1m + flow.bounced_1m
    return failed >= FEWEST_FAILURES and failed >= FAILING * (failed + flow.delivered_1m)


def _deferring(cell: DestinationView) -> Trouble | None:
    """What deferrals are, by the last reply; greylisting is no trouble."""
    reply = cell.last_reply
    if reply is None:
        return Trouble.THROTTLED
    if reply.local:  # the sending engine's own words: nobody was asked, or nobody answered
        return Trouble.DNS if reply.enhanced in _DNS else Trouble.UNREACHABLE
    if "greylist" in reply.text.lower():
        return None
    return Trouble.MAILBOXES if reply.enhanced.endswith(".2.2") else Trouble.THROTTLED


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
    silent = [one for one in groups.get((Trouble.THROTTLED, provider), ()) if one.cell.last_reply is None]
    rest = [one for one in groups.pop((Trouble.THROTTLED, provider), ()) if one.cell.last_reply is not None]
    if rest:
        groups[Trouble.THROTTLED, provider] = rest
    return [structs.replace(one, trouble=Trouble.MAILBOXES) for one in silent]


def _join(groups: dict[tuple[str, ...], list[Finding]], provider: str, using: "Addresses") -> None:
    """Where a provider blocks most addresses, those that automation has not suspended (yet) belong to that."""
    throttled = groups.get((Trouble.THROTTLED, provider), [])
    joined = [*groups[Trouble.BLOCKED, provider], *(structs.replace(one, trouble=Trouble.BLOCKED) for one in throttled)]
    if throttled and _is_common(joined, using):
        groups[Trouble.BLOCKED, provider] = joined
        del groups[Trouble.THROTTLED, provider]


class Addresses:
    """How many addresses in use have mail for each provider, and towards how many of them it is slow."""

    def __init__(self) -> None:
        self.all: Counter[str] = Counter()
        self.slow: Counter[str] = Counter()

    @classmethod
    def together(cls, hosts: "Sequence[Addresses]", providers: Iterable[str]) -> "Addresses":
        """Of all hosts, for these providers: all of a large fleet would be counted for nothing."""
        found = cls()
        for name in providers:
            found.all[name] = sum(one.all.get(name, 0) for one in hosts)
            found.slow[name] = sum(one.slow.get(name, 0) for one in hosts)
        return found


def _using(host: HostState) -> Addresses:
    found = Addresses()
    if host.snapshot is None or not host.state.is_fresh:
        return found
    used = {view.name for view in host.snapshot.vmtas if view.state in _IN_USE}
    cells = [cell for cell in host.snapshot.destinations if cell.vmta in used]
    found.all.update(str(cell.provider) for cell in cells)
    found.slow.update(str(cell.provider) for cell in cells if cell.is_slow)
    return found


def _of_host(host: HostState) -> Alarm | None:
    view = host.view
    hosts = (host.name,)
    if host.state in (LinkState.LOST, LinkState.DENIED, LinkState.INCOMPATIBLE):
        return Alarm(
            trouble=Trouble.LOST,
            text=f"{host.name} does not answer",
            hosts=hosts,
            waiting=view.waiting if view is not None else 0,
            evidence=host.error,
            advice="what it has is on its disk and leaves when it is back; hand new mail to others",
        )
    if view is None or not host.state.is_fresh:
        return None
    if view.state is EngineState.FAILED:
        return Alarm(
            trouble=Trouble.FAILED,
            text=f"storage of {host.name} failed",
            hosts=hosts,
            waiting=view.waiting,
            evidence=view.intake_reason,
            advice="look at the disk and the agent's log, then start the agent again",
        )
    if view.stuck:
        return Alarm(
            trouble=Trouble.FAILED,
            text=f"{host.name} cannot store what happens",
            hosts=hosts,
            waiting=view.waiting,
            evidence=view.stuck,
            advice="make room on the disk of its agent, which goes on by itself then",
        )
    if view.state is EngineState.RUNNING and not view.accepting and host.other_engine:
        return Alarm(
            trouble=Trouble.REFUSING,
            text=f"{host.name} takes no mail",
            hosts=hosts,
            waiting=view.waiting,
            evidence=view.intake_reason,
            advice="start it again, or make room, as the reason says; its agent does neither",
        )
    if view.state is EngineState.RUNNING and not view.accepting:
        return Alarm(
            trouble=Trouble.REFUSING,
            text=f"{host.name} takes no mail",
            hosts=hosts,
            waiting=view.waiting,
            evidence=view.intake_reason,
            advice="make room; meanwhile clients go to the other hosts, and V moves its queue there",
            verb=Verb.EVACUATE,
            selection=str(host.name),
        )
    if host.other_engine and view.window >= min(ACTIVE, ACTIVE_SHARE * view.window_limit):
        return Alarm(
            trouble=Trouble.CROWDED,
            text=f"the active queue of {host.name} holds {view.window:,} of {view.window_limit:,}",
            hosts=hosts,
            waiting=view.waiting,
            evidence=view.notice,
            advice="when it is full, mail for every destination waits: hold what is stuck, or suspend its destination",
        )
    return None


def _is_failing(host: HostState) -> bool:
    flow = host.view.flow if host.view is not None and host.state.is_fresh else None
    return flow is not None and _fails(flow)


def _of_failing(hosts: Sequence[HostState]) -> Alarm:
    names = tuple(host.name for host in hosts)
    return Alarm(
        trouble=Trouble.FAILING,
        text=f"attempts fail on {names[0] if len(names) == 1 else f'{len(names)} hosts'}",
        hosts=names,
        waiting=sum(host.view.waiting for host in hosts if host.view is not None),
        evidence="no provider stands out: the replies say why",
        advice="the first group says why; nothing is lost, and when it is over T tries at once",
        verb=Verb.RETRY,
        selection=str(selector.of(TermKind.HOST, names)),
    )


def _of_cells(group: Sequence[Finding], using: Addresses) -> Alarm:
    group = sorted(group, key=_size, reverse=True)
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
        waiting=sum(map(_size, group)),
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
        return addresses * SEVERAL >= using.all[provider]  # more will follow
    return addresses > 1 and addresses * 2 > using.all[provider]


def _size(one: Finding) -> int:
    return one.cell.ready + one.cell.deferred


def pace(cell: DestinationView) -> str:
    """`3 s for an answer, usually 20 ms`; empty while nothing is known."""
    if cell.answer_ms is None:
        return ""
    usual = f", usually {_waited(cell.usual_ms)}" if cell.usual_ms is not None else ""
    return f"{_waited(cell.answer_ms)} for an answer{usual}"


def _waited(ms: float) -> str:
    return (
        f"{ms / 1000:,.2g} s" if ms < 10_000 and ms >= 1000 else f"{ms / 1000:,.0f} s" if ms >= 1000 else f"{ms:g} ms"
    )


def _evidence(group: Sequence[Finding]) -> str:
    """What the far side said, else what binds."""
    if (slow := max(group, key=lambda one: one.cell.answer_ms or 0.0)).trouble is Trouble.SLOW:
        return f"{pace(slow.cell)}; {slow.cell.connections} connections are at work"
    spoken, bound = "", ""
    for one in group:
        binding, reply = one.cell.binding, one.cell.last_reply
        if binding is not None:
            reply = binding.reply or reply
            bound = bound or binding.detail
        if one.trouble in _SPOKEN and reply is not None:
            spoken = spoken or reply.line()
    return spoken or bound


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
    if trouble is Trouble.BLOCKED:
        return Verb.SUSPEND, f"automation will try again soon, you decide when; {why}"
    return Verb.SUSPEND, f"mail for it waits, nothing burns; {why}"
