"""From disk into the window: what changes on disk while it is read."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from mailagent.config.structs import Priority
from mailagent.scheduling import reading as module
from mailagent.scheduling.books import Books
from mailagent.scheduling.jobs import JobGates
from mailagent.scheduling.lanes import Lanes
from mailagent.scheduling.placing import Placing
from mailagent.scheduling.reading import Reading
from mailagent.scheduling.window import Window
from mailagent.spool.records import DueQueue, Loaded, QueueName
from mailagent.spool.store import Spool
from tests.agent.scheduling.mail import waiting

QUEUE = 1


class Paper:
    """A spool of which a test decides what is read, and what happens meanwhile; a path with room for all."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int] | None] = []
        self.answers: list[Loaded] = []
        self.looks = 0

    def meanwhile(self) -> None:
        """What happens while the disk is read."""

    async def load(self, wanted: Sequence[tuple[int, tuple[int, int] | None, int]], now: int) -> list[Loaded]:
        self.asked += [after for _, after, _ in wanted]
        self.meanwhile()
        return [self.answers.pop(0)]

    def room(self, lane: object) -> int:
        return 100

    def release(self, queues: Sequence[int]) -> None:
        """Nothing to do."""

    def park(self, queue: int, key: str) -> None:
        """The same."""

    async def parked_keys(self) -> dict[str, int]:
        return {}

    async def due_queues(self, now: int, limit: int, priority: str) -> tuple[list[DueQueue], int | None]:
        self.looks += 1
        if self.looks == 1:
            raise TimeoutError
        return [], None


def on(paper: Paper, taken: list[int]) -> tuple[Reading, Books]:
    """A reading of that spool, and its books."""
    window, lanes = Window(100), Lanes(lambda domain: None)
    books = Books(paper, window, lanes, lambda: None)
    loop = asyncio.get_running_loop()

    def take_in(hot: Any, rows: Any, now: int) -> None:
        taken.extend(row.id for row in rows)

    jobs = JobGates(loop.time, loop.call_at, lanes.call_known)
    reading = Reading(
        cast(Spool, paper), window, books, lanes, cast(Placing, paper), jobs,
        take_in=take_in, wake=asyncio.Event(), stopping=lambda: False,
    )  # fmt: skip
    return reading, books


async def test_mail_that_became_due_again_while_it_was_read_is_read_again() -> None:
    """Its row was left out as one that had just left the window, and the next read began behind it."""
    paper = Paper()
    taken: list[int] = []
    reading, books = on(paper, taken)
    again, other = waiting(5), waiting(3)
    hot = books.heat(QUEUE, QueueName("default", "normal", Priority.NORMAL, "a.example"))
    books.take(hot, [again.id, other.id])
    books.note(hot)

    def deferred() -> None:
        books.due_at(QUEUE, Priority.NORMAL, again.due)
        books.give_back(hot, [again.id])

    paper.meanwhile = deferred  # type: ignore[method-assign]
    paper.answers = [Loaded([again], None), Loaded([again], None)]
    assert await reading._read(again.due)
    assert not taken  # it may be the row as it was before
    paper.meanwhile = lambda: None  # type: ignore[method-assign]
    books.turn_due(again.due)
    assert await reading._read(again.due)
    assert paper.asked == [None, (again.due, -1)]
    assert taken == [again.id]


async def test_a_disk_that_stalls_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that fails over takes minutes; the agent goes on where it was."""
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    paper = Paper()
    reading, _ = on(paper, [])
    run = asyncio.create_task(reading.run())
    async with asyncio.timeout(10):
        while paper.looks < 3 and not run.done():  # noqa: ASYNC110  a few turns of the loop
            await asyncio.sleep(0)
    assert not run.done()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
