"""What a virtual MTA that earns its reputation may still send to one provider today. Pure, the clock passed in."""

import math
from typing import Protocol

from mailagent.api.ids import VmtaName
from mailagent.api.reasons import WaitReason

BURSTS = 720
"""Parts of the time that a day's mail is spread over; the mail of one part may go at once (a minute of 12 h)."""
LEAST_BURST_S = 1.0
"""The same where that is shorter: whoever found no room is called once a second."""


class Allowance:
    """A ceiling of recipients for a day, evenly spaced (GCRA).

    Mail is counted when it is placed, and given back when it leaves its place without an attempt: so what is placed
    goes at once, and what finds no room here may go from another member of the pool.
    """

    __slots__ = ("_next", "ceiling", "spread_s", "used", "was_full")

    def __init__(self, spread_s: float, ceiling: int = 0, used: int = 0) -> None:
        self.spread_s = spread_s
        self.ceiling = ceiling  # 0: nothing may go
        self.used = used
        self.was_full = False
        """Mail found no room since somebody last looked."""
        self._next = -math.inf  # theoretical time of the next recipient

    @property
    def _burst_s(self) -> float:
        return max(self.spread_s / BURSTS, LEAST_BURST_S)

    @property
    def interval_s(self) -> float:
        """From one recipient to the next."""
        return self.spread_s / self.ceiling if self.ceiling else math.inf

    def room(self, now: float) -> int:
        """How many recipients may be placed now."""
        left = self.ceiling - self.used
        if left > 0:
            ahead_s = now + self._burst_s - max(self._next, now)
            if ahead_s >= 0:
                return min(left, int(ahead_s / self.interval_s) + 1)
        self.was_full = True
        return 0

    def is_closed(self) -> bool:
        """Whether nothing may go; whoever asks is called when something may."""
        self.was_full |= not self.ceiling
        return not self.ceiling

    def delay_s(self, now: float) -> float | None:
        """Seconds until there is room; None: not today."""
        if self.used >= self.ceiling:
            return None
        return max(0.0, self._next - now - self._burst_s)

    def take(self, now: float, count: int) -> None:
        """They are placed."""
        self.used += count
        self._next = max(self._next, now) + self.interval_s * count if self.ceiling else self._next

    def give_back(self, count: int) -> None:
        """They left their place without an attempt."""
        self.used = max(0, self.used - count)
        self._next -= self.interval_s * count if self.ceiling else 0.0


class Ceilings(Protocol):
    """Who knows what members that are warming may send."""

    def of(self, vmta: VmtaName, provider: str) -> Allowance | None:
        """What `vmta` may send to `provider`; None: no ceiling."""

    def reason(self, vmta: VmtaName, provider: str) -> WaitReason | None:
        """Why no more may be placed there now; None: there is room."""
