import asyncio
from pathlib import Path

import msgspec

from mailagent.api.targets import MessageFilter
from mailagent.spool import Spool, spool_check
from mailagent.spool.records import JobCount, NewMessage, NewRecipient, QueueName, Settlement
from tests.agent.spool.mail import NOW, accept, deferred, message, removed, settle, spool_in


def of_job(spool: Spool, *addresses: str, job: str = "spring") -> NewMessage:
    """A message of `job`, in queues of its own."""
    addresses = addresses or ("anna@example.com",)
    names = {one: QueueName("marketing", "news", "normal", one.partition("@")[2], job) for one in addresses}
    return msgspec.structs.replace(
        message(spool, *addresses),
        job=job,
        recipients=tuple(NewRecipient(one.encode(), spool.queue_id(names[one]), False) for one in addresses),
        queues=tuple(dict.fromkeys(names.values())),
    )


def left(new: NewMessage, n: int = 0, resolution: str = "delivered") -> Settlement:
    return msgspec.structs.replace(removed(new, n, resolution), job=new.job)


def numbers(count: JobCount) -> tuple[int, ...]:
    return count.accepted, count.waiting, count.deferred, count.delivered, count.bounced, count.cancelled


async def test_each_outcome_is_counted_with_what_it_changes(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        new = of_job(spool, *(f"u{n}@example.com" for n in range(5)))
        await accept(spool, new, of_job(spool, job="other"), message(spool))
        late = msgspec.structs.replace(deferred(new, 0, due=NOW + 1000), job="spring")
        await settle(spool, late)
        await settle(spool, msgspec.structs.replace(late, attempt=None))  # only moved
        await settle(spool, left(new, 1), left(new, 2, "bounced"), left(new, 3, "cancelled"))
        counts = {count.name: numbers(count) for count in await spool.jobs()}
        assert counts == {"spring": (5, 2, 1, 1, 1, 1), "other": (1, 1, 0, 0, 0, 0)}
    async with spool_in(tmp_path) as spool:
        assert {count.name: numbers(count) for count in await spool.jobs()} == counts
    assert spool_check(tmp_path) == []


async def test_who_is_removed_twice_leaves_once(spool: Spool) -> None:
    new = of_job(spool, "a@example.com", "b@example.com")
    await accept(spool, new)
    await settle(spool, left(new), left(new))
    await settle(spool, left(new))
    assert [numbers(count) for count in await spool.jobs()] == [(2, 1, 0, 1, 0, 0)]


async def test_mail_of_a_job_has_queues_of_its_own(spool: Spool) -> None:
    plain, new = message(spool), of_job(spool)
    assert plain.recipients[0].queue != new.recipients[0].queue
    await accept(spool, plain, new)
    queues, _ = await spool.due_queues(NOW, 10, "normal")
    assert {queue.name.job for queue in queues} == {"", "spring"}


async def test_mail_is_found_by_its_job(spool: Spool) -> None:
    new = of_job(spool, "a@one.example", "b@two.example")
    await accept(spool, new, of_job(spool, job="other"), message(spool))
    page = await spool.messages(MessageFilter(job="spring"), "", 10)
    assert [row.recipient for row in page.rows] == ["a@one.example", "b@two.example"]
    assert await spool.count(MessageFilter(job="spring")) == 2
    assert await spool.count(MessageFilter(job="spring", domain="two.example")) == 1
    assert await spool.count(MessageFilter(job="nowhere")) == 0


async def test_a_job_is_forgotten_when_it_is_done_and_old(spool: Spool) -> None:
    done, waits = of_job(spool, job="done"), of_job(spool, job="waits")
    await accept(spool, done, waits)
    await settle(spool, left(done))
    assert await spool.forget_jobs(0) == []
    far = 4_000_000_000_000
    assert await spool.forget_jobs(far) == ["done"]
    assert [count.name for count in await spool.jobs()] == ["waits"]
    # what is settled later has nobody to be counted for
    await settle(spool, msgspec.structs.replace(removed(waits), job="done"))
    assert [(count.name, count.delivered) for count in await spool.jobs()] == [("waits", 0)]


async def test_counting_many_jobs_in_one_commit(spool: Spool) -> None:
    new = [of_job(spool, job=f"job-{n % 7}") for n in range(100)]
    await accept(spool, *new)
    async with asyncio.timeout(20):
        await settle(spool, *(left(one) for one in new))
    counts = await spool.jobs()
    assert sum(count.delivered for count in counts) == 100
    assert {count.waiting for count in counts} == {0}
