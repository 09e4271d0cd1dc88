"""The addresses of a site, in the order to try them; and never our own or local ones by accident."""

import asyncio
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from random import Random

from mailagent.config.structs import AgentConfig
from mailagent.dns import Address, Failed, Found, MxHost, Resolver, is_host_name
from mailagent.routing.rollup import Hop, Site
from mailagent.routing.unroutable import Unroutable, permanent, transient

MAX_HOSTS = 10
"""MX hosts of one site whose addresses are looked up; more than a delivery ever tries."""
MAX_ADDRESSES = 8
"""Addresses taken of one host."""
_BROADCAST = IPv4Address("255.255.255.255")
_NAT64 = IPv6Network("64:ff9b::/96")


class Problem(IntEnum):
    """Why an exchanger gives no address to connect to; the first kind that occurs decides what a path's lack means."""

    UNKNOWN = 0  # DNS failed
    FAMILY = 1  # only addresses of a family that the source lacks
    LOOP = 2  # it is this host
    LOCAL = 3  # loopback, link-local, unspecified or multicast, and not allowed
    MISSING = 4  # no address at all


_ENHANCED = {
    Problem.UNKNOWN: "4.4.3",
    Problem.FAMILY: "4.4.4",
    Problem.LOOP: "5.4.6",
    Problem.LOCAL: "5.4.4",
    Problem.MISSING: "5.4.4",
}


@dataclass(slots=True)
class _Exchanger:
    """What was found about one MX host."""

    host: MxHost
    hops: list[Hop] = field(default_factory=list)
    problems: list[tuple[Problem, str]] = field(default_factory=list)

    @property
    def is_us(self) -> bool:
        return any(problem is Problem.LOOP for problem, _ in self.problems)


class PathFinder:
    """Finds paths by the `delivery` section, the listeners and the addresses of one configuration.

    Hosts of equal preference are shuffled, and so are the addresses of a host, IPv4 before IPv6: providers judge
    IPv6 sources more harshly. A host that turns out to be ours ends the list, since the later ones would send the mail
    back to us (RFC 5321 section 5.1). What a route names is the operator's word: local addresses are allowed there, and
    nothing about it is permanent.
    """

    def __init__(self, config: AgentConfig, resolver: Resolver, random: Random) -> None:
        self._resolver = resolver
        self._random = random
        self._port = config.delivery.port
        self._allowed = config.delivery.allow_networks
        listeners = config.intake.listeners
        self._listeners = frozenset((listener.address, listener.port) for listener in listeners)
        self._wildcard_ports = frozenset(one.port for one in listeners if one.address.is_unspecified)
        self._own = frozenset(
            address
            for vmta in config.virtual_mtas.values()
            for address in (vmta.address, vmta.address6, _literal(vmta.public))
            if address is not None
        )

    async def find(self, site: Site, *, ipv4: bool, ipv6: bool) -> tuple[Hop, ...] | Unroutable:
        """Addresses of `site` in the order to try them, of the families that the source has."""
        hosts = sorted(site.hosts, key=lambda host: (host.preference, self._random.random()))[:MAX_HOSTS]
        wanted = tuple(version for version, has in ((4, ipv4), (6, ipv6)) if has)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._exchanger(site, host, wanted), name=f"path:{host.name}") for host in hosts]
        found = [task.result() for task in tasks]
        ours = min((one.host.preference for one in found if one.is_us), default=None)
        hops = tuple(hop for one in found if ours is None or one.host.preference < ours for hop in one.hops)
        return hops or _no_path(site, found)

    async def _exchanger(self, site: Site, host: MxHost, wanted: tuple[int, ...]) -> _Exchanger:
        fixed = site.next_hop is not None
        port = site.next_hop.port if site.next_hop is not None else self._port
        one = _Exchanger(host)
        literal = _literal(host.name) if fixed else None
        addresses = [literal] if literal is not None else await self._look_up(one, wanted)
        for address in addresses:
            hop = Hop(host.name, address, port)
            if address.version not in wanted:
                one.problems.append((Problem.FAMILY, f"{hop}: the source has no IPv{address.version} address"))
            elif self._is_listener(address, port):
                one.problems.append((Problem.LOOP, f"{hop} is this host"))
            elif not fixed and self._is_refused(address):
                one.problems.append((Problem.LOCAL, f"{hop} is a local address (see `delivery.allow_networks`)"))
            else:
                one.hops.append(hop)
        return one

    async def _look_up(self, one: _Exchanger, wanted: tuple[int, ...]) -> list[Address]:
        """Addresses of the wanted families; when there is none, of the other, to tell why."""
        name = one.host.name
        if not is_host_name(name):
            one.problems.append((Problem.MISSING, f"{name!r} is not a host name"))
            return []
        for versions in (wanted, tuple(version for version in (4, 6) if version not in wanted)):
            addresses: list[Address] = []
            for version in versions:
                answer = await self._resolver.addresses(name, version=version)
                if isinstance(answer, Found):
                    records = list(answer.records[:MAX_ADDRESSES])
                    self._random.shuffle(records)
                    addresses += records
                elif isinstance(answer, Failed):
                    one.problems.append((Problem.UNKNOWN, answer.reason))
            if addresses:
                return addresses
        one.problems.append((Problem.MISSING, f"{name} has no address"))
        return []

    def _is_listener(self, address: Address, port: int) -> bool:
        if (address, port) in self._listeners:
            return True
        return port in self._wildcard_ports and (address in self._own or address.is_loopback)

    def _is_refused(self, address: Address) -> bool:
        plain = _meant(address)
        local = (
            plain.is_loopback
            or plain.is_link_local
            or plain.is_unspecified
            or plain.is_multicast
            or plain == _BROADCAST
        )
        return local and not any(address in network for network in self._allowed)


def _no_path(site: Site, found: list[_Exchanger]) -> Unroutable:
    problems = [problem for one in found for problem in one.problems]
    worst = min(kind for kind, _ in problems)
    text = "; ".join(dict.fromkeys(text for kind, text in problems if kind is worst))
    enhanced = _ENHANCED[worst]
    if site.next_hop is not None:
        return transient(f"4{enhanced[1:]}", f"route to {site.name}: {text}")
    if enhanced.startswith("4"):
        return transient(enhanced, text)
    return permanent(enhanced, text)


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to: mapped (RFC 4291, 2.5.5.2), 6to4 (RFC 3056), NAT64 (RFC 6052)."""
    if not isinstance(address, IPv6Address):
        return address
    translated = IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None
    return address.ipv4_mapped or address.sixtofour or translated or address


def _literal(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
