"""Outcomes counted from accounting files."""

import asyncio
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.api.accounting import EventType
from mailagent.api.errors import InvalidRequest
from mailagent.api.outcomes import OutcomesRequest
from mailagent.config.accounting import Accounting
from mailagent.outcome.accounting import AccountingLog
from mailagent.outcome.accounting import tally as module
from mailagent.outcome.accounting.tallies import Tallies
from mailagent.outcome.accounting.tally import tally
from tests.agent.outcome.records import NOW, written

Event = tuple[EventType, str, str]
events = st.tuples(
    st.sampled_from(EventType), st.sampled_from(["gmail", "yahoo", ""]), st.sampled_from(["a@One.test", "b@two.test"])
)


def line_of(number: int, kind: EventType, provider: str, recipient: str) -> bytes:
    category = "bad-mailbox" if kind is EventType.BOUNCED else ""
    return written(number, kind, recipient=recipient, provider=provider, category=category)


def fill(directory: Path, lines: list[Event]) -> None:
    log = AccountingLog(directory, Accounting(), clock=lambda: NOW.timestamp() + len(lines))
    for number, event in enumerate(lines):
        log.write([line_of(number, *event)])
    log.close()


@settings(max_examples=50)
@given(st.lists(events, max_size=40), st.integers(300, 3000), st.integers(0, 40), st.integers(1, 40))
def test_it_counts_what_the_lines_say(lines: list[Event], rotate: int, first: int, length: int) -> None:
    since, until = NOW + timedelta(seconds=first), NOW + timedelta(seconds=first + length)
    inside = lines[first : first + length]
    with tempfile.TemporaryDirectory() as name:
        at = NOW.timestamp()
        log = AccountingLog(Path(name), Accounting(rotate_bytes=rotate), clock=lambda: at)
        for number, event in enumerate(lines):
            at = NOW.timestamp() + number
            log.write([line_of(number, *event)])
        found = tally(Path(name), since, until, limit=100, within_s=60)
        log.close()
    assert (found.since, found.until, found.truncated) == (since, until, False)
    expected = Counter((provider, to.partition("@")[2].lower()) for kind, provider, to in inside if kind == "deferred")
    assert Counter({(one.provider, one.domain): one.deferred for one in found.domains}) == expected
    for one in found.domains:
        there = [kind for kind, provider, to in inside if provider == one.provider and to.lower().endswith(one.domain)]
        assert one.delivered == there.count(EventType.DELIVERED)
        assert one.bounced == there.count(EventType.BOUNCED) + there.count(EventType.EXPIRED)
    failed = [kind for kind, _, _ in inside if kind in ("bounced", "expired", "remote-bounced")]
    assert sum(one.count for one in found.bounces) == len(failed)
    assert sum(one.count for one in found.complaints) == [kind for kind, _, _ in inside].count(EventType.FEEDBACK)


def test_when_the_time_is_over_the_newest_files_count_and_the_answer_says_from_when(tmp_path: Path) -> None:
    at = NOW.timestamp()
    log = AccountingLog(tmp_path, Accounting(rotate_bytes=1), clock=lambda: at)
    for number in range(3):  # a file for each
        at = NOW.timestamp() + number
        log.write([line_of(number, EventType.DEFERRED, "gmail", "a@one.test")])
    ticks = iter([0.0, 0.0, 0.0, 5.0])  # the start, then one look for each file
    found = tally(tmp_path, NOW, NOW + timedelta(hours=1), limit=9, within_s=3, clock=lambda: next(ticks))
    log.close()
    (one,) = found.domains
    assert one.deferred < 3
    assert NOW < found.since <= NOW + timedelta(seconds=2)
    nothing = tally(tmp_path, NOW, NOW + timedelta(hours=1), limit=9, within_s=0)
    assert (nothing.domains, nothing.since) == ((), nothing.until)


def test_domains_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, [(EventType.DEFERRED, "gmail", f"a@{n}.test") for n in (1, 2, 3, 3)])
    end = NOW + timedelta(hours=1)
    found = tally(tmp_path, NOW, end, limit=1, within_s=60)
    assert ([(one.domain, one.deferred) for one in found.domains], found.truncated) == ([("3.test", 2)], True)
    assert tally(tmp_path, NOW, end, limit=3, within_s=60).truncated is False
    monkeypatch.setattr(module, "MAX_DOMAINS", 2)
    assert len(tally(tmp_path, NOW, end, limit=9, within_s=60).domains) == 2


async def test_a_process_counts_and_what_is_not_written_is_said(tmp_path: Path) -> None:
    fill(tmp_path, [(EventType.DEFERRED, "gmail", "a@one.test"), (EventType.BOUNCED, "gmail", "a@one.test")])
    tallies = Tallies(tmp_path, lambda: ("d", "b", "x"))
    request = OutcomesRequest(since=NOW, until=NOW + timedelta(hours=1))
    found, again = await asyncio.gather(tallies.outcomes(request), tallies.outcomes(request))
    assert found == again
    assert [(one.domain, one.deferred, one.bounced) for one in found.domains] == [("one.test", 1, 1)]
    assert [(one.category, one.count) for one in found.bounces] == [("bad-mailbox", 1)]
    assert found.unwritten == ("t", "f")
    with pytest.raises(InvalidRequest, match="before `until`"):
        await tallies.outcomes(OutcomesRequest(since=NOW, until=NOW))
    with pytest.raises(OSError, match=r"accounting files not counted: .*absent"):
        await Tallies(tmp_path / "absent", lambda: ()).outcomes(request)
