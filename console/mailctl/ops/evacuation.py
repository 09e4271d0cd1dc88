"""Evacuation of a host: what would leave, where it may go, what stays and why; and how it is begun, ended, listed."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from mailagent.api import evacuation as api
from mailagent.api.errors import ApiError
from mailagent.api.evacuation import Direction, EvacuationState
from mailagent.api.ids import HostName, OpId, StreamName
from mailagent.api.operations import OperationResult
from mailagent.api.requests import Empty
from mailctl.fleet import Fleet, LinkError
from mailctl.fleet.lists import reason as why_not
from mailctl.ops.command import prefix
from mailctl.ops.errors import NothingSelected, OptionError
from mailctl.ops.op_ids import new_op_id
from mailctl.ops.selector import near


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """Waiting recipients of one stream and pool of the source, and where they may go."""

    stream: StreamName
    pool: str
    waiting: int
    to: tuple[HostName, ...] = ()  # none: it stays
    stays: str = ""  # why


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A target, as it answered."""

    host: HostName
    room: api.EvacuationRoom | None  # None: it could not be asked
    refusal: str  # why it takes nothing; empty: it takes something

    @property
    def streams(self) -> tuple[StreamName, ...]:
        """What it takes."""
        if self.room is None or self.refusal:
            return ()
        return tuple(one.stream for one in self.room.streams if not one.refusal)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvacuationPlan:
    """One evacuation before it happens, or goes on. Nothing in it changes while a question about it stands."""

    id: OpId
    source: HostName
    fleet_hosts: int
    rows: tuple[PlanRow, ...]
    places: tuple[Place, ...]
    message_bytes: int
    in_window: int
    warnings: tuple[str, ...]
    command: str
    reason: str
    resumes: api.EvacuationView | None = None  # the one that goes on

    @property
    def leaving(self) -> int:
        """Recipients that may go."""
        return sum(row.waiting for row in self.rows if row.to)

    @property
    def staying(self) -> int:
        """Recipients that may not."""
        return sum(row.waiting for row in self.rows if not row.to)

    @property
    def targets(self) -> tuple[api.EvacuationTarget, ...]:
        """Hosts that take something, with what."""
        return tuple(
            api.EvacuationTarget(host=place.host, spool_id=place.room.spool_id, streams=place.streams)
            for place in self.places
            if place.room is not None and place.streams
        )

    @property
    def is_possible(self) -> bool:
        """Whether there is something to do, and somewhere to go."""
        return self.resumes is not None or (self.leaving > 0 and bool(self.targets))

    @property
    def undo_command(self) -> str:
        """What brings back all that has not left."""
        return f"{self.command.split(' evacuate ', 1)[0]} evacuate {self.source} --cancel"


async def plan_evacuation(
    fleet: Fleet,
    source: str,
    to: Sequence[str],
    *,
    streams: Sequence[str] = (),
    rate: str = "",
    reason: str = "",
) -> EvacuationPlan:
    """Ask the source what waits and the targets what they could take. One that is under way goes on as it was begun.

    Raises:
        NothingSelected: no such host.
        OptionError: the options contradict what is under way, or each other.
        LinkError, ApiError: the source cannot be asked.
    """
    known = list(fleet.inventory.hosts)
    for name in (source, *to):
        if name not in known:
            raise NothingSelected(f"no host {name} in the fleet{near(name, known)}")
    if source in to:
        raise OptionError(f"{source} cannot be evacuated to itself")
    found: api.EvacuationSource = await fleet.ask(source, "evacuation_source", Empty())
    going_on = await under_way(fleet, source)
    if going_on is not None and going_on.state is not EvacuationState.OPEN and to:
        going_on = None  # it is cancelled, and waits for a target that may never come back
    if going_on is not None:
        if to and set(to) != set(going_on.peers):
            raise OptionError(
                f"evacuation {going_on.id} of {source} to {', '.join(going_on.peers)} is under way; "
                "run it without --to to go on, or with --cancel"
            )
        to, streams = going_on.peers, going_on.streams
    elif not to:
        raise OptionError("name hosts to go to: --to mx2,mx3")
    waiting = tuple(row for row in found.rows if not streams or row.stream in streams)
    query = api.EvacuationRoomQuery(streams=tuple(dict.fromkeys(row.stream for row in waiting)))
    answers = await fleet.ask_all("evacuation_room", query, hosts=to)
    places = tuple(_place(HostName(name), answers[HostName(name)]) for name in to)
    return EvacuationPlan(
        id=going_on.id if going_on is not None else new_op_id(),
        source=HostName(source),
        fleet_hosts=len(known),
        rows=tuple(_row(row, places) for row in waiting),
        places=places,
        message_bytes=found.message_bytes,
        in_window=found.in_window,
        warnings=tuple(_warnings(found, waiting, places)),
        command=_command(fleet, source, to, streams if going_on is None else (), rate, reason),
        reason=reason,
        resumes=going_on,
    )


async def under_way(fleet: Fleet, source: str) -> api.EvacuationView | None:
    """The evacuation of `source` that has not ended, or has parcels that have not.

    Raises:
        LinkError, ApiError: it cannot be asked.
    """
    rows: api.Evacuations = await fleet.ask(source, "evacuations", Empty())
    out = [view for view in rows.rows if view.direction is Direction.OUT]
    still_open = next((view for view in out if view.state is EvacuationState.OPEN), None)
    return still_open or next((view for view in out if view.parcels), None)


async def begin(fleet: Fleet, plan: EvacuationPlan) -> list[tuple[HostName, OperationResult | LinkError | ApiError]]:
    """Tell the targets, then the source; what each answered. An evacuation that goes on is told again: that changes
    nothing.
    """
    view = plan.resumes
    targets = plan.targets if view is None else view.targets
    reason = plan.reason if view is None else view.reason
    streams = tuple(dict.fromkeys(row.stream for row in plan.rows if row.to)) if view is None else view.streams
    done: list[tuple[HostName, OperationResult | LinkError | ApiError]] = []
    # one that goes on is admitted anew: a target may have been told that it is over
    op_id = OpId(f"{plan.id}.in") if view is None else new_op_id()
    admit = api.EvacuateAdmit(op_id=op_id, reason=reason, evacuation=plan.id, source=plan.source)
    for host, answer in (await fleet.ask_all("evacuate_admit", admit, hosts=[one.host for one in targets])).items():
        done.append((host, answer))
    if view is None and not any(isinstance(answer, Exception) for _, answer in done):
        order = api.Evacuate(op_id=plan.id, reason=reason, streams=streams, targets=targets)
        done.append((plan.source, (await fleet.ask_all("evacuate", order, hosts=[plan.source]))[plan.source]))
    return done


async def end(
    fleet: Fleet, evacuation: OpId, hosts: Sequence[HostName], *, cancel: bool, reason: str = ""
) -> list[tuple[HostName, OperationResult | LinkError | ApiError]]:
    """End an evacuation on `hosts`; what each answered."""
    request = api.EvacuateEnd(op_id=new_op_id(), reason=reason, evacuation=evacuation, cancel=cancel)
    return list((await fleet.ask_all("evacuate_end", request, hosts=hosts)).items())


def _place(host: HostName, answer: object) -> Place:
    if not isinstance(answer, api.EvacuationRoom):
        return Place(host=host, room=None, refusal=why_not(answer) if isinstance(answer, Exception) else str(answer))
    refusal = answer.refusal
    if not refusal and not any(not one.refusal for one in answer.streams):
        refusal = "; ".join(dict.fromkeys(one.refusal for one in answer.streams))
    return Place(host=host, room=answer, refusal=refusal)


def _row(row: api.Leaving, places: Sequence[Place]) -> PlanRow:
    if row.stays:
        return PlanRow(stream=row.stream, pool=row.pool, waiting=row.waiting, stays=row.stays)
    to = tuple(place.host for place in places if row.stream in place.streams)
    stays = "" if to else "; ".join(dict.fromkeys(_why_not_there(place, row.stream) for place in places))
    return PlanRow(stream=row.stream, pool=row.pool, waiting=row.waiting, to=to, stays=stays)


def _why_not_there(place: Place, stream: StreamName) -> str:
    if place.room is None or place.refusal:
        return f"{place.host} {place.refusal}" if place.room is not None else f"{place.host}: {place.refusal}"
    return next((f"{place.host} {one.refusal}" for one in place.room.streams if one.stream == stream), "")


def _warnings(found: api.EvacuationSource, rows: Sequence[api.Leaving], places: Sequence[Place]) -> list[str]:
    warnings = []
    if found.accepting:
        warnings.append(f"{found.host} still accepts new mail: mailctl drain host:{found.host}")
    for row in rows:
        free = [
            place.host
            for place in places
            if place.room is not None
            for one in place.room.streams
            if one.stream == row.stream and not one.refusal and not one.held
        ]
        if row.held and free:
            warnings.append(f"{row.stream} is held here ({row.held}) and would be sent by {', '.join(free)}")
    for place in places:
        held = [one for one in place.room.streams if one.held] if place.room is not None else []
        warnings += [f"{one.stream} is held on {place.host}: {one.held}" for one in held]
        if place.refusal:
            warnings.append(f"{place.host} takes nothing: {place.refusal}")
    rooms = [place.room for place in places if place.streams and place.room is not None]
    messages = sum(row.waiting for row in rows)
    if rooms and messages * found.message_bytes > sum(room.free_bytes for room in rooms):
        warnings.append("the targets may not have room on their disks for all of it")
    limits = [room.waiting_limit - room.waiting for room in rooms if room.waiting_limit is not None]
    if rooms and len(limits) == len(rooms) and messages > sum(limits):
        warnings.append(f"the targets take {sum(max(0, left) for left in limits)} recipients more at most")
    return warnings


def _command(fleet: Fleet, source: str, to: Sequence[str], streams: Sequence[str], rate: str, reason: str) -> str:
    parts = [prefix(fleet.path), "evacuate", shlex.quote(source), "--to", shlex.quote(",".join(to))]
    for stream in streams:
        parts += ["--stream", shlex.quote(stream)]
    if rate:
        parts += ["--rate", rate]
    if reason:
        parts += ["--reason", shlex.quote(reason)]
    return " ".join(parts)
