"""Everything that is not ours: the providers' mail servers and the DNS, on one loopback /24 and one port.

Tests and benchmarks use it without the rest of the demo: `async with FarSide("127.9.3", port, log) as far: …`.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from mailctl.demo.blueprint import DNS_HOST
from mailctl.demo.dns import DnsServer, Zone
from mailctl.demo.judge import ProviderLog
from mailctl.demo.providers import Provider, ProviderSpec
from mailctl.demo.receivers import NULL_MX_DOMAIN, PROVIDERS
from mailctl.demo.session import Session

FIRST_PROVIDER_HOST = 100
LAST_PROVIDER_HOST = 254
BACKLOG = 1024


class FarSide:
    """The providers and the DNS of one run; `providers` by name, `servers` for the agents' `dns:` key."""

    def __init__(
        self, network: str, port: int, log: Path, *, specs: Sequence[ProviderSpec] = PROVIDERS, seed: int | None = None
    ) -> None:
        """`network` is three octets (`127.9.3`); every server listens on `port` of an address of its own."""
        rng = random.Random(seed)
        self.network = network
        self.port = port
        self.log = ProviderLog(log)
        self.providers = {spec.name: Provider(spec, rng=rng) for spec in specs}
        self.addresses = _addresses(network, specs)
        self.dns = DnsServer(_zone(specs, self.addresses), f"{network}.{DNS_HOST}", port)
        self._sessions: set[Session] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.log.open()
            stack.callback(self.log.close)
            stack.callback(self._abort_sessions)
            await stack.enter_async_context(self.dns)
            for provider in self.providers.values():
                for host in (host for mx in provider.spec.mx.values() for host in mx):
                    listener = await self._listen(provider, host)
                    stack.callback(listener.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _listen(self, provider: Provider, host: str) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            lambda: Session(provider, host, self.log, self._sessions), self.addresses[host], self.port, backlog=BACKLOG
        )

    def _abort_sessions(self) -> None:
        for session in tuple(self._sessions):
            session.abort()


def _addresses(network: str, specs: Sequence[ProviderSpec]) -> dict[str, str]:
    """An address for each MX host."""
    hosts = [host for spec in specs for mx in spec.mx.values() for host in mx]
    numbers = range(FIRST_PROVIDER_HOST, LAST_PROVIDER_HOST + 1)
    return {host: f"{network}.{number}" for host, number in zip(hosts, numbers, strict=False)}


def _zone(specs: Sequence[ProviderSpec], addresses: dict[str, str]) -> Zone:
    exchanges = {
        domain: [(5 + 10 * n, host) for n, host in enumerate(spec.mx[site])]
        for spec in specs
        for domain, site in spec.domains.items()
    }
    return Zone(
        mx=exchanges | {NULL_MX_DOMAIN: [(0, "")]},
        addresses={host: [address] for host, address in addresses.items()},
    )
