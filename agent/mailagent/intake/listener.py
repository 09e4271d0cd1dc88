"""Intake: the listeners of one host, their connections and the caps on them."""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Collection
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import cast

from mailagent.api.smtp import SmtpReply
from mailagent.config import structs
from mailagent.config.intake import Certificate, ListenerKind, ListenerTls
from mailagent.intake.clients import client_group
from mailagent.intake.errors import ListenFailed
from mailagent.intake.protocol import Connection, Tapped
from mailagent.intake.rules import BUSY, Rules
from mailagent.intake.submission import Gate
from mailagent.intake.tls import Contexts, load_contexts

BACKLOG = 1024
SWEEP_S = 1.0
LAST_WORDS_S = 1.0  # at a stop, for connections that outlived their grace to read a 421

log = logging.getLogger(__name__)

_CLIENT_CAP = SmtpReply(code=421, enhanced="4.7.0", text="Too many connections from your address")
_GLOBAL_CAP = SmtpReply(code=421, enhanced="4.3.2", text="Too many connections, try again later")
_STOPPING = SmtpReply(code=421, enhanced="4.3.2", text="Service is shutting down, try again later")
_FAILED = SmtpReply(code=421, enhanced=BUSY.enhanced, text=BUSY.text)


class Intake:
    """SMTP in. `start`, then mail comes to the gate until `stop`."""

    def __init__(
        self, config: structs.Intake, host: str, gate: Gate, kind: ListenerKind = ListenerKind.SUBMISSION
    ) -> None:
        """Opens the listeners of one kind."""
        self.gate = gate
        self.tapped: Tapped | None = None
        """Asked for the tap of each new client, while anybody follows a listener."""
        self._kind = kind
        self._host = host
        self._contexts: Contexts = {}
        self.configure(config, {})
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._of_client: Counter[str] = Counter()
        self._refusing = False
        self._gone = asyncio.Event()
        self._gone.set()
        self._sweeper: asyncio.TimerHandle | None = None

    def configure(self, config: structs.Intake, contexts: Contexts) -> None:
        """Use `config` and its certificates for new connections; the listeners and open sessions stay as they are."""
        self._config = config
        self._contexts = contexts
        lenient = self._kind is ListenerKind.FEEDBACK
        self.rules = Rules.of(config, config.hostname or self._host, lenient=lenient)
        self.timeout_s = config.timeout.total_seconds()
        self.may_relay = lru_cache(maxsize=4096)(self._lies_in_relay_from)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every listener, as really bound."""
        return [socket.getsockname()[:2] for server in self._servers for socket in server.sockets]

    @property
    def clients(self) -> Collection[Connection]:
        """Open connections."""
        return self._connections

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    async def start(self) -> None:
        """Open all listeners, or none.

        Raises:
            CertificateUnusable: TLS cannot be offered.
            ListenFailed: an address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._contexts = certificates(self._config)
        for listener in self._config.listeners:
            if listener.kind is not self._kind:
                continue
            address = str(listener.address)
            try:
                server = await loop.create_server(
                    partial(Connection, self, listener), address, listener.port, reuse_address=True, backlog=BACKLOG
                )
            except OSError as exc:
                for opened in self._servers:
                    opened.close()
                self._servers.clear()
                raise ListenFailed(address, listener.port, exc) from exc
            self._servers.append(server)
        for address, port in self.addresses:
            log.info("intake listens address=%s port=%d kind=%s", address, port, self._kind)
        self._sweep()

    def refuse_new(self) -> None:
        """Answer new connections with 421 and close those without an open transaction; the others may finish it."""
        self._refusing = True
        for connection in tuple(self._connections):
            connection.part(_STOPPING)

    async def stop(self, grace_s: float) -> None:
        """Close the listeners, wait up to `grace_s` for open transactions, then close what is left."""
        for server in self._servers:
            server.close()
        self.refuse_new()
        if not await self._all_gone(grace_s):
            for connection in tuple(self._connections):
                connection.shut(_STOPPING)
            if not await self._all_gone(LAST_WORDS_S):
                for connection in tuple(self._connections):
                    connection.abort()
                await self._all_gone(LAST_WORDS_S)
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._servers.clear()

    # -- for connections

    def admit(self, connection: Connection, *, trusted: bool) -> SmtpReply | None:
        """Count `connection` in, or say why not."""
        if self._refusing:
            return _STOPPING
        if len(self._connections) >= self._config.max_connections:
            return _GLOBAL_CAP
        if not trusted and self._of_client[client_group(connection.client)] >= self._config.max_connections_per_client:
            return _CLIENT_CAP
        try:
            refusal = self.gate.greeting_refusal()
        except Exception:
            log.exception("connection refused, the gate failed client=%s", connection.client)
            refusal = _FAILED
        if refusal is None:
            self._connections.add(connection)
            self._of_client[client_group(connection.client)] += 1
            self._gone.clear()
        return refusal

    def rename(self, connection: Connection, client: str, *, trusted: bool) -> SmtpReply | None:
        """Count `connection` as one of `client`, whom its balancer named; or say why not."""
        self._count_off(connection.client)
        connection.client = client
        counted = client_group(client)
        self._of_client[counted] += 1
        over = not trusted and self._of_client[counted] > self._config.max_connections_per_client
        return _CLIENT_CAP if over else None

    def is_balancer(self, listener: structs.Listener, client: str) -> bool:
        """Whether connections from `client` begin with a PROXY header."""
        address = ip_address(client)
        return any(address in network for network in listener.proxy_from)

    def tls_context(self, listener: structs.Listener) -> ssl.SSLContext:
        """The listener's certificate as last read."""
        return self._contexts[cast(Certificate, listener.certificate or self._config.certificate)]

    def left(self, connection: Connection) -> None:
        """Count `connection` out."""
        self._connections.discard(connection)
        self._count_off(connection.client)
        if not self._connections:
            self._gone.set()

    # -- inside

    def _count_off(self, client: str) -> None:
        counted = client_group(client)
        self._of_client[counted] -= 1
        if self._of_client[counted] <= 0:
            del self._of_client[counted]

    def _lies_in_relay_from(self, client: str) -> bool:
        address = ip_address(client)
        return any(address in network for network in self._config.relay_from)

    def _sweep(self) -> None:
        """One timer for all connections: 2,000 of them cost well under a millisecond."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._connections):
            connection.sweep(now)
        self._sweeper = loop.call_later(min(SWEEP_S, self.timeout_s / 4), self._sweep)

    async def _all_gone(self, deadline_s: float) -> bool:
        try:
            async with asyncio.timeout(deadline_s):
                await self._gone.wait()
        except TimeoutError:
            return False
        return True


def certificates(config: structs.Intake) -> Contexts:
    """What listeners with TLS present.

    Raises:
        CertificateUnusable: one of them cannot be used.
    """
    return load_contexts(
        certificate
        for listener in config.listeners
        if listener.tls is not ListenerTls.OFF
        and (certificate := listener.certificate or config.certificate) is not None
    )
