"""Where mail for a domain goes: its site, and the addresses to connect to."""

import asyncio
from random import Random
from typing import Protocol

from mailagent.config.structs import AgentConfig
from mailagent.dns import Failed, Found, MxAnswer, MxHost, NoData, NxDomain, Resolver, is_host_name
from mailagent.routing.domains import DomainTable
from mailagent.routing.paths import PathFinder
from mailagent.routing.providers import ProviderTable
from mailagent.routing.rollup import Hop, Site, SiteBook
from mailagent.routing.routes import RouteTable
from mailagent.routing.unroutable import Unroutable, permanent, transient

__all__ = ["Hop", "MxHost", "Router", "Site", "Unroutable"]


class Discovery(Protocol):
    """What else must be found out about a domain before its mail goes, such as policies that it publishes."""

    def knows(self, domain: str) -> bool:
        """Whether there is nothing to find out about `domain` now."""

    async def discover(self, domain: str) -> None:
        """Find it out. Does not fail, and takes a few seconds at most."""

    def found(self, domain: str, site: Site) -> None:
        """Mail to `domain` goes to `site`."""


class Router:
    """Finds sites and paths by the routes, providers and DNS of one configuration.

    A domain may stand for another one; then it goes where that one's mail goes. A route that matches comes first.
    Otherwise: MX by preference, equal ones shuffled; a domain without MX is its own
    exchanger (RFC 5321 section 5.1); a null MX refuses mail (RFC 7505). Only a definite answer is permanent.
    """

    def __init__(
        self,
        config: AgentConfig,
        resolver: Resolver,
        *,
        discovery: Discovery | None = None,
        random: Random | None = None,
        before: "Router | None" = None,
    ) -> None:
        """After a reload, `before` is the router until now: the names of sites in use stay theirs."""
        self._resolver = resolver
        self._discovery = discovery
        self._routes = RouteTable(config.routes)
        self._domains = DomainTable(config.domains) if config.domains else None
        self._book: SiteBook = SiteBook(ProviderTable(config.providers), before._book if before else None)
        self._paths = PathFinder(config, resolver, random or Random())

    def cached(self, domain: str) -> Site | None:
        """The site of `domain` (lower case, A-labels), when it is known without asking; the way of the hot path."""
        if self._domains is not None:
            domain = self._domains.stands_for(domain)
        site = self._routes.site(domain)
        if site is not None:
            return site
        answer = self._resolver.cached_mx(domain)
        if answer is None or (self._discovery is not None and not self._discovery.knows(domain)):
            return None
        found = self._site_of(domain, answer)
        return found if isinstance(found, Site) else None

    async def site(self, domain: str) -> Site | Unroutable:
        """The site of `domain` (lower case, A-labels)."""
        if self._domains is not None:
            domain = self._domains.stands_for(domain)
        site = self._routes.site(domain)
        if site is not None:
            return site
        if domain.startswith("["):
            return permanent("5.1.2", f"{domain}: mail to address literals is not sent")
        if not is_host_name(domain):
            return permanent("5.1.2", f"{domain!r} is not a domain name")
        if self._discovery is None:
            return self._site_of(domain, await self._resolver.mx(domain))
        answer, _ = await asyncio.gather(self._resolver.mx(domain), self._discovery.discover(domain))
        found = self._site_of(domain, answer)
        if isinstance(found, Site):
            self._discovery.found(domain, found)
        return found

    async def path(self, site: Site, *, ipv4: bool, ipv6: bool) -> tuple[Hop, ...] | Unroutable:
        """Addresses of `site` in the order to try them, of the families that the source has."""
        return await self._paths.find(site, ipv4=ipv4, ipv6=ipv6)

    def _site_of(self, domain: str, answer: MxAnswer) -> Site | Unroutable:
        match answer:
            case Found(records=()):
                return permanent("5.4.4", f"{domain}: none of its MX records names a host")
            case Found(records=(MxHost(name=""), *_)):
                return permanent("5.1.10", f"{domain} accepts no mail (null MX)", code=556)
            case Found(records=hosts):
                return self._book.site(hosts, self._domains.rollup(domain) if self._domains is not None else "")
            case NoData():
                rollup = self._domains.rollup(domain) if self._domains is not None else ""
                return self._book.site((MxHost(0, domain),), rollup)
            case NxDomain():
                return permanent("5.1.2", f"{domain}: no such domain")
            case Failed(reason=reason):
                return transient("4.4.3", reason)
