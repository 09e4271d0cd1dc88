"""What the members of a pool may send by their stated limits, against what was sent in the last minutes. Pure.

Stated are `vmta_rate` of a virtual MTA, `provider_rate` and `rate` of a provider (the file's own and the shipped ones),
limits in force by order or automation, and the ceilings of warm-up. What is not stated bounds nothing; only a member
that is warming and has nothing stated counts as nothing: it is there to earn reputation, not to carry a load. Nor does
a member that is suspended at a provider count there.
"""

from collections.abc import Collection, Iterator, Sequence
from math import inf
from typing import NamedTuple

from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import HostName, PoolName, ProviderName, VmtaName
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import RECENT_BUCKET_S, Flow, MemberState
from mailagent.api.warm_up import WarmUpState
from mailagent.config.providers import merge_providers
from mailagent.config.rates import Rate
from mailagent.config.scalars import parse_rate
from mailagent.config.structs import FleetConfig
from mailctl.fleet.state import FleetState

_CATCH_ALL = ProviderName("default")
"""Sites that no provider claims: `rate` holds at each of them, and bounds no sum over them."""


class Member(NamedTuple):
    """A virtual MTA of a pool, and what it sent each second."""

    host: HostName
    pool: PoolName
    name: VmtaName
    state: MemberState
    sent: float


class Capacity:
    """The limits and the traffic of one moment."""

    def __init__(self, config: FleetConfig, state: FleetState) -> None:
        self._providers = merge_providers(config.providers)
        self._caps = {name: one.vmta_rate for host in config.hosts.values() for name, one in host.virtual_mtas.items()}
        self._sent: dict[ProviderName, dict[VmtaName, float]] = {}
        self._sites: dict[tuple[HostName, ProviderName], int] = {}
        for row in state.destinations:
            cell = row.view
            self._sent.setdefault(cell.provider, {})[cell.vmta] = per_second(cell.flow)
            here = (row.host, cell.provider)
            self._sites[here] = max(cell.sites, self._sites.get(here, 1))
        self._orders: dict[tuple[HostName, Target, str], Rate] = {
            (host, order.target, order.limit): parse_rate(order.value)
            for row in state.directives
            for host, view in row.parts
            if (order := view.directive).kind is DirectiveKind.LIMIT
            and order.limit in ("vmta_rate", "provider_rate", "rate")
        }

        spread_s = config.warm_up.spread.total_seconds()
        self._ceilings: dict[VmtaName, dict[ProviderName, float]] = {
            row.view.name: {
                one.provider: 0.0 if one.state is WarmUpState.PAUSED else one.ceiling / spread_s
                for one in row.view.warm_up
                if one.state is not WarmUpState.DONE
            }
            for row in state.vmtas
        }
        self._suspended = {
            (host, row.directive.target.name)
            for row in state.directives
            if row.directive.kind is DirectiveKind.SUSPEND and row.directive.target.kind is TargetKind.CELL
            for host in row.hosts
        }

    def is_open(self, member: Member, provider: ProviderName) -> bool:
        """Whether no order suspends the member there."""
        return (member.host, f"{provider}/{member.name}") not in self._suspended

    def shortages(
        self,
        members: Sequence[Member],
        left: Collection[Member],
        whose: str,
        providers: Collection[ProviderName] | None = None,
    ) -> Iterator[str]:
        """What `whose` members sent and those `left` may not send, a sentence each; none when nothing moves.

        `providers`: only what they sent there; None: to each, and in all.
        """
        if not left:
            return  # another guard's
        who = f"{next(iter(left)).name} alone" if len(left) == 1 else f"the {len(left)} virtual MTAs left"
        for provider in (None, *self._sent) if providers is None else providers:
            sent = {one: self._sent_by(one, provider) for one in members}
            before = sum(sent.values())
            could, may = (sum(self._most(one, provider) for one in them) for them in (members, left))
            # Not the fault of an act that leaves as much: a rotation to a standby with the same limits.
            if before > may < could and any(sent[one] for one in members if one not in left):
                to, there = (f" to {provider}", " there") if provider is not None else ("", "")
                yield f"{whose} sent {_words(before)}{to} in the last minutes, {who} may send {_words(may)}{there}"

    def _sent_by(self, member: Member, provider: ProviderName | None) -> float:
        return member.sent if provider is None else self._sent.get(provider, {}).get(member.name, 0.0)

    def _most(self, member: Member, provider: ProviderName | None) -> float:
        """What a member may send each second, in all or to one provider."""
        if provider is not None and not self.is_open(member, provider):
            return 0.0
        stated = [_per_second(rate) * sites for rate, sites in self._stated(member, provider) if rate is not None]
        ceilings = self._ceilings.get(member.name, {})
        if provider is None and ceilings:
            stated.append(sum(ceilings.values()))
        elif provider in ceilings:
            stated.append(ceilings[provider])
        return min(stated, default=0.0 if member.state is MemberState.WARMING else inf)

    def _stated(self, member: Member, provider: ProviderName | None) -> Iterator[tuple[Rate | None, int]]:
        """Its limits, each with the number of sites at which it holds apart."""
        on_vmta = Target(kind=TargetKind.VMTA, name=member.name)
        if provider is None:
            yield self._caps.get(member.name), 1
            yield self._orders.get((member.host, on_vmta, "vmta_rate")), 1
            return
        at_provider = Target(kind=TargetKind.PROVIDER, name=provider)
        cell = Target(kind=TargetKind.CELL, name=f"{provider}/{member.name}")
        written = self._providers.get(provider)
        yield written.provider_rate if written is not None else None, 1
        for target in (on_vmta, at_provider, cell):
            yield self._orders.get((member.host, target, "provider_rate")), 1
        if written is None or provider == _CATCH_ALL:
            return
        sites = self._sites.get((member.host, provider), 1)
        yield written.rate or self._providers[_CATCH_ALL].rate, sites
        for target in (on_vmta, at_provider, cell):
            yield self._orders.get((member.host, target, "rate")), sites


def per_second(flow: Flow) -> float:
    """Deliveries each second over `Flow.recent`: two minutes, or since the agent started."""
    return sum(flow.recent) / (RECENT_BUCKET_S * len(flow.recent)) if flow.recent else 0.0


def _per_second(rate: Rate) -> float:
    return rate.count / rate.period_s


def _words(per_s: float) -> str:
    """`12/s`, or per minute or hour where that is less than one."""
    for unit, seconds in (("s", 1), ("m", 60)):
        if per_s * seconds >= 1:
            return f"{per_s * seconds:,.0f}/{unit}"
    return f"{per_s * 3600:,.0f}/h"
