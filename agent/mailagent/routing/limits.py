"""Effective limits of a path: what binds one virtual MTA towards one site and towards its provider."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from mailagent.api.ids import ProviderName
from mailagent.config.structs import AgentConfig, Provider, Rate
from mailagent.routing.providers import DEFAULT_PROVIDER
from mailagent.routing.rollup import ROUTE_PROVIDER, Site

Value = TypeVar("Value", bound=int | Rate)

ROUTE_CONNECTIONS = 20


@dataclass(frozen=True, slots=True)
class Limit(Generic[Value]):
    """One limit and where it comes from, in words for the operator."""

    value: Value | None  # None: none
    origin: str = ""

    def lowered(self, other: "Limit[Value]") -> "Limit[Value]":
        """The stricter of the two; equal ones leave this one's origin."""
        return other if _strictness(other.value) < _strictness(self.value) else self

    def __str__(self) -> str:
        return "" if self.value is None else str(self.value)


def _strictness(value: int | Rate | None) -> float:
    if value is None:
        return float("inf")
    return value.count / value.period_s if isinstance(value, Rate) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLimits:
    """The first three hold per virtual MTA × site, the last two per virtual MTA × provider over all its sites."""

    connections: Limit[int]
    messages_per_connection: Limit[int]
    rate: Limit[Rate]
    provider_connections: Limit[int]
    provider_rate: Limit[Rate]

    def lowered(self, overrides: Mapping[str, Limit[Any]]) -> "PathLimits":
        """With overrides by name of field; an override can only lower."""
        if not overrides:
            return self
        return PathLimits(
            connections=self.connections.lowered(overrides.get("connections", _NONE)),
            messages_per_connection=self.messages_per_connection.lowered(
                overrides.get("messages_per_connection", _NONE)
            ),
            rate=self.rate.lowered(overrides.get("rate", _NONE)),
            provider_connections=self.provider_connections.lowered(overrides.get("provider_connections", _NONE)),
            provider_rate=self.provider_rate.lowered(overrides.get("provider_rate", _NONE)),
        )


LIMIT_NAMES = tuple(PathLimits.__dataclass_fields__)

_NONE: Limit[Any] = Limit(None)
_BUILT_IN = "built-in default"
UNKNOWN_SITE = Provider(connections=10, messages_per_connection=100, rate=Rate(count=100, period_s=1))
"""Where neither the provider nor `default` says anything (handbook: what KumoMTA ships)."""
_OWN_ONLY = frozenset(("provider_connections", "provider_rate"))


class LimitTable:
    """The limits that one configuration sets.

    A provider's missing key is taken from the provider `default`, then from the built-in values; its caps over all
    sites are its own only. A route has what is written at it, and else 20 connections and no other limit.
    """

    def __init__(self, config: AgentConfig, origin: Callable[[str], str] = str) -> None:
        """`origin` turns a key such as `providers.gmail.rate` into where it stands (`agent.yaml:41`)."""
        self._origin = origin
        self._routes: dict[str, PathLimits] = {}
        for position, route in enumerate(config.routes):
            self._routes.setdefault(str(route.to), self._of_route(route, f"routes[{position}]"))
        default = config.providers.get(DEFAULT_PROVIDER, Provider())
        self._default = self._of_provider(DEFAULT_PROVIDER, default, default)
        self._providers = {
            name: self._of_provider(name, provider, default) for name, provider in config.providers.items()
        }

    def limits(self, site: Site) -> PathLimits:
        """The limits of every virtual MTA towards `site`."""
        if site.provider == ROUTE_PROVIDER:
            return self._routes.get(site.name, NO_LIMITS)
        return self._providers.get(site.provider, self._default)

    def _of_provider(self, name: ProviderName, provider: Provider, default: Provider) -> PathLimits:
        def limit(key: str) -> Limit[Any]:
            for owner, source in ((name, provider), (DEFAULT_PROVIDER, default)):
                value = getattr(source, key)
                if value is not None:
                    return Limit(value, self._origin(f"providers.{owner}.{key}"))
                if key in _OWN_ONLY:
                    return _NONE
            return Limit(getattr(UNKNOWN_SITE, key), _BUILT_IN)

        return PathLimits(**{key: limit(key) for key in LIMIT_NAMES})

    def _of_route(self, route: msgspec.Struct, key: str) -> PathLimits:
        def limit(name: str, missing: Limit[Any]) -> Limit[Any]:
            value = getattr(route, name)
            return missing if value is None else Limit(value, self._origin(f"{key}.{name}"))

        return PathLimits(
            connections=limit("connections", Limit(ROUTE_CONNECTIONS, _BUILT_IN)),
            messages_per_connection=limit("messages_per_connection", _NONE),
            rate=limit("rate", _NONE),
            provider_connections=_NONE,
            provider_rate=_NONE,
        )


NO_LIMITS = PathLimits(
    connections=_NONE,
    messages_per_connection=_NONE,
    rate=_NONE,
    provider_connections=_NONE,
    provider_rate=_NONE,
)
