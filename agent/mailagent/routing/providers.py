"""Providers: who runs a set of MX hosts. Found by MX suffixes, never by a list of domains."""

from collections.abc import Collection, Iterable, Mapping

from mailagent.api.ids import ProviderName
from mailagent.config.structs import Provider

DEFAULT_PROVIDER = ProviderName("default")
"""Provider of everything that no rule knows."""


class ProviderTable:
    """The rules of the `providers` section, indexed.

    A suffix matches whole labels: `google.com` (also written `.google.com` or `*.google.com`) matches `google.com`
    and `mx.google.com`, not `notgoogle.com`. A provider has a site only when every one of its MX hosts matches; among
    several, the one with the longest suffix wins.
    """

    def __init__(self, providers: Mapping[ProviderName, Provider]) -> None:
        self._by_suffix: dict[str, list[ProviderName]] = {}
        self._site_names: dict[tuple[str, ...], str] = {}
        for name, provider in providers.items():
            for suffix in provider.mx:
                self._by_suffix.setdefault(_labels(suffix), []).append(name)
            for site, hosts in provider.sites.items():
                self._site_names.setdefault(member_names(_labels(host) for host in hosts), site)
        self._named = frozenset(self._site_names.values())

    def provider(self, hosts: Collection[str]) -> ProviderName:
        """The provider of a site with these MX hosts (lower case)."""
        candidates: dict[ProviderName, int] | None = None  # -> characters of its worst match
        for host in hosts:
            matches = self._matches(host)
            if candidates is None:
                candidates = matches
            else:
                candidates = {name: min(size, matches[name]) for name, size in candidates.items() if name in matches}
            if not candidates:
                return DEFAULT_PROVIDER
        return max(candidates, key=candidates.__getitem__) if candidates else DEFAULT_PROVIDER

    def site_name(self, members: tuple[str, ...]) -> str | None:
        """The name that the provider file gives exactly this set of MX hosts (see `member_names`)."""
        return self._site_names.get(members)

    def names_site(self, name: str) -> bool:
        """Whether the provider file uses `name` for a site."""
        return name in self._named

    def _matches(self, host: str) -> dict[ProviderName, int]:
        found: dict[ProviderName, int] = {}
        suffix = host
        while suffix:
            for name in self._by_suffix.get(suffix, ()):
                found.setdefault(name, len(suffix))
            suffix = suffix.partition(".")[2]
        return found


def member_names(hosts: Iterable[str]) -> tuple[str, ...]:
    """A set of host names as a key: sorted, each once. A quarter of the size of a frozenset, and sites are many."""
    return tuple(sorted(set(hosts)))


def _labels(suffix: str) -> str:
    return suffix.lower().removeprefix("*").strip(".")
