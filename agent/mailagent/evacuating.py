"""Evacuation of this host's queue to others, and of others' queues to this host: the agents' side.

An operator's command carries parcels from host to host (docs/evacuation.md). Each step here is one transaction of the
spool and may be asked for again; what is not asked for any more waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import msgspec

from mailagent.accepting import Acceptor
from mailagent.api import evacuation as api
from mailagent.api.accounting import EventType
from mailagent.api.errors import InvalidRequest, NotFound, Refused, Unavailable
from mailagent.api.evacuation import Direction, EvacuationState, ParcelState
from mailagent.api.ids import HostName, OpId, PoolName, ProviderName, StreamName
from mailagent.api.operations import OperationResult
from mailagent.api.requests import Empty, Mutation, Undo
from mailagent.config.structs import AgentConfig
from mailagent.control.state import HostState
from mailagent.control.verbs import Control
from mailagent.host import Act, Principal, Read
from mailagent.outcome.accounting.moved import moved_lines
from mailagent.packing import Packer, held_jobs
from mailagent.scheduling.scheduler import Scheduler
from mailagent.spool import evacuations, parcels
from mailagent.spool.content import opened, queues_of
from mailagent.spool.errors import StorageError
from mailagent.spool.evacuations import Evacuation
from mailagent.spool.handover import HandoverRefused
from mailagent.spool.records import QueueName
from mailagent.spool.store import Spool

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S: Final = 1.0
"""Mail that arrived is looked for at most so often: each look reads every queue in memory from its front."""
MOST_SHOWN: Final = 50
UNDO_NOTE: Final = "what has left by then stays where it is, and can be evacuated back"


class Evacuating:
    """The methods about evacuation, by name in `reads` and `verbs`."""

    def __init__(
        self,
        control: Control,
        spool: Spool,
        scheduler: Scheduler,
        acceptor: Acceptor,
        *,
        config: Callable[[], AgentConfig],
        state: Callable[[], HostState],
        why_not: Callable[[], str],
    ) -> None:
        """`why_not` tells why this host takes no new mail now; empty: it does."""
        self._control = control
        self._spool = spool
        self._scheduler = scheduler
        self._acceptor = acceptor
        self._config = config
        self._state = state
        self._why_not = why_not
        self._packing = asyncio.Lock()
        self._known: dict[OpId, Evacuation] = {}
        self._packer = Packer(spool, scheduler, config=config, state=state)
        self._look: asyncio.TimerHandle | None = None

    @property
    def reads(self) -> Mapping[str, Read]:
        """By wire name."""
        return {
            "evacuations": self.evacuations,
            "evacuation_source": self.source,
            "evacuation_room": self.room,
            "parcel_take": _stored(self.take),
            "parcel_read": _stored(self.read),
            "parcel_put": _stored(self.put),
            "parcel_decide": _stored(self.decide),
            "parcel_settle": _stored(self.settle),
            "parcel_close": _stored(self.close),
        }

    @property
    def verbs(self) -> Mapping[str, Act]:
        """By wire name."""
        return {
            "evacuate": self.evacuate,
            "evacuate_admit": self.admit,
            "evacuate_end": self.end,
            "undo": self.undo,
        }

    async def load(self) -> None:
        """Read what was under way when the last run ended."""
        self._known = {one.id: one for one in await self._spool.on_evacuations(evacuations.read_all)}

    def stop(self) -> None:
        """Look for nothing any more."""
        if self._look is not None:
            self._look.cancel()

    # -- plans and progress ----------------------------------------------------------------------------------------

    async def source(self, _: Empty) -> api.EvacuationSource:
        """What waits here and could leave."""
        held = tuple(held_jobs(self._state()))
        counts = await self._spool.on_evacuations(partial(evacuations.leaving, held_jobs=held))
        return api.EvacuationSource(
            host=self._config().host,
            rows=tuple(
                api.Leaving(
                    stream=StreamName(stream),
                    pool=PoolName(pool),
                    waiting=count,
                    held=self._held(PoolName(pool), StreamName(stream)),
                    stays=stays,
                )
                for (stream, pool, stays), count in sorted(counts.items())
            ),
            message_bytes=await self._spool.on_evacuations(evacuations.message_bytes),
            in_window=self._scheduler.window.used,
            accepting=not self._why_not(),
        )

    async def room(self, query: api.EvacuationRoomQuery) -> api.EvacuationRoom:
        """Whether mail of these streams could come here."""
        config = self._config()
        return api.EvacuationRoom(
            host=config.host,
            spool_id=self._spool.spool_id,
            streams=tuple(map(self._stream_room, query.streams)),
            free_bytes=self._spool.free.free_bytes,
            waiting=self._acceptor.waiting,
            waiting_limit=config.queue.waiting,
            refusal=self._why_not(),
        )

    def _stream_room(self, name: StreamName) -> api.StreamRoom:
        stream = self._config().streams.get(name)
        if stream is None:
            return api.StreamRoom(stream=name, refusal=f"has no stream {name}")
        pool, state = stream.pool, self._state()
        senders = len(state.fit(pool)) if state.eligible(pool) else 0
        held = self._held(pool, name)
        refusal = "" if senders or held else f"has no virtual MTA of pool {pool} that may send"
        return api.StreamRoom(stream=name, pool=pool, senders=senders, refusal=refusal, held=held)

    def _held(self, pool: PoolName, stream: StreamName) -> str:
        block = self._state().queue_block(pool, stream, ProviderName(""))
        return block.detail if block is not None else ""

    async def evacuations(self, _: Empty) -> api.Evacuations:
        """What is under way, and what was."""
        newest = sorted(self._known.values(), key=lambda one: one.at, reverse=True)
        return api.Evacuations(rows=tuple([await self._view(one) for one in newest[:MOST_SHOWN]]))

    async def _view(self, one: Evacuation) -> api.EvacuationView:
        sums = await self._spool.on_evacuations(partial(parcels.sums, evacuation=one.id, direction=one.direction))
        out = one.direction is Direction.OUT
        inert = (ParcelState.PACKED,) if out else (ParcelState.ARRIVING, ParcelState.STORED)
        return api.EvacuationView(
            id=one.id,
            direction=one.direction,
            state=one.state,
            peers=tuple(target.host for target in one.targets) if out else (one.source,),
            streams=one.streams,
            targets=one.targets,
            author=one.author,
            reason=one.reason,
            at=one.at,
            ended_at=one.ended_at,
            moved=sums.get(ParcelState.GIVEN if out else ParcelState.ACTIVE, 0),
            inert=sum(sums.get(state, 0) for state in inert),
            returned=sums.get(ParcelState.RETURNED if out else ParcelState.DROPPED, 0),
            parcels=tuple(await self._open_parcels(one)),
        )

    async def _open_parcels(self, one: Evacuation) -> list[api.Parcel]:
        return await self._spool.on_evacuations(
            partial(parcels.open_parcels, evacuation=one.id, direction=one.direction)
        )

    # -- verbs -----------------------------------------------------------------------------------------------------

    async def evacuate(self, request: api.Evacuate, caller: Principal) -> OperationResult:
        """Source: mail of some streams may leave to some hosts."""
        host = self._config().host
        if not request.streams or not request.targets or any(one.host == host for one in request.targets):
            raise InvalidRequest(f"an evacuation of {host} wants streams, and other hosts to go to")
        names = ", ".join(one.host for one in request.targets)
        detail = f"mail of {', '.join(request.streams)} may leave to {names}"

        def check() -> None:
            for one in self._known.values():
                if one.direction is Direction.OUT and one.state is EvacuationState.OPEN and one.id != request.op_id:
                    raise Refused(f"evacuation {one.id} by {one.author} is under way here; resume or cancel it")

        async def plan() -> tuple[bool, str]:
            check()
            return True, detail

        async def act() -> tuple[bool, str]:
            check()
            made = self._made(request, request.op_id, Direction.OUT, caller, host)
            await self._write(msgspec.structs.replace(made, streams=request.streams, targets=request.targets))
            return True, detail

        return await self._control.carry_out(
            "evacuate", request, caller, plan=plan, act=act, undoable=True, undo_note=UNDO_NOTE
        )

    async def admit(self, request: api.EvacuateAdmit, caller: Principal) -> OperationResult:
        """Target: take parcels of an evacuation."""
        if request.source == self._config().host:
            raise InvalidRequest(f"{request.source} cannot be evacuated to itself")
        detail = f"takes mail of {request.source}"

        async def plan() -> tuple[bool, str]:
            return request.evacuation not in self._known, detail

        async def act() -> tuple[bool, str]:
            known = self._known.get(request.evacuation)
            if known is not None and known.state is EvacuationState.OPEN:
                return False, f"{detail} already"
            await self._write(self._made(request, request.evacuation, Direction.IN, caller, request.source))
            return True, detail

        return await self._control.carry_out("evacuate_admit", request, caller, plan=plan, act=act)

    async def end(self, request: api.EvacuateEnd, caller: Principal) -> OperationResult:
        """Either side: nothing more moves; with `cancel` the source takes back what it has not given up."""
        one = self._find(request.evacuation)

        async def plan() -> tuple[bool, str]:
            if one.state is not EvacuationState.OPEN:
                return False, f"evacuation {one.id} is {one.state}"
            return True, f"evacuation {one.id} ends"

        async def act() -> tuple[bool, str]:
            does, detail = await plan()
            if not does:
                return False, detail
            back = await self._end(one, cancel=request.cancel)
            return True, f"{detail}; {back} recipients are back in the queue" if back else detail

        return await self._control.carry_out("evacuate_end", request, caller, plan=plan, act=act)

    async def undo(self, request: Undo, caller: Principal) -> OperationResult:
        """Take back any operation; of an evacuation from here what has not left, and say how the rest comes back."""
        one = self._known.get(request.undoes)
        if one is None or one.direction is not Direction.OUT:
            return await self._control.undo(request, caller)

        async def plan() -> tuple[bool, str]:
            view = await self._view(one)
            streams = " ".join(f"--stream {stream}" for stream in one.streams)
            back = "; ".join(f"mailctl evacuate {peer} --to {one.source} {streams}" for peer in view.peers)
            left = (
                f"{view.moved} recipients have left for good; what waits there of these streams comes back with {back}"
            )
            if one.state is EvacuationState.OPEN:
                stops = f"evacuation {one.id} ends, and {view.inert} recipients in parcels come back"
                return True, f"{stops}; {left}" if view.moved else stops
            if view.moved:
                raise Refused(f"evacuation {one.id} is {one.state}: {left}")
            return False, f"evacuation {one.id} is {one.state}, and nothing has left"

        async def act() -> tuple[bool, str]:
            does, detail = await plan()
            if does:
                await self._end(one, cancel=True)
            return does, detail

        return await self._control.carry_out("undo", request, caller, plan=plan, act=act, undoes=one.id)

    async def _end(self, one: Evacuation, *, cancel: bool) -> int:
        """End it: the recipients that are back in the queue.

        Raises:
            Refused: parcels are on their way, and are not to be cancelled.
            Unavailable: not all of it could be written.
        """
        async with self._packing:
            back = 0
            if cancel and one.direction is Direction.OUT:
                try:
                    back = await self._take_back(one)
                except StorageError as exc:
                    raise Unavailable(f"not all of it is back: {exc}; ask again") from exc
            else:
                left = await self._open_parcels(one)
                if left:
                    raise Refused(f"{len(left)} parcels of evacuation {one.id} are on their way; resume it first")
            state = EvacuationState.CANCELLED if cancel else EvacuationState.DONE
            await self._write(msgspec.structs.replace(one, state=state, ended_at=datetime.now(UTC)))
        return back

    async def _take_back(self, one: Evacuation) -> int:
        """Return every parcel that is not given up: the recipients that wait again."""
        count = 0
        for parcel in await self._open_parcels(one):
            if parcel.state is ParcelState.PACKED:
                back = await self._spool.change_parcels(partial(parcels.give_back, parcel=parcel.header.id))
                self._spool.touch(back)
                count += len(back)
        if count:
            self._look_soon()
        return count

    def _made(
        self, request: Mutation, name: OpId, direction: Direction, caller: Principal, source: HostName
    ) -> Evacuation:
        return Evacuation(
            id=name,
            direction=direction,
            author=caller.user,
            reason=request.reason,
            at=datetime.now(UTC),
            source=source,
        )

    async def _write(self, one: Evacuation) -> None:
        try:
            await self._spool.change_parcels(lambda transaction: evacuations.write(transaction.db, one))
        except StorageError as exc:
            raise Unavailable(f"the evacuation could not be written: {exc}") from exc
        self._known[one.id] = one

    def _find(self, name: OpId, direction: Direction | None = None, *, is_open: bool = False) -> Evacuation:
        one = self._known.get(name)
        if one is None or (direction is not None and one.direction is not direction):
            raise NotFound(f"{self._config().host} knows no evacuation {name}")
        if is_open and one.state is not EvacuationState.OPEN:
            raise Refused(f"evacuation {name} is {one.state}")
        return one

    # -- parcels: source -------------------------------------------------------------------------------------------

    async def take(self, request: api.ParcelTake) -> api.ParcelTaken:
        """Pack the next mail for one target."""
        one = self._find(request.evacuation, Direction.OUT)
        target = next((target for target in one.targets if target.host == request.target), None)
        if target is None:
            raise InvalidRequest(f"evacuation {one.id} does not go to {request.target}")
        async with self._packing:
            self._find(request.evacuation, Direction.OUT, is_open=True)
            if len(await self._open_parcels(one)) >= api.MAX_OPEN:
                raise Unavailable(f"{api.MAX_OPEN} parcels are on their way; bring those to their end first")
            most = max(1, min(request.recipients, api.PARCEL_RECIPIENTS))
            header = await self._packer.pack(one, target, most)
        return api.ParcelTaken(header=header, under_way=self._scheduler.window.used)

    async def read(self, request: api.ParcelRead) -> api.ParcelParts:
        """Parts of a parcel that is packed."""
        found = await self._spool.on_evacuations(
            partial(parcels.parts, parcel=request.parcel, first=request.part, count=api.MAX_PARTS)
        )
        return api.ParcelParts(parts=tuple(found))

    async def decide(self, request: api.ParcelDecide) -> api.ParcelDecision:
        """Give a parcel up for its target's receipt, or say what was decided."""

        def told(done: tuple[api.ParcelDecision, int] | HandoverRefused | None, _: StorageError | None) -> None:
            if isinstance(done, tuple):
                self._acceptor.waiting -= done[1]

        lines = moved_lines(self._config(), self._spool.tag, EventType.MOVED_OUT)
        work = partial(parcels.decide, parcel=request.parcel, receipt=request.receipt, lines=lines)
        return _allowed(await self._spool.change_parcels(work, told))[0]

    async def close(self, request: api.ParcelClose) -> Empty:
        """The target has done what was decided."""
        _allowed(await self._spool.change_parcels(partial(parcels.close, parcel=request.parcel)))
        return Empty()

    # -- parcels: target -------------------------------------------------------------------------------------------

    async def put(self, request: api.ParcelPut) -> api.ParcelKept:
        """Keep one part of a parcel."""
        self._check(request.header)
        self._find(request.header.evacuation, Direction.IN, is_open=True)
        if why := self._why_not():
            raise Unavailable(f"{self._config().host} takes no mail now: {why}")
        work = partial(parcels.keep, header=request.header, part=request.part, data=request.data)
        return _allowed(await self._spool.change_parcels(work))

    async def settle(self, request: api.ParcelSettle) -> api.ParcelKept:
        """Let the mail of a parcel into the queue, or drop it, as the key proves."""
        header = request.header
        self._check(header)
        self._find(header.evacuation, Direction.IN)
        data = await self._spool.on_evacuations(partial(parcels.data_of, parcel=header.id))
        names = await asyncio.to_thread(_queues, data)
        here = {name: self._acceptor.queue_here(name) for name in names}

        def told(done: tuple[ParcelState, list[int]] | HandoverRefused | None, _: StorageError | None) -> None:
            if isinstance(done, tuple) and done[1]:
                self._acceptor.waiting += len(done[1])
                self._spool.touch(done[1])
                self._look_soon()

        work = partial(
            parcels.settle, header=header, key=request.key, place=here.__getitem__,
            lines=moved_lines(self._config(), self._spool.tag, EventType.MOVED_IN),
        )  # fmt: skip
        return api.ParcelKept(state=_allowed(await self._spool.change_parcels(work, told))[0])

    def _check(self, header: api.ParcelHeader) -> None:
        if (header.target, header.target_spool) != (self._config().host, self._spool.spool_id):
            raise Refused(f"parcel {header.id} is for the spool {header.target_spool} of {header.target}")

    def _look_soon(self) -> None:
        """The scheduler looks for mail that came by another way, soon and once."""

        def look() -> None:
            self._look = None
            self._scheduler.recheck()

        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, look)


def _queues(data: bytes) -> set[QueueName]:
    """Scheduled queues that the mail of a parcel was in; none when it is not whole here."""
    try:
        return set(queues_of(opened(data)))
    except msgspec.DecodeError:
        return set()


def _allowed(result: T | HandoverRefused) -> T:
    if isinstance(result, HandoverRefused):
        raise Refused(str(result))
    return result


Step = TypeVar("Step", bound=msgspec.Struct)
Result = TypeVar("Result")


def _stored(step: Callable[[Step], Awaitable[Result]]) -> Callable[[Step], Awaitable[Result]]:
    """`step`, whose failures of storage are answers."""

    async def run(request: Step) -> Result:
        try:
            return await step(request)
        except StorageError as exc:
            raise Unavailable(f"the spool did not confirm it: {exc}; ask again") from exc

    return run
