"""Kill -9 in every step of a hand-over: each recipient is in exactly one place, and the next courier ends it."""

import asyncio
import os
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from mailagent.api.evacuation import Direction, ParcelState
from mailagent.spool import Spool, crash, parcels, spool_check
from mailagent.spool.content import opened
from mailagent.spool.ids import RECIPIENT_BITS
from tests.agent.spool.mail import NOW, accept, load, message, queue_name, spool_in

ROOT = Path(__file__).parents[3]
MESSAGES = 12


async def run_courier(directory: Path, what: str = "go", crash_at: str = "") -> int:
    """The courier's exit status."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.agent.spool.courier_worker",
        str(directory),
        what,
        cwd=ROOT,
        env=os.environ | {crash.ENVIRONMENT: crash_at},
    )
    async with asyncio.timeout(40):
        return await worker.wait()


async def owners(directory: Path) -> Counter[int]:
    """By message, how many places have it: a queue, or a parcel that counts."""
    found: Counter[int] = Counter()
    async with spool_in(directory / "source") as source, spool_in(directory / "target") as target:
        for spool in (source, target):
            rows = await load(spool, spool.queue_id(queue_name()), NOW)
            found.update(row.message for row in rows)
        given: set[str] = set()
        for spool, direction in ((source, Direction.OUT), (target, Direction.IN)):
            for parcel in await spool.on_evacuations(
                partial(parcels.open_parcels, evacuation="evac", direction=direction)
            ):
                if parcel.state is ParcelState.GIVEN:
                    given.add(parcel.header.id)
                elif parcel.state is ParcelState.PACKED or parcel.header.id in given:
                    found.update(await _inside(spool, parcel.header.id))
    return found


async def _inside(spool: Spool, parcel: str) -> list[int]:
    content = opened(await spool.on_evacuations(partial(parcels.data_of, parcel=parcel)))
    return [message.id for message in content.messages]


async def _fill(directory: Path) -> set[int]:
    async with spool_in(directory / "source") as source:
        messages = [message(source) for _ in range(MESSAGES)]
        await accept(source, *messages)
        # older than the last second, so that they keep their ids
        await source.change_parcels(
            lambda tx: (
                [
                    tx.db.execute(f"UPDATE {table} SET id = id - {by}")
                    for table, by in (("message", 10**7), ("body", 10**7), ("recipient", 10**7 << RECIPIENT_BITS))
                ]
                and None
            )
        )
    return {one.id - 10**7 for one in messages}


@pytest.mark.parametrize(
    ("point", "count"),
    [
        *((point, count) for point in crash.PARCEL_POINTS if point != "parcel_returned" for count in (1, 3)),
        *(("after_commit", count) for count in range(3, 13)),
    ],
)
async def test_a_kill_in_any_step_leaves_one_owner(tmp_path: Path, point: str, count: int) -> None:
    sent = await _fill(tmp_path)
    assert await run_courier(tmp_path, crash_at=f"{point}:{count}") == -9
    assert await owners(tmp_path) == Counter(sent)
    for name in ("source", "target"):
        assert spool_check(tmp_path / name) == []
    assert await run_courier(tmp_path) == 0
    async with spool_in(tmp_path / "source") as source, spool_in(tmp_path / "target") as target:
        assert await load(source, source.queue_id(queue_name())) == []
        assert {row.message for row in await load(target, target.queue_id(queue_name()))} == sent
    told = {line.split()[1] for line in (tmp_path / "target.lines").read_text().splitlines()}
    assert told == {str(one) for one in sent}


@pytest.mark.parametrize("at", ["parcel_stored:2", "after_commit:7", "parcel_given:2"])
async def test_a_cancel_after_a_kill_brings_back_what_has_not_left(tmp_path: Path, at: str) -> None:
    sent = await _fill(tmp_path)
    assert await run_courier(tmp_path, crash_at=at) == -9
    assert await run_courier(tmp_path, "cancel", crash_at="parcel_returned") in (-9, 0)
    assert await owners(tmp_path) == Counter(sent)
    assert await run_courier(tmp_path, "cancel") == 0
    async with spool_in(tmp_path / "source") as source, spool_in(tmp_path / "target") as target:
        here = [row.message for row in await load(source, source.queue_id(queue_name()))]
        there = [row.message for row in await load(target, target.queue_id(queue_name()))]
        assert here
        assert there
        assert Counter(here + there) == Counter(sent)
    for name in ("source", "target"):
        assert spool_check(tmp_path / name) == []
