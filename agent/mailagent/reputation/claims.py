"""Who a host says it is, by its configuration: addresses, greeting names and domains. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

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
    authors: dict[str, "Author"]  # by domain of From
    unseen: tuple[tuple[VmtaName, Address], ...]  # private addresses without `public`: nobody knows what the world sees


@dataclass(slots=True)
class Author:
    """One domain of From, over all streams that have it."""

    pools: set[PoolName]
    paths: list[frozenset[str]]  # of each stream: domains of its MAIL FROM


@dataclass(frozen=True, slots=True)
class Sender:
    """One address, the name that it greets with, and the pools that it serves."""

    vmta: VmtaName
    address: Address
    ehlo: str
    pools: frozenset[PoolName]


def claims(config: AgentConfig, signing: Iterable[tuple[PoolName, str]]) -> Claims:
    """What `config` says; `signing` has (pool, d=) of all keys in use.

    A loopback address is nobody's but when `public` says so; a host that has no other claims nothing. Where all mail
    goes through somebody else's host, that one's address is what the world sees.
    """
    senders, unseen = [], []
    for name, vmta in config.virtual_mtas.items():
        pools = frozenset(pool for pool, one in config.pools.items() if name in one.members)
        for address in seen_by_the_world(vmta):
            if address.is_global or (vmta.public and address == ip_address(vmta.public)):
                senders.append(Sender(name, address, (vmta.ehlo or config.host).lower(), pools))
            elif not address.is_loopback:
                unseen.append((name, address))
    if not senders and not unseen:
        return Claims((), {}, {}, ())
    if any(route.match == "*" for route in config.routes):
        senders, unseen = [], []
    signed: dict[PoolName, set[str]] = defaultdict(set)
    for pool, domain in signing:
        signed[pool].add(domain)
    return_paths: dict[str, set[PoolName]] = defaultdict(set)
    authors: dict[str, Author] = {}
    for stream in config.streams.values():
        pools_of_it = {stream.pool, *stream.pools.values()}
        own = set(_domains(stream.senders))
        paths = {_ascii(stream.bounces.domain)} if stream.bounces else own
        for domain in paths:
            return_paths[domain] |= pools_of_it
        signed_by = set().union(*(signed[pool] for pool in pools_of_it))
        for domain in map(_ascii, stream.from_domains or own or signed_by):
            author = authors.setdefault(domain, Author(set(), []))
            author.pools |= pools_of_it
            author.paths.append(frozenset(paths))
    frozen = {domain: frozenset(pools) for domain, pools in return_paths.items()}
    return Claims(tuple(senders), frozen, authors, tuple(unseen))


def _domains(patterns: Iterable[str]) -> Iterator[str]:
    """The domains of envelope-from patterns; one with a star stands for nobody knows which."""
    for pattern in patterns:
        domain = pattern.rpartition("@")[2]
        if "." in domain and not set("*?[") & set(domain):
            yield _ascii(domain)


def _ascii(domain: str) -> str:
    try:
        return ascii_domain(domain)
    except ValueError:
        return domain.lower()
