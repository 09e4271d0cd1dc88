"""A courier between two spools, for the tests of parcels."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from mailagent.api.evacuation import MAX_PARTS, Direction, EvacuationTarget, ParcelHeader, ParcelState
from mailagent.spool import Spool, evacuations, parcels
from mailagent.spool.content import PackedMessage
from mailagent.spool.evacuations import Evacuation
from mailagent.spool.parcels import Addressed
from mailagent.spool.records import QueueName


async def ask(spool: Spool, step: Callable[..., Any], **request: Any) -> Any:
    """The answer to one step, once it is durable."""
    return await spool.change_parcels(partial(step, **request))


async def evacuation(spool: Spool, to: Addressed, direction: Direction) -> None:
    """Tell a spool of the evacuation that parcels are of."""
    one = Evacuation(
        id=to.evacuation,
        direction=direction,
        author="test",
        reason="",
        at=datetime.fromtimestamp(1_750_000_000, UTC),
        source=to.source,
        targets=(EvacuationTarget(host=to.target, spool_id=to.target_spool, streams=()),),
    )
    await spool.change_parcels(lambda transaction: evacuations.write(transaction.db, one))


def moved(header: ParcelHeader, message: PackedMessage, number: int) -> list[bytes]:
    """An accounting line for each recipient."""
    return [f"{header.id} {message.id} {number}\n".encode() for _ in message.recipients]


def same(name: QueueName) -> QueueName:
    """The new host has the same queues."""
    return name


async def carried(
    source: Spool,
    target: Spool,
    to: Addressed,
    header: ParcelHeader,
    *,
    place: Callable[[QueueName], QueueName] = same,
) -> ParcelState:
    """Bring a parcel to its end, from wherever it stands; what became of it at the target."""
    await evacuation(target, to, Direction.IN)
    receipt = ""
    part = 0
    while found := await source.on_evacuations(partial(parcels.parts, parcel=header.id, first=part, count=MAX_PARTS)):
        for data in found:
            kept = await ask(target, parcels.keep, header=header, part=part, data=data)
            receipt = kept.receipt
            part += 1
    decision, _ = await ask(source, parcels.decide, parcel=header.id, receipt=receipt, lines=moved)
    state, _ = await ask(target, parcels.settle, header=header, key=decision.key, place=place, lines=moved)
    await ask(source, parcels.close, parcel=header.id)
    assert isinstance(state, ParcelState)
    return state
