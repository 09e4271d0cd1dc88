"""What follows from a day of a course."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.classification import Category
from mailagent.api.ids import ProviderName, VmtaName
from mailagent.api.warm_up import WarmUpState
from mailagent.config.warm_up import WarmUp, WarmUpPlan
from mailagent.warming.course import IDLE_DAYS, KEPT_DAYS, Course

DAY = 86_400.0
PLAN = WarmUpPlan(WarmUp(weeks=4, start=100, target=50_000))


def course(day: int = 0) -> Course:
    return Course(vmta=VmtaName("mkt-3"), provider=ProviderName("gmail"), source="192.0.2.3", began=0.0, day=day)


def sent(one: Course, delivered: int, *, deferred: int = 0, bounced: int = 0, at: float | None = None) -> None:
    one.used += delivered + deferred + bounced
    one.count(delivered, deferred, bounced, one.began + DAY / 2 if at is None else at)


def over(one: Course) -> str:
    """The day ends."""
    return one.look(PLAN, one.began + DAY)


def test_a_good_day_leads_to_the_next() -> None:
    one = course()
    assert one.ceiling(PLAN) == 100
    sent(one, 100)
    assert one.look(PLAN, DAY - 1) == ""
    assert over(one) == ""
    assert one.ceiling(PLAN) == 126
    assert (one.used, one.attempts, one.began) == (0, 0, DAY)
    assert one.state(PLAN, DAY) is WarmUpState.CLIMBING
    assert [(past.day, past.ceiling, past.used, past.why) for past in one.past] == [(1, 100, 100, "")]


def test_half_the_ceiling_makes_a_day_count_and_less_does_not() -> None:
    one = course()
    sent(one, 50)
    over(one)
    assert one.day == 1
    sent(one, 62)  # of 126
    assert over(one) == ""
    assert (one.day, one.why) == (1, "held: 62 of 126 were delivered on the day before, half of it counts")
    assert one.state(PLAN, one.began) is WarmUpState.HELD


def test_a_provider_that_takes_nothing_teaches_nothing() -> None:
    one = course()
    sent(one, 0, deferred=100)  # no connection, say
    over(one)
    assert (one.day, one.why) == (0, "held: 0 of 100 were delivered on the day before, half of it counts")


def test_a_day_without_mail_changes_nothing_and_is_not_kept() -> None:
    one = course(day=5)
    over(one)
    assert (one.day, one.past) == (5, [])


@pytest.mark.parametrize(
    ("category", "permanent", "count", "why"),
    [
        (Category.RATE_LIMIT, False, 6, "held: 6 of 100 recipients throttled on the day before"),
        (Category.RATE_LIMIT, False, 5, ""),
        (Category.GREYLIST, False, 50, ""),
        (Category.MAILBOX_FULL, False, 50, ""),
    ],
)
def test_throttling_holds_and_greylisting_does_not(category: Category, permanent: bool, count: int, why: str) -> None:
    one = course()
    one.refused(category, permanent=permanent, count=count)
    sent(one, 100 - count, deferred=count)
    over(one)
    assert one.why == why
    assert one.day == (0 if why else 1)


def test_bounces_hold() -> None:
    one = course()
    sent(one, 96, bounced=4)
    over(one)
    assert one.why == "held: 4 of 100 recipients bounced on the day before"


def test_much_throttling_goes_back_two_days_at_once_and_once_a_day() -> None:
    one = course(day=9)
    sent(one, 80, deferred=20)
    one.refused(Category.RATE_LIMIT, permanent=False, count=20)
    assert one.look(PLAN, 10.0) == "went back to day 8: 20 of 100 recipients throttled"
    assert one.day == 7
    assert one.look(PLAN, 11.0) == ""
    sent(one, 500)
    assert over(one) == ""
    assert (one.day, one.state(PLAN, one.began)) == (7, WarmUpState.HELD)  # the day that went back does not count
    sent(one, 500)
    over(one)
    assert one.day == 8


def test_blocks_pause_for_a_day() -> None:
    one = course(day=3)
    sent(one, 40, bounced=4)
    one.refused(Category.IP_BLOCKLIST, permanent=True, count=4)
    assert one.look(PLAN, 1000.0) == "paused for a day: 4 of 44 recipients refused as blocked"
    assert one.state(PLAN, 1000.0 + DAY - 1) is WarmUpState.PAUSED
    assert one.state(PLAN, 1000.0 + DAY) is WarmUpState.HELD
    assert one.look(PLAN, 2000.0) == ""
    over(one)
    sent(one, 200)
    over(one)
    assert one.day == 3  # the pause reached into this day
    sent(one, 200)
    over(one)
    assert one.day == 4


def test_one_block_among_few_is_no_sign() -> None:
    one = course()
    sent(one, 10, bounced=2)
    one.refused(Category.IP_REPUTATION, permanent=True, count=2)
    assert one.look(PLAN, 10.0) == ""


@pytest.mark.parametrize(
    ("complaints", "told"),
    [
        (2, ""),
        (4, "went back to day 9: 4 of 2,000 recipients complained about"),
        (7, "paused for a day: 7 of 2,000 recipients complained about"),
    ],
)
def test_complaints_of_a_day_by_what_was_delivered(complaints: int, told: str) -> None:
    one = course(day=10)
    sent(one, 2_000)
    one.complaints = complaints
    assert one.look(PLAN, 10.0) == told


def test_complaints_that_come_before_the_mail_of_the_day_are_about_the_mail_before() -> None:
    one = course(day=10)
    sent(one, 2_000)
    over(one)
    one.complaints = 1
    sent(one, 10)
    assert one.look(PLAN, one.began + 10) == ""
    one.complaints = 4
    assert one.look(PLAN, one.began + 20) == "went back to day 10: 4 of 2,000 recipients complained about"
    assert one.day == 9


def test_complaints_that_come_during_a_pause_do_not_make_it_longer() -> None:
    one = course(day=10)
    sent(one, 2_000)
    one.complaints = 7
    assert one.look(PLAN, DAY / 2) == "paused for a day: 7 of 2,000 recipients complained about"
    over(one)
    one.complaints = 4
    assert one.look(PLAN, 1.6 * DAY) == "went back to day 9: 4 of 2,000 recipients complained about"
    assert one.state(PLAN, 1.6 * DAY) is WarmUpState.HELD


def test_a_clock_that_was_ahead_makes_no_pause_longer() -> None:
    one = course(day=3)
    sent(one, 40, bounced=4)
    one.refused(Category.IP_BLOCKLIST, permanent=True, count=4)
    one.look(PLAN, 500 * DAY)
    assert one.look(PLAN, 10 * DAY) == ""
    assert one.state(PLAN, 11 * DAY) is not WarmUpState.PAUSED


def test_the_last_day_done_well_ends_the_plan() -> None:
    one = course(day=27)
    sent(one, 50_000)
    assert over(one) == "the plan is done"
    assert one.state(PLAN, one.began) is WarmUpState.DONE
    sent(one, 50_000)
    over(one)
    assert one.day == 28


def test_done_goes_back_into_the_plan() -> None:
    one = course(day=28)
    sent(one, 1_000, deferred=1_000)
    one.refused(Category.RATE_LIMIT, permanent=False, count=1_000)
    assert one.look(PLAN, 10.0) == "went back to day 26: 1,000 of 2,000 recipients throttled"
    assert one.state(PLAN, 10.0) is WarmUpState.HELD


def test_done_and_blocked_goes_back_to_the_last_day() -> None:
    one = course(day=28)
    sent(one, 1_000, bounced=100)
    one.refused(Category.IP_BLOCKLIST, permanent=True, count=100)
    assert one.look(PLAN, 10.0) == "paused for a day: 100 of 1,100 recipients refused as blocked"
    assert one.state(PLAN, 11.0 + DAY) is WarmUpState.HELD
    assert one.ceiling(PLAN) == 50_000


def test_a_month_of_silence_begins_anew() -> None:
    one = course(day=20)
    sent(one, 10_000, at=DAY - 1)
    over(one)
    assert one.day == 21
    assert one.look(PLAN, IDLE_DAYS * DAY) == ""
    assert one.look(PLAN, (IDLE_DAYS + 1) * DAY) == "begins anew: no mail for 30 days"
    assert (one.day, one.ceiling(PLAN)) == (0, 100)


def test_days_that_nobody_looked_are_one() -> None:
    one = course()
    sent(one, 100)
    one.look(PLAN, 5.5 * DAY)
    assert (one.day, one.began) == (1, 5 * DAY)


def test_a_clock_that_was_set_back_judges_nothing() -> None:
    one = course(day=4)
    one.began = 10 * DAY
    sent(one, 100)
    assert one.look(PLAN, 8.5 * DAY) == ""
    assert (one.day, one.used, one.began) == (4, 100, 8 * DAY)


@pytest.mark.parametrize(
    ("other", "day", "state"),
    [
        (WarmUp(weeks=2, start=100, target=50_000), 9, WarmUpState.CLIMBING),  # the 21st day would be behind its end
        (WarmUp(weeks=8, start=100, target=50_000), 40, WarmUpState.CLIMBING),
        (WarmUp(weeks=4, start=100, target=500_000), 14, WarmUpState.CLIMBING),
        (WarmUp(weeks=4, start=100, target=2_000), 27, WarmUpState.CLIMBING),
        (WarmUp(weeks=4, start=20_000, target=50_000), 0, WarmUpState.CLIMBING),
    ],
)
def test_in_another_plan_it_goes_on_with_what_it_has_earned(other: WarmUp, day: int, state: WarmUpState) -> None:
    one = course(day=20)
    one.look(PLAN, 10.0)
    plan = WarmUpPlan(other)
    for _ in range(3):
        one.look(plan, 11.0)
        assert (one.day, one.state(plan, 11.0)) == (day, state)
    assert one.ceiling(plan) <= max(PLAN.ceiling(one.provider, 20), plan.start(one.provider))


@pytest.mark.parametrize("weeks", [2, 8])
def test_done_is_done_in_another_plan_too(weeks: int) -> None:
    one = course(day=28)
    one.look(PLAN, 10.0)
    plan = WarmUpPlan(WarmUp(weeks=weeks, start=100, target=50_000))
    one.look(plan, 11.0)
    assert one.state(plan, 11.0) is WarmUpState.DONE
    assert one.day == plan.days


Event = st.tuples(st.integers(0, 4_000), st.integers(0, 300), st.integers(0, 100), st.sampled_from(Category))


@given(st.lists(Event, max_size=150))
def test_whatever_comes_a_course_stays_in_its_plan(events: list[tuple[int, int, int, Category]]) -> None:
    one = course()
    for n, (delivered, deferred, bounced, category) in enumerate(events):
        before = one.day
        sent(one, delivered, deferred=deferred, bounced=bounced, at=n * DAY / 3)
        one.refused(category, permanent=bool(bounced), count=max(deferred, bounced))
        one.look(PLAN, n * DAY / 3)
        assert 0 <= one.day <= PLAN.days
        assert one.day - before <= 1
        assert 1 <= one.ceiling(PLAN) <= 50_000
        assert len(one.past) <= KEPT_DAYS


def test_a_pause_that_is_over_is_told_as_such() -> None:
    one = course(day=3)
    sent(one, 40, bounced=4)
    one.refused(Category.IP_BLOCKLIST, permanent=True, count=4)
    one.look(PLAN, 1000.0)
    one.look(PLAN, 1000.0 + DAY)
    assert (one.state(PLAN, 1000.0 + DAY), one.why) == (
        WarmUpState.HELD,
        "was paused for a day: 4 of 44 recipients refused as blocked",
    )
