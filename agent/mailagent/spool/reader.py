"""The reader thread: one read-only connection, which never checkpoints and never holds a snapshot for long.

Requests are served by priority: what the engine waits for goes before what operators look at. A long listing is many
short requests, one slice each, so that the engine's come in between and the log can be checkpointed.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from queue import PriorityQueue
from typing import Any, TypeVar

import apsw

from mailagent.spool.errors import ReadTooLong, SpoolClosed
from mailagent.spool.schema import open_reader

T = TypeVar("T")

SNAPSHOT_S = 1.0
"""Longest time of one request; one that takes longer is cut and answered with ReadTooLong."""
ANSWER_S = 60.0
"""Longest wait for an answer, turn included."""
_CHECK_STEPS = 200_000  # virtual machine steps between looks at the clock: some milliseconds


class Priority(IntEnum):
    """Who waits for the answer; lower comes first."""

    ENGINE = 0
    TOTALS = 1
    LISTING = 2
    CLOSE = 3


_Request = tuple[int, int, Callable[[apsw.Connection], Any] | None, "asyncio.Future[Any] | None"]


class Reader:
    """Owner of the reading connection and its thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._requests: PriorityQueue[_Request] = PriorityQueue()
        self._order = itertools.count()
        self._deadline = 0.0
        self._closed = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="spool-reader", daemon=True)
        self._db = open_reader(path)
        self._db.set_progress_handler(self._is_late, _CHECK_STEPS)
        self._thread.start()

    async def run(self, priority: Priority, read: Callable[[apsw.Connection], T]) -> T:
        """What `read` returns, called in the thread.

        Raises:
            ReadTooLong: it took more than SNAPSHOT_S, or had no answer in ANSWER_S.
            SpoolClosed: the reader is closed.
        """
        if self._closed:
            raise SpoolClosed
        future: asyncio.Future[T] = self._loop.create_future()
        self._requests.put((priority, next(self._order), read, future))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await future
        except TimeoutError as exc:
            if isinstance(exc, ReadTooLong):
                raise
            raise ReadTooLong(f"no answer from the spool within {ANSWER_S:.0f} s") from exc

    async def close(self) -> None:
        """Answer what was asked and end the thread."""
        if not self._closed:
            self._closed = True
            self._requests.put((Priority.CLOSE, next(self._order), None, None))
        await asyncio.shield(self._ended)

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def _run(self) -> None:
        while True:
            _, _, read, future = self._requests.get()
            if read is None or future is None:
                break
            if future.cancelled():
                continue
            self._deadline = time.monotonic() + SNAPSHOT_S
            result: object = None
            error: BaseException | None = None
            try:
                result = read(self._db)
            except apsw.InterruptError:
                error = ReadTooLong(f"reading the spool took more than {SNAPSHOT_S:.0f} s; narrow the filter")
            except BaseException as exc:  # noqa: BLE001 - carried over to who asked
                error = exc
            self._tell(_answer, future, result, error)
        self._db.close(True)
        self._tell(_answer, self._ended, None, None)

    def _tell(self, *call: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(*call)
        except RuntimeError:
            self._closed = True  # the loop is closed: nobody waits any more


def _answer(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
