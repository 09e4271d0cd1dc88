"""Effective limits of a path: what binds one virtual MTA towards one site, towards its provider, and everywhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from mailagent.api.ids import ProviderName, VmtaName
from mailagent.api.smtp import SmtpReply
from mailagent.config.structs import AgentConfig, Domain, Provider, Rate, SiteLimits, VirtualMta
from mailagent.routing.providers import DEFAULT_PROVIDER
from mailagent.routing.rollup import ROUTE_PROVIDER, Site

Value = TypeVar("Value", bound=int | Rate, covariant=True)

ROUTE_CONNECTIONS = 20


@dataclass(frozen=True, slots=True)
class Limit(Generic[Value]):
    """One limit and where it comes from, in words for the operator."""

    value: Value | None  # None: none
    origin: str = ""
    release: str = ""  # what ends it, where that is not the configuration
    rule: str = ""  # the rule by which automation lowered it
    reply: SmtpReply | None = None  # and the reply that it acted on

    def lowered(self, other: "Limit[Any]") -> "Limit[Any]":
        """The stricter of the two; equal ones leave this one's origin."""
        return other if _strictness(other.value) < _strictness(self.value) else self

    def __str__(self) -> str:
        return "" if self.value is None else str(self.value)


def _strictness(value: int | Rate | None) -> float:
    if value is None:
        return float("inf")
    return value.count / value.period_s if isinstance(value, Rate) else value


_NONE: Limit[Any] = Limit(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLimits:
    """What binds a path. Per virtual MTA × site (or rollup), unless the name says otherwise."""

    connections: Limit[int] = _NONE
    messages_per_connection: Limit[int] = _NONE
    recipients_per_connection: Limit[int] = _NONE
    recipients_per_transaction: Limit[int] = _NONE
    rate: Limit[Rate] = _NONE
    connect_rate: Limit[Rate] = _NONE
    bytes_rate: Limit[Rate] = _NONE
    provider_connections: Limit[int] = _NONE  # per virtual MTA × provider, over all its sites
    provider_rate: Limit[Rate] = _NONE
    vmta_connections: Limit[int] = _NONE  # per virtual MTA, over all destinations
    vmta_rate: Limit[Rate] = _NONE

    def lowered(self, overrides: Mapping[str, Limit[Any]]) -> "PathLimits":
        """With overrides by name of field; an override can only lower."""
        if not overrides:
            return self
        return replace(self, **{name: getattr(self, name).lowered(limit) for name, limit in overrides.items()})


SITE_LIMITS = SiteLimits.__struct_fields__
"""Limits that count per virtual MTA × site."""
PROVIDER_LIMITS = ("provider_connections", "provider_rate")
"""Those that count over all sites of a provider."""
VMTA_LIMITS = ("vmta_connections", "vmta_rate")
"""Those that count over all destinations of a virtual MTA."""
LIMIT_NAMES = (*SITE_LIMITS, *PROVIDER_LIMITS, *VMTA_LIMITS)

_BUILT_IN = "built-in default"
UNKNOWN_SITE = Provider(connections=10, messages_per_connection=100, rate=Rate(count=100, period_s=1))
"""Where neither the provider nor `default` says anything (handbook: what KumoMTA ships)."""


class LimitTable:
    """The limits that one configuration sets.

    A provider's missing key is taken from the provider `default`, then from the built-in values; its caps over all
    sites are its own only. The domains of a rollup lay their keys over that, the strictest where several say the same.
    A route has what is written at it, and else 20 connections and no other limit. The caps of a virtual MTA over all
    destinations hold everywhere.
    """

    def __init__(self, config: AgentConfig, origin: Callable[[str], str] = str) -> None:
        """`origin` turns a key such as `providers.gmail.rate` into where it stands (`agent.yaml:41`)."""
        self._origin = origin
        self._routes: dict[str, PathLimits] = {}
        for position, route in enumerate(config.routes):
            written = self._written(route, f"routes[{position}]", SITE_LIMITS)
            written.setdefault("connections", Limit(ROUTE_CONNECTIONS, _BUILT_IN))
            self._routes.setdefault(str(route.to), PathLimits(**written))
        default = config.providers.get(DEFAULT_PROVIDER, Provider())
        self._default = self._of_provider(DEFAULT_PROVIDER, default, default)
        self._providers = {
            name: self._of_provider(name, provider, default) for name, provider in config.providers.items()
        }
        self._named = {site: name for name, provider in config.providers.items() for site in provider.sites}
        self._rollups = self._of_rollups(config.domains)
        self._vmtas = self._of_vmtas(config.virtual_mtas)

    def limits(self, site: Site, vmta: VmtaName | None = None) -> PathLimits:
        """The limits of `vmta` towards `site`; without one, those that every virtual MTA has there."""
        if site.provider == ROUTE_PROVIDER:
            limits = self._routes.get(site.name, NO_LIMITS)
        else:
            limits = self._providers.get(site.provider, self._default)
        own = self._rollups.get(site.rollup)
        if own is not None:
            limits = replace(limits, **own)
        return self._capped(limits, vmta)

    def of_provider(self, provider: ProviderName, vmta: VmtaName | None = None) -> PathLimits:
        """Those of `vmta` towards a provider, where no domain or route says otherwise."""
        return self._capped(self._providers.get(provider, self._default), vmta)

    def of_site(self, name: str, vmta: VmtaName | None = None) -> PathLimits:
        """Those of `vmta` towards the site of that name, as far as the configuration has it: a route, a rollup, a
        domain that counts alone, or a site of the provider file. What depends on its MX hosts is left out.
        """
        limits = self._routes.get(name)
        if limits is None:
            limits = self._providers[self._named[name]] if name in self._named else NO_LIMITS
            limits = replace(limits, **self._rollups.get(name, {}))
        return self._capped(limits, vmta)

    def _capped(self, limits: PathLimits, vmta: VmtaName | None) -> PathLimits:
        caps = self._vmtas.get(vmta) if vmta is not None else None
        return replace(limits, **caps) if caps is not None else limits

    def _of_provider(self, name: ProviderName, provider: Provider, default: Provider) -> PathLimits:
        built_in = {key: Limit(value, _BUILT_IN) for key, value in _said(UNKNOWN_SITE, SITE_LIMITS).items()}
        return PathLimits(
            **built_in
            | self._written(default, f"providers.{DEFAULT_PROVIDER}", SITE_LIMITS)
            | self._written(provider, f"providers.{name}", SITE_LIMITS + PROVIDER_LIMITS)
        )

    def _of_rollups(self, domains: Mapping[str, Domain]) -> dict[str, dict[str, Limit[Any]]]:
        found: dict[str, dict[str, Limit[Any]]] = {}
        for domain, block in domains.items():
            rollup = block.rollup_of(domain)
            written = self._written(block, f"domains.{domain}", SITE_LIMITS)
            if rollup and written:
                merged = found.setdefault(rollup, {})
                for key, limit in written.items():
                    merged[key] = merged[key].lowered(limit) if key in merged else limit
        return found

    def _of_vmtas(self, vmtas: Mapping[VmtaName, VirtualMta]) -> dict[VmtaName, dict[str, Limit[Any]]]:
        written = {name: self._written(vmta, f"virtual_mtas.{name}", VMTA_LIMITS) for name, vmta in vmtas.items()}
        return {name: caps for name, caps in written.items() if caps}

    def _written(self, section: object, key: str, names: tuple[str, ...]) -> dict[str, Limit[Any]]:
        return {name: Limit(value, self._origin(f"{key}.{name}")) for name, value in _said(section, names).items()}


def _said(section: object, names: tuple[str, ...]) -> dict[str, int | Rate]:
    return {name: value for name in names if (value := getattr(section, name)) is not None}


NO_LIMITS = PathLimits()
