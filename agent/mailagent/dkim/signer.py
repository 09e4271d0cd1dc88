"""Threads that sign: urgent mail first, results back on the loop, many with one wake-up.

OpenSSL computes without the interpreter lock, so signatures of several threads, and the loop, run at the same time.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from mailagent.config.structs import Priority
from mailagent.dkim.signature import SigningKey, signatures

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
"""Messages in line; each is one whose client waits for its 250, so intake's connections bound them too."""
Done = Callable[[bytes | None], None]
"""Gets the fields to put in front of the message; None when it could not be signed."""


class _Job:
    __slots__ = ("done", "keys", "message", "result")

    def __init__(self, message: bytes, keys: Sequence[SigningKey], done: Done) -> None:
        self.message = message
        self.keys = keys
        self.done = done
        self.result: bytes | None = None


class Signer:
    """Made and used on the loop thread; its threads start with the first message."""

    def __init__(self, *, threads: int, life_s: int | None = None) -> None:
        self.life_s = life_s
        self._wanted = threads
        self._threads: list[threading.Thread] = []
        self._lines: dict[str, deque[_Job]] = {priority: deque() for priority in Priority}
        self._ticket: SimpleQueue[None] = SimpleQueue()  # one for each job, and one to end each thread
        self._finished: deque[_Job] = deque()
        self._loop = asyncio.get_running_loop()
        self._called = False

    @property
    def waiting(self) -> int:
        """Messages in line."""
        return sum(map(len, self._lines.values()))

    def sign(self, message: bytes, keys: Sequence[SigningKey], priority: str, done: Done) -> None:
        """Sign `message` with `keys`; `done` is called on the loop, exactly once."""
        if self.waiting >= MAX_WAITING:
            done(None)
            return
        if not self._threads:
            self._start()
        self._lines[priority].append(_Job(message, keys, done))
        self._ticket.put(None)

    def close(self) -> None:
        """End the threads; what is still in line is answered with None."""
        for line in self._lines.values():
            while line:
                line.pop().done(None)
        for _ in self._threads:
            self._ticket.put(None)
        self._threads.clear()

    def _start(self) -> None:
        for n in range(self._wanted):
            thread = threading.Thread(target=self._work, name=f"dkim-{n}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _work(self) -> None:
        while True:
            self._ticket.get()
            job = self._next()
            if job is None:
                return
            try:
                job.result = signatures(job.message, job.keys, at=int(time.time()), life_s=self.life_s)
            except Exception:  # a boundary: the client gets a 451, the thread goes on
                log.exception("a message could not be signed selector=%s", job.keys[0].selector)
            self._finished.append(job)
            if not self._called:
                self._called = True
                try:
                    self._loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return

    def _next(self) -> _Job | None:
        for line in self._lines.values():
            try:
                return line.popleft()
            except IndexError:
                continue
        return None

    def _deliver(self) -> None:
        self._called = False
        while self._finished:
            job = self._finished.popleft()
            job.done(job.result)
