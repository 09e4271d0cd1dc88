"""Scheduled queues: what is due, what the window holds, what is parked."""

import time
from pathlib import Path

from mailagent.spool import Spool, spool_check
from mailagent.spool.ids import recipient_id
from mailagent.spool.records import WaitingTotal
from tests.agent.spool.mail import NOW, accept, deferred, ids, load, message, removed, settle

MINUTE = 60_000


async def due(spool: Spool, now: int = NOW, limit: int = 100) -> list[int]:
    queues, _ = await spool.due_queues(now, limit, "normal")
    return [queue.id for queue in queues]


async def test_mail_beyond_the_window_makes_its_queue_due(spool: Spool) -> None:
    new = message(spool)
    await accept(spool, new)
    queues, later = await spool.due_queues(NOW, 10, "normal")
    assert [(queue.id, queue.name.domain, queue.waiting, queue.next_due) for queue in queues] == [
        (new.recipients[0].queue, "example.com", 1, NOW)
    ]
    assert later is None


async def test_admitted_mail_does_not_touch_the_due_time(spool: Spool) -> None:
    await accept(spool, message(spool, admitted=True))
    assert await spool.due_queues(NOW, 10, "normal") == ([], None)


async def test_due_queues_come_longest_due_first_and_tell_the_next_time(spool: Spool) -> None:
    late, early, later = (
        message(spool, f"a@{domain}", at=NOW + at)
        for domain, at in (("late.example", 5), ("early.example", 1), ("z.example", 99))
    )
    await accept(spool, late, early, later)
    queues, following = await spool.due_queues(NOW + 10, 10, "normal")
    assert [queue.name.domain for queue in queues] == ["early.example", "late.example"]
    assert following == NOW + 99
    assert len(await due(spool, NOW + 10, limit=1)) == 1


async def test_a_held_queue_is_not_due_until_released(spool: Spool) -> None:
    first = message(spool)
    queue = first.recipients[0].queue
    await accept(spool, first)
    spool.hold(queue)
    await accept(spool, message(spool))
    assert await due(spool) == []
    await settle(spool, removed(first))
    spool.release([queue])
    assert await due(spool) == [queue]


async def test_release_takes_the_time_of_the_first_row(spool: Spool) -> None:
    new = message(spool, admitted=True)
    queue = new.recipients[0].queue
    await accept(spool, new)
    await settle(spool, deferred(new, due=NOW + 5 * MINUTE))
    spool.release([queue])
    assert await spool.due_queues(NOW, 10, "normal") == ([], NOW + 5 * MINUTE)


async def test_changes_of_one_queue_in_one_batch_keep_their_order(spool: Spool, tmp_path: Path) -> None:
    # a release before an admission must not see the admitted row, or it would be loaded while it is in the window
    first, second = message(spool), message(spool, admitted=True)
    queue = first.recipients[0].queue
    await accept(spool, first)
    spool.hold(queue)
    spool.settle([removed(first)])
    spool.release([queue])
    spool.accept(second, lambda _: None)
    assert await spool.due_queues(NOW, 10, "normal") == ([], None)
    spool.release([queue])
    spool.hold(queue)
    spool.park(queue, "pool:marketing")
    spool.release([queue])
    assert await due(spool) == [queue]
    assert spool_check(tmp_path) == []


async def test_rows_load_in_order_of_time_and_go_on_where_they_stopped(spool: Spool) -> None:
    mails = [message(spool, at=NOW - n % 3) for n in range(9)]
    queue = mails[0].recipients[0].queue
    await accept(spool, *mails)
    rows = await load(spool, queue)
    assert [(row.due, row.id) for row in rows] == sorted((row.due, row.id) for row in rows)
    assert len(rows) == 9
    parts: list[int] = []
    after = None
    while True:
        ((loaded),) = await spool.load([(queue, after, 2)], NOW)
        if not loaded.rows:
            break
        parts += ids(loaded.rows)
        after = (loaded.rows[-1].due, loaded.rows[-1].id)
    assert parts == ids(rows)


async def test_many_queues_load_at_once_each_with_its_limit(spool: Spool) -> None:
    mails = [message(spool, f"user{n}@{domain}.example") for domain in "abc" for n in range(4)]
    await accept(spool, *mails)
    a, b, c = (spool.queue_id(mails[n].queues[0]) for n in (0, 4, 8))
    loaded = await spool.load(
        [(a, None, 1), (b, (NOW, recipient_id(mails[4].id, 0)), 10), (c, None, 10), (7, None, 10)], NOW
    )
    assert [ids(part.rows) for part in loaded] == [
        [recipient_id(mails[0].id, 0)],
        [recipient_id(new.id, 0) for new in mails[5:8]],
        [recipient_id(new.id, 0) for new in mails[8:]],
        [],
    ]


async def test_a_load_tells_when_the_queue_is_due_next(spool: Spool) -> None:
    now_due, later = message(spool), message(spool)
    await accept(spool, now_due, later)
    await settle(spool, deferred(later, due=NOW + MINUTE))
    (loaded,) = await spool.load([(now_due.recipients[0].queue, None, 10)], NOW)
    assert (len(loaded.rows), loaded.next_due) == (1, NOW + MINUTE)


async def test_parked_queues_are_counted_and_come_back_spread(spool: Spool) -> None:
    mails = [message(spool, f"a@{n}.example") for n in range(200)]
    queues = [new.recipients[0].queue for new in mails]
    await accept(spool, *mails)
    for queue in queues:
        spool.park(queue, "provider:gmail" if queue != queues[0] else "pool:cold")
    assert await spool.parked_keys() == {"provider:gmail": 199, "pool:cold": 1}
    assert await due(spool, NOW + MINUTE, 1000) == []
    spool.unpark("provider:gmail", now=NOW, spread=MINUTE)
    assert await spool.parked_keys() == {"pool:cold": 1}
    halves = [len(await due(spool, NOW + at, 1000)) for at in (-1, MINUTE // 2, MINUTE)]
    assert halves[0] == 0
    assert 60 < halves[1] < 140
    assert halves[2] == 199


async def test_unparking_makes_nothing_due_before_its_own_time(spool: Spool) -> None:
    new = message(spool)
    queue = new.recipients[0].queue
    await accept(spool, new)
    await settle(spool, deferred(new, due=NOW + MINUTE))
    spool.park(queue, "provider:gmail")
    spool.unpark("provider:gmail", now=NOW, spread=0)
    assert await spool.due_queues(NOW, 10, "normal") == ([], NOW + MINUTE)


async def test_queues_parked_on_a_key_can_be_asked_for(spool: Spool) -> None:
    new, other = message(spool), message(spool, "a@other.example")
    await accept(spool, new, other)
    spool.park(new.recipients[0].queue, "provider:gmail")
    queues = await spool.parked_queues("provider:gmail", 10)
    assert [queue.id for queue in queues] == [new.recipients[0].queue]
    assert await due(spool) == [other.recipients[0].queue]


async def test_a_queue_remembers_its_site(spool: Spool) -> None:
    new = message(spool)
    await accept(spool, new)
    spool.placed(new.recipients[0].queue, "gmail-site", "gmail")
    ((queue,), _) = await spool.due_queues(NOW, 10, "normal")
    assert (queue.site, queue.provider) == ("gmail-site", "gmail")
    assert await spool.waiting_totals() == [
        WaitingTotal(pool="marketing", stream="news", provider="gmail", count=1),
    ]


async def test_200000_parked_rows_do_not_slow_the_queues_that_are_due(spool: Spool, tmp_path: Path) -> None:
    blocked = [
        message(spool, *(f"user{n}@{domain}.blocked.example" for n in range(1000)), body=b"") for domain in range(200)
    ]
    await accept(spool, *blocked)
    for new in blocked:
        spool.park(new.recipients[0].queue, "provider:gmail")
    free = message(spool, "anna@free.example")
    await accept(spool, free)
    started = time.perf_counter()
    for _ in range(20):
        assert await due(spool) == [free.recipients[0].queue]
        assert len(await load(spool, free.recipients[0].queue)) == 1
    took_s = (time.perf_counter() - started) / 20
    print(f"\ndue_queues and load beside 200,000 parked rows: {took_s * 1000:.2f} ms")
    assert took_s < 0.05  # without the indices it is far beyond
