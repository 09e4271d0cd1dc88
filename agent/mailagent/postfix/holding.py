"""What standing orders hold on a Postfix host, and what of them Postfix cannot be told. Pure.

A pool, stream or virtual MTA is held by its slots, a provider or a destination by rows of recipient domains: Postfix's
transport maps know neither MX hosts nor virtual MTAs. So a path, one virtual MTA at one destination, can be held while
nobody else sends from this host, and only then.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import ProviderName, StreamName, VmtaName
from mailagent.api.reasons import WaitReason
from mailagent.api.targets import Target, TargetKind
from mailagent.config.structs import AgentConfig
from mailagent.control.state import HostState, wait_reason
from mailagent.postfix.tables import is_destination, slots_map, slots_text, waiting

_PATHS: Final = (TargetKind.QUEUE, TargetKind.CELL)


class Destination(NamedTuple):
    """A recipient domain that mail was seen for, and where its MX hosts are."""

    domain: str
    site: str
    provider: ProviderName


class Holds:
    """What is held of recipient domains."""

    def __init__(self, config: AgentConfig, state: HostState) -> None:
        self._state = state
        paths = any(one.kind is DirectiveKind.SUSPEND and is_path(one.target) for one in state.directives)
        self._senders = senders(config, state) if paths else []
        named = {_named(one): one for one in state.directives if one.kind is DirectiveKind.SUSPEND}
        self._named = {domain: wait_reason(one) for domain, one in named.items() if domain}

    def of(self, place: Destination) -> WaitReason | None:
        """Why mail for a domain waits: its provider or site is held, it itself, or there every virtual MTA that sends.

        Postfix cannot tell virtual MTAs apart by destination: a suspension of some of them holds nothing.
        """
        domain, site, provider = place
        block = self._state.site_block(site, provider) or self._named.get(domain.lower())
        if block is None and self._senders:
            blocks = [self._state.vmta_block(vmta, site, provider) for vmta in self._senders]
            block = blocks[0] if all(blocks) else None
        return block

    def rows(self, destinations: Iterable[Destination]) -> dict[str, str]:
        """The map of domains that wait."""
        found = {domain: waiting(block.detail) for domain, block in self._named.items()}
        for place in destinations:
            domain = place.domain.lower()
            if is_destination(domain) and (block := self.of(place)) is not None:
                found[domain] = waiting(block.detail)
        return dict(sorted(found.items()))


def is_path(target: Target) -> bool:
    """Whether it is one virtual MTA at one destination."""
    return target.kind in _PATHS and not is_site(target)


def is_site(target: Target) -> bool:
    """Whether it is a destination, whichever virtual MTA sends there: `queue:gmail/`."""
    return target.kind is TargetKind.QUEUE and target.name.endswith("/")


def _named(one: Directive) -> str:
    """The recipient domain that a suspension names itself; empty: it names none."""
    name = one.target.name[:-1].lower()
    return name if is_site(one.target) and "." in name and is_destination(name) else ""


def senders(config: AgentConfig, state: HostState) -> list[VmtaName]:
    """Virtual MTAs that send from this host now."""
    return [vmta for pool in config.pools for vmta in state.eligible(pool)]


def beside(config: AgentConfig, state: HostState, path: Target) -> list[VmtaName]:
    """Who sends to the destination of `path` all the same when its own virtual MTA is held there."""
    where, _, name = path.name.rpartition("/")
    site, provider = (where, "") if path.kind is TargetKind.QUEUE else ("", where)
    every = [vmta for vmta in senders(config, state) if vmta != name]
    return [vmta for vmta in every if state.vmta_block(vmta, site, ProviderName(provider)) is None]


def in_vain(config: AgentConfig, state: HostState) -> list[str]:
    """Suspensions of paths that hold nothing any more, as sentences: others have begun to send."""
    return [
        f"the suspension of {one.target} holds nothing while {', '.join(others)} may send there"
        for one in state.directives
        if one.kind is DirectiveKind.SUSPEND and is_path(one.target) and (others := beside(config, state, one.target))
    ]


def concerns_domains(state: HostState) -> bool:
    """Whether anything is suspended that rows of recipient domains are made of."""
    return _suspends(state, (TargetKind.PROVIDER, *_PATHS))


def _suspends(state: HostState, kinds: Collection[TargetKind]) -> bool:
    return any(one.kind is DirectiveKind.SUSPEND and one.target.kind in kinds for one in state.directives)


def slot_texts(
    config: AgentConfig, state: HostState, streams: Iterable[StreamName], vmtas: Iterable[VmtaName], nexthop: str
) -> dict[str, str]:
    """The map of slots of each stream that Postfix knows; only virtual MTAs that it has a service for get some."""
    there = frozenset(vmtas)
    found = {}
    for name in streams:
        if (stream := config.streams.get(name)) is None:
            continue  # the file has lost it; `mailagent postfix apply` takes it out
        block = state.queue_block(stream.pool, name, ProviderName(""))
        able = state.eligible(stream.pool) if block is None else ()
        weights = {vmta: max(1, config.virtual_mtas[vmta].weight) for vmta in able if vmta in there}
        why = block.detail if block is not None else f"no virtual MTA of pool {stream.pool} is set up in Postfix"
        found[slots_map(name)] = slots_text(weights, nexthop, why)
    return found


def why_not(config: AgentConfig, state: HostState, kind: DirectiveKind, target: Target) -> str:
    """Why Postfix cannot be told to do this to `target`; empty when it can."""
    if kind is DirectiveKind.DRAIN and target.kind is TargetKind.HOST:
        return "Postfix takes mail in by itself; drain its pools, or stop its smtpd"
    if kind is DirectiveKind.LIMIT:
        return "limits of a Postfix are in main.cf: change the file, then mailagent postfix apply"
    if kind is DirectiveKind.SUSPEND and is_path(target) and (others := beside(config, state, target)):
        where = target.name.rpartition("/")[0]
        whole = f"queue:{where}/" if target.kind is TargetKind.QUEUE else f"provider:{where}"
        return (
            f"Postfix cannot hold one virtual MTA at one destination while others send there ({', '.join(others)});"
            f" suspend {whole}, or drain the virtual MTA"
        )
    if kind is DirectiveKind.SUSPEND and target.kind is TargetKind.TRAFFIC:
        return "Postfix cannot hold one stream at one provider; suspend the stream or the provider"
    return ""
