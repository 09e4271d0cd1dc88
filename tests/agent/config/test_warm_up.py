"""The `warm_up` section and the plan that it makes."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import PoolName, ProviderName
from mailagent.config import ConfigError, load_agent
from mailagent.config.structs import AgentConfig
from mailagent.config.warm_up import MOST_GROWTH, CourseEnds, PoolWarmUp, WarmUp, WarmUpPlan

HOST = """\
host: mx1
virtual_mtas: {a1: {address: 127.0.0.1}, a2: {address: 127.0.0.2}}
pools: {default: {active: [a1], warming: [a2], warm_up: {%s}}}
streams: {default: {pool: default}}
warm_up: {%s}
"""
GMAIL, OUTLOOK, YAHOO = ProviderName("gmail"), ProviderName("outlook"), ProviderName("yahoo")


def load(directory: Path, shared: str = "", pool: str = "") -> AgentConfig:
    file = directory / "agent.yaml"
    file.write_text(HOST % (pool, shared), encoding="utf-8")
    return load_agent(file)


def plan(config: AgentConfig) -> WarmUpPlan:
    return WarmUpPlan(config.warm_up, config.pools[PoolName("default")].warm_up)


def test_what_nobody_says_is_six_weeks_to_fifty_thousand_a_day(tmp_path: Path) -> None:
    shipped = plan(load(tmp_path))
    assert shipped.enabled
    assert (shipped.days, shipped.day_s, shipped.spread_s) == (42, 86_400, 43_200)
    assert [shipped.ceiling(one, 0) for one in (GMAIL, OUTLOOK, YAHOO)] == [100, 20, 50]
    assert [shipped.ceiling(one, 41) for one in (GMAIL, OUTLOOK, YAHOO)] == [50_000] * 3
    assert [shipped.ceiling(YAHOO, day) for day in (0, 7, 14, 21, 28, 35)] == [50, 163, 529, 1_720, 5_594, 18_195]


def test_the_growth_of_a_published_plan() -> None:
    # 20 messages an hour on the first day, 16,734 on day 21: 1.4 a day (handbook/deliverability 6.1)
    assert WarmUpPlan(WarmUp(weeks=3, start=20, target=16_734)).growth(YAHOO) == pytest.approx(1.4, abs=0.01)


def test_a_pool_says_it_otherwise_and_a_provider_before_all(tmp_path: Path) -> None:
    shared = "weeks: 8, start: 30, target: 9000, providers: {gmail: {start: 300, target: 90000}}, spread: 6h"
    own = plan(load(tmp_path, shared, "weeks: 4, start: 60, providers: {outlook: {target: 800}}"))
    assert own.days == 28
    assert own.spread_s == 6 * 3600
    assert [(own.start(one), own.target(one)) for one in (GMAIL, OUTLOOK, YAHOO)] == [
        (60, 90_000),
        (60, 800),
        (60, 9_000),
    ]


def test_a_small_target_bounds_the_shipped_start() -> None:
    assert WarmUpPlan(WarmUp(target=30)).start(GMAIL) == 30


def test_a_pool_may_do_without(tmp_path: Path) -> None:
    assert not plan(load(tmp_path, "", "enabled: false")).enabled
    assert plan(load(tmp_path, "enabled: false", "enabled: true")).enabled


@pytest.mark.parametrize(
    ("shared", "pool", "message"),
    [
        ("weeks: 1, target: 100000", "", "warm_up: would grow 3.2 times a day at gmail, from 100 to 100,000 in 7 days"),
        ("", "weeks: 2, target: 1000000", "pools.default.warm_up: would grow 2.0 times a day at gmail"),
        ("start: 500, target: 100", "", "warm_up: would begin with 500 a day, above its target of 100"),
        ("providers: {gmail: {start: 60000}}", "", "warm_up.providers.gmail: would begin with 60,000 a day"),
        ("providers: {gmial: {start: 10}}", "", "warm_up.providers.gmial: `gmial` is none of the providers"),
        ("", "providers: {gmial: {start: 10}}", "pools.default.warm_up.providers.gmial: `gmial` is none"),
        ("weeks: 53", "", "warm_up.weeks: must be at most 52"),
        ("day: 2d", "", "warm_up.day: must be from 1s to 1d"),
        ("day: 500ms", "", "warm_up.day: must be from 1s to 1d"),
        ("spread: 25h", "", "warm_up.spread: must be from 1s to the length of a day"),
        ("weeks: 0", "", "`0` is no whole number from 1 on"),
    ],
)
def test_mistakes_are_told_with_their_key(tmp_path: Path, shared: str, pool: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, shared, pool)
    assert message in str(caught.value)


@given(weeks=st.integers(1, 52), start=st.integers(1, 10_000), factor=st.integers(1, 120))
def test_ceilings_rise_from_start_to_target_and_never_too_fast(weeks: int, start: int, factor: int) -> None:
    own = WarmUpPlan(WarmUp(weeks=weeks), PoolWarmUp(providers={GMAIL: CourseEnds(start=start, target=start * factor)}))
    ceilings = [own.ceiling(GMAIL, day) for day in range(own.days + 3)]
    assert ceilings[0] == start
    assert ceilings[own.days - 1 :] == [start * factor] * 4
    assert ceilings == sorted(ceilings)
    if own.growth(GMAIL) <= MOST_GROWTH:
        assert all(after <= before * MOST_GROWTH + 1 for before, after in pairwise(ceilings))


def test_a_day_shorter_than_the_spread_is_its_own_spread() -> None:
    assert WarmUpPlan(WarmUp(day=timedelta(seconds=60))).spread_s == 60
