"""Lines of a Postfix log, real ones first."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.postfix.log.lines import (
    MAX_TEXT,
    Activated,
    Arrived,
    Expired,
    Identified,
    Line,
    LineParser,
    Ordered,
    Removed,
    Tried,
)

SAMPLES = Path(__file__).parents[3] / "data" / "postfix"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
_ABOUT_NO_MESSAGE = (
    b"connect", b"tification:", b"reject:", b"warning:", b"master[", b"script[", b"statistics:", b"message", b"cannot",
    b"compatib", b" postfix[",
)  # fmt: skip
HEAD = "Nov 23 01:12:18 mx1 postfix/"
TRIED = (
    "to=<u@a.example>, relay=mx1.a.example[192.0.2.9]:25, delay=1.5, delays=0.1/0.2/0.9/0.3, dsn=2.0.0,"
    " status=sent (250 2.0.0 Ok: queued as 4F2)"
)


def parser(now: datetime = NOW) -> LineParser:
    return LineParser(now=lambda: now, zone=UTC)


def read(text: str, now: datetime = NOW) -> Line | None:
    return parser(now).syslog(text.encode())


def tried(text: str) -> Tried:
    line = read(f"{HEAD}smtp[7]: 4jXnwf43Y2zJMHh: {text}")
    assert isinstance(line, Tried)
    return line


@pytest.mark.parametrize(
    ("name", "tries"), [("long-ids.log", 53), ("short-ids.log", 20), ("3.5.log", 30), ("3.11.log", 29)]
)
def test_every_line_about_a_message_in_a_real_log_is_understood(name: str, tries: int) -> None:
    one = parser()
    kinds: Counter[str] = Counter()
    for raw in (SAMPLES / name).read_bytes().splitlines():
        line = one.syslog(raw)
        kinds[type(line).__name__] += 1
        if line is None:  # of processes, of connections, of bounces under way, of recipients refused by smtpd
            assert any(word in raw for word in _ABOUT_NO_MESSAGE), raw
    assert kinds["Tried"] == tries
    assert one.unread == 0


def test_a_message_of_a_real_log() -> None:
    one = parser()
    found = [line for raw in (SAMPLES / "long-ids.log").read_bytes().splitlines() if (line := one.syslog(raw))]
    lines = [line for line in found if line.id == "4jXnwf45THzJMHj"]
    at = datetime(2026, 11, 23, 1, 12, 18, tzinfo=UTC).timestamp()
    assert lines[0] == Arrived(at, "postfix", "smtpd", "4jXnwf45THzJMHj", "localhost[127.0.0.1]")
    assert isinstance(lines[1], Identified)
    assert lines[2] == Activated(at, "postfix", "qmgr", "4jXnwf45THzJMHj", "news@shop.example", 331, 4)
    outcomes = [(line.recipient, line.status, line.dsn) for line in lines if isinstance(line, Tried)]
    assert outcomes[:4] == [
        ("defer@a.example", "deferred", "4.7.1"),
        ("full@a.example", "deferred", "4.2.2"),
        ("unknown@a.example", "bounced", "5.1.1"),
        ("ok@a.example", "sent", "2.0.0"),
    ]
    assert [line.act for line in lines if isinstance(line, Ordered)] == ["expired"]
    assert [line.forced for line in lines if isinstance(line, Expired)] == [True]
    assert isinstance(lines[-1], Removed)


def test_a_try_has_where_it_went_and_how_long_it_took() -> None:
    line = tried(TRIED)
    assert (line.name, line.service) == ("postfix", "smtp")
    assert (line.relay, line.remote) == ("mx1.a.example", "192.0.2.9:25")
    assert (line.delay_s, line.delays) == (1.5, (0.1, 0.2, 0.9, 0.3))
    assert (line.status, line.text) == ("sent", "250 2.0.0 Ok: queued as 4F2")


@pytest.mark.parametrize(
    ("relay", "host", "remote"),
    [
        ("none", "none", ""),
        ("local", "local", ""),
        ("mx.a.example[2001:db8::9]:25", "mx.a.example", "[2001:db8::9]:25"),
        ("a.example[private/dovecot-lmtp]", "a.example", "private/dovecot-lmtp"),
        ("mx1.a.example[192.0.2.9]:25, conn_use=3", "mx1.a.example", "192.0.2.9:25"),
    ],
)
def test_relays_of_all_kinds(relay: str, host: str, remote: str) -> None:
    line = tried(TRIED.replace("mx1.a.example[192.0.2.9]:25", relay))
    assert (line.relay, line.remote) == (host, remote)


def test_what_newer_versions_say_about_tls_is_taken() -> None:
    assert tried(TRIED.replace("0.3, dsn", "0.3, tls=dane, dsn")).tls == "dane"
    assert tried(TRIED.replace("0.3, dsn", "0.3, tls=may/none?, later=1, dsn")).tls == "may/none?"
    assert tried(TRIED).tls == ""


def test_a_recipient_in_quotes_says_nothing_else() -> None:
    hostile = '"x>, relay=evil, delay=1, delays=1/1/1/1, dsn=2.0.0, status=sent (y"@a.example'
    line = tried(TRIED.replace("u@a.example", hostile).replace("status=sent (250", "status=bounced (550"))
    assert (line.recipient, line.status, line.relay) == (hostile, "bounced", "mx1.a.example")


def test_a_sender_in_quotes_does_not_expire_mail() -> None:
    sender = '"x>, status=expired, returned to sender"@a.example'
    line = read(f"{HEAD}qmgr[7]: 4jXnwf43Y2zJMHh: from=<{sender}>, size=10, nrcpt=1 (queue active)")
    assert isinstance(line, Activated)
    assert line.sender == sender


def test_a_reply_may_say_what_it_wants() -> None:
    reply = "250 to=<x@y>, relay=none, delay=0, delays=0/0/0/0, dsn=5.0.0, status=bounced (no)"
    line = tried(TRIED.replace("250 2.0.0 Ok: queued as 4F2", reply))
    assert (line.recipient, line.status, line.text) == ("u@a.example", "sent", reply)


def test_a_line_cut_by_syslog_keeps_its_outcome() -> None:
    assert tried(TRIED[:-20]).status == "sent"
    assert len(tried(TRIED.replace("queued", "x" * 9000)).text) == MAX_TEXT


def test_a_try_that_is_not_understood_is_counted() -> None:
    one = parser()
    assert one.syslog(f"{HEAD}smtp[7]: 4jXnwf43Y2zJMHh: to=<u@a.example>, something new".encode()) is None
    assert one.unread == 1


def test_who_handed_it_in() -> None:
    line = read(f"{HEAD}submission/smtpd[7]: 9D1A32E1B: client=app[192.0.2.5], sasl_method=PLAIN, sasl_username=shop")
    assert isinstance(line, Arrived)
    assert (line.name, line.service, line.client, line.user) == (
        "postfix/submission",
        "smtpd",
        "app[192.0.2.5]",
        "shop",
    )
    line = read(f"{HEAD}pickup[7]: 4jXnwy3tFlzJLvt: uid=103 from=<a@b.example> orig_id=4jXnwf446ZzJLyr")
    assert isinstance(line, Arrived)
    assert (line.client, line.original) == ("uid=103", "4jXnwf446ZzJLyr")


@pytest.mark.parametrize(
    ("prefix", "at"),
    [
        ("2026-11-23T01:12:18.250000+00:00", datetime(2026, 11, 23, 1, 12, 18, 250000, tzinfo=UTC)),
        ("2026-11-23T01:12:18+01:00", datetime(2026, 11, 23, 0, 12, 18, tzinfo=UTC)),
        ("2026-11-23T01:12:18.5Z", datetime(2026, 11, 23, 1, 12, 18, 500000, tzinfo=UTC)),
        ("2026-11-23T01:12:18", datetime(2026, 11, 23, 1, 12, 18, tzinfo=UTC)),
    ],
)
def test_dates_of_rfc_3339(prefix: str, at: datetime) -> None:
    line = read(f"{prefix} mx1 postfix/qmgr[7]: 4jXnwf43Y2zJMHh: removed")
    assert line is not None
    assert line.at == at.timestamp()


@pytest.mark.parametrize(
    ("day", "now", "year"),
    [
        ("Nov 23", NOW, 2026),
        ("Nov 24", NOW, 2026),  # a clock that runs ahead
        ("Nov 25", NOW, 2025),
        ("Dec 31", datetime(2027, 1, 1, 1, tzinfo=UTC), 2026),
        ("Jan  1", datetime(2026, 12, 31, 23, 59, tzinfo=UTC), 2027),
        ("Feb 29", NOW, 2024),
    ],
)
def test_the_year_is_the_last_that_fits(day: str, now: datetime, year: int) -> None:
    line = read(f"{day} 01:12:18 mx1 postfix/qmgr[7]: 4jXnwf43Y2zJMHh: removed", now)
    assert line is not None
    assert datetime.fromtimestamp(line.at, UTC).year == year


def test_what_lies_ahead_is_no_line() -> None:
    assert read("2027-11-23T01:12:18Z mx1 postfix/qmgr[7]: 4jXnwf43Y2zJMHh: removed") is None
    assert parser().journal(journal(MESSAGE="x", __REALTIME_TIMESTAMP="9" * 400)) is None


def test_times_are_those_of_the_zone_they_were_written_in() -> None:
    one = LineParser(now=lambda: NOW, zone=timezone(timedelta(hours=2)))
    line = one.syslog(f"{HEAD}qmgr[7]: 4jXnwf43Y2zJMHh: removed".encode())
    assert line is not None
    assert line.at == datetime(2026, 11, 22, 23, 12, 18, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "at"),
    [
        (datetime(2026, 10, 25, 0, 30, 20, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, 18, tzinfo=UTC)),  # summer time
        (datetime(2026, 10, 25, 1, 30, 20, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, 18, tzinfo=UTC)),
        (datetime(2026, 10, 25, 1, 30, 15, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, 18, tzinfo=UTC)),
        (datetime(2026, 10, 26, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, 18, tzinfo=UTC)),
    ],
)
def test_the_hour_that_comes_twice_is_the_one_that_is_now(now: datetime, at: datetime) -> None:
    one = LineParser(now=lambda: now, zone=ZoneInfo("Europe/Berlin"))
    line = one.syslog(b"Oct 25 02:30:18 mx1 postfix/qmgr[7]: 4jXnwf43Y2zJMHh: removed")
    assert line is not None
    assert line.at == at.timestamp()


def journal(**fields: Any) -> bytes:
    base = {"__CURSOR": "s=1;i=7", "__REALTIME_TIMESTAMP": "1795396338250000", "SYSLOG_IDENTIFIER": "postfix/qmgr"}
    return json.dumps({**base, **fields}).encode()


def test_entries_of_the_journal() -> None:
    one = parser()
    parsed = one.journal(journal(MESSAGE="4jXnwf43Y2zJMHh: removed", PRIORITY="6"))
    assert parsed is not None
    assert parsed.cursor == "s=1;i=7"
    assert parsed.line == Removed(1795396338.25, "postfix", "qmgr", "4jXnwf43Y2zJMHh", deleted=False)
    as_bytes = one.journal(
        journal(MESSAGE=list(b"4jXnwf43Y2zJMHh: from=<\xff@a.example>, size=1, nrcpt=1 (queue active)"))
    )
    assert as_bytes is not None
    assert isinstance(as_bytes.line, Activated)
    assert as_bytes.line.sender == "\\xff@a.example"
    for other in (journal(MESSAGE=None), journal(MESSAGE="x", SYSLOG_IDENTIFIER="sshd")):
        parsed = one.journal(other)
        assert parsed is not None
        assert parsed.line is None
    assert one.journal(b"-- No entries --") is None
    assert one.journal(journal(MESSAGE=[999])) is None


@given(st.binary(max_size=300))
def test_anything_may_stand_in_a_log(raw: bytes) -> None:
    one = parser()
    one.syslog(raw)
    one.journal(raw)
    one.syslog(HEAD.encode() + b"smtp[7]: 4jXnwf43Y2zJMHh: " + raw)
    one.syslog(HEAD.encode() + b"smtp[7]: 4jXnwf43Y2zJMHh: to=<" + raw)


@given(st.text(alphabet='"<>\\,@ ax', max_size=2000))
def test_hostile_addresses_cost_no_time(text: str) -> None:
    read(f"{HEAD}smtp[7]: 4jXnwf43Y2zJMHh: to=<{text}>, relay=none")
    read(f"{HEAD}qmgr[7]: 4jXnwf43Y2zJMHh: from=<{text}")
