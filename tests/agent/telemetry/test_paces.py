"""How quickly providers answer."""

import pytest

from mailagent.api.views import is_slow
from mailagent.telemetry.paces import ACCEPTED_MINUTES, LATEST_MESSAGES, LEAST_MINUTES, Pace, Paces


def minutes(pace: Pace, count: int, seconds: float) -> None:
    for _ in range(count):
        for _ in range(LATEST_MESSAGES):
            pace.answered(seconds)
        pace.tick()


def test_the_longer_of_greeting_and_answer_counts() -> None:
    paces = Paces()
    assert paces.get(("gmail", "mkt-1")) is None
    pace = paces.of("gmail", "mkt-1")
    assert pace.now_ms() is None
    for seconds in (0.1, 9.0, 0.12345):
        pace.answered(seconds)
    assert paces.get(("gmail", "mkt-1")) is pace
    assert pace.now_ms() == 120
    pace.greeted(3.04)
    assert pace.now_ms() == 3000


def test_a_provider_that_does_not_answer_at_all_is_slow_from_what_still_works() -> None:
    pace = Pace()
    assert pace.now_ms(()) is None
    pace.answered(0.1)
    assert pace.now_ms((40.0, 0.001, 50.0)) == 40_000


def test_the_rule_is_the_middle_of_minutes_with_mail() -> None:
    pace = Pace()
    minutes(pace, LEAST_MINUTES - 1, 0.2)
    pace.tick()  # no mail
    assert pace.usual_ms() is None
    minutes(pace, 1, 0.2)
    assert pace.usual_ms() == 200


def test_a_slow_hour_is_not_the_rule_and_a_slow_day_is() -> None:
    pace = Pace()
    minutes(pace, 10, 0.2)
    minutes(pace, ACCEPTED_MINUTES - 1, 4.0)
    assert (pace.now_ms(), pace.usual_ms()) == (4000, 200)
    minutes(pace, 1, 4.0)
    assert pace.usual_ms() == 4000


@pytest.mark.parametrize(
    ("answer", "usual", "slow"),
    [
        (900, 10, False),
        (1000, 10, True),
        (2900, 1000, False),
        (3000, 1000, True),
        (1900, None, False),
        (2000, None, True),
    ],
)
def test_slow_is_long_and_longer_than_usual(answer: float, usual: float | None, slow: bool) -> None:
    assert is_slow(answer, usual) is slow
