from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.classification import Category
from mailagent.config.structs import Retry
from mailagent.scheduling.retry import LAST_TRY, Schedule, last_wait, layered, next_wait

DEFAULT = Retry()


@given(attempt=st.integers(1, 60), jitter=st.floats(-1, 1))
def test_wait_stays_within_the_jitter_of_its_step(attempt: int, jitter: float) -> None:
    step = DEFAULT.waits[min(attempt, len(DEFAULT.waits)) - 1]
    wait = next_wait(attempt, DEFAULT, jitter=jitter)
    assert step * 0.849 <= wait <= step * 1.151


@given(left=st.timedeltas(timedelta(-1), timedelta(9)), jitter=st.floats(-1, 1))
def test_the_last_attempt_comes_in_time_or_not_at_all(left: timedelta, jitter: float) -> None:
    wait = last_wait(left, DEFAULT, jitter=jitter)
    if wait is None:
        assert left < (DEFAULT.waits[0] + LAST_TRY) * 1.2
    else:
        assert DEFAULT.waits[0] <= wait <= left - LAST_TRY


def test_the_last_wait_repeats() -> None:
    assert next_wait(7, DEFAULT, jitter=0) == next_wait(70, DEFAULT, jitter=0) == timedelta(hours=4)


def test_greylisting_is_tried_again_after_its_own_wait_and_then_by_the_ordinary_list() -> None:
    waits = [next_wait(n, DEFAULT, jitter=0, schedule=Schedule.GREYLIST) for n in (1, 2, 3)]
    assert waits == [timedelta(minutes=6), timedelta(minutes=5), timedelta(minutes=10)]


def test_dns_errors_are_tried_again_soon() -> None:
    assert next_wait(1, DEFAULT, jitter=0, schedule=Schedule.DNS) == timedelta(minutes=1)


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="count from 1"):
        next_wait(0, DEFAULT, jitter=0)


def test_a_class_of_replies_may_have_waits_of_its_own() -> None:
    hour = timedelta(hours=1)
    assert [next_wait(n, DEFAULT, jitter=0, category=Category.RECIPIENT_RATE) for n in (1, 5)] == [hour, hour]
    assert next_wait(1, DEFAULT, jitter=0, category=Category.RATE_LIMIT) == timedelta(minutes=5)
    assert next_wait(1, DEFAULT, jitter=0, schedule=Schedule.DNS, category=Category.RECIPIENT_RATE) < hour


def test_a_layer_that_says_only_when_mail_expires_leaves_the_waits_to_the_others() -> None:
    provider = Retry(waits=(timedelta(minutes=20),))
    stream = Retry(expire=timedelta(days=1))
    domain = Retry(waits=(timedelta(minutes=15),), jitter=0.1)
    both = layered(DEFAULT, provider, stream)
    assert (both.waits, both.expire) == (provider.waits, stream.expire)
    whole = layered(DEFAULT, provider, stream, domain)
    assert (whole.waits, whole.expire, whole.jitter) == (domain.waits, stream.expire, 0.1)
    assert layered(DEFAULT, None, None) is DEFAULT
