"""The one resolver: cached, each question asked once, stale answers rather than none."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Protocol, cast

from mailagent.dns.answers import Address, AddressAnswer, Failed, Found, MxAnswer, PtrAnswer, TlsaAnswer, TxtAnswer
from mailagent.dns.cache import FAILURE_TTL_S, MIN_TTL_S, MX_MIN_TTL_S, STALE_S, STALE_TTL_S, Cache, kept_s
from mailagent.dns.query import Kind, Nameserver, ask, system_nameservers

log = logging.getLogger(__name__)

MAX_OPEN = 224
"""Questions on the wire at a time: two for each look-up of scheduling, and some for the addresses of paths, which must
not wait behind domains that nobody answers for. Many more at once would overrun a server's socket."""
CACHE_SIZES = {Kind.MX: 50_000, Kind.A: 25_000, Kind.AAAA: 25_000, Kind.TXT: 25_000, Kind.TLSA: 10_000, Kind.PTR: 5_000}
"""Answers kept, about 500 bytes each."""
MAX_TURN_S = 30.0
"""How long a question waits for its turn behind MAX_OPEN others before it counts as failed."""


class Server(Protocol):
    """Host (an IP address) and port of a name server."""

    @property
    def host(self) -> str:
        """IP address."""

    @property
    def port(self) -> int:
        """UDP and TCP port."""


class Settings(Protocol):
    """What the `dns` section of the configuration says (`mailagent.config.structs.Dns`)."""

    @property
    def servers(self) -> Sequence[Server]:
        """Our name servers; none: those of /etc/resolv.conf."""

    @property
    def timeout(self) -> timedelta:
        """For one question, over all servers."""

    @property
    def validating(self) -> bool:
        """Whether their word about DNSSEC is taken."""


class Resolver:
    """MX, A, AAAA, TXT, TLSA and PTR look-ups.

    An answer is kept for its TTL, clamped to 60 s..24 h (MX from 5 min, negative ones up to 15 min); when the servers
    then fail, records stand in for up to a day. Callers with the same question share one look-up; a caller that is
    cancelled does not cancel it for the others.
    """

    def __init__(self, config: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError for a server that is no IP address."""
        self._clock = clock
        self._generation = 0  # of the servers
        self.configure(config)
        self._open = asyncio.Semaphore(MAX_OPEN)
        self._flights: dict[tuple[int, Kind, str], asyncio.Task[Any]] = {}

    def configure(self, config: Settings) -> None:
        """Ask these servers from now on. What others said, or are about to say, is forgotten.

        Raises ValueError as the constructor.
        """
        self._servers = tuple(Nameserver(ip_address(s.host), s.port) for s in config.servers) or system_nameservers()
        self._timeout_s = config.timeout.total_seconds()
        self.validating = config.validating and all(server.address.is_loopback for server in self._servers)
        if config.validating and not self.validating:  # from /etc/resolv.conf; `dns.servers` is checked when it is read
            log.warning("dns.validating has no effect: a name server of /etc/resolv.conf is not on this host")
        self._generation += 1
        self._caches: dict[Kind, Cache[Any]] = {kind: Cache(size) for kind, size in CACHE_SIZES.items()}
        self._mx: Cache[MxAnswer] = self._caches[Kind.MX]

    def cached_mx(self, domain: str) -> MxAnswer | None:
        """What is known about the mail exchangers of `domain` without asking; None: ask."""
        return self._mx.fresh(domain, self._clock())

    async def mx(self, domain: str, *, fresh: bool = False) -> MxAnswer:
        """The mail exchangers of `domain`, in order of (preference, name); `fresh` as below."""
        answer = None if fresh else self._mx.fresh(domain, self._clock())
        return answer if answer is not None else cast(MxAnswer, await self._shared(Kind.MX, domain))

    async def addresses(self, host: str, *, version: int, fresh: bool = False) -> AddressAnswer:
        """The IPv4 or IPv6 addresses (`version` 4 or 6) of `host`; `fresh`: asked now, whatever is remembered."""
        kind = Kind.A if version == 4 else Kind.AAAA
        return cast(AddressAnswer, await (self._shared(kind, host) if fresh else self._answer(kind, host)))

    async def txt(self, name: str, *, fresh: bool = False) -> TxtAnswer:
        """Text records of `name`, the strings of each joined; `fresh`: asked now, whatever is remembered."""
        answer = self._shared(Kind.TXT, name) if fresh else self._answer(Kind.TXT, name)
        return cast(TxtAnswer, await answer)

    async def names(self, address: Address, *, fresh: bool = False) -> PtrAnswer:
        """The names of an address (PTR, RFC 1035 section 3.5); `fresh`: asked now, whatever is remembered."""
        name = address.reverse_pointer
        return cast(PtrAnswer, await (self._shared(Kind.PTR, name) if fresh else self._answer(Kind.PTR, name)))

    async def tlsa(self, name: str) -> TlsaAnswer:
        """TLSA records of `name` (`_25._tcp.mx.example.com`)."""
        return cast(TlsaAnswer, await self._answer(Kind.TLSA, name))

    async def close(self) -> None:
        """Give up open look-ups; whoever waits for one is cancelled."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _answer(self, kind: Kind, name: str) -> object:
        answer = self._caches[kind].fresh(name, self._clock())
        return answer if answer is not None else await self._shared(kind, name)

    async def _shared(self, kind: Kind, name: str) -> object:
        key = (self._generation, kind, name)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(self._look_up(kind, name), name=f"dns:{kind.name}:{name}")
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key))
        return await asyncio.shield(flight)

    async def _look_up(self, kind: Kind, name: str) -> object:
        try:
            async with asyncio.timeout(MAX_TURN_S):
                await self._open.acquire()
        except TimeoutError:
            return Failed(f"more than {MAX_OPEN} look-ups were open when {kind.name} {name} was asked")
        generation = self._generation
        try:
            answer, ttl_s = await ask(self._servers, kind, name, timeout_s=self._timeout_s, validating=self.validating)
        finally:
            self._open.release()
        if generation != self._generation:
            return await self._answer(kind, name)
        return self._keep(kind, name, answer, ttl_s)

    def _keep(self, kind: Kind, name: str, answer: Any, ttl_s: int) -> object:
        cache = self._caches[kind]
        now = self._clock()
        if isinstance(answer, Failed):
            known = cache.stale(name, now)
            if known is None:
                cache.put(name, answer, fresh_until=now + FAILURE_TTL_S, stale_until=now)
                return answer
            if not isinstance(known[0], Found):
                return answer  # asked afresh while "no such name" is remembered: that stays so, and is no answer
            stale = replace(known[0], stale=True)
            cache.put(name, stale, fresh_until=now + STALE_TTL_S, stale_until=known[1])
            return stale
        until = now + kept_s(
            ttl_s,
            negative=not isinstance(answer, Found),
            floor_s=MX_MIN_TTL_S if kind is Kind.MX else MIN_TTL_S,
        )
        # "no such name" of yesterday is no reason to bounce today, so only records stand in
        cache.put(name, answer, fresh_until=until, stale_until=until + STALE_S * isinstance(answer, Found))
        return answer
