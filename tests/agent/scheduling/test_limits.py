from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.structs import Rate
from mailagent.scheduling.limits import BURST_S, Gate, RateLimit, connections_wanted


def test_an_hourly_limit_never_bursts() -> None:
    limit = RateLimit(Rate(count=60, period_s=3600))
    assert limit.delay_s(0) == 0
    limit.take(0)
    assert limit.delay_s(0) == 60
    assert limit.delay_s(59) == 1
    assert limit.delay_s(60) == 0


@given(
    count=st.integers(1, 5000),
    period_s=st.sampled_from([1, 60, 3600]),
    steps=st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
def test_never_more_than_the_rate_and_a_tenth_of_a_second(count: int, period_s: int, steps: list[float]) -> None:
    limit = RateLimit(Rate(count=count, period_s=period_s))
    now, sent = 0.0, 0
    for step in steps:
        now += step
        while sent < 10_000 and limit.delay_s(now) == 0:
            limit.take(now)
            sent += 1
    assert sent <= (now + BURST_S) * count / period_s + 2


def test_a_changed_rate_does_not_forget_what_went() -> None:
    limit = RateLimit(Rate(count=1, period_s=60))
    limit.take(0)
    limit.change(Rate(count=1, period_s=3600), 30)
    assert limit.delay_s(30) == 1800  # half of one message is still to be paid for
    limit.change(Rate(count=1, period_s=60), 30)
    assert limit.delay_s(30) == 30


@given(depth=st.integers(0, 10_000), limit=st.integers(1, 500))
def test_connections_grow_with_the_backlog_and_stay_below_both(depth: int, limit: int) -> None:
    wanted = connections_wanted(depth, limit)
    assert 0 <= wanted <= min(depth, limit)
    assert wanted <= connections_wanted(depth + 1, limit)
    assert wanted >= min(depth, 1)


def test_the_curve_has_the_published_points() -> None:
    assert [connections_wanted(depth, 32) for depth in (1, 10, 20, 32, 64)] == [1, 7, 12, 17, 25]


class Caller:
    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.calls = 0
        self.idle = 0

    def pump(self) -> None:
        self.calls += 1
        if self.gate.is_open:
            self.gate.enter()
        else:
            self.gate.wait(self)

    def give_way(self) -> bool:
        if not self.idle:
            return False
        self.idle -= 1
        self.gate.leave()
        return True


def test_a_full_gate_calls_those_in_line_in_turn() -> None:
    gate = Gate("provider_connections", 1, "providers.yaml")
    gate.enter()
    first, second = Caller(gate), Caller(gate)
    gate.wait(first)
    gate.wait(second)
    gate.wait(first)
    gate.leave()
    assert (first.calls, second.calls) == (1, 0)
    gate.leave()
    assert (first.calls, second.calls) == (1, 1)


def test_a_raised_limit_lets_the_line_in() -> None:
    gate = Gate("max_connections", 0, "")
    waiting = [Caller(gate) for _ in range(3)]
    for caller in waiting:
        gate.wait(caller)
    gate.limit = 2
    gate.call()
    assert [caller.calls for caller in waiting] == [1, 1, 0]


def test_an_idle_place_is_given_to_whoever_comes_and_a_busy_one_is_not() -> None:
    gate = Gate("provider_connections", 2, "")
    idle, busy, coming, next_one = (Caller(gate) for _ in range(4))
    for holder in (busy, idle):
        gate.enter()
        gate.idles(holder)
    idle.idle = 1
    gate.wait(coming)
    assert (coming.calls, gate.used, gate.is_wanted) == (1, 2, False)
    gate.wait(next_one)
    assert (next_one.calls, gate.is_wanted) == (0, True)
