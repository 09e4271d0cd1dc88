"""The maths of reports."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import HostName, OpId, ProviderName
from mailagent.api.operations import OperationRecord, Result
from mailagent.api.outcomes import BounceCount, ComplaintCount, DomainOutcomes, Outcomes
from mailagent.api.requests import HistoryScope
from mailagent.api.sums import SumRow, Sums
from mailagent.api.targets import Target, TargetKind
from mailagent.config.thresholds import RateLimits, ShareLimits, Thresholds
from mailctl.cli.report_text import day_text, deferral_text
from mailctl.ops.checkup import Level
from mailctl.ops.facts import Answers
from mailctl.ops.reports import DeferralReport, complaint_verdict, day_report, deferral_report, share

UNTIL = datetime(2026, 9, 1, 12, tzinfo=UTC)
SINCE = UNTIL - timedelta(hours=1)
MX1, MX2 = HostName("mx1"), HostName("mx2")
SHIPPED = Thresholds()


def sums(*rows: tuple[HistoryScope, str, int, int], since: datetime = SINCE) -> Sums:
    """Rows of scope, name, delivered, deferred."""
    made = [
        SumRow(scope=scope, name=name, received=delivered, delivered=delivered, deferred=deferred, bounced=1)
        for scope, name, delivered, deferred in rows
    ]
    return Sums(since=since, until=UNTIL, rows=tuple(made))


def outcomes(*domains: tuple[str, str, int, int], since: datetime = SINCE, **fields: Any) -> Outcomes:
    """Domains of provider, name, delivered, deferred."""
    made = [
        DomainOutcomes(provider=provider, domain=name, delivered=delivered, deferred=deferred, bounced=0)
        for provider, name, delivered, deferred in domains
    ]
    empty: dict[str, Any] = {"bounces": (), "complaints": ()}
    return Outcomes(since=since, until=UNTIL, domains=tuple(made), **(empty | fields))


def deferrals(
    *found: Outcomes, counted: Sums | None = None, thresholds: Thresholds = SHIPPED, **fields: Any
) -> DeferralReport:
    hosts = dict(zip((MX1, MX2), found, strict=False))
    return deferral_report(
        Answers({MX1: counted or sums()}),
        Answers(hosts),
        since=SINCE,
        until=UNTIL,
        thresholds=thresholds,
        **fields,
    )


def test_the_worst_come_first_and_domains_with_deferrals_only_are_there() -> None:
    found = deferrals(
        outcomes(("gmail", "gmail.com", 900, 100), ("", "dead.test", 0, 101), ("gmail", "well.test", 5000, 0)),
        outcomes(("gmail", "gmail.com", 950, 50), ("yahoo", "few.test", 60, 40), ("yahoo", "more.test", 60, 41)),
    )
    assert [(one.name, one.share, one.level) for one in found.domains] == [
        ("dead.test", 1.0, "critical"),
        ("more.test", round(41 / 101, 6), "critical"),
        ("gmail.com", 0.075, "warning"),
    ]
    assert found.level is Level.CRITICAL
    assert found.unchecked == ()


def test_providers_come_from_the_history_and_have_limits_of_their_own() -> None:
    counted = sums(
        (HistoryScope.PROVIDER, "gmail", 900, 100),
        (HistoryScope.PROVIDER, "yahoo", 800, 200),
        (HistoryScope.PROVIDER, "few", 0, 100),
        (HistoryScope.POOL, "marketing", 0, 1000),
    )
    easy = Thresholds(deferrals=RateLimits(warning=0.05, providers={ProviderName("yahoo"): ShareLimits(warning=0.5)}))
    found = deferrals(counted=counted, thresholds=easy)
    assert [(one.name, one.share, one.level) for one in found.providers] == [
        ("yahoo", 0.2, "ok"),
        ("gmail", 0.1, "warning"),
    ]
    assert [one.name for one in deferrals(counted=counted, providers=("gmail",)).providers] == ["gmail"]
    assert [one.name for one in deferrals(counted=counted, worst=1).providers] == ["yahoo"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 300), st.integers(0, 300))))
def test_a_fleet_is_the_sum_of_its_hosts(rows: list[tuple[str, str, int, int]]) -> None:
    half = len(rows) // 2
    split = deferrals(outcomes(*rows[:half]), outcomes(*rows[half:])).domains
    assert split == deferrals(outcomes(*rows)).domains
    assert [one.share for one in split] == sorted((one.share for one in split), reverse=True)
    for one in split:
        assert one.deferred
        assert one.deferred + one.delivered > 100
        assert one.share == pytest.approx(share(one.deferred, one.delivered), abs=1e-6)


def test_what_is_not_known_is_said() -> None:
    found = deferral_report(
        Answers({MX1: sums(since=SINCE + timedelta(minutes=30))}, {MX2: "lost: reset"}),
        Answers(
            {MX1: outcomes(since=SINCE + timedelta(minutes=5), unwritten=("t", "f"), truncated=True)},
            {MX2: "lost: reset"},
        ),
        since=SINCE,
        until=UNTIL,
        thresholds=Thresholds(),
    )
    assert [(one.host, one.why) for one in found.unchecked] == [
        ("mx2", "lost: reset"),
        ("mx1", "the history begins at 2026-09-01 11:30Z"),
        ("mx1", "accounting was counted from 2026-09-01 11:05Z on; raise --timeout"),
        ("mx1", "accounting has more domains than are told"),
        ("mx1", "accounting.records leaves out t"),
    ]
    assert "not known of mx2: lost: reset" in deferral_text(found, 80)
    assert "no domain with deferrals" in deferral_text(found, 80)


def operation(op_id: str, minutes: int, author: str = "alice", verb: str = "drain") -> OperationRecord:
    return OperationRecord(
        op_id=OpId(op_id),
        verb=verb,
        target=Target(kind=TargetKind.POOL, name="marketing"),
        filter=None,
        author=author,
        reason="Gmail",
        at=UNTIL - timedelta(minutes=minutes),
        result=Result.APPLIED,
        detail="drained",
    )


def test_a_day_has_flows_bounces_complaints_and_acts() -> None:
    counted = sums((HistoryScope.PROVIDER, "gmail", 1000, 50), (HistoryScope.HOST, "", 1000, 50))
    bad = BounceCount(category="bad-mailbox", provider="gmail", count=3)
    report = day_report(
        Answers({MX1: counted, MX2: counted}),
        Answers(
            {
                MX1: outcomes(bounces=(bad, BounceCount(category="spam", provider="yahoo", count=5))),
                MX2: outcomes(
                    bounces=(bad,),
                    complaints=(
                        ComplaintCount(provider="gmail", stream="news", count=5),
                        ComplaintCount(provider="yahoo", stream="news", count=9),
                    ),
                ),
            }
        ),
        Answers(
            {
                MX1: [operation("a.0", 1), operation("b", 2, "automation"), operation("old", 70)],
                MX2: [operation("a.0", 1), operation("c", 3, verb="console"), operation("s", 4, "mailagent", "start")],
            }
        ),
        since=SINCE,
        until=UNTIL,
    )
    assert [(row.scope, row.name, row.delivered) for row in report.flows] == [
        ("provider", "gmail", 2000),
        ("host", "mx1", 1000),
        ("host", "mx2", 1000),
    ]
    assert [(row.category, row.count, row.providers) for row in report.bounces] == [
        ("bad-mailbox", 6, {"gmail": 6}),
        ("spam", 5, {"yahoo": 5}),
    ]
    assert [(row.provider, row.count, row.delivered) for row in report.complaints] == [
        ("yahoo", 9, 0),
        ("gmail", 5, 2000),
    ]
    assert [(act.op_id, act.hosts) for act in report.operations] == [("a", ("mx1", "mx2"))]
    assert [act.op_id for act in report.automation] == ["b"]
    text = day_text(report, 100)
    assert "0.250%" in text
    assert "2026-09-01 11:59:00Z  drain" in text
    verdict = complaint_verdict(report, Thresholds())
    assert [(one.subject, one.value, one.level) for one in verdict.crossed] == [("provider gmail", 0.0025, "warning")]
