"""Counts and lag of what came back."""

from collections import deque
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.feedback import FeedbackEvent, FeedbackKind
from mailagent.returns.ledger import MAX_EVENTS, MAX_KEYS, FeedbackLedger, lag_of
from mailagent.telemetry.counters import Counters

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def event(n: int, *, suppressed: bool = True, job: str = "spring") -> FeedbackEvent:
    return FeedbackEvent(
        id=str(n), kind=FeedbackKind.BOUNCE, at=NOW, lag_s=float(n), stream="news", job=job, suppressed=suppressed
    )


@given(st.lists(st.integers(1, 500), min_size=1, max_size=200))
def test_percentiles_are_samples_in_order(samples: list[int]) -> None:
    lag = lag_of(deque(map(float, samples)))
    assert lag.samples == len(samples)
    assert lag.p50_s in samples
    assert lag.p95_s in samples
    assert sum(sample <= lag.p50_s for sample in samples) * 2 >= len(samples)
    assert sum(sample <= lag.p95_s for sample in samples) * 20 >= 19 * len(samples)


def test_lag_counts_what_was_suppressed_and_the_last_come_first() -> None:
    ledger = FeedbackLedger(NOW)
    for n in range(MAX_EVENTS + 10):
        ledger.note(event(n, suppressed=n < 100))
    view = ledger.view(listening=True, pending=0, kept=(0, 0), refused={}, limit=3)
    assert [one.id for one in view.last] == [str(MAX_EVENTS + 9 - n) for n in range(3)]
    assert (view.lag.samples, view.lag.p50_s, view.lag.p95_s) == (100, 49.0, 94.0)
    assert [(one.job, one.count) for one in view.counts] == [("spring", MAX_EVENTS + 10)]
    assert ledger.total(FeedbackKind.BOUNCE) == MAX_EVENTS + 10


def test_jobs_without_end_are_counted_together() -> None:
    ledger = FeedbackLedger(NOW)
    for n in range(MAX_KEYS + 50):
        ledger.note(event(n, job=str(n)))
    view = ledger.view(listening=True, pending=0, kept=(0, 0), refused={}, limit=0)
    assert (view.counts[0].job, view.counts[0].count) == ("…", 50)
    assert view.counts_truncated
    assert ledger.total(FeedbackKind.BOUNCE) == MAX_KEYS + 50


def test_rates_stand_beside_what_was_delivered_whatever_the_job() -> None:
    counters = Counters()
    counters.delivered("p", "news", "v1", "gmail", 2000)
    counters.delivered("p", "news", "v2", "gmail", 10)
    ledger = FeedbackLedger(NOW)
    for kind, job in ((FeedbackKind.COMPLAINT, "a"), (FeedbackKind.COMPLAINT, "b"), (FeedbackKind.BOUNCE, "")):
        ledger.note(
            FeedbackEvent(
                id="1", kind=kind, at=NOW, lag_s=1, stream="news", pool="p", vmta="v1", provider="gmail", job=job
            )
        )
    (row,) = ledger.rates(counters.leaves())
    assert (row.delivered, row.complaints, row.bounces) == (2000, 2, 1)
    assert row.complaint_share == 0.001
