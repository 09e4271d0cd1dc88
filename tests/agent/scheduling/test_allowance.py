"""The ceiling of a day, evenly spread."""

from hypothesis import given
from hypothesis import strategies as st

from mailagent.scheduling.allowance import BURSTS, Allowance

HALF_DAY = 43_200.0


def test_fifty_a_day_are_one_each_quarter_of_an_hour() -> None:
    allowance = Allowance(HALF_DAY, ceiling=50)
    assert allowance.room(0) == 1
    allowance.take(0, 1)
    assert allowance.room(0) == 0
    assert allowance.delay_s(0) == HALF_DAY / 50 - HALF_DAY / BURSTS
    assert allowance.room(HALF_DAY / 50) == 1


def test_a_large_ceiling_lets_a_minute_go_at_once() -> None:
    allowance = Allowance(HALF_DAY, ceiling=72_000)
    assert allowance.room(0) == 100 + 1
    allowance.take(0, 101)
    assert allowance.room(0.5) == 0
    assert allowance.room(1.2) == 2


def test_the_day_is_used_up_whatever_the_time() -> None:
    allowance = Allowance(HALF_DAY, ceiling=10, used=10)
    assert allowance.room(1e9) == 0
    assert allowance.delay_s(1e9) is None
    allowance.ceiling = 11
    assert allowance.room(1e9) == 1


def test_nothing_goes_without_a_ceiling() -> None:
    allowance = Allowance(HALF_DAY)
    assert allowance.room(0) == 0
    assert allowance.delay_s(0) is None
    allowance.take(0, 1)  # tried again by the address that tried it before
    allowance.give_back(1)
    assert allowance.used == 0


def test_what_is_given_back_may_go() -> None:
    allowance = Allowance(HALF_DAY, ceiling=50)
    allowance.take(0, 3)
    allowance.give_back(3)
    assert (allowance.used, allowance.room(0)) == (0, 1)


def test_whether_mail_found_no_room_is_remembered() -> None:
    allowance = Allowance(HALF_DAY, ceiling=50)
    assert allowance.room(0)
    assert not allowance.was_full
    allowance.take(0, 1)
    allowance.room(1)
    assert allowance.was_full


@given(
    ceiling=st.integers(1, 200_000),
    steps=st.lists(st.tuples(st.floats(0, 3600), st.integers(1, 5)), min_size=1, max_size=80),
)
def test_never_more_than_the_ceiling_nor_faster_than_its_spread(ceiling: int, steps: list[tuple[float, int]]) -> None:
    allowance = Allowance(HALF_DAY, ceiling=ceiling)
    now, sent = 0.0, 0
    for step, most in steps:
        now += step
        count = min(most * 1000, allowance.room(now))
        allowance.take(now, count)
        sent += count
        assert sent == allowance.used <= ceiling
        assert sent <= (now + HALF_DAY / BURSTS) * ceiling / HALF_DAY + 2


def test_a_day_that_is_tried_in_seconds_goes_in_seconds() -> None:
    allowance = Allowance(1.0, ceiling=5)
    assert allowance.room(0) == 5
