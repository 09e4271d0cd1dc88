"""Ages of waiting mail: counters that say the same as counting all of it."""

import random
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent import ages as module
from mailagent.ages import Ages, table
from mailagent.api.ages import BUCKET_MINUTES
from mailagent.api.requests import Empty
from mailagent.spool import ages as spool_ages
from mailagent.spool.errors import ReadTooLong
from mailagent.spool.ids import at_ms
from mailagent.spool.records import NewMessage
from mailagent.spool.store import Spool
from tests.agent.spool.mail import NOW, accept, deferred, message, removed, settle, spool_in

MINUTE_MS = 60_000


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(1, 50)), min_size=1, max_size=50))
def test_percentiles_and_buckets_are_those_of_the_ages(found: list[tuple[int, int]]) -> None:
    counts = [(NOW - age_s * 1000, ("gmail", "news", NOW - age_s * 1000, count)) for age_s, count in found]
    (row,) = table(counts, NOW, NOW).rows
    every = sorted(age_s for age_s, count in found for _ in range(count))
    assert row.waiting == sum(row.buckets) == len(every)
    assert row.p50_s == every[(len(every) - 1) // 2]
    assert row.p95_s == every[max(0, -(-len(every) * 95 // 100) - 1)]
    assert row.oldest_at == datetime.fromtimestamp((NOW - every[-1] * 1000) / 1000, UTC)
    for n, bound in enumerate(BUCKET_MINUTES):
        assert sum(row.buckets[: n + 1]) == sum(age_s <= bound * 60 for age_s in every)


async def test_waiting_mail_is_counted_by_provider_and_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_ages, "SLICE_ROWS", 7)
    now = time.time_ns() // 1_000_000
    async with spool_in(tmp_path) as spool:
        ages = Ages(spool)
        assert (await ages.ages(Empty())).counted_at is None
        await ages.count()
        assert (await ages.ages(Empty())).rows == ()
        for n, minutes in enumerate((0, 3, 7, 30, 90, 2000) * 5):
            one = message(spool, f"a{n}@example.com", stream="news" if n % 2 else "tx")
            moved = msgspec.structs.replace(one, id=at_ms(now - minutes * MINUTE_MS) + n)
            await accept(spool, moved)
            if minutes == 30:
                await settle(spool, deferred(moved, due=now + MINUTE_MS))
        await ages.count()
        answer = await ages.ages(Empty())
        rows = {f"{row.provider}/{row.stream}": row for row in answer.rows}
        assert answer.counted_at is not None
        assert {key: row.waiting for key, row in rows.items()} == {"/tx": 15, "/news": 10, "gmail/news": 5}
        assert rows["gmail/news"].buckets == (0, 0, 0, 5, 0, 0, 0, 0, 0, 0)
        assert abs(rows["gmail/news"].p50_s - 1800) <= 20
        assert rows["/news"].buckets == (5, 0, 0, 0, 0, 0, 0, 0, 0, 5)
        assert rows["/tx"].buckets[0] + rows["/tx"].buckets[1] == 10
        assert abs(rows["/news"].p95_s - 2000 * 60) <= 600
        spool.placed(moved.recipients[0].queue, "mx.example.com", "default")  # its domain was looked up
        await settle(spool, removed(moved))
        await ages.count()
        await ages.count()
        rows = {f"{row.provider}/{row.stream}": row for row in (await ages.ages(Empty())).rows}
        assert {key: row.waiting for key, row in rows.items()} == {"/tx": 15, "default/news": 9, "gmail/news": 5}


@pytest.mark.parametrize("seed", range(4))
async def test_counters_follow_arrivals_outcomes_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(spool_ages, "SLICE_ROWS", 5)
    start = time.time_ns() // 1_000_000
    clock = [start]
    async with spool_in(tmp_path) as spool:
        ages = Ages(spool, clock=lambda: clock[0])
        await ages.count()
        waiting: dict[int, tuple[NewMessage, str]] = {}
        for step in range(60):
            act = rng.choice(("arrive", "arrive", "leave", "defer", "time"))
            if act == "arrive":
                one = message(spool, f"a{step}@example.com", stream=rng.choice(("news", "tx")))
                new = msgspec.structs.replace(one, id=at_ms(clock[0] - rng.randrange(3 * 3_600_000)) + step)
                await accept(spool, new)
                waiting[new.id] = (new, "")
            elif act == "leave" and waiting:
                new, _ = waiting.pop(rng.choice(list(waiting)))
                await settle(spool, removed(new))
            elif act == "defer" and waiting:
                key = rng.choice(list(waiting))
                provider = rng.choice(("gmail", "yahoo"))
                await settle(spool, deferred(waiting[key][0], due=clock[0], provider=provider))
                waiting[key] = (waiting[key][0], provider)
            else:
                clock[0] += rng.randrange(900_000)
            await ages.count()
            answer = await ages.ages(Empty())
            found = {(str(row.provider), str(row.stream)): row.waiting for row in answer.rows}
            assert found == dict(Counter((provider, new.stream) for new, provider in waiting.values()))
            fresh = spool_ages.fresh_from(clock[0] - module.FRESH_MS)
            assert all(spool_ages.block_of(block, fresh)[0] == block for block in ages._blocks)


class TooLong:
    """A spool whose reads of ages are given up."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def __getattr__(self, name: str) -> object:
        return getattr(self._spool, name)

    async def age_slice(self, *_: object) -> NoReturn:
        raise ReadTooLong


async def test_a_count_that_was_given_up_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with spool_in(tmp_path) as spool:
        ages = Ages(spool)
        await ages.count()
        await accept(spool, message(spool, "a@example.com"))
        with monkeypatch.context() as patched:
            patched.setattr(ages, "_spool", TooLong(spool))
            with pytest.raises(ReadTooLong):
                await ages.count()
        await ages.count()
        assert [row.waiting for row in (await ages.ages(Empty())).rows] == [1]
