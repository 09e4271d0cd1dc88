"""Mail in, outcomes, and what is left."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from mailagent.spool import ItemRefused, Spool, SpoolClosed, StorageError, spool_check
from mailagent.spool.ids import message_name, recipient_id
from mailagent.spool.records import NewRecipient
from mailagent.spool.transaction import KEPT_ATTEMPTS
from tests.agent.spool.mail import NOW, accept, deferred, ids, load, message, removed, settle, spool_in


async def test_accepted_mail_is_there_after_a_restart(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        new = message(spool, "anna@example.com", "bert@example.com", body=b"\x00\xff" * 4000)
        await accept(spool, new)
        before = await load(spool, new.recipients[0].queue)
    async with spool_in(tmp_path) as spool:
        assert spool.recovered.clean
        assert spool.recovered.recipients == 2
        assert spool.new_message_id() > new.id
        rows = await load(spool, new.recipients[0].queue)
        assert rows == before
        assert [row.address for row in rows] == [b"anna@example.com", b"bert@example.com"]
        assert (rows[0].added, rows[0].sender, rows[0].job) == (new.added, new.sender, "job-1")
        assert await spool.bodies([new.id, 1]) == {new.id: new.body}
    assert spool_check(tmp_path) == []


async def test_the_message_goes_with_its_last_recipient(spool: Spool, tmp_path: Path) -> None:
    new = message(spool, "anna@example.com", "bert@example.org")
    await accept(spool, new)
    await settle(spool, removed(new, 0))
    assert await spool.bodies([new.id]) == {new.id: new.body}
    assert await spool.oldest() == NOW
    await settle(spool, removed(new, 1, "bounced"))
    assert await spool.oldest() is None
    assert await spool.bodies([new.id]) == {}
    spool.release([recipient.queue for recipient in new.recipients])
    assert await spool.due_queues(NOW, 10, "normal") == ([], None)
    assert spool_check(tmp_path) == []


async def test_a_deferral_moves_the_recipient_and_keeps_the_reply(spool: Spool) -> None:
    new = message(spool)
    queue = new.recipients[0].queue
    await accept(spool, new)
    await settle(spool, deferred(new, due=NOW + 60_000))
    assert await load(spool, queue, NOW + 59_999) == []
    (row,) = await load(spool, queue, NOW + 60_000)
    assert (row.attempts, row.vmta, row.site) == (1, "mkt-1", "gmail-site")
    stored = await spool.message(message_name(new.id, spool.tag), None)
    assert stored is not None
    assert stored.summary.reply is not None
    assert stored.summary.reply.text == "4.7.28 rate limited"
    assert [attempt.remote for attempt in stored.attempts] == ["198.51.100.1:25"]


async def test_moving_without_an_attempt_changes_the_time_only(spool: Spool) -> None:
    new = message(spool)
    await accept(spool, new)
    await settle(spool, deferred(new, due=NOW))
    move = msgspec.structs.replace(deferred(new, due=NOW + 5), attempt=None)
    await settle(spool, move)
    (row,) = await load(spool, move.queue, NOW + 5)
    assert (row.due, row.attempts, row.vmta) == (NOW + 5, 1, "mkt-1")


async def test_the_last_attempts_are_kept(spool: Spool) -> None:
    new = message(spool)
    await accept(spool, new)
    for number in range(1, KEPT_ATTEMPTS + 6):
        await settle(spool, deferred(new, due=NOW, number=number))
    stored = await spool.message(message_name(new.id, spool.tag), 0)
    assert stored is not None
    assert [attempt.number for attempt in stored.attempts] == list(range(6, KEPT_ATTEMPTS + 6))


async def test_a_bounce_and_its_report_are_one_transaction(spool: Spool) -> None:
    new = message(spool, "nobody@example.com")
    await accept(spool, new)
    report = message(spool, "news@sender.example", sender="")
    await settle(spool, msgspec.structs.replace(removed(new, resolution="bounced"), dsn=report))
    (row,) = await load(spool, report.recipients[0].queue)
    assert (row.message, row.sender) == (report.id, b"")


async def test_one_bad_message_does_not_touch_its_neighbours(spool: Spool, tmp_path: Path) -> None:
    good = [message(spool, f"user{n}@example.com") for n in range(20)]
    twin = message(spool)
    await accept(spool, twin)
    without = message(spool)
    bad = [twin, msgspec.structs.replace(without, recipients=())]
    answers: dict[int, StorageError | None] = {}
    done = asyncio.Event()

    def answer(place: int, error: StorageError | None) -> None:
        answers[place] = error
        if len(answers) == 22:
            done.set()

    batch = good[:7] + bad[:1] + good[7:15] + bad[1:] + good[15:]
    for place, new in enumerate(batch):
        spool.accept(new, lambda error, place=place: answer(place, error))  # type: ignore[misc]
    async with asyncio.timeout(10):
        await done.wait()
    assert {place for place, error in answers.items() if error is not None} == {7, 16}
    assert all(isinstance(answers[place], ItemRefused) for place in (7, 16))
    assert len(await load(spool, good[0].recipients[0].queue)) == 21
    assert spool_check(tmp_path) == []


async def test_removing_twice_counts_once(spool: Spool, tmp_path: Path) -> None:
    new, other = message(spool), message(spool)
    await accept(spool, new, other)
    await settle(spool, removed(new), removed(new))
    await settle(spool, removed(new))
    assert [total.count for total in await spool.waiting_totals()] == [1]
    assert spool_check(tmp_path) == []


async def test_changes_are_answered_in_order_and_never_at_once(spool: Spool) -> None:
    order: list[str] = []
    done = asyncio.Event()
    new = message(spool)
    spool.accept(new, lambda _: order.append("first"))
    spool.accept(message(spool), lambda _: order.append("second"))
    spool.settle([removed(new)], done.set)
    assert order == []
    async with asyncio.timeout(10):
        await done.wait()
    assert order == ["first", "second"]


async def test_a_closed_spool_refuses(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        new = message(spool)
    with pytest.raises(SpoolClosed):
        await accept(spool, new)
    with pytest.raises(SpoolClosed):
        await spool.oldest()


async def test_what_was_asked_for_before_closing_is_stored(tmp_path: Path) -> None:
    answers: list[StorageError | None] = []
    spool = await Spool.open(tmp_path)
    new = message(spool)
    spool.accept(new, answers.append)
    await spool.close(clean=True)
    assert answers == [None]
    async with spool_in(tmp_path) as spool:
        assert ids(await load(spool, new.recipients[0].queue)) == [recipient_id(new.id, 0)]


async def test_accounting_lines_come_before_the_commit(tmp_path: Path) -> None:
    lines: list[bytes] = []
    seen: list[int] = []

    def write(batch: list[bytes]) -> None:
        lines.extend(batch)
        seen.append(len(spool_check(tmp_path)))  # reads what is committed: consistent, the outcome not in it yet

    spool = await Spool.open(tmp_path, before_commit=write)
    new = message(spool)
    await accept(spool, new)
    assert lines == []
    await settle(spool, removed(new, line=b"delivered\n"))
    assert lines == [b"delivered\n"]
    assert seen == [0]
    await spool.close(clean=True)


async def test_a_message_with_the_most_recipients_is_taken(spool: Spool) -> None:
    new = message(spool, *(f"user{n}@example.com" for n in range(4096)))
    await accept(spool, new)
    assert [total.count for total in await spool.waiting_totals()] == [4096]
    too_many = message(spool)
    one_more = NewRecipient(b"one@example.com", new.recipients[0].queue, False)
    with pytest.raises(ItemRefused, match="4097"):
        await accept(spool, msgspec.structs.replace(too_many, recipients=(*new.recipients, one_more)))
