"""What a host can see of its own life, among its operations: clocks that jump, standstills, consoles that stay.

It cannot see what nobody tells it: that a console lost it while the connection stood, or what it did not live through.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Final, NamedTuple

TICK_S: Final = 1.0
JUMP_S: Final = 2.0
"""A wall clock that is off by more than this against the time that passed was set, or the machine slept."""
STILL_S: Final = 5.0
"""A second that takes so much longer is a standstill: stopped, swapped out, a machine without time."""
STAYS_S: Final = 60.0
"""A console that follows the host for so long is noted; commands, which come and go each minute, are not."""
AGENT: Final = "mailagent"


class Looker(NamedTuple):
    """Somebody who follows the host's state."""

    user: str
    since: float  # monotonic


Note = Callable[[str, str, str], Awaitable[None]]
"""Keeps (verb, author, detail) among the operations."""


class Clocks:
    """Two clocks, compared once a second. Pure."""

    def __init__(self, wall: float, passed: float) -> None:
        """`wall` in seconds since 1970, `passed` monotonic."""
        self._wall = wall
        self._passed = passed

    def look(self, wall: float, passed: float) -> tuple[str, str] | None:
        """(verb, words) of what is odd about the time since the last look; None: nothing."""
        jump = (wall - self._wall) - (passed - self._passed)
        late = passed - self._passed - TICK_S
        self._wall, self._passed = wall, passed
        if abs(jump) > JUMP_S:
            way = "forward, or the machine slept" if jump > 0 else "back"
            return "clock", f"the clock went {abs(jump):.0f} s {way}"
        if late > STILL_S:
            return "standstill", f"the agent stood still for {late:.0f} s: stopped, or without memory or CPU"
        return None


class Lookers:
    """Who follows the host, compared with the look before. Pure."""

    def __init__(self) -> None:
        self._noted: dict[Hashable, Looker] = {}

    def look(self, now: Mapping[Hashable, Looker], passed: float) -> list[tuple[str, str]]:
        """(user, words) of those who stay for STAYS_S by now, and of noted ones who have gone."""
        fresh = {key: one for key, one in now.items() if key not in self._noted and passed - one.since >= STAYS_S}
        gone = {key: one for key, one in self._noted.items() if key not in now}
        for key in gone:
            del self._noted[key]
        self._noted.update(fresh)
        return [
            *((one.user, f"connected {passed - one.since:.0f} s ago and follows this host") for one in fresh.values()),
            *((one.user, f"gone after {_span(passed - one.since)}") for one in gone.values()),
        ]


class Witness:
    """Looks once a second, and has what is odd kept."""

    def __init__(self, note: Note, lookers: Callable[[], Mapping[Hashable, Looker]]) -> None:
        self._note = note
        self._lookers = lookers

    async def run(self) -> None:
        """Go on until cancelled."""
        clocks, lookers = Clocks(time.time(), time.monotonic()), Lookers()
        while True:
            await asyncio.sleep(TICK_S)
            passed = time.monotonic()
            if (odd := clocks.look(time.time(), passed)) is not None:
                verb, words = odd
                await self._note(verb, AGENT, words)
            for user, words in lookers.look(self._lookers(), passed):
                await self._note("console", user, words)


def _span(seconds: float) -> str:
    minutes = int(seconds) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "a minute"
