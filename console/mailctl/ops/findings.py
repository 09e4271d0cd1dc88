"""Cells in trouble on one host, and what is wrong with each. Pure, from its snapshot."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from mailagent.api.classification import Category
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import HostName
from mailagent.api.reasons import ReasonKind
from mailagent.api.smtp import SmtpReply
from mailagent.api.views import DestinationView, Flow, MemberState, Snapshot
from mailctl.fleet.state import HostState
from mailctl.ops.plan import Verb

FAILING = 0.3
"""Share of failed attempts of a cell in the last minute; greylisting and full mailboxes alone stay below."""
FEWEST_FAILURES = 10
"""In that minute: less is not worth an alarm."""
FEWEST_WAITING = 20
"""Behind a limit that automation lowered."""
SLOW_BACKLOG = 0.5
"""Minutes of deliveries that wait behind a provider that answers slowly."""
_DNS = ("4.4.3", "5.4.4", "4.7.5")
"""Codes of look-ups that failed (RFC 3463 section 3.5; 4.7.5: of TLSA records)."""
_BLOCKS = frozenset((Category.IP_BLOCKLIST, Category.IP_REPUTATION, Category.DOMAIN_REPUTATION))
"""Deferrals that are about what a provider thinks of us, not about how much comes."""
IN_USE = (MemberState.ACTIVE, MemberState.WARMING)


class Trouble(StrEnum):
    """What is wrong, the worst first."""

    FAILED = "failed"  # a host's storage, or there is no room on it
    LOST = "lost"  # a host does not answer
    REFUSING = "refusing"  # a host takes no mail
    CROWDED = "crowded"  # the active queue of a Postfix is nearly full
    SOURCE = "source"  # an address cannot be used, or a host is short of something
    BOUNCING = "bouncing"  # mail is given up
    FAILING = "failing"  # attempts of a whole host, at no place that stands out: DNS, or a fault of ours
    BLOCKED = "blocked"  # a provider wants nothing from an address, or automation suspended it there
    LISTED = "listed"  # an address is on block lists that matter
    UNPROVEN = "unproven"  # what receivers look up about an address or a domain of ours is bad
    DNS = "dns"  # no answer about destinations, whichever address sends
    THROTTLED = "throttled"  # a provider defers, or automation lowered a limit
    UNREACHABLE = "unreachable"  # connections to a provider fail
    SLOW = "slow"  # a provider takes its time, and mail piles up
    MAILBOXES = "mailboxes"  # of recipients are full


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A cell in trouble."""

    trouble: Trouble
    host: HostName
    cell: DestinationView
    has_standby: bool  # and its agent can rotate
    can_suspend: bool


def findings(host: HostState) -> tuple[Finding, ...]:
    """Cells of a host that are in trouble; none of a host that does not answer."""
    snapshot = host.snapshot
    if snapshot is None or not host.state.is_fresh:
        return ()
    members = {view.name: view for view in snapshot.vmtas}
    standby = {view.pool for view in snapshot.vmtas if view.state is MemberState.STANDBY}
    held, lowered = _held(snapshot), _lowered(snapshot)
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
        if (trouble := _trouble(cell, lowered.get(f"cell:{cell.provider}/{cell.vmta}", ()))) is not None
        and (member := members.get(cell.vmta)) is not None
        and member.state in IN_USE
        and not held & {f"cell:{cell.provider}/{cell.vmta}", f"provider:{cell.provider}", f"pool:{cell.pool}"}
    )


def _held(snapshot: Snapshot) -> set[str]:
    """What people have suspended."""
    return {
        str(one.directive.target)
        for one in snapshot.directives
        if one.directive.kind is DirectiveKind.SUSPEND and not one.directive.rule
    }


def _lowered(snapshot: Snapshot) -> dict[str, list[Directive]]:
    """Where automation has lowered limits."""
    lowered: dict[str, list[Directive]] = defaultdict(list)
    for view in snapshot.directives:
        if view.directive.kind is DirectiveKind.LIMIT and view.directive.rule:
            lowered[str(view.directive.target)].append(view.directive)
    return lowered


def _trouble(cell: DestinationView, lowered_by: Sequence[Directive]) -> Trouble | None:
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
    is_failing = fails(flow)
    if is_failing and flow.bounced_1m > flow.deferred_1m:
        return Trouble.BOUNCING
    # A suspension ends to see whether the provider takes mail again; that it does is known when it has.
    passes = flow.delivered_1m > 0 and not is_failing
    if cell.ready + cell.deferred and not passes and any(one.after for one in lowered_by):
        return Trouble.BLOCKED
    if is_failing:
        return _deferring(cell)
    # Each time a lowered rate lets one message pass, the reply to it binds for a moment: that is the same trouble.
    lowered = binding is not None and (
        binding.kind is ReasonKind.RULE or (binding.kind is ReasonKind.REPLY and bool(lowered_by))
    )
    if lowered and cell.ready + cell.deferred >= FEWEST_WAITING:
        return Trouble.THROTTLED
    paused = binding is not None and binding.until is not None  # by a rate, or after a reply: nothing is asked now
    backs_up = cell.ready >= max(FEWEST_WAITING, SLOW_BACKLOG * flow.delivered_1m)
    return Trouble.SLOW if backs_up and cell.is_slow and not paused else None


def fails(flow: Flow) -> bool:
    """Whether too many attempts of the last minute failed."""
    failed = flow.deferred_1m + flow.bounced_1m
    return failed >= FEWEST_FAILURES and failed >= FAILING * (failed + flow.delivered_1m)


def _deferring(cell: DestinationView) -> Trouble | None:
    """What deferrals are, by most of the last minute; greylisting is no trouble."""
    reply = said_of(cell)
    if reply is None:
        return Trouble.THROTTLED
    if reply.local:  # the sending engine's own words: nobody was asked, or nobody answered
        return Trouble.DNS if is_dns(reply) else Trouble.UNREACHABLE
    if "greylist" in reply.text.lower():
        return None
    if reply.enhanced.endswith(".2.2"):
        return Trouble.MAILBOXES
    return Trouble.BLOCKED if cell.deferring is not None and cell.deferring.category in _BLOCKS else Trouble.THROTTLED


def said_of(cell: DestinationView) -> SmtpReply | None:
    """The reply that stands for the deferrals of a cell."""
    return cell.deferring.reply if cell.deferring is not None else cell.last_reply


def is_dns(reply: SmtpReply) -> bool:
    """Whether the sending engine says that a look-up failed."""
    return reply.local and reply.enhanced in _DNS


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


def using_of(host: HostState) -> Addresses:
    """The addresses of a host."""
    found = Addresses()
    if host.snapshot is None or not host.state.is_fresh:
        return found
    used = {view.name for view in host.snapshot.vmtas if view.state in IN_USE}
    cells = [cell for cell in host.snapshot.destinations if cell.vmta in used]
    found.all.update(str(cell.provider) for cell in cells)
    found.slow.update(str(cell.provider) for cell in cells if cell.is_slow)
    return found


def size(one: Finding) -> int:
    """Recipients behind it."""
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
