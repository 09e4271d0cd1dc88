"""What came back since the agent started: counts, lag, the last events. Bounded; accounting has all of it."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime

from mailagent.api.feedback import FeedbackCount, FeedbackEvent, FeedbackKind, FeedbackLag, FeedbackRate, FeedbackView
from mailagent.telemetry.counters import Leaf

MAX_KEYS = 10_000
MAX_SHOWN = 500
MAX_EVENTS = 200
MAX_LAGS = 2_000

_RATED = (FeedbackKind.COMPLAINT, FeedbackKind.BOUNCE)
_Key = tuple[FeedbackKind, str, str, str, str, str]


class FeedbackLedger:
    """Adds up events."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._counts: Counter[_Key] = Counter()
        self._last: deque[FeedbackEvent] = deque(maxlen=MAX_EVENTS)
        self._lags: deque[float] = deque(maxlen=MAX_LAGS)

    def note(self, event: FeedbackEvent) -> None:
        """Count an event that is on disk."""
        key = (event.kind, event.stream, event.pool, event.vmta, event.provider, event.job)
        if key not in self._counts and len(self._counts) >= MAX_KEYS:
            key = (event.kind, event.stream, event.pool, event.vmta, event.provider, "…")  # jobs without end
        self._counts[key] += 1
        self._last.append(event)
        if event.suppressed:
            self._lags.append(event.lag_s)

    def total(self, kind: FeedbackKind) -> int:
        """How many there were of a kind."""
        return sum(count for key, count in self._counts.items() if key[0] is kind)

    def rates(self, leaves: Iterable[Leaf]) -> tuple[FeedbackRate, ...]:
        """Complaints and late bounces by where the mail had gone, beside what `leaves` say was delivered."""
        found: dict[tuple[str, str, str, str], list[int]] = {}
        for (kind, stream, pool, vmta, provider, _), count in self._counts.items():
            if kind in _RATED and vmta:
                found.setdefault((pool, stream, vmta, provider), [0, 0])[_RATED.index(kind)] += count
        delivered = {leaf[:4]: leaf.tally.delivered for leaf in leaves if leaf[:4] in found}
        rows = [
            FeedbackRate(
                stream=stream,
                pool=pool,
                vmta=vmta,
                provider=provider,
                delivered=delivered.get((pool, stream, vmta, provider), 0),
                complaints=complaints,
                bounces=bounces,
            )
            for (pool, stream, vmta, provider), (complaints, bounces) in found.items()
        ]
        rows.sort(key=lambda row: (-row.complaints, -row.bounces, row.stream, row.vmta, row.provider))
        return tuple(rows[:MAX_SHOWN])

    def view(
        self,
        *,
        listening: bool,
        pending: int,
        kept: tuple[int, int],
        refused: Mapping[str, int],
        limit: int,
        leaves: Iterable[Leaf] = (),
    ) -> FeedbackView:
        """All of it; `limit` events."""
        rows = self._counts.most_common(MAX_SHOWN)
        last = list(self._last)[::-1][: max(0, limit)]
        return FeedbackView(
            since=self._since,
            listening=listening,
            lag=lag_of(self._lags),
            pending=pending,
            kept=kept[0],
            kept_bytes=kept[1],
            refused=dict(refused),
            counts=tuple(
                FeedbackCount(kind=kind, stream=stream, pool=pool, vmta=vmta, provider=provider, job=job, count=count)
                for (kind, stream, pool, vmta, provider, job), count in rows
            ),
            rates=self.rates(leaves),
            counts_truncated=len(self._counts) > len(rows),
            last=tuple(last),
        )


def lag_of(samples: "deque[float]") -> FeedbackLag:
    """Median and 95th percentile, by nearest rank."""
    if not samples:
        return FeedbackLag(samples=0)
    ordered = sorted(samples)

    def rank(share: float) -> float:
        return round(ordered[math.ceil(share * len(ordered)) - 1], 3)

    return FeedbackLag(samples=len(ordered), p50_s=rank(0.5), p95_s=rank(0.95))
