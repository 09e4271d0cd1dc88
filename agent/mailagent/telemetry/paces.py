"""How quickly providers answer each virtual MTA: now, and as a rule.

An answer is a greeting (from the first packet to the end of the handshake) or the reply to a message (from MAIL to the
one after the final dot). The rule is the middle of the last hour in which mail went there and answers were not slow: a
slow hour does not become the rule, a slow day does.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from statistics import median

from mailagent.api.views import is_slow

LATEST_MESSAGES = 16
LATEST_GREETINGS = 8
"""Answers that count as now."""
USUAL_MINUTES = 60
"""Minutes with mail that make the rule."""
LEAST_MINUTES = 3
"""Fewer make none."""
ACCEPTED_MINUTES = 1440
"""Slow minutes in a row after which slow is the rule."""

Cell = tuple[str, str]
"""Provider, virtual MTA."""


class Pace:
    """Of one cell. Pure; times in seconds, results in milliseconds."""

    __slots__ = ("_greetings", "_heard", "_messages", "_minutes", "_slow_minutes")

    def __init__(self) -> None:
        self._messages: deque[float] = deque(maxlen=LATEST_MESSAGES)
        self._greetings: deque[float] = deque(maxlen=LATEST_GREETINGS)
        self._minutes: deque[float] = deque(maxlen=USUAL_MINUTES)
        self._slow_minutes = 0
        self._heard = False  # since the minute began

    def greeted(self, seconds: float) -> None:
        """A connection was opened."""
        self._greetings.append(seconds)

    def answered(self, seconds: float) -> None:
        """A message was answered for."""
        self._messages.append(seconds)
        self._heard = True

    def now_ms(self, working_s: Iterable[float] = ()) -> float | None:
        """What the last answers took; connections that work longer than that already are asked as well."""
        times = [median(times) for times in (self._messages, self._greetings, tuple(working_s)) if times]
        return _rounded(max(times) * 1000) if times else None

    def usual_ms(self) -> float | None:
        """What they take as a rule; None before it is known."""
        return _rounded(median(self._minutes)) if len(self._minutes) >= LEAST_MINUTES else None

    def tick(self) -> None:
        """A minute is over."""
        now = self.now_ms() if self._heard else None
        self._heard = False
        if now is None:
            return
        if is_slow(now, self.usual_ms()):
            self._slow_minutes += 1
            if self._slow_minutes < ACCEPTED_MINUTES:
                return
            self._minutes.extend([now] * USUAL_MINUTES)
        self._slow_minutes = 0
        self._minutes.append(now)


class Paces:
    """By provider and virtual MTA; bounded by the configuration."""

    def __init__(self) -> None:
        self._cells: defaultdict[Cell, Pace] = defaultdict(Pace)

    def of(self, provider: str, vmta: str) -> Pace:
        """One to write into."""
        return self._cells[provider, vmta]

    def get(self, cell: Cell) -> Pace | None:
        """One that is known."""
        return self._cells.get(cell)

    def tick(self) -> None:
        """A minute is over."""
        for pace in self._cells.values():
            pace.tick()


def _rounded(ms: float) -> float:
    """To two digits: what is told again each second should be the same while it means the same."""
    return float(f"{ms:.2g}")
