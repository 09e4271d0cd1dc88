"""The rest of the writer's thread after a commit, so that the next one is large.

It ends when the event loop has nothing to do: then everybody waits for the commit. So an agent with little to do
commits at once, and a busy one commits many messages together.
"""

import asyncio
import threading
import time

REST_S = 0.002
"""Longest rest after a commit; it ends as soon as the loop has nothing to do. A thread that wakes while the loop is
busy waits long for the interpreter, since the loop lets go of it in every turn and has it back before it is awake.
Measured with 20 sessions that wait for each answer: about 6 % more mail than with 8 ms, in 15 of 21 rounds."""
EMPTY_TURN = 2.0
"""A turn of the loop had no event to handle when it took less than this many times the shortest one."""
FORGET_TURN = 1.001
"""By how much each turn makes the shortest one longer that is remembered: machines change their speed."""


class Rest:
    """Taken by the thread, ended by the loop that made this, or by time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_taken = False  # until somebody rings or its time is over
        # Held while it is silent; one ring too many only makes a rest shorter. (SimpleQueue.get with a short time-out
        # may wait for ever: Python 3.11 goes on with what is left of the time, also when that is less than nothing.)
        self._bell = threading.Lock()
        self._bell.acquire()
        self._looking = False
        self._looked_at = 0.0
        self._shortest_turn_s = 1.0

    def take(self) -> None:
        """Wait, in the thread."""
        self._is_taken = True
        self._bell.acquire(timeout=REST_S)
        self._is_taken = False

    def look_for_idleness(self) -> None:
        """Have the rest end, if the thread takes one, after the next turn of the loop that has nothing to do."""
        if self._is_taken and not self._looking:
            self._looking = True
            self._looked_at = time.perf_counter()
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        now = time.perf_counter()
        turn_s = now - self._looked_at
        self._looked_at = now
        self._shortest_turn_s = min(turn_s, self._shortest_turn_s * FORGET_TURN)
        empty = turn_s < self._shortest_turn_s * EMPTY_TURN
        if self._is_taken and not empty:
            self._loop.call_soon(self._look)
            return
        self._looking = False
        if self._is_taken:
            self._is_taken = False
            if self._bell.locked():  # nobody else lets go of it
                self._bell.release()
