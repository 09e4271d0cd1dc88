"""Whether a provider has begun to call addresses unknown that are fine. Pure.

It has happened at large providers that for some minutes every address was 5.1.1. A list with many dead addresses looks
the same, and it does no harm to have somebody look at it.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from mailagent.config.suppression import Incident

SAMPLE_S = 5.0
"""Counts of a provider are noted at most this often."""
CHECK_S = 0.5
"""And compared at most this often."""


class _Sample(NamedTuple):
    at: float
    outcomes: int
    suppressed: int


class Watch:
    """Counts of one host, by provider. Memory: providers × window / SAMPLE_S samples."""

    def __init__(self, outcomes: Callable[[str], int]) -> None:
        """`outcomes`: how many outcomes a provider has had so far, whatever they were."""
        self._outcomes = outcomes
        self._suppressed: dict[str, int] = {}
        self._samples: dict[str, deque[_Sample]] = {}
        self._next: dict[str, float] = {}

    def saw(self, provider: str, now: float, config: Incident) -> bool:
        """One more outcome that suppresses; whether that makes it an incident."""
        suppressed = self._suppressed[provider] = self._suppressed.get(provider, 0) + 1
        if now < self._next.get(provider, 0.0):
            return False
        self._next[provider] = now + CHECK_S
        outcomes = self._outcomes(provider) + 1  # this one is not counted yet
        samples = self._samples.setdefault(provider, deque())
        if not samples or now - samples[-1].at >= SAMPLE_S:
            samples.append(_Sample(now, outcomes - 1, suppressed - 1))
        window_s = config.window.total_seconds()
        while len(samples) > 1 and now - samples[0].at > window_s:
            samples.popleft()
        first = samples[0]
        if now - first.at > window_s:
            samples[0] = first = _Sample(now, outcomes - 1, suppressed - 1)
        bad = suppressed - first.suppressed
        seen = max(bad, outcomes - first.outcomes)
        return config.share > 0 and bad >= config.least and bad > config.share * seen

    def forget(self, provider: str) -> None:
        """A freeze has begun: what counts is what comes after it."""
        self._samples.pop(provider, None)
        self._next.pop(provider, None)
