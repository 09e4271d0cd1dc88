"""The queue of another server as rows of the spool."""

from functools import partial

import pytest

from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import MessageFilter
from mailagent.api.views import MessageSummary
from mailagent.spool import Spool, mirror
from mailagent.spool.ids import MAX_RECIPIENTS
from mailagent.spool.mirror import Listed, ListedRecipient
from mailagent.spool.records import HELD_DUE, UNKNOWN_DUE

AT = 1_700_000_000_000
LATER = SmtpReply(code=421, enhanced="4.7.0", text="later")
BUSY = SmtpReply(code=451, enhanced="4.3.0", text="busy")


def listed(
    queue_id: str, *addresses: str, number: int = 1000, folder: str = "deferred", due: int = AT + 60_000,
    reply: SmtpReply | None = LATER,
) -> Listed:  # fmt: skip
    recipients = tuple(ListedRecipient(one.encode(), one.partition("@")[2], reply) for one in addresses)
    return Listed(
        message=number, queue_id=queue_id, folder=folder, digest=7, received_at=AT, expires_at=AT + 1,
        sender=b"s@x.test", size=9, due=due, recipients=recipients,
    )  # fmt: skip


async def put(spool: Spool, *messages: Listed, began: int = AT, now: int = AT) -> list[int]:
    return await spool.change_mirror(partial(mirror.put, messages=messages, now=now, began=began))


async def rows(spool: Spool, **filter: object) -> list[MessageSummary]:
    return list((await spool.messages(MessageFilter(**filter), "", 500)).rows)  # type: ignore[arg-type]


async def test_what_is_listed_twice_is_there_once(spool: Spool) -> None:
    one = listed("A", "a@one.test", "b@two.test")
    assert len(await put(spool, one)) == 2
    before = await rows(spool)
    assert await put(spool, one) == []
    assert await rows(spool) == before
    assert [row.recipient for row in before] == ["a@one.test", "b@two.test"]
    assert [row.attempts for row in before] == [1, 1]
    assert [row.reply.line() for row in before if row.reply] == ["421 4.7.0 later"] * 2


async def test_two_messages_that_want_one_number_get_two(spool: Spool) -> None:
    await put(spool, listed("A", "a@one.test"), listed("B", "b@one.test"), listed("C", "c@one.test"))
    await put(spool, listed("D", "d@one.test"))
    known = await spool.on_mirror(partial(mirror.known, queue_ids=["A", "B", "C", "D", "E"]))
    assert sorted(one.message for one in known.values()) == [1000, 1001, 1002, 1003]
    assert len(await rows(spool)) == 4


async def test_recipients_leave_and_others_keep_their_numbers(spool: Spool) -> None:
    await put(spool, listed("A", "a@one.test", "b@one.test", "c@one.test"))
    await put(spool, listed("A", "c@one.test", "d@one.test"))
    assert [(row.n, row.recipient) for row in await rows(spool)] == [(2, "c@one.test"), (3, "d@one.test")]


async def test_another_reply_is_another_attempt_unless_the_log_was_faster(spool: Spool) -> None:
    await put(spool, listed("A", "a@one.test"), now=AT)
    await put(spool, listed("A", "a@one.test", reply=BUSY), began=AT, now=AT + 1)  # what is stored is as new as that
    (row,) = await rows(spool)
    assert (row.attempts, row.reply and row.reply.text) == (1, "later")
    await put(spool, listed("A", "a@one.test", reply=BUSY), began=AT + 1, now=AT + 2)
    (row,) = await rows(spool)
    assert (row.attempts, row.reply and row.reply.text) == (2, "busy")


async def test_hold_shows_in_lists_and_ends_with_the_folder(spool: Spool) -> None:
    await put(spool, listed("A", "a@one.test"), listed("B", "b@one.test", number=2000))
    await put(spool, listed("A", "a@one.test", folder="hold", due=HELD_DUE))
    (held,) = await rows(spool, held=True)
    assert (held.recipient, held.held) == ("a@one.test", mirror.HELD_BY)
    await put(spool, listed("A", "a@one.test"))
    assert await rows(spool, held=True) == []
    assert await spool.on_mirror(mirror.folders) == {"deferred": 2}


async def test_next_tries_are_set_but_not_of_what_is_held(spool: Spool) -> None:
    await put(
        spool,
        listed("A", "a@one.test", due=UNKNOWN_DUE),
        listed("B", "b@one.test", number=2000, folder="hold", due=HELD_DUE),
    )
    await spool.change_mirror(partial(mirror.set_due, dues={1000: AT + 5, 2000: AT + 5}))
    first, second = await rows(spool)
    assert first.next_try_at.timestamp() * 1000 == AT + 5
    assert second.held


async def test_a_site_that_is_found_later_moves_replies_to_its_provider(spool: Spool) -> None:
    await put(spool, listed("A", "a@one.test", "b@two.test"), listed("B", "c@one.test", number=2000))
    assert [group.provider for group in (await spool.groups(MessageFilter(), 10)).groups] == [""]
    work = partial(mirror.place, domain="one.test", site="mx.one.test", provider="gmail")
    assert await spool.change_mirror(work)
    groups = (await spool.groups(MessageFilter(), 10)).groups
    assert sorted((group.provider, group.count) for group in groups) == [("", 1), ("gmail", 2)]
    assert {row.site for row in await rows(spool, provider="gmail")} == {"mx.one.test"}
    assert not await spool.change_mirror(work)


async def test_what_has_left_leaves_nothing_behind(spool: Spool) -> None:
    await put(spool, listed("A", "a@one.test"), listed("B", number=2000), listed("C", "c@three.test", number=3000))
    assert await spool.on_mirror(partial(mirror.numbers_after, after=-1, limit=10)) == [1000, 2000, 3000]
    gone = await spool.change_mirror(partial(mirror.drop, messages=[1000, 2000]))
    assert len(gone) == 1
    await spool.change_mirror(mirror.sweep)
    assert await spool.on_mirror(partial(mirror.names, messages=[1000, 2000, 3000])) == {3000: "C"}
    assert sum(total.count for total in await spool.waiting_totals()) == 1
    assert await spool.on_mirror(lambda db: list(db.execute("SELECT domain FROM queue"))) == [("three.test",)]


@pytest.mark.parametrize("more", [0, 5])
async def test_recipients_beyond_the_numbers_of_a_message_are_left_out(spool: Spool, more: int) -> None:
    await put(spool, listed("A", *(f"u{n}@one.test" for n in range(MAX_RECIPIENTS + more))))
    assert await spool.count(MessageFilter()) == MAX_RECIPIENTS


async def test_the_active_queue_is_counted_by_site(spool: Spool) -> None:
    await put(
        spool,
        listed("A", "a@one.test", "b@one.test", folder="active", reply=None, due=AT),
        listed("B", "c@one.test", number=2000),
    )
    await spool.change_mirror(partial(mirror.place, domain="one.test", site="mx.one.test", provider="gmail"))
    assert await spool.on_mirror(mirror.active_by_site) == [("mx.one.test", "gmail", "", 2)]
