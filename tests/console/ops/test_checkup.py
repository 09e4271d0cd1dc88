"""Thresholds against facts, and how people and monitoring systems read the verdicts."""

import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.directives import Directive, DirectiveKind, DirectiveView
from mailagent.api.ids import DirectiveId, HostName, OpId, ProviderName, StreamName
from mailagent.api.replies import InDoubtPage
from mailagent.api.reputation import Fault, Faults, IdentityKind, Listing, Weight
from mailagent.api.requests import HistoryScope
from mailagent.api.sums import SumRow, Sums
from mailagent.api.suppression import SuppressionPage
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import EngineState, MemberState, PoolState
from mailagent.api.warm_up import WarmUpState
from mailagent.config.thresholds import (
    AgeLimits,
    CountLimits,
    RateLimits,
    ShareLimits,
    SpaceLimits,
    Thresholds,
    WaitLimits,
)
from mailctl.cli.checkup_text import checkup_text
from mailctl.cli.main import cli
from mailctl.cli.nagios import nagios
from mailctl.fleet import FleetState, HostState, LinkState
from mailctl.ops.checkup import CHECKS, Level, Measured, Unit, Verdict, checkup, judge, worst_of
from mailctl.ops.facts import Answers, Facts
from mailctl.ops.selector import parse
from tests.console import records
from tests.console.loopback import LoopbackAgent
from tests.console.records import warming

NOW = datetime(2026, 9, 1, 14, tzinfo=UTC)
MX1, MX2 = HostName("mx1"), HostName("mx2")
SNAPSHOT = LoopbackAgent("mx1", 0, Path("/none")).snapshot()
QUIET = Thresholds()
WARMING = warming("gmail")


def facts(host: dict[str, Any] | None = None, *, lost: bool = False, **fields: Any) -> Facts:
    """mx1 alone, with `host` in its view; with `lost` mx2 beside it."""
    snapshot = msgspec.structs.replace(
        SNAPSHOT,
        host=msgspec.structs.replace(SNAPSHOT.host, **(host or {})),
        **{name: fields.pop(name) for name in ("pools", "directives", "vmtas") if name in fields},
    )
    hosts: tuple[HostState, ...] = (HostState(name=MX1, state=LinkState.LIVE, snapshot=snapshot),)
    if lost:
        hosts += (HostState(name=MX2, state=LinkState.LOST, error="reset"),)
    return Facts(at=NOW, state=FleetState(hosts=hosts), hosts=hosts, **fields)


def sums(delivered: int, deferred: int = 0, bounced: int = 0, received: int = 0) -> Answers:
    row = SumRow(
        scope=HistoryScope.PROVIDER,
        name="gmail",
        received=received,
        delivered=delivered,
        deferred=deferred,
        bounced=bounced,
    )
    rows = tuple(
        msgspec.structs.replace(row, scope=scope, name=name)
        for scope, name in (
            (HistoryScope.PROVIDER, "gmail"),
            (HistoryScope.STREAM, "news"),
            (HistoryScope.POOL, "marketing"),
        )
    )
    return Answers({MX1: Sums(since=NOW, until=NOW, rows=rows)})


def verdict(name: str, found: Facts, thresholds: Thresholds = QUIET) -> Verdict:
    return next(one for one in checkup(found, thresholds) if one.name == name)


def crossed(name: str, found: Facts, thresholds: Thresholds = QUIET) -> list[tuple[str, str, float]]:
    return [(one.level, one.subject, one.value) for one in verdict(name, found, thresholds).crossed]


@pytest.mark.parametrize(
    ("unit", "value", "limits", "level"),
    [
        (Unit.COUNT, 0, CountLimits(warning=1, critical=2), "ok"),
        (Unit.COUNT, 1, CountLimits(warning=1, critical=2), "warning"),
        (Unit.COUNT, 2, CountLimits(warning=1, critical=2), "critical"),
        (Unit.COUNT, 9, CountLimits(), "ok"),
        (Unit.COUNT, 9, CountLimits(critical=9), "critical"),
        (Unit.SHARE, 0.05, ShareLimits(warning=0.05), "ok"),
        (Unit.SHARE, 0.051, ShareLimits(warning=0.05), "warning"),
        (Unit.AGE, 61, AgeLimits(warning=timedelta(minutes=1)), "warning"),
        (Unit.AGE, 60, AgeLimits(warning=timedelta(minutes=1)), "ok"),
        (Unit.SPACE, 100, SpaceLimits(warning_bytes=100), "ok"),
        (Unit.SPACE, 99, SpaceLimits(warning_bytes=100, critical_bytes=50), "warning"),
        (Unit.SPACE, 49, SpaceLimits(warning_bytes=100, critical_bytes=50), "critical"),
    ],
)
def test_a_value_crosses_on_its_side(unit: Unit, value: float, limits: Any, level: str) -> None:
    assert judge("x", unit, [Measured("a", value, limits)], {}).level == level


def test_a_well_fleet_is_ok_and_a_lost_host_is_named_by_every_threshold_that_lacks_it() -> None:
    assert {one.level for one in checkup(facts(), QUIET)} == {Level.OK}
    missing = {MX2: "lost: reset"}
    answers: Any = {name: Answers({}, missing) for name in ("sums", "ages", "in_doubt", "events", "suppressions")}
    found = {one.name: one for one in checkup(facts(lost=True, **answers), QUIET)}
    assert found.keys() == CHECKS.keys()
    assert found.pop("unreachable").level is Level.WARNING
    for one in found.values():
        assert one.level is Level.UNKNOWN, one.name
        assert [(left.host, left.why) for left in one.unchecked] == [("mx2", "lost: reset")]


def test_hosts_are_measured() -> None:
    assert crossed("refusing", facts({"accepting": False, "intake_reason": "disk full"})) == [("warning", "fleet", 1)]
    broken = facts({"accepting": False, "state": EngineState.FAILED})
    assert crossed("refusing", broken) == [("critical", "fleet", 1)]
    assert crossed("waiting", facts({"waiting": 50_000})) == [("warning", "host mx1", 50_000)]
    assert crossed("window", facts({"window": 19_000})) == [("warning", "host mx1", 0.95)]
    assert crossed("disk_free", facts({"disk_free_bytes": 1 << 30})) == [("critical", "host mx1", 1 << 30)]


def test_a_pool_that_is_suspended_on_its_only_host_is_critical() -> None:
    pools = (msgspec.structs.replace(SNAPSHOT.pools[0], state=PoolState.SUSPENDED, reason="by alice"),)
    (reading,) = verdict("stopped", facts(pools=pools)).crossed
    assert (reading.level, reading.subject, reading.detail) == (
        "critical",
        "pool marketing",
        "mx1: suspended by alice",
    )


def test_a_host_that_only_has_reserves_of_a_pool_is_not_meant_to_send() -> None:
    pool = SNAPSHOT.pools[0]
    spare = msgspec.structs.replace(pool, state=PoolState.EMPTY, reason="mkt-1 is standby")
    (mx1,) = facts(pools=(pool,)).hosts
    reserve = replace(mx1, name=MX2, snapshot=msgspec.structs.replace(SNAPSHOT, pools=(spare,)))
    both = replace(facts(), hosts=(mx1, reserve), state=FleetState(hosts=(mx1, reserve)))
    assert crossed("stopped", both) == []
    alone = replace(facts(), hosts=(reserve,), state=FleetState(hosts=(reserve,)))
    assert crossed("stopped", alone) == [("critical", "pool marketing", 1)]


@pytest.mark.parametrize(
    ("delivered", "deferred", "level"),
    [(95, 5, "ok"), (90, 11, "warning"), (0, 100, "ok"), (0, 101, "critical"), (949, 51, "warning"), (951, 49, "ok")],
)
def test_deferrals_are_a_share_of_more_than_the_least_events(delivered: int, deferred: int, level: str) -> None:
    found = verdict("deferrals", facts(sums=sums(delivered, deferred)))
    assert found.level == level
    assert found.subjects == (3 if delivered + deferred > 100 else 0)


def test_names_may_have_limits_of_their_own() -> None:
    limits = RateLimits(
        warning=0.05,
        providers={ProviderName("gmail"): ShareLimits(critical=0.05)},
        streams={StreamName("news"): ShareLimits()},
    )
    found = crossed("deferrals", facts(sums=sums(900, 100)), Thresholds(deferrals=limits))
    assert found == [("critical", "provider gmail", 0.1), ("warning", "pool marketing", 0.1)]
    ages = Answers({MX1: msgspec.structs.replace(records.ages(), counted_at=NOW)})
    assert crossed("oldest", facts(ages=ages)) == []
    strict = WaitLimits(streams={StreamName("news"): AgeLimits(critical=timedelta(hours=1))})
    assert crossed("oldest", facts(ages=ages), Thresholds(oldest=strict)) == [
        ("critical", "stream news to gmail", 7200)
    ]


def test_growth_bounces_duplicates_and_events() -> None:
    assert crossed("growth", facts(sums=sums(1000, 0, 500, 12_000))) == [("warning", "pool marketing", 10_500)]
    assert crossed("bounces", facts(sums=sums(970, 0, 30)))[0] == ("warning", "pool marketing", 0.03)
    assert crossed("events", facts(events=Answers({MX1: records.events()}))) == [
        ("critical", "sink app of host mx1", 7200)
    ]
    pending = Answers({MX1: SuppressionPage(rows=(), pending=7)})
    assert crossed("undecided", facts(suppressions=pending)) == [("warning", "host mx1", 7)]
    unborn = msgspec.structs.replace(records.ages(), counted_at=None)
    assert [one.why for one in verdict("oldest", facts(ages=Answers({MX1: unborn}))).unchecked] == [
        "not counted yet since the agent started"
    ]


def test_warm_up_that_is_paused_is_counted_by_address() -> None:
    paused = msgspec.structs.replace(WARMING, state=WarmUpState.PAUSED, why="paused for a day: 4 of 44 blocked")
    first, second, *others = SNAPSHOT.vmtas
    vmtas = (
        msgspec.structs.replace(first, warm_up=(WARMING, paused)),
        msgspec.structs.replace(second, warm_up=(WARMING,)),
        *others,
    )
    assert crossed("warm_up", facts(vmtas=vmtas)) == [("warning", f"virtual MTA {first.name}", 1)]
    worst = verdict("warm_up", facts(vmtas=vmtas)).worst
    assert worst is not None
    assert worst.detail == "gmail: paused for a day: 4 of 44 blocked"
    assert crossed("warm_up", facts()) == []


def test_standbys_that_are_silent_for_long_are_told_and_no_others() -> None:
    month = NOW - timedelta(days=29)
    vmtas = tuple(msgspec.structs.replace(one, last_at=month) for one in SNAPSHOT.vmtas)
    standbys = {f"standby {one.name}" for one in vmtas if one.state is MemberState.STANDBY}
    assert {subject for _, subject, _ in crossed("silent", facts(vmtas=vmtas))} == standbys
    fresh = tuple(msgspec.structs.replace(one, last_at=NOW - timedelta(days=24)) for one in SNAPSHOT.vmtas)
    assert crossed("silent", facts(vmtas=fresh)) == []
    assert crossed("silent", facts()) == []  # nothing is known


def test_what_receivers_mind_is_counted_by_address_and_by_pool() -> None:
    fault = Fault(kind=IdentityKind.SPF, domain="news.example", sentence="spf of news.example: there is none")
    faults = Faults(count=1, told=(fault,))
    first, *others = SNAPSHOT.vmtas
    pool, *rest = SNAPSHOT.pools
    vmtas = (msgspec.structs.replace(first, faults=faults), *others)
    pools = (msgspec.structs.replace(pool, faults=faults), *rest)
    assert sorted(crossed("identity", facts(vmtas=vmtas, pools=pools))) == [
        ("warning", f"pool {pool.name}", 1),
        ("warning", f"virtual MTA {first.name}", 1),
    ]
    assert crossed("identity", facts()) == []
    unasked = (msgspec.structs.replace(first, identity_unknown=2), *others)
    assert [one.why for one in verdict("identity", facts(vmtas=unasked)).unchecked] == [
        "2 answers about its addresses are missing: mailctl identity host:mx1"
    ]


@pytest.mark.parametrize(
    ("weights", "level"),
    [
        ((Weight.LOW,), "warning"),
        ((Weight.LOW,) * 2, "critical"),
        ((Weight.HIGH,), "critical"),
    ],
)
def test_an_address_on_a_list_that_large_receivers_ask_is_critical(weights: tuple[Weight, ...], level: str) -> None:
    listings = tuple(
        Listing(zone=f"bl{n}.example", address="192.0.2.7", weight=weight, meaning="trap", since=NOW)
        for n, weight in enumerate(weights)
    )
    first, *others = SNAPSHOT.vmtas
    vmtas = (msgspec.structs.replace(first, listings=listings), *others)
    assert crossed("listed", facts(vmtas=vmtas)) == [(level, f"virtual MTA {first.name}", len(weights))]
    assert crossed("listed", facts()) == []
    unasked = msgspec.structs.replace(first, lists_unknown=7)
    assert [one.why for one in verdict("listed", facts(vmtas=(unasked, *others))).unchecked] == [
        "7 answers of block lists are missing: mailctl block-lists host:mx1"
    ]
    neighbours = msgspec.structs.replace(listings[0], weight=Weight.INFO)
    only = msgspec.structs.replace(first, listings=(neighbours,))
    assert crossed("listed", facts(vmtas=(only, *others))) == [], "a list that hardly anybody asks"


def test_an_order_of_a_person_gets_old_and_one_of_automation_does_not() -> None:
    order = Directive(
        id=DirectiveId("d1"),
        kind=DirectiveKind.DRAIN,
        target=Target(kind=TargetKind.POOL, name="marketing"),
        author="alice",
        reason="night shift",
        created_at=NOW - timedelta(days=2),
        expires_at=None,
        op_id=OpId("o1"),
    )
    other = msgspec.structs.replace(order, id=DirectiveId("d2"), op_id=OpId("o2"), rule="gmail.x", author="automation")
    views = tuple(DirectiveView(directive=one) for one in (order, other))
    (reading,) = verdict("orders", facts(directives=views)).crossed
    assert (reading.level, reading.subject) == ("warning", "drain pool:marketing by alice")
    assert reading.detail == "on mx1: night shift"


@given(st.lists(st.sampled_from(Level)))
def test_the_worst_does_not_depend_on_the_order(levels: list[Level]) -> None:
    assert worst_of(levels) is worst_of(reversed(levels))
    assert (worst_of(levels) is Level.OK) == (set(levels) <= {Level.OK})


def test_the_line_of_a_plugin() -> None:
    found = facts(
        {"disk_free_bytes": 3 << 30},
        lost=True,
        sums=replace(sums(800, 200), failed={MX2: "lost: reset | by\npeer"}),
    )
    verdicts = [one for one in checkup(found, QUIET) if one.name in ("deferrals", "disk_free", "events")]
    line, code = nagios(verdicts)
    assert code == 2
    text, _, data = line.partition(" | ")
    assert text == (
        "MAILCTL CRITICAL - deferrals 20% of pool marketing (limit 15%): 200 of 1,000 events; "
        "deferrals 20% of provider gmail (limit 15%): 200 of 1,000 events; "
        "deferrals 20% of stream news (limit 15%): 200 of 1,000 events; "
        "disk_free 3.0 GiB of host mx1 (limit 4.0 GiB); "
        "not checked on mx2 (lost: reset / by peer): deferrals; not checked on mx2 (lost: reset): disk_free"
    )
    assert data == ("'deferrals'=20%;5;15;0;100 'disk_free'=3221225472B;4294967296:;2147483648:;0 'events'=U")


def test_levels_become_the_codes_of_plugins() -> None:
    assert nagios(checkup(facts(), QUIET))[0].startswith(
        "MAILCTL OK - 18 checks, nothing crossed | 'unreachable'=0;0;1;0 "
    )
    assert nagios(checkup(facts(), QUIET))[1] == 0
    assert nagios(checkup(facts({"waiting": 60_000}), QUIET))[1] == 1
    assert nagios([judge("x", Unit.COUNT, [], {MX1: "no answer"})])[1] == 3


DATUM = re.compile(r"'[a-z_]+'=(U|-?\d+(\.\d+)?(s|%|B)?(;-?[\d.]*:?){2}(;0(;100)?)?)")


@given(
    st.sampled_from(Unit),
    st.lists(st.tuples(st.text(), st.floats(0, 1e12), st.text()), max_size=5),
    st.dictionaries(st.text().map(HostName), st.text(), max_size=3),
)
def test_whatever_hosts_say_a_plugin_says_one_line_that_can_be_read(
    unit: Unit, subjects: list[tuple[str, float, str]], missing: dict[HostName, str]
) -> None:
    measured = [Measured(name, value, ShareLimits(warning=0.1), detail) for name, value, detail in subjects]
    line, code = nagios([judge("x", unit, measured, missing)])
    assert line.isprintable() or not line.isascii()
    assert "\n" not in line
    assert line.count("|") == 1
    assert DATUM.fullmatch(line.split(" | ")[1])
    assert code in range(4)


def test_people_see_values_commands_and_what_is_not_known() -> None:
    text = checkup_text(checkup(facts({"waiting": 60_000}, lost=True), QUIET), None)
    assert "warning: waiting 60,000 of host mx1 (limit 50,000)\n  mailctl deferred host:mx1" in text
    lacks = "refusing, stopped, waiting, window, listed, identity, warm_up, silent, disk_free, orders"
    assert f"not checked on mx2 (lost: reset): {lacks}" in text


def test_the_commands_that_show_more_exist() -> None:
    answers: Any = {
        "sums": sums(800, 200, 100, 99_000),
        "ages": Answers({MX1: records.ages()}),
        "in_doubt": Answers({MX1: InDoubtPage(rows=())}),
        "events": Answers({MX1: records.events()}),
        "suppressions": Answers({MX1: SuppressionPage(rows=(), pending=7)}),
    }
    looks = {one.worst.look for one in checkup(facts(**answers), QUIET) if one.worst}
    assert len(looks) > 8
    for look in looks:
        command: click.Command = cli
        words = shlex.split(look)[1:]
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        context = command.make_context(look, words)
        parse(context.params.get("selection", ()))
