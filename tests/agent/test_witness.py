"""What a host sees of its own life."""

import asyncio

import pytest

from mailagent.witness import STAYS_S, STILL_S, TICK_S, Clocks, Looker, Lookers, Witness


@pytest.mark.parametrize(
    ("wall_s", "passed_s", "odd"),
    [
        (1.0, 1.0, None),
        (2.9, 1.0, None),
        (61.0, 1.0, ("clock", "the clock went 60 s forward, or the machine slept")),
        (-3599.0, 1.0, ("clock", "the clock went 3600 s back")),
        (13.0, 13.0, ("standstill", "the agent stood still for 12 s: stopped, or without memory or CPU")),
        (TICK_S + STILL_S, TICK_S + STILL_S, None),
    ],
)
def test_two_clocks_tell_a_jump_from_a_standstill(wall_s: float, passed_s: float, odd: tuple[str, str] | None) -> None:
    clocks = Clocks(1000.0, 50.0)
    assert clocks.look(1000.0 + wall_s, 50.0 + passed_s) == odd
    assert clocks.look(1001.0 + wall_s, 51.0 + passed_s) is None  # told once


def test_who_stays_is_noted_once_and_who_comes_and_goes_is_not() -> None:
    lookers = Lookers()
    alice, cron = Looker("alice", 100.0), Looker("cron", 100.0)
    assert lookers.look({1: alice, 2: cron}, 101.0) == []
    assert lookers.look({1: alice}, 100.0 + STAYS_S) == [("alice", "connected 60 s ago and follows this host")]
    assert lookers.look({1: alice}, 200.0) == []
    assert lookers.look({}, 100.0 + 2 * 3600 + 300) == [("alice", "gone after 2 h 5 min")]
    assert lookers.look({}, 9000.0) == []


async def test_the_witness_keeps_what_it_sees_among_the_operations() -> None:
    kept: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    async def note(verb: str, author: str, detail: str) -> None:
        kept.put_nowait((verb, author, detail))

    witness = Witness(note, lambda: {1: Looker("alice", -STAYS_S)})
    task = asyncio.create_task(witness.run())
    verb, author, detail = await asyncio.wait_for(kept.get(), 20)
    task.cancel()
    assert (verb, author) == ("console", "alice")
    assert detail.endswith("follows this host")
