"""The courier of an evacuation: carries parcels from the source to the targets, and nothing is lost when it dies.

Each step may be repeated; the hosts remember what was done (decision 0010). Memory is bounded: WORKERS parcels are
carried at a time, MAX_PARTS parts of each.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from mailagent.api import evacuation as api
from mailagent.api.errors import ApiError, Unavailable
from mailagent.api.evacuation import ParcelState
from mailagent.api.ids import HostName, OpId, StreamName
from mailagent.api.requests import Empty
from mailctl.fleet import Fleet, LinkError
from mailctl.fleet.lists import reason as why_not

WORKERS: Final = 4
ASK_S: Final = 30.0
PATIENCE_S: Final = 60.0
"""How long a step is tried again while its host is away or says that it is not possible now."""
PAUSE_S: Final = 1.0
LOOK_S: Final = 2.0
"""Interval of progress, and of looks for mail that was under way."""
ROUNDS: Final = 3
"""How often a parcel that arrives damaged is sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is. Numbers are recipients."""

    moved: int
    left: int  # that may go and still wait at the source
    in_parcels: int
    per_s: float
    eta: datetime | None


@dataclass(slots=True)
class Tally:
    """What a courier did for one target."""

    moved: int = 0
    returned: int = 0
    error: str = ""  # why nothing more goes there


class _TargetFailed(Exception):
    """Nothing more can be done for one target now."""


@dataclass(slots=True)
class Courier:
    """Carries the parcels of one evacuation."""

    fleet: Fleet
    source: HostName
    evacuation: OpId
    targets: Sequence[HostName]
    streams: frozenset[StreamName]
    before: int = 0  # recipients that couriers before this one moved
    rate_s: float | None = None  # recipients a second at most
    patience_s: float = PATIENCE_S
    told: Callable[[Progress], None] = lambda _: None
    tallies: dict[HostName, Tally] = field(default_factory=dict)
    left: int = 0  # recipients that may go and wait at the source, as last seen
    in_parcels: int = 0
    _empty: set[HostName] = field(default_factory=set)
    _carried: set[str] = field(default_factory=set)
    _turn: int = 0
    _next_at: float = 0.0
    _packing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tallies = {host: Tally() for host in self.targets}

    @property
    def moved(self) -> int:
        """Recipients that this courier brought to another host."""
        return sum(tally.moved for tally in self.tallies.values())

    @property
    def errors(self) -> dict[HostName, str]:
        """Targets that nothing more goes to, and why."""
        return {host: tally.error for host, tally in self.tallies.items() if tally.error}

    async def finish_open(self) -> None:
        """Bring every parcel to its end that is packed, given or returned.

        Raises:
            LinkError, ApiError: the source does not answer.
        """
        view = await self._view()
        await asyncio.gather(*(self._finish(parcel) for parcel in view.parcels))
        await self.look()

    async def run(self, *, until_empty_s: float | None = None) -> None:
        """Carry what waits outside deliveries under way; with `until_empty_s` go on until nothing of it waits.

        Raises:
            LinkError, ApiError: the source does not answer.
        """
        await self.finish_open()
        failure: LinkError | ApiError | None = None
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell(), name="evacuation:progress")
            try:
                await self._rounds(until_empty_s)
            except (LinkError, ApiError) as exc:
                failure = exc  # travels on by itself; the group would wrap it
            finally:
                telling.cancel()
        if failure is not None:
            raise failure

    async def _rounds(self, until_empty_s: float | None) -> None:
        deadline = None if until_empty_s is None else time.monotonic() + until_empty_s
        while True:
            self._empty.clear()
            await self._sweep()
            await self.finish_open()
            if self.is_empty or deadline is None or time.monotonic() >= deadline or not self._usable(again=True):
                return
            await asyncio.sleep(LOOK_S)

    @property
    def is_empty(self) -> bool:
        """Whether nothing that may go was left at the last look."""
        return self.left == 0 and self.in_parcels == 0

    async def look(self) -> None:
        """See what is left."""
        found: api.EvacuationSource = await self._ask(self.source, "evacuation_source", Empty())
        self.left = sum(row.waiting for row in found.rows if row.stream in self.streams and not row.stays)
        self.in_parcels = (await self._view()).inert
        per_s = self.moved / max(0.001, time.monotonic() - self._began)
        eta = None
        if per_s > 0 and self.left:
            eta = datetime.now(UTC) + timedelta(seconds=min(self.left / per_s, 30 * 86_400))
        self.told(
            Progress(
                moved=self.before + self.moved,
                left=self.left,
                in_parcels=self.in_parcels,
                per_s=round(per_s, 1),
                eta=eta,
            )
        )

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except (LinkError, ApiError):
                continue  # whoever carries hears of it

    def _usable(self, *, again: bool = False) -> list[HostName]:
        """Targets that take mail; `again`: also those that nothing was found for in this round."""
        return [host for host in self.targets if not self.tallies[host].error and (again or host not in self._empty)]

    async def _sweep(self) -> None:
        """Carry parcels until none can be packed."""
        done = await asyncio.gather(*(self._work() for _ in range(WORKERS)), return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                raise error

    async def _work(self) -> None:
        most = api.PARCEL_RECIPIENTS
        if self.rate_s is not None:
            most = max(1, min(most, int(self.rate_s)))
        while usable := self._usable():
            target = usable[self._turn % len(usable)]
            self._turn += 1
            async with self._packing:
                await self._pace()
                request = api.ParcelTake(evacuation=self.evacuation, target=target, recipients=most)
                taken: api.ParcelTaken = await self._ask(self.source, "parcel_take", request)
                if taken.header is None:
                    self._empty.add(target)
                    continue
                self._owe(taken.header.recipients)
            await self._finish(api.Parcel(header=taken.header, state=ParcelState.PACKED))

    async def _pace(self) -> None:
        wait_s = self._next_at - time.monotonic()
        if self.rate_s is not None and wait_s > 0:
            await asyncio.sleep(wait_s)

    def _owe(self, recipients: int) -> None:
        if self.rate_s is not None:
            self._next_at = max(self._next_at, time.monotonic()) + recipients / self.rate_s

    # -- one parcel ------------------------------------------------------------------------------------------------

    async def _finish(self, parcel: api.Parcel) -> None:
        """Bring one parcel to its end; a target that fails is left out from then on."""
        header = parcel.header
        tally = self.tallies.setdefault(header.target, Tally())
        if tally.error or header.id in self._carried:
            return
        self._carried.add(header.id)
        try:
            receipt = await self._deliver(header) if parcel.state is ParcelState.PACKED else ""
            decision: api.ParcelDecision = await self._ask(
                self.source, "parcel_decide", api.ParcelDecide(parcel=header.id, receipt=receipt)
            )
            await self._ask_target(header, "parcel_settle", api.ParcelSettle(header=header, key=decision.key))
            await self._ask(self.source, "parcel_close", api.ParcelClose(parcel=header.id))
        except _TargetFailed as exc:
            tally.error = str(exc)
            return
        finally:
            self._carried.discard(header.id)
        if decision.state is ParcelState.GIVEN:
            tally.moved += header.recipients
        else:
            tally.returned += header.recipients

    async def _deliver(self, header: api.ParcelHeader) -> str:
        """Bring all parts to the target: its receipt; empty when the parcel was returned meanwhile."""
        for _ in range(ROUNDS):
            part = 0
            receipt = ""
            while True:
                page: api.ParcelParts = await self._ask(
                    self.source, "parcel_read", api.ParcelRead(parcel=header.id, part=part)
                )
                if not page.parts:
                    break
                kept = await asyncio.gather(
                    *(
                        self._ask_target(header, "parcel_put", api.ParcelPut(header=header, part=n, data=data))
                        for n, data in enumerate(page.parts, part)
                    )
                )
                receipt = next((one.receipt for one in kept if one.receipt), receipt)
                part += len(page.parts)
            if receipt or not part:
                return receipt
        raise _TargetFailed(f"parcel {header.id} arrives damaged")

    async def _ask_target(self, header: api.ParcelHeader, method: str, request: msgspec.Struct) -> Any:
        try:
            return await self._ask(header.target, method, request)
        except (LinkError, ApiError) as exc:
            raise _TargetFailed(why_not(exc)) from exc

    async def _ask(self, host: HostName, method: str, request: msgspec.Struct) -> Any:
        """The answer of a step, tried again for a while when its host is away."""
        until = time.monotonic() + self.patience_s
        while True:
            try:
                return await self.fleet.ask(host, method, request, deadline_s=ASK_S)
            except (LinkError, Unavailable):
                if time.monotonic() >= until:
                    raise
            await asyncio.sleep(PAUSE_S)

    async def _view(self) -> api.EvacuationView:
        rows: api.Evacuations = await self._ask(self.source, "evacuations", Empty())
        return next(view for view in rows.rows if view.id == self.evacuation)
