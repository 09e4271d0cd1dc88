"""PowerMTA's CSV: columns, values, and what stays right for readers that split at commas."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.accounting import LETTERS, EventType
from mailagent.api.classification import Category
from mailagent.outcome.accounting import AccountingRecord, event_id, line
from mailagent.outcome.accounting.pmta import BOUNCE_CATEGORIES, COLUMNS, PmtaCsv

POWERMTA_CATEGORIES = {
    "bad-configuration", "bad-connection", "bad-domain", "bad-mailbox", "content-related", "inactive-mailbox",
    "invalid-sender", "message-expired", "no-answer-from-host", "other", "policy-related", "protocol-errors",
    "quota-issues", "relaying-issues", "routing-errors", "spam-related", "virus-related",
}  # fmt: skip


def record(kind: EventType = EventType.DELIVERED, **more: Any) -> AccountingRecord:
    values: dict[str, Any] = {
        "event": event_id("0ABC", 0, 1, kind),
        "type": kind,
        "time": datetime(2030, 1, 1, 12, 0, 30, tzinfo=UTC),
        "host": "mx1",
        "message_id": "0ABC",
        "n": 0,
        "sender": "news@example.com",
        "recipient": "Bob@Two.test",
        "stream": "news",
        "pool": "marketing",
        "size_bytes": 10_240,
        "vmta": "mkt-1",
        "source": "192.0.2.11",
        "mx": "mx.two.test",
        "remote": "203.0.113.9:25",
        "code": 250,
        "enhanced": "2.0.0",
        "text": "Ok: queued, thanks",
        "queued_s": 30.0,
        "job": "spring",
        "extensions": "8BITMIME,SIZE",
    }
    return AccountingRecord(**(values | more))


def rows(*records: AccountingRecord, letters: tuple[str, ...] = tuple(LETTERS)) -> list[dict[str, str]]:
    made = PmtaCsv(letters)
    text = (made.header + made.rows([line(one) for one in records])).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_the_columns_are_those_of_powermta_in_their_order() -> None:
    assert PmtaCsv(("d", "b", "t")).header.decode() == (
        "type,timeLogged,timeQueued,orig,rcpt,orcpt,dsnAction,dsnStatus,dsnDiag,dsnMta,bounceCat,srcType,srcMta,dlvType,"
        "dlvSourceIp,dlvDestinationIp,dlvEsmtpAvailable,dlvSize,vmta,jobId,envId,queue,vmtaPool\n"
    )


def test_a_delivery_has_the_values_that_analysers_expect() -> None:
    (row,) = rows(record(), letters=("d",))
    assert row == dict(
        zip(
            COLUMNS,
            (
                "d", "2030-01-01 12:00:30+0000", "2030-01-01 12:00:00+0000", "news@example.com", "Bob@Two.test",
                "Bob@Two.test", "relayed", "2.0.0 (success)", "smtp;250 2.0.0 Ok: queued, thanks",
                "mx.two.test (203.0.113.9)", "success", "smtp", "", "smtp", "192.0.2.11", "203.0.113.9",
                "8BITMIME,SIZE", "10240", "mkt-1", "spring", "", "two.test/mkt-1", "marketing",
            ),
            strict=True,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "letter", "action", "status", "category"),
    [
        (EventType.BOUNCED, "b", "failed", "5.1.1 (bad destination mailbox address)", "bad-mailbox"),
        (EventType.EXPIRED, "b", "failed", "5.1.1 (bad destination mailbox address)", "message-expired"),
        (EventType.DEFERRED, "t", "delayed", "5.1.1 (bad destination mailbox address)", "bad-mailbox"),
        (EventType.REMOTE_BOUNCED, "rb", "failed", "5.1.1 (bad destination mailbox address)", "bad-mailbox"),
        (EventType.REMOTE_STATUS, "rs", "expanded", "5.1.1 (bad destination mailbox address)", "bad-mailbox"),
    ],
)
def test_types_have_their_letters(kind: EventType, letter: str, action: str, status: str, category: str) -> None:
    dsn_action = "expanded" if kind is EventType.REMOTE_STATUS else ""
    (row,) = rows(record(kind, code=550, enhanced="5.1.1", category="bad-mailbox", dsn_action=dsn_action))
    assert (row["type"], row["dsnAction"], row["dsnStatus"], row["bounceCat"]) == (letter, action, status, category)


def test_the_senders_orcpt_is_an_address_again() -> None:
    (row,) = rows(record(orcpt="rfc822;bob+2Bnews@two.test", envid="QQ314"))
    assert (row["orcpt"], row["envId"]) == ("bob+news@two.test", "QQ314")


def test_a_queue_without_connection_has_one_row_and_no_recipient() -> None:
    (row,) = rows(
        record(
            EventType.QUEUE_DEFERRED, recipient="", sender="", site="two.test", code=0, enhanced="", remote="", mx="",
            text="Connection refused",
        )
    )  # fmt: skip
    assert (row["type"], row["rcpt"], row["orcpt"], row["queue"]) == ("tq", "", "", "two.test/mkt-1")
    assert (row["dsnStatus"], row["dsnDiag"]) == ("4.4.2 (bad connection)", "x-mailagent;Connection refused")


def test_a_report_of_a_feedback_loop_has_columns_of_its_own() -> None:
    (row,) = rows(record(EventType.FEEDBACK, feedback_type="abuse", feedback_format="arf", reported_source="192.0.2.1"))
    assert (row["type"], row["feedbackType"], row["format"], row["repSourceIp"]) == ("f", "abuse", "arf", "192.0.2.1")


def test_types_that_are_not_wanted_are_left_out() -> None:
    assert [row["type"] for row in rows(record(), record(EventType.DEFERRED), letters=("t",))] == ["t"]


def test_a_reply_of_several_lines_stays_on_one() -> None:
    made = PmtaCsv(("b",)).rows([line(record(EventType.BOUNCED, code=550, enhanced="", text="one\r\ntwo\nthree"))])
    assert made.count(b"\n") == 1
    assert b"smtp;550 one two three" in made


def test_every_category_has_a_name_of_powermta() -> None:
    assert {BOUNCE_CATEGORIES.get(category, "other") for category in Category} <= POWERMTA_CATEGORIES


_local = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)


@given(_local, _local)
def test_whatever_the_local_parts_the_sixth_field_ends_in_the_domain(sender: str, local: str) -> None:
    quoted = '"' + local.replace("\\", "").replace('"', '\\"') + '"'
    other = '"' + sender.replace("\\", "").replace('"', '\\"') + '"'
    made = PmtaCsv(("t",)).rows(
        [line(record(EventType.DEFERRED, sender=f"{other}@one.test", recipient=f"{quoted}@two.test"))]
    )
    fields = made.decode().split(",")
    assert fields[0] == "t"
    assert fields[5].split("@")[1] == "two.test"
    assert made.count(b"\n") == 1
