"""A connection for a ready queue: the way there, the address it leaves from, and what security it asks for."""

import asyncio
from collections.abc import Callable

from mailagent.api.smtp import SmtpReply
from mailagent.config.structs import AgentConfig
from mailagent.delivery import BindFailed, ConnectFailed, Source, TlsPolicies, connect
from mailagent.routing import Router, Unroutable
from mailagent.scheduling.ready import ReadyQueue
from mailagent.telemetry.connect_times import ConnectTimes
from mailagent.telemetry.paces import Paces
from mailagent.telemetry.tap import Tap


class Connecting:
    """Implements the scheduler's `connect`."""

    def __init__(
        self,
        config: AgentConfig,
        router: Router,
        tls: TlsPolicies,
        *,
        tap: Callable[[ReadyQueue], Tap | None],
        times: ConnectTimes,
        paces: Paces,
    ) -> None:
        """`tap` has what hears the lines of a connection, if anybody does."""
        self._tap = tap
        self._times = times
        self._paces = paces
        self.configure(config, router, tls)

    def configure(self, config: AgentConfig, router: Router, tls: TlsPolicies) -> None:
        """Use these from now on."""
        self._config = config
        self._router = router
        self._tls = tls

    async def connect(self, queue: ReadyQueue) -> None:
        """Open one connection for `queue`; it hears of the end through `ready`, `failed` or `no_path`."""
        vmta = self._config.virtual_mtas.get(queue.vmta)
        if vmta is None:  # a reload came in between
            gone = SmtpReply(code=0, text=f"virtual MTA {queue.vmta} is no longer configured", local=True)
            queue.failed(gone, bind=False)
            return
        path = await self._router.path(queue.site, ipv4=vmta.address is not None, ipv6=vmta.address6 is not None)
        if isinstance(path, Unroutable):
            queue.no_path(path.reply, permanent=path.permanent)
            return
        source = Source(
            vmta=queue.vmta, address=vmta.address, address6=vmta.address6, ehlo=vmta.ehlo or self._config.host
        )
        try:
            security = self._tls.towards(queue.site, queue.next_recipient)
            tap = self._tap(queue)
            clock = asyncio.get_running_loop().time
            began = clock()
            made = await connect(security.ordered(path), source, self._config.delivery.timeouts, queue, security, tap)
            self._times.took(queue.site.provider, made.connect_s)
            self._paces.of(queue.site.provider, queue.vmta).greeted(clock() - began)
        except BindFailed as exc:
            queue.failed(exc.reply, bind=True)
        except ConnectFailed as exc:
            queue.failed(exc.reply, bind=False)
