"""The gates of jobs with a clock of their own."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.structs import Rate
from mailagent.scheduling.jobs import JobGates
from mailagent.scheduling.lanes import Lane, LaneId
from mailagent.scheduling.limits import BURST_S


class Clock:
    """Time that goes when it is told to, and the timers that it lets off."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_at(self, at: float, call: Callable[[], None]) -> "Clock":
        self.timers.append((at, call))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def next(self) -> None:
        self.timers.sort(key=lambda timer: timer[0])
        at, call = self.timers.pop(0)
        self.now = max(self.now, at)
        call()


def lane(site: str, job: str = "spring") -> Lane:
    return Lane(("marketing", "news", "bulk", site, job), None)


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 300))
def test_no_rate_is_exceeded_and_no_lane_is_forgotten(count: int, lanes: int, mail: int) -> None:
    clock = Clock()
    turn = [lane(f"s{n}") for n in range(lanes)]
    known = {one.id: one for one in turn}
    gates = JobGates(lambda: clock.now, clock.call_at, lambda one: turn.append(known[one]))
    gates.apply({"spring": Rate(count=count, period_s=1)})
    left = {one.id: mail for one in turn}
    sent: dict[LaneId, list[float]] = {one.id: [] for one in turn}
    total = 0
    while any(left.values()):
        while turn:
            one = turn.pop(0)
            room = gates.room(one, left[one.id]) if left[one.id] else 0
            if room:
                gates.take("spring", room)
                left[one.id] -= room
                sent[one.id].append(clock.now)
                total += room
                turn.append(one)
                assert total <= count * (clock.now + BURST_S) + 1.001
        if any(left.values()):
            clock.next()
    assert total == lanes * mail


def test_a_job_without_a_rate_passes() -> None:
    clock = Clock()
    gates = JobGates(lambda: clock.now, clock.call_at, lambda one: None)
    assert gates.room(lane("a"), 500) == 500
    assert gates.may_enter("spring", 10_000)
    assert gates.limit("spring") is None


def test_new_mail_does_not_overtake_a_lane_in_line() -> None:
    clock = Clock()
    gates = JobGates(lambda: clock.now, clock.call_at, lambda one: None)
    gates.apply({"spring": Rate(count=1, period_s=1)})
    assert gates.may_enter("spring", 1)
    gates.take("spring", 1)
    assert gates.room(lane("a"), 5) == 0
    clock.now = 2.0
    assert not gates.may_enter("spring", 1)
    clock.next()
    assert gates.may_enter("spring", 1)


def test_what_was_not_used_is_given_back() -> None:
    clock = Clock()
    gates = JobGates(lambda: clock.now, clock.call_at, lambda one: None)
    gates.apply({"spring": Rate(count=10, period_s=1)})
    gates.take("spring", 5)
    gates.give_back("spring", 5)
    assert gates.room(lane("a"), 5) == 1


def test_a_rate_that_is_lifted_leaves_nobody_waiting_for_a_timer() -> None:
    clock = Clock()
    gates = JobGates(lambda: clock.now, clock.call_at, lambda one: None)
    gates.apply({"spring": Rate(count=1, period_s=3600)})
    gates.take("spring", 1)
    assert gates.room(lane("a"), 5) == 0
    gates.apply({})
    assert not clock.timers
    assert gates.room(lane("a"), 5) == 5
