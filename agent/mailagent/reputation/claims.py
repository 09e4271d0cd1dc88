"""Who a host says it is, by its configuration: addresses, greeting names and domains. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mailagent.api.domains import ascii_domain
from mailagent.api.ids import PoolName, VmtaName
from mailagent.config.structs import AgentConfig
from mailagent.dns import Address
from mailagent.reputation.addresses import seen_by_the_world


@dataclass(frozen=True, slots=True)
class Claims:
    """What receivers could look up."""

    senders: tuple["Sender", ...]
    return_paths: dict[str, frozenset[PoolName]]  # domains of MAIL FROM, and the pools that they leave from
    authors: dict[str, frozenset[PoolName]]  # domains of From
    unseen: tuple[tuple[VmtaName, Address], ...]  # private addresses without `public`: nobody knows what the world sees


@dataclass(frozen=True, slots=True)
class Sender:
    """One address, the name that it greets with, and the pools that it serves."""

    vmta: VmtaName
    address: Address
    ehlo: str
    pools: frozenset[PoolName]


def claims(config: AgentConfig, signing: Iterable[tuple[PoolName, str]]) -> Claims:
    """What `config` says; `signing` has (pool, d=) of all keys in use.

    A loopback address is nobody's but when `public` says so; a host that has no other claims nothing.
    """
    senders, unseen = [], []
    for name, vmta in config.virtual_mtas.items():
        pools = frozenset(pool for pool, one in config.pools.items() if name in one.members)
        for address in seen_by_the_world(vmta):
            if vmta.public == str(address) or address.is_global:
                senders.append(Sender(name, address, (vmta.ehlo or config.host).lower(), pools))
            elif not address.is_loopback:
                unseen.append((name, address))
    if not senders and not unseen:
        return Claims((), {}, {}, ())
    signed: dict[PoolName, set[str]] = defaultdict(set)
    for pool, domain in signing:
        signed[pool].add(domain)
    return_paths: dict[str, set[PoolName]] = defaultdict(set)
    authors: dict[str, set[PoolName]] = defaultdict(set)
    for stream in config.streams.values():
        pools_of_it = {stream.pool, *stream.pools.values()}
        own = set(_domains(stream.senders))
        for domain in {stream.bounces.domain} if stream.bounces else own:
            return_paths[domain] |= pools_of_it
        for domain in stream.from_domains or own or set().union(*(signed[pool] for pool in pools_of_it)):
            authors[domain] |= pools_of_it
    return Claims(tuple(senders), _frozen(return_paths), _frozen(authors), tuple(unseen))


def _domains(patterns: Iterable[str]) -> Iterator[str]:
    """The domains of envelope-from patterns; one with a star stands for nobody knows which."""
    for pattern in patterns:
        domain = pattern.rpartition("@")[2]
        if "." in domain and not set("*?[") & set(domain):
            yield domain


def _frozen(found: dict[str, set[PoolName]]) -> dict[str, frozenset[PoolName]]:
    return {_ascii(domain): frozenset(pools) for domain, pools in found.items()}


def _ascii(domain: str) -> str:
    try:
        return ascii_domain(domain)
    except ValueError:
        return domain.lower()
