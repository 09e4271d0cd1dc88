"""What people held re-enters at twice the usual pace."""

from datetime import UTC, datetime, timedelta

import pytest

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import DirectiveId, OpId, ProviderName, VmtaName
from mailagent.api.targets import Target, TargetKind
from mailagent.config.structs import Rate
from mailagent.control.easing import LEAST, MOST, Cell, Easing
from mailagent.control.state import HostState
from tests.agent.control.fleet import CONFIG

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
GMAIL = ProviderName("gmail"), VmtaName("mkt-1")
REST = ProviderName("default"), VmtaName("mkt-1")
OTHER = ProviderName("gmail"), VmtaName("tx-1")
PACES: dict[Cell, float] = {GMAIL: 3.0, REST: 2.5, OTHER: 5.0}


def order(kind: TargetKind, name: str, *, held: timedelta, by_rule: str = "", n: int = 1) -> Directive:
    return Directive(
        id=DirectiveId(f"o-{n}"),
        kind=DirectiveKind.DRAIN if kind is TargetKind.POOL else DirectiveKind.SUSPEND,
        target=Target(kind=kind, name=name),
        author="alice",
        reason="trouble",
        created_at=NOW - held,
        expires_at=None,
        op_id=OpId("o"),
        rule=by_rule,
    )


def ended(*before: Directive, after: tuple[Directive, ...] = ()) -> tuple[Easing, timedelta | None]:
    easing = Easing(lambda cell, _: PACES.get(cell, 0.0))
    return easing, easing.changed(CONFIG, HostState(CONFIG, before), HostState(CONFIG, after), NOW)


def rates(easing: Easing, now: datetime = NOW) -> dict[Cell, str]:
    return {cell: str(found["provider_rate"]) for cell in PACES if (found := easing.limits(cell, now))}


def test_each_cell_of_the_pool_sends_at_most_twice_what_it_sent_for_as_long_as_it_was_held() -> None:
    held = timedelta(minutes=10)
    easing, span = ended(order(TargetKind.POOL, "marketing", held=held))
    assert span == held
    assert rates(easing) == {GMAIL: str(Rate(count=360, period_s=60)), REST: str(Rate(count=300, period_s=60))}
    assert rates(easing, NOW + held) == {}
    limit = easing.limits(GMAIL, NOW)["provider_rate"]
    assert limit.origin == "twice the usual pace, since pool:marketing is no longer drained by alice: trouble"
    assert limit.release == "it ends at 12:10:00 UTC"


@pytest.mark.parametrize(
    ("kind", "name", "cells"),
    [
        (TargetKind.VMTA, "tx-1", {OTHER}),
        (TargetKind.PROVIDER, "gmail", {GMAIL, OTHER}),
        (TargetKind.CELL, "default/mkt-1", {REST}),
        (TargetKind.STREAM, "news", {GMAIL, REST}),
        (TargetKind.TRAFFIC, "gmail/news", {GMAIL}),
    ],
)
def test_it_concerns_what_was_held(kind: TargetKind, name: str, cells: set[Cell]) -> None:
    easing, _ = ended(order(kind, name, held=timedelta(minutes=2)))
    assert set(rates(easing)) == cells


def test_the_time_has_bounds() -> None:
    assert ended(order(TargetKind.POOL, "marketing", held=timedelta(seconds=40)))[1] == LEAST
    assert ended(order(TargetKind.POOL, "marketing", held=timedelta(days=1)))[1] == MOST
    assert ended(order(TargetKind.POOL, "marketing", held=timedelta(seconds=20)))[1] is None


def test_what_still_holds_or_is_of_automation_or_no_place_changes_nothing() -> None:
    held = timedelta(minutes=10)
    drain = order(TargetKind.POOL, "marketing", held=held)
    assert ended(drain, after=(drain,))[1] is None
    assert ended(drain, after=(order(TargetKind.POOL, "marketing", held=timedelta(0), n=2),))[1] is None
    assert ended(order(TargetKind.CELL, "gmail/mkt-1", held=held, by_rule="gmail.unusual-rate"))[1] is None
    assert ended(order(TargetKind.JOB, "spring", held=held))[1] is None


def test_where_the_usual_pace_is_not_known_it_doubles_every_minute() -> None:
    easing = Easing(lambda *_: 0.0)
    drain = order(TargetKind.POOL, "marketing", held=timedelta(minutes=10))
    easing.changed(CONFIG, HostState(CONFIG, (drain,)), HostState(CONFIG, ()), NOW)
    limits = [easing.limits(GMAIL, NOW + timedelta(minutes=minute)) for minute in (0, 1, 4, 10, -5)]
    counts = [found["provider_rate"].value.count if found else 0 for found in limits]  # type: ignore[union-attr]
    assert counts == [300, 600, 4800, 0, 300]
    assert limits[0]["provider_rate"].origin.startswith("twice as much every minute, since pool:marketing")
