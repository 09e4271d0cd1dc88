"""Which TLS each peer must do: by route, provider and DNS; and which peers are known not to manage it."""

import asyncio
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from mailagent.config.structs import AgentConfig
from mailagent.config.tls import TlsMode
from mailagent.delivery.connection import Connection
from mailagent.delivery.dane import DaneCheck, usable
from mailagent.delivery.errors import ConnectFailed
from mailagent.delivery.tls import (
    CLEAR,
    Level,
    PolicyType,
    Step,
    TlsFailed,
    TlsResult,
    encrypting_context,
    tls_reply,
    verifying_context,
)
from mailagent.dns import Failed, Found, Resolver
from mailagent.routing.providers import DEFAULT_PROVIDER
from mailagent.routing.rollup import Hop, Site

log = logging.getLogger(__name__)

MAX_BROKEN = 10_000
"""Peers remembered whose TLS is broken."""


class BrokenTls:
    """Peer addresses whose last handshake failed; opportunistic mail goes there in clear for a while.

    Kept in memory only: after a restart each is tried once more.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, hop: Hop) -> bool:
        until = self._until.get(_peer(hop))
        return until is not None and until > self._clock()

    def add(self, hop: Hop, seconds: float) -> None:
        """Do not try TLS with `hop` for so long, unless it must be."""
        self._until[_peer(hop)] = self._clock() + seconds
        self._until.move_to_end(_peer(hop))
        if len(self._until) > MAX_BROKEN:
            self._until.popitem(last=False)


def _peer(hop: Hop) -> str:
    return f"{hop.address} {hop.port}"


class TlsPolicies:
    """What one configuration asks for. After a reload the next one takes over what was learned."""

    def __init__(self, config: AgentConfig, resolver: Resolver, *, before: "TlsPolicies | None" = None) -> None:
        self._resolver = resolver
        self._mode = config.tls.mode
        self._ca_file = config.tls.ca_file
        self._remember_s = config.tls.remember_broken.total_seconds()
        self._providers = {name: one.tls for name, one in config.providers.items() if one.tls is not None}
        self._routes: dict[str, TlsMode | None] = {}
        for route in config.routes:
            self._routes.setdefault(str(route.to), route.tls)
        self._verifying: ssl.SSLContext | None = None
        self.encrypting = encrypting_context()
        self.broken: BrokenTls = before.broken if before is not None else BrokenTls()

    def towards(self, site: Site) -> "Towards":
        """What connections to `site` must be."""
        return Towards(self, self.mode(site), is_route=site.next_hop is not None)

    def mode(self, site: Site) -> TlsMode:
        """What the configuration says about `site`: its route or provider, else `default`, else `tls.mode`."""
        if site.next_hop is not None:
            return self._routes.get(site.name) or self._mode
        return self._providers.get(site.provider) or self._providers.get(DEFAULT_PROVIDER) or self._mode

    async def verifying(self, hop: Hop) -> ssl.SSLContext:
        """The context that checks certificates. Raises ConnectFailed when the authorities cannot be read."""
        if self._verifying is None:
            try:
                self._verifying = await asyncio.to_thread(verifying_context, self._ca_file)
            except OSError as exc:
                raise ConnectFailed(tls_reply(_unreadable(self._ca_file, exc), enhanced="4.3.5"), hop) from exc
        return self._verifying

    async def dane(self, hop: Hop) -> Step | None:
        """What the TLSA records of `hop` ask for; None when it has none (RFC 7672 section 2.2).

        They count when a validating resolver of ours says that they, and the host's addresses, are secure. Where they
        cannot be known the host gets no mail: an attacker could have hidden them.

        Raises:
            TlsFailed: DNS failed.
        """
        if not self._resolver.validating:
            return None
        addresses = await self._resolver.addresses(hop.mx, version=hop.address.version)
        if not (isinstance(addresses, Found) and addresses.secure):
            return None
        for base in filter(None, (addresses.canonical, hop.mx)):
            answer = await self._resolver.tlsa(f"_{hop.port}._tcp.{base}")
            if isinstance(answer, Failed):
                text = f"{hop}: no mail while its TLSA records cannot be looked up: {answer.reason}"
                raise TlsFailed(tls_reply(text, enhanced="4.7.5"), hop, TlsResult.DNSSEC_INVALID)
            if isinstance(answer, Found) and answer.secure:
                records = usable(answer.records)
                if not records:  # they promise TLS, and name nobody (RFC 7672 section 2.2)
                    return Step(Level.ENCRYPTED, must=True, context=self.encrypting, policy=PolicyType.TLSA)
                check = DaneCheck(records, tuple(dict.fromkeys((base, hop.mx))))
                return Step(
                    Level.DANE,
                    must=True,
                    context=self.encrypting,
                    check=check,
                    name=base,
                    policy=PolicyType.TLSA,
                )
        return None

    def remember(self, hop: Hop, failure: TlsFailed) -> None:
        """The handshake with `hop` failed, and mail may go in clear."""
        self.broken.add(hop, self._remember_s)
        log.info("tls broken peer=%s result=%s", hop, failure.result)


def _unreadable(ca_file: Path | None, exc: OSError) -> str:
    return f"tls.ca_file {ca_file} cannot be used: {exc.strerror or exc}"


class Towards:
    """The way to one site's hosts; a `mailagent.delivery.connect.Security`."""

    def __init__(self, policies: TlsPolicies, mode: TlsMode, *, is_route: bool) -> None:
        self._policies = policies
        self._mode = mode
        self._is_route = is_route

    async def first(self, hop: Hop) -> Step:
        """How to try `hop`. Raises ConnectFailed."""
        if self._mode is TlsMode.OFF:
            return CLEAR
        if not self._is_route:
            step = await self._policies.dane(hop)
            if step is not None and (step.level is Level.DANE or self._mode is not TlsMode.VERIFY):
                return step
        match self._mode:
            case TlsMode.OPPORTUNISTIC:
                return (
                    CLEAR if hop in self._policies.broken else Step(Level.ENCRYPTED, context=self._policies.encrypting)
                )
            case TlsMode.REQUIRED:
                return Step(Level.ENCRYPTED, must=True, context=self._policies.encrypting)
            case TlsMode.VERIFY | TlsMode.IMPLICIT:
                context = await self._policies.verifying(hop)
                return Step(Level.VERIFIED, must=True, context=context, implicit=self._mode is TlsMode.IMPLICIT)

    def failed(self, hop: Hop, step: Step, failure: TlsFailed) -> Step | None:
        """What to try next with `hop`; a peer that cannot do TLS is remembered."""
        following = step.after(failure, self._policies.encrypting)
        if following is CLEAR:
            self._policies.remember(hop, failure)
        return following

    def stands(self, connection: Connection) -> None:
        """`connection` is about to get mail."""
