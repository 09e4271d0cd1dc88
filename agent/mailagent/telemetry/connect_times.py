"""How far away providers are: the time that TCP connections to them took."""

from collections import defaultdict, deque
from statistics import median

KEPT = 64
"""Connections of one provider that count, the last ones."""


class ConnectTimes:
    """By provider, in seconds. Bounded by the number of providers."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))

    def took(self, provider: str, seconds: float) -> None:
        """A connection was established."""
        self._times[provider].append(seconds)

    def median_ms(self, provider: str) -> float | None:
        """The middle of the last ones, in milliseconds; None before the first."""
        times = self._times.get(provider)
        return round(median(times) * 1000, 1) if times else None
