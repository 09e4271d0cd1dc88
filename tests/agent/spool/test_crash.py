"""Kill -9 at every failpoint: nothing acknowledged is lost, and every possible duplicate is listed."""

import asyncio
import os
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from mailagent.spool import Spool, crash, spool_check
from mailagent.spool.ids import message_name, parse_message_name
from tests.agent.spool.crash_worker import IN_FLIGHT
from tests.agent.spool.mail import NOW, queue_name, spool_in

ROOT = Path(__file__).parents[3]
ROUNDS = 300


async def run_worker(state_dir: Path, crash_at: str = "") -> int:
    """The worker's exit status."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.agent.spool.crash_worker",
        str(state_dir),
        str(ROUNDS),
        cwd=ROOT,
        env=os.environ | {crash.ENVIRONMENT: crash_at},
    )
    async with asyncio.timeout(40):
        return await worker.wait()


def witnessed(state_dir: Path) -> dict[str, set[int]]:
    seen: dict[str, set[int]] = defaultdict(set)
    path = state_dir / "witness"
    for line in path.read_text().splitlines() if path.exists() else ():
        what, number = line.split()
        seen[what].add(int(number))
    return seen


async def waiting(spool: Spool) -> dict[int, int]:
    """Attempts of each waiting message."""
    (loaded,) = await spool.load([(spool.queue_id(queue_name()), None, 10_000)], NOW + 10**6)
    return {row.message: row.attempts for row in loaded.rows}


async def listed(spool: Spool) -> set[int]:
    return {parse_message_name(row.message_id)[0] for row in (await spool.in_doubt("", 500)).rows}


@pytest.mark.parametrize(
    ("point", "count"),
    [(point, count) for point in crash.POINTS for count in (1, 6) if (point, count) != ("recovering", 6)],
)
async def test_nothing_acknowledged_is_lost_and_duplicates_are_listed(tmp_path: Path, point: str, count: int) -> None:
    if point == "recovering":
        assert await run_worker(tmp_path, "after_commit:4") == -9
    assert await run_worker(tmp_path, f"{point}:{count}") == -9
    seen = witnessed(tmp_path)
    async with spool_in(tmp_path) as spool:
        assert not spool.recovered.clean
        assert not spool.recovered.power_lost
        there, doubts = await waiting(spool), await listed(spool)
        for message in seen["accepted"] - seen["sent"]:
            assert message in there, f"lost {message_name(message, spool.tag)}"
        assert seen["removed"].isdisjoint(there)
        assert all(there[message] == 1 for message in seen["deferred"])
        accounted = set((tmp_path / "accounting").read_text().split())
        gone = {message for message in seen["accepted"] if message not in there}
        assert {str(message) for message in gone} <= accounted
        # a possible duplicate: the peer has it, and it will be tried again without a stored outcome
        untold = {message for message in seen["sent"] if there.get(message) == 0}
        assert untold <= doubts
        assert len(doubts) <= IN_FLIGHT
        assert doubts <= there.keys()
        assert len(doubts - untold) <= 1  # marked, and killed before the dot
        assert spool.recovered.in_doubt == len(doubts)
    assert spool_check(tmp_path) == []


async def test_a_spool_lives_through_many_crashes(tmp_path: Path) -> None:
    for count in range(1, 6):
        assert await run_worker(tmp_path, f"before_commit:{count * 3}") == -9
    assert await run_worker(tmp_path) == 0
    seen = witnessed(tmp_path)
    async with spool_in(tmp_path) as spool:
        assert spool.recovered.clean
        there = await waiting(spool)
        assert seen["accepted"] - seen["sent"] <= there.keys()
        assert {message for message in seen["sent"] if there.get(message) == 0} <= await listed(spool)
    assert spool_check(tmp_path) == []
