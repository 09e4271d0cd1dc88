"""Counters and history: sums, rings, buckets, bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.requests import HistoryRequest, HistoryScope
from mailagent.api.views import RECENT_BUCKET_S, RECENT_BUCKETS
from mailagent.telemetry.counters import MAX_JOBS, OTHER, Counters
from mailagent.telemetry.history import LIMITS, RING_BYTES, SECONDS, History, Minute

T0 = 1_800_000_000  # a multiple of five, so that buckets start there


def running() -> tuple[Counters, History]:
    counters = Counters()
    history = History(counters)
    history.tick(T0)
    return counters, history


def test_one_outcome_counts_for_host_pool_vmta_provider_and_cell() -> None:
    counters, history = running()
    counters.received("marketing", "news", 3)
    counters.delivered("marketing", "news", "mkt-1", "gmail", 2)
    counters.deferred("marketing", "news", "mkt-1", "gmail")
    counters.bounced("marketing", "news", "mkt-2", "yahoo")
    history.tick(T0 + 1)
    host = history.flow(HistoryScope.HOST)
    assert (host.received, host.delivered, host.deferred, host.bounced) == (3, 2, 1, 1)
    assert (host.received_1m, host.delivered_1m, host.deferred_1m, host.bounced_1m) == (3, 2, 1, 1)
    assert history.flow(HistoryScope.POOL, "marketing") == host
    assert history.flow(HistoryScope.VMTA, "mkt-1").delivered == 2
    assert history.flow(HistoryScope.PROVIDER, "yahoo").bounced == 1
    assert history.flow(HistoryScope.CELL, "gmail/mkt-1").deferred == 1
    assert history.flow(HistoryScope.CELL, "yahoo/mkt-1").delivered == 0


def test_an_outcome_without_provider_counts_where_it_is_known() -> None:
    counters, history = running()
    counters.deferred("marketing", "", "", "")
    history.tick(T0 + 1)
    assert history.flow(HistoryScope.POOL, "marketing").deferred == 1
    assert history.flow(HistoryScope.CELL, "/").deferred == 0


def test_the_minute_forgets_and_the_totals_do_not() -> None:
    counters, history = running()
    counters.delivered("p", "news", "v", "g", 7)
    for second in range(1, 60):
        history.tick(T0 + second)
    assert history.flow(HistoryScope.HOST).delivered_1m == 7
    history.tick(T0 + 60)
    assert history.flow(HistoryScope.HOST).delivered_1m == 7
    history.tick(T0 + 61)
    flow = history.flow(HistoryScope.HOST)
    assert (flow.delivered_1m, flow.delivered) == (0, 7)


def test_an_idle_scope_gives_its_ring_back_and_keeps_its_totals() -> None:
    counters, history = running()
    counters.delivered("p", "news", "v", "g", 7)
    history.tick(T0 + 1)
    assert history.memory_bytes == 7 * RING_BYTES
    for second in range(2, SECONDS + 2):
        history.tick(T0 + second)
    assert history.memory_bytes == 0
    assert history.flow(HistoryScope.CELL, "g/v").delivered == 7
    counters.delivered("p", "news", "v", "g", 1)
    history.tick(T0 + SECONDS + 2)
    assert history.flow(HistoryScope.CELL, "g/v").delivered == 8


def test_recent_holds_whole_aligned_buckets_only() -> None:
    counters, history = running()
    for second in range(1, RECENT_BUCKET_S * (RECENT_BUCKETS + 3) + 3):
        counters.delivered("p", "news", "v", "g", 2)
        history.tick(T0 + second)
    assert history.flow(HistoryScope.HOST).recent == (2 * RECENT_BUCKET_S,) * RECENT_BUCKETS


def test_series_ends_with_the_last_complete_second_and_is_no_longer_than_known() -> None:
    counters, history = running()
    counters.delivered("p", "news", "v", "g", 5)
    counters.received("p", "news", 9)
    history.tick(T0 + 1)
    history.tick(T0 + 2)
    series = history.series(HistoryRequest(scope=HistoryScope.HOST, seconds=900))
    assert series.delivered == (0, 5, 0)
    assert series.received == (0, 9, 0)
    assert series.start.timestamp() == T0 - 1
    assert history.series(HistoryRequest(scope=HistoryScope.POOL, name="absent", seconds=2)).delivered == (0, 0)


def test_missed_ticks_leave_gaps_and_lose_nothing() -> None:
    counters, history = running()
    counters.delivered("p", "news", "v", "g", 1)
    history.tick(T0 + 1)
    counters.delivered("p", "news", "v", "g", 4)
    history.tick(T0 + 4)
    assert history.series(HistoryRequest(scope=HistoryScope.HOST, seconds=4)).delivered == (1, 0, 0, 4)


def test_a_clock_set_back_starts_afresh_without_losing_totals() -> None:
    counters, history = running()
    counters.delivered("p", "news", "v", "g", 1)
    history.tick(T0 + 1)
    counters.delivered("p", "news", "v", "g", 2)
    history.tick(T0 - 3600)
    flow = history.flow(HistoryScope.HOST)
    assert (flow.delivered, flow.delivered_1m) == (3, 2)
    counters.delivered("p", "news", "v", "g", 3)
    history.tick(T0 - 3605)  # a small step back waits
    assert history.flow(HistoryScope.HOST).delivered == 3
    history.tick(T0 - 3599)
    assert history.flow(HistoryScope.HOST).delivered == 6


def test_cells_are_bounded_and_the_rest_is_booked_as_other() -> None:
    counters, history = running()
    for n in range(LIMITS[HistoryScope.CELL] + 88):
        counters.delivered("p", "news", f"v{n % 10}", f"g{n // 10}")
    history.tick(T0 + 1)
    cells = [key for key in history._rings if key[0] is HistoryScope.CELL]
    assert len(cells) == LIMITS[HistoryScope.CELL]
    other = history.series(HistoryRequest(scope=HistoryScope.CELL, name=OTHER, seconds=1))
    assert other.delivered == (89,)
    assert history.flow(HistoryScope.HOST).delivered == LIMITS[HistoryScope.CELL] + 88
    assert history.flow(HistoryScope.VMTA, "v3").delivered == 60
    for n in range(LIMITS[HistoryScope.CELL] + 88):
        counters.delivered("p", "news", f"v{n % 10}", f"g{n // 10}")
    history.tick(T0 + 2)
    assert history.series(HistoryRequest(scope=HistoryScope.CELL, name=OTHER, seconds=2)).delivered == (89, 89)


def test_a_flood_saturates_a_ring_and_not_the_totals() -> None:
    counters, history = running()
    counters.received("p", "news", 100_000)
    history.tick(T0 + 1)
    flow = history.flow(HistoryScope.HOST)
    assert (flow.received, flow.received_1m) == (100_000, 65_535)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=60))
def test_minute_and_buckets_agree_with_the_series(steps: list[tuple[int, int]]) -> None:
    counters, history = running()
    now = T0
    for gap, count in steps:
        now += gap
        counters.delivered("p", "news", "v", "g", count)
        history.tick(now)
    flow = history.flow(HistoryScope.HOST)
    series = history.series(HistoryRequest(scope=HistoryScope.HOST)).delivered
    assert sum(series[-60:]) == flow.delivered_1m
    whole = series[: len(series) - now % RECENT_BUCKET_S]
    for back, bucket in enumerate(reversed(flow.recent)):
        end = len(whole) - back * RECENT_BUCKET_S
        if end > 0:
            assert sum(whole[max(0, end - RECENT_BUCKET_S) : end]) == bucket or end < RECENT_BUCKET_S


def test_streams_paths_and_jobs_have_history_of_their_own() -> None:
    counters, history = running()
    counters.delivered("marketing", "news", "mkt-1", "gmail", 2)
    counters.delivered("marketing", "offers", "mkt-1", "gmail", 3)
    counters.job("spring").delivered += 2
    history.tick(T0 + 1)
    assert history.flow(HistoryScope.STREAM, "offers").delivered == 3
    assert history.flow(HistoryScope.CELL, "gmail/mkt-1").delivered == 5
    assert history.flow(HistoryScope.PATH, "gmail/news/mkt-1").delivered == 2
    assert history.flow(HistoryScope.JOB, "spring").delivered == 2
    assert history.flow(HistoryScope.HOST).delivered == 5, "a job counts nothing twice"


def test_jobs_are_bounded_and_a_job_that_rests_makes_room() -> None:
    counters, history = running()
    for n in range(MAX_JOBS + 10):
        counters.job(f"job-{n}").delivered += 1
    assert len(counters.jobs) <= MAX_JOBS + 1
    history.tick(T0 + 1)
    assert history.flow(HistoryScope.JOB, OTHER).delivered_1m == 10
    for second in range(2, SECONDS + 3):
        history.tick(T0 + second)
    assert counters.jobs == {}
    counters.job("x" * 1000).delivered += 1
    history.tick(T0 + SECONDS + 3)
    assert history.flow(HistoryScope.JOB, "x" * 64).delivered == 1


@given(st.lists(st.tuples(st.integers(1, 130), st.integers(0, 5)), max_size=60))
def test_minutes_add_up_to_what_was_counted(steps: list[tuple[int, int]]) -> None:
    counters, history = running()
    now, minutes, total = T0, list[Minute](), 0
    for gap, count in steps:
        now += gap
        counters.delivered("p", "news", "v", "g", count)
        total += count
        minute = history.tick(now)
        if minute is not None:
            minutes.append(minute)
    minutes.append(history.take_minute())
    host = (HistoryScope.HOST, "")
    assert sum(minute.counts.get(host, (0, 0, 0, 0))[1] for minute in minutes) == total
    starts = [minute.start for minute in minutes]
    assert starts == sorted(starts)
    assert all(start % 60 == 0 for start in starts)


def test_a_usual_pace_is_that_before_a_moment_or_of_all_the_time_before_it() -> None:
    counters, history = running()
    cell = (HistoryScope.CELL, "g/v")

    def run(first: int, last: int, each: int) -> None:
        for second in range(first, last):
            counters.delivered("p", "news", "v", "g", each)
            history.tick(T0 + second)

    run(1, 101, 4)
    assert history.pace(*cell, T0 + 100) == pytest.approx(4.0, rel=0.02)
    run(101, 161, 0)
    assert history.pace(*cell, T0 + 100) == pytest.approx(4.0, rel=0.02)
    run(161, 1001, 1)
    assert history.pace(*cell, T0 + 1000) == pytest.approx(1240 / 1000, rel=0.02)  # more than in the last minutes
    run(1001, 1001 + 2 * SECONDS, 0)
    assert history.pace(*cell, T0 + 1000) == pytest.approx(1.24, rel=0.02)
    assert history.pace(HistoryScope.CELL, "none/v", T0 + 100) == 0.0
