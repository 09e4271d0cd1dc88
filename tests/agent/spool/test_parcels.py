"""Mail in parcels: out of one spool, into another, whole, once."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mailagent.api.evacuation import PART_BYTES, Direction, ParcelHeader, ParcelState
from mailagent.api.ids import HostName, OpId
from mailagent.spool import Spool, evacuations, parcels, spool_check
from mailagent.spool.content import PackedMessage
from mailagent.spool.handover import HandoverRefused
from mailagent.spool.ids import message_name, recipient_id
from mailagent.spool.parcels import Addressed
from mailagent.spool.records import NewMessage, QueueName
from tests.agent.spool.mail import NOW, accept, deferred, load, message, queue_name, settle, spool_in
from tests.agent.spool.parcels import ask, carried, evacuation

SOMEWHERE = QueueName("other", "news", "bulk", "example.com")


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Spool]:
    async with spool_in(tmp_path / "other") as opened:
        yield opened


@pytest.fixture
def to(spool: Spool, other: Spool) -> Addressed:
    return Addressed(
        evacuation=OpId("evac"),
        source=HostName("mx1"),
        source_tag=spool.tag,
        target=HostName("mx2"),
        target_spool=other.spool_id,
    )


async def packed(spool: Spool, to: Addressed, *recipients: int) -> ParcelHeader:
    await evacuation(spool, to, Direction.OUT)
    header = await ask(spool, parcels.pack, addressed=to, recipients=recipients)
    assert isinstance(header, ParcelHeader)
    return header


async def test_mail_moves_with_all_that_is_known_about_it(spool: Spool, other: Spool, to: Addressed) -> None:
    new = msgspec.structs.replace(
        message(spool, "anna@example.com", "bob@example.com"),
        utf8=True,
        user="shop",
        ret="FULL",
        envid="QQ",
        job="job-1",
    )
    new = msgspec.structs.replace(
        new,
        id=new.id - 10_000_000,
        recipients=tuple(msgspec.structs.replace(one, notify="FAILURE", orcpt="rfc822;x") for one in new.recipients),
    )
    await accept(spool, new)
    await settle(spool, deferred(new, 0, due=NOW + 5000), deferred(new, 1, due=NOW + 5000, text="4.7.0 later"))
    before = await load(spool, spool.queue_id(queue_name()), NOW + 10_000)
    seen = await spool.message(message_name(new.id, spool.tag), 1)
    header = await packed(spool, to, recipient_id(new.id, 0), recipient_id(new.id, 1))

    assert await load(spool, spool.queue_id(queue_name()), NOW + 10_000) == []
    await carried(spool, other, to, header)

    after = await load(other, other.queue_id(queue_name()), NOW + 10_000)
    queue = other.queue_id(queue_name())
    assert after == [msgspec.structs.replace(row, queue=queue) for row in before]
    assert await other.bodies([new.id]) == {new.id: new.body}
    there = await other.message(message_name(new.id, other.tag), 1)
    assert seen is not None
    assert there is not None
    assert there.attempts == seen.attempts
    assert there.summary.reply == seen.summary.reply
    assert await spool.bodies([new.id]) == {}


async def test_only_some_recipients_of_a_message_leave_and_come_back(spool: Spool, other: Spool, to: Addressed) -> None:
    new = message(spool, "anna@example.com", "bob@example.com", "carl@example.com")
    await accept(spool, new)
    before = await load(spool, new.recipients[0].queue)
    header = await packed(spool, to, recipient_id(new.id, 1))
    assert [row.address for row in await load(spool, new.recipients[0].queue)] == [
        b"anna@example.com",
        b"carl@example.com",
    ]
    assert await ask(spool, parcels.give_back, parcel=header.id) == [recipient_id(new.id, 1)]
    assert await load(spool, new.recipients[0].queue) == before
    assert await ask(spool, parcels.give_back, parcel=header.id) == []


async def test_a_parcel_that_is_given_up_never_comes_back(spool: Spool, other: Spool, to: Addressed) -> None:
    new = message(spool)
    await accept(spool, new)
    header = await packed(spool, to, recipient_id(new.id, 0))
    await carried(spool, other, to, header)
    assert await ask(spool, parcels.give_back, parcel=header.id) == []
    assert await load(spool, new.recipients[0].queue) == []


async def test_a_parcel_that_came_back_is_never_active_elsewhere(spool: Spool, other: Spool, to: Addressed) -> None:
    new = message(spool)
    await accept(spool, new)
    header = await packed(spool, to, recipient_id(new.id, 0))
    receipt = await _put(spool, other, to, header)
    await ask(spool, parcels.give_back, parcel=header.id)
    decision, gone = await ask(spool, parcels.decide, parcel=header.id, receipt=receipt, lines=_none)
    assert (decision.state, gone) == (ParcelState.RETURNED, 0)
    state, arrived = await ask(other, parcels.settle, header=header, key=decision.key, place=_same, lines=_none)
    assert (state, arrived) == (ParcelState.DROPPED, [])
    assert len(await load(spool, new.recipients[0].queue)) == 1


async def test_a_receipt_comes_only_for_the_whole(spool: Spool, other: Spool, to: Addressed) -> None:
    new = message(spool, body=b"Subject: x\r\n\r\n" + b"y" * (2 * PART_BYTES))
    await accept(spool, new)
    header = await packed(spool, to, recipient_id(new.id, 0))
    await evacuation(other, to, Direction.IN)
    parts = await spool.on_evacuations(partial(parcels.parts, parcel=header.id, first=0, count=8))
    assert len(parts) == 3
    for part in (2, 0, 0):
        kept = await ask(other, parcels.keep, header=header, part=part, data=parts[part])
        assert (kept.state, kept.receipt) == (ParcelState.ARRIVING, "")
    refused = await ask(spool, parcels.decide, parcel=header.id, receipt=header.digest, lines=_none)
    assert isinstance(refused, HandoverRefused)
    damaged = await ask(other, parcels.keep, header=header, part=1, data=b"z" * PART_BYTES)
    assert (damaged.state, damaged.receipt) == (ParcelState.ARRIVING, "")
    for part, data in enumerate(parts):
        kept = await ask(other, parcels.keep, header=header, part=part, data=data)
    assert kept.state is ParcelState.STORED
    assert kept.receipt


async def test_the_same_steps_twice_are_once(spool: Spool, other: Spool, to: Addressed) -> None:
    new = message(spool)
    await accept(spool, new)
    header = await packed(spool, to, recipient_id(new.id, 0))
    for _ in range(2):
        await carried(spool, other, to, header)
    assert len(await load(other, other.queue_id(queue_name()))) == 1
    assert await ask(spool, parcels.pack, addressed=to, recipients=(recipient_id(new.id, 0),)) is None


async def test_mail_goes_into_the_queue_that_its_new_host_has_for_it(spool: Spool, other: Spool, to: Addressed) -> None:
    new = message(spool)
    await accept(spool, new)
    header = await packed(spool, to, recipient_id(new.id, 0))
    await carried(spool, other, to, header, place=lambda _: SOMEWHERE)
    (row,) = await load(other, other.queue_id(SOMEWHERE))
    assert row.pool == "other"


async def test_an_id_that_is_taken_gives_way_to_the_next_one(spool: Spool, other: Spool, to: Addressed) -> None:
    new = message(spool)
    new = msgspec.structs.replace(new, id=new.id - 10_000_000)
    await accept(spool, new)
    await accept(other, msgspec.structs.replace(message(other), id=new.id))
    header = await packed(spool, to, recipient_id(new.id, 0))
    await carried(spool, other, to, header)
    assert {row.message for row in await load(other, other.queue_id(queue_name()))} == {new.id, new.id + 1}


async def test_jobs_are_counted_where_their_mail_is(spool: Spool, other: Spool, to: Addressed) -> None:
    new = _of_job(spool)
    await accept(spool, new)
    header = await packed(spool, to, recipient_id(new.id, 0))
    assert [count.waiting for count in await spool.jobs()] == [1]
    await carried(spool, other, to, header)
    assert [(count.accepted, count.waiting) for count in await spool.jobs()] == [(0, 0)]
    assert [(count.accepted, count.waiting) for count in await other.jobs()] == [(1, 1)]


async def test_what_is_packed_counts_as_waiting_after_a_restart(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        to = Addressed(evacuation=OpId("e"), source=HostName("a"), source_tag="", target=HostName("b"), target_spool="")
        new = message(spool, "anna@example.com", "bob@example.com")
        await accept(spool, new)
        await packed(spool, to, recipient_id(new.id, 0))
    async with spool_in(tmp_path) as spool:
        assert spool.recovered.recipients == 2
        assert [one.id for one in await spool.on_evacuations(evacuations.read_all)] == ["e"]
    assert spool_check(tmp_path) == []


async def test_the_check_finds_parcels_that_lack_something(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        to = Addressed(evacuation=OpId("e"), source=HostName("a"), source_tag="", target=HostName("b"), target_spool="")
        new = message(spool)
        await accept(spool, new)
        header = await packed(spool, to, recipient_id(new.id, 0))
        await spool.change_parcels(lambda tx: tx.db.execute("DELETE FROM parcel_part") and None)
    assert spool_check(tmp_path) == [f"1 parcels whose content is not whole: {header.id}"]


def _of_job(spool: Spool) -> NewMessage:
    name = QueueName("marketing", "news", "normal", "example.com", "job-1")
    new = message(spool)
    (one,) = new.recipients
    return msgspec.structs.replace(
        new, queues=(name,), recipients=(msgspec.structs.replace(one, queue=spool.queue_id(name)),)
    )


async def _put(spool: Spool, other: Spool, to: Addressed, header: ParcelHeader) -> str:
    await evacuation(other, to, Direction.IN)
    (data,) = await spool.on_evacuations(partial(parcels.parts, parcel=header.id, first=0, count=8))
    kept: Any = await ask(other, parcels.keep, header=header, part=0, data=data)
    receipt: str = kept.receipt
    return receipt


def _none(_header: ParcelHeader, _message: PackedMessage, _id: int) -> list[bytes]:
    return []


def _same(name: QueueName) -> QueueName:
    return name
