"""Probe: one message through a path that an order may hold, and what the peer says to it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import msgspec

from mailagent.api import mail as api
from mailagent.api.errors import InvalidRequest, NotFound
from mailagent.api.ids import PoolName, ProviderName, SiteName, StreamName, VmtaName
from mailagent.api.operations import Impact, OperationResult
from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import MessageFilter, TargetKind
from mailagent.api.views import MessageSummary
from mailagent.config.structs import AgentConfig
from mailagent.control.targets import pool_of
from mailagent.control.verbs import Control
from mailagent.host import Act, Principal
from mailagent.routing import Router, Site
from mailagent.scheduling.scheduler import Scheduler
from mailagent.spool.ids import parse_message_name, recipient_id
from mailagent.spool.queues import waiting_rows
from mailagent.spool.records import QueueName
from mailagent.spool.store import Spool

CANDIDATES = 20
"""Recipients that are looked at for one that is only on disk and goes that way."""
CONNECT_S = 60.0
"""How long limits may keep the probe from connecting."""
ANSWER_S = 10.0
"""How long an answer waits for the reply."""
NO_UNDO = "a message that was sent cannot be called back"


class Probing:
    """The verb, by name in `verbs`."""

    def __init__(
        self,
        control: Control,
        spool: Spool,
        scheduler: Scheduler,
        *,
        config: Callable[[], AgentConfig],
        router: Callable[[], Router],
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
    ) -> None:
        self._control = control
        self._spool = spool
        self._scheduler = scheduler
        self._config = config
        self._router = router
        self._spawn = spawn
        self._started: set[asyncio.Future[SmtpReply]] = set()  # by calls that wait for the reply

    @property
    def verbs(self) -> Mapping[str, Act]:
        """By wire name."""
        return {"probe": self.probe}

    async def probe(self, request: api.Probe, caller: Principal) -> OperationResult:
        """Send one waiting message from a virtual MTA to a site or provider; its order stays as it is.

        Raises:
            InvalidRequest: the target is no path.
            NotFound: no such virtual MTA, or no message waits for that path.
        """
        vmta, wanted = self._path(request)
        found = await self._candidates(vmta, wanted)
        told: asyncio.Future[SmtpReply] = asyncio.get_running_loop().create_future()
        result = await self._control.carry_out(
            "probe",
            request,
            caller,
            plan=partial(self._planned, vmta, found),
            act=partial(self._start, vmta, found, told),
            undo_note=NO_UNDO,
            impact=Impact(messages=1),
        )
        if told not in self._started:  # a plan, or the answer of before
            return result
        self._started.discard(told)
        done, _ = await asyncio.wait([told], timeout=ANSWER_S)
        name = result.detail.partition(" ")[0]
        late = (
            f"no reply within {ANSWER_S:g} s, the attempt goes on: see `mailctl message {name}`, or `find {name}` later"
        )
        said = f"the reply: {told.result().line()}" if done else late
        return msgspec.structs.replace(result, detail=f"{result.detail}; {said}")

    def _path(self, request: api.Probe) -> tuple[VmtaName, MessageFilter]:
        first, slash, name = request.target.name.rpartition("/")
        if request.target.kind not in (TargetKind.QUEUE, TargetKind.CELL) or not slash:
            raise InvalidRequest(f"{request.target} is no path; write queue:SITE/VMTA or cell:PROVIDER/VMTA")
        config, vmta = self._config(), VmtaName(name)
        pool = pool_of(config, name)
        if vmta not in config.virtual_mtas or pool is None:
            raise NotFound(f"{config.host} has no virtual MTA {name}")
        if request.target.kind is TargetKind.QUEUE:
            return vmta, MessageFilter(pool=pool, site=SiteName(first), held=False)
        return vmta, MessageFilter(pool=pool, provider=ProviderName(first), held=False)

    async def _candidates(self, vmta: VmtaName, wanted: MessageFilter) -> list[tuple[MessageSummary, Site]]:
        found = []
        for row in (await self._spool.messages(wanted, "", CANDIDATES)).rows:
            site = await self._router().site(row.domain)
            if isinstance(site, Site) and wanted.site in ("", site.name) and wanted.provider in ("", site.provider):
                found.append((row, site))
        if not found:
            raise NotFound(f"no message waits on disk for {wanted} that {vmta} could carry")
        return found

    async def _planned(self, vmta: VmtaName, found: list[tuple[MessageSummary, Site]]) -> tuple[bool, str]:
        row, site = found[0]
        return True, f"one message, such as {row.message_id} to {row.recipient}, goes from {vmta} to {site.name}"

    async def _start(
        self, vmta: VmtaName, found: list[tuple[MessageSummary, Site]], told: asyncio.Future[SmtpReply]
    ) -> tuple[bool, str]:
        for summary, site in found:
            recipient = recipient_id(parse_message_name(summary.message_id)[0], summary.n)
            claimed = self._scheduler.withdrawal.claim([recipient])
            if not claimed:
                continue
            rows = await self._spool.on_held(partial(waiting_rows, recipients=[recipient]))
            self._scheduler.withdrawal.let_go([recipient])
            stream = self._config().streams.get(StreamName(summary.stream))
            if not rows or stream is None:
                continue
            name = QueueName(PoolName(summary.pool), summary.stream, stream.priority, summary.domain, rows[0].job)
            item = self._scheduler.withdrawal.carry(rows[0], name)
            if item is None:
                continue

            async def carry(item: Any = item, site: Site = site) -> None:
                told.set_result(await self._scheduler.guest(site, vmta).carry(item, CONNECT_S))
                # its queue was taken from the lane that it was parked for: once the outcome is on disk it is looked for
                await self._spool.on_held(lambda _: None)
                self._scheduler.recheck()

            self._started.add(told)
            self._spawn(carry(), f"probe:{vmta}")
            return True, f"{summary.message_id} to {summary.recipient} went from {vmta} to {site.name}"
        return False, "all mail for that path is under way already"
