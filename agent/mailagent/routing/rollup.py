"""Sites: destinations with exactly the same MX hosts are one, so that limits apply once (MX rollup)."""

from hashlib import blake2b
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec

from mailagent.api.ids import ProviderName, SiteName
from mailagent.config.structs import Endpoint
from mailagent.dns import Address, MxHost
from mailagent.routing.providers import ProviderTable, member_names

ROUTE_PROVIDER = ProviderName("route")
"""Provider of sites with a fixed next hop; it has no defaults (DESIGN section 4.2)."""


class Claim(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """The right of one exact set of MX hosts to a name, for as long as a Site of it lives."""

    name: SiteName
    members: tuple[str, ...]  # the rollup's name if any, then host names, sorted, each once


class Site(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """One destination of mail: a set of MX hosts (of a named rollup, if any), or the fixed next hop of a route.

    While a Site lives, its name stands for its set of hosts and no other. Domains of one site may give its hosts
    other preferences; `hosts` has those of one look-up.
    """

    name: SiteName  # as in the keys of ready queues
    provider: ProviderName  # whose limits span this site and others
    hosts: tuple[MxHost, ...]  # in order of (preference, name); of a route: its next hop
    next_hop: Endpoint | None = None
    rollup: str = ""  # named rollup whose limits span this site and others of that rollup
    claim: Claim | None = None  # keeps the name taken

    @property
    def group(self) -> str:
        """What limits per site count under, as in keys of queues: the rollup's name, else the site's."""
        return self.rollup or self.name


class Hop(NamedTuple):
    """One address to connect to."""

    mx: str  # host name, for records and messages
    address: Address
    port: int

    def __str__(self) -> str:
        where = f"{self.mx}[{self.address}]" if self.mx != str(self.address) else str(self.address)
        return f"{where}:{self.port}"


def route_site(next_hop: Endpoint) -> Site:
    """The site of a fixed next hop, named after it."""
    return Site(
        name=SiteName(str(next_hop)),
        provider=ROUTE_PROVIDER,
        hosts=(MxHost(0, next_hop.host),),
        next_hop=next_hop,
    )


class SiteBook:
    """Gives MX host sets their names (DESIGN section 2) and remembers those in use, and only those.

    A set is named by its rollup, else by the provider file, else by its first host, plus `~` and four hex digits of the
    set when another set in use has that name. A book for a new configuration takes the names in use over from the one
    before.
    """

    def __init__(self, providers: ProviderTable, before: "SiteBook | None" = None) -> None:
        self._providers = providers
        self._sites: WeakValueDictionary[tuple[str, tuple[MxHost, ...]], Site] = WeakValueDictionary()
        self._claims: WeakValueDictionary[tuple[str, ...], Claim] = before._claims if before else WeakValueDictionary()
        self._names: WeakValueDictionary[str, Claim] = before._names if before else WeakValueDictionary()

    def site(self, hosts: tuple[MxHost, ...], rollup: str = "") -> Site:
        """The site of `hosts`, which are in order of (preference, name) and not empty, within a named rollup if any."""
        site = self._sites.get((rollup, hosts))
        if site is None:
            members = member_names(host.name for host in hosts)
            claim = self._claim(hosts, members, rollup)
            provider = self._providers.provider(members)
            site = Site(name=claim.name, provider=provider, hosts=hosts, rollup=rollup, claim=claim)
            self._sites[rollup, hosts] = site
        return site

    def _claim(self, hosts: tuple[MxHost, ...], members: tuple[str, ...], rollup: str) -> Claim:
        given = rollup or self._providers.site_name(members)
        key = (f"{rollup}:", *members) if rollup else members
        claim = self._claims.get(key)
        if claim is None or (given is not None and claim.name != given and given not in self._names):
            name = SiteName(self._free_name(given or hosts[0].name, key, given=given is not None))
            claim = Claim(name=name, members=key)
            self._claims[key] = self._names[name] = claim
        return claim

    def _free_name(self, name: str, members: tuple[str, ...], *, given: bool) -> str:
        if name not in self._names and (given or not self._providers.names_site(name)):
            return name
        digest = blake2b(" ".join(members).encode(), digest_size=16).hexdigest()
        # four digits; more only where two sets share even those
        return next(longer for n in range(4, len(digest) + 1) if (longer := f"{name}~{digest[:n]}") not in self._names)
