"""Fixed routes: recipient domains that go to a next hop of ours instead of their MX."""

from collections.abc import Sequence

from mailagent.config.structs import Route
from mailagent.routing.rollup import Site, route_site


class RouteTable:
    """The `routes` section, indexed; the first one in the file that matches wins.

    `*` matches everything, `example.com` that domain alone, `*.example.com` its sub-domains at any depth.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._exact: dict[str, int] = {}
        self._below: dict[str, int] = {}
        self._any: int | None = None
        self._sites: list[Site] = []
        by_name: dict[str, Site] = {}
        for position, route in enumerate(routes):
            site = route_site(route.to)
            self._sites.append(by_name.setdefault(site.name, site))
            match = route.match.lower().rstrip(".")
            if match == "*":
                self._any = position if self._any is None else self._any
            elif match.startswith("*."):
                self._below.setdefault(match[2:], position)
            else:
                self._exact.setdefault(match, position)

    def site(self, domain: str) -> Site | None:
        """The site of the first route that matches `domain` (lower case), if any."""
        if self._any == 0:
            return self._sites[0]
        found = [position for position in (self._any, self._exact.get(domain)) if position is not None]
        if self._below:
            parent = domain.partition(".")[2]
            while parent:
                position = self._below.get(parent)
                if position is not None:
                    found.append(position)
                parent = parent.partition(".")[2]
        return self._sites[min(found)] if found else None
