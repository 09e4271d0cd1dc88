"""What the accounting files know of mail that came back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailagent.api.accounting import EventType
from mailagent.outcome.accounting import LIVE_NAME, AccountingRecord, line
from mailagent.outcome.feedback.mime import Fields
from mailagent.outcome.return_path import BounceToken, ReturnPaths
from mailagent.returns.sent import Sent, SentMail
from mailagent.spool.ids import MessageIds, message_name, recipient_id

TAG, OTHER = "ABC123", "XYZ789"
IDS = MessageIds(0)


def token(message: int, n: int, tag: str = TAG) -> BounceToken:
    local = ReturnPaths([(0, bytes(32))], tag).bounce(recipient_id(message, n), b"x@y.example").decode()
    found = ReturnPaths([(0, bytes(32))], tag).read(local)
    assert isinstance(found, BounceToken)
    return found


def record(message: int, n: int, recipient: str, kind: EventType = EventType.DELIVERED, vmta: str = "v1") -> bytes:
    return line(
        AccountingRecord(
            event=f"{message}-{n}-{kind}",
            type=kind,
            time=datetime.now(UTC) + timedelta(seconds=1),
            host="mx1",
            message_id=message_name(message, TAG),
            n=n,
            sender="shop@a.example",
            recipient=recipient,
            stream="news",
            pool="p",
            size_bytes=1,
            vmta=vmta,
            job='a "job" with "message_id":"quoted"',
        )
    )


@pytest.fixture
def messages(tmp_path: Path) -> list[int]:
    found = [IDS.new() for _ in range(3)]
    one, two, _ = found
    (tmp_path / LIVE_NAME).write_bytes(
        b"not json\n"
        + record(one, 0, "a@x.example", EventType.DEFERRED, "v0")
        + record(one, 0, "a@x.example")
        + record(one, 0, "a@x.example", EventType.REMOTE_BOUNCED)
        + record(two, 0, "b@x.example", EventType.DEFERRED, "v2")
        + record(two, 1, "c@x.example")
        + record(two, 1, "half a line")[:40]
    )
    return found


def test_a_delivery_tells_more_than_an_attempt(tmp_path: Path, messages: list[int]) -> None:
    sent = SentMail(tmp_path, TAG).of_token(token(messages[0], 0))
    assert (sent.recipient, sent.vmta, sent.sender, sent.stream) == ("a@x.example", "v1", "shop@a.example", "news")


def test_many_are_found_in_one_pass_and_each_only_for_itself(tmp_path: Path, messages: list[int]) -> None:
    one, two, unknown = messages
    mail = SentMail(tmp_path, TAG)
    asked = [token(one, 0), token(two, 0), token(two, 1), token(two, 2), token(unknown, 0), token(one, 0, OTHER)]
    mail.gather(asked)
    (tmp_path / LIVE_NAME).unlink()  # the answers are here already
    assert [mail.of_token(one).recipient for one in asked] == ["a@x.example", "b@x.example", "c@x.example", "", "", ""]
    assert mail.of_token(asked[4]) == Sent(message_id=message_name(unknown, TAG), n=0)


def test_without_files_nothing_is_known(tmp_path: Path) -> None:
    assert SentMail(tmp_path, TAG).of_token(token(IDS.new(), 3)).recipient == ""


def received(name: str) -> Fields:
    return Fields(
        (
            ("received", "from x by y with ESMTP id 4F1ABCDEF; now"),
            ("received", f"from app (192.0.2.1)\n by mx1 with ESMTP id {name.lower()}; now"),
        )
    )


def test_our_received_field_leads_to_the_recipient_that_the_report_names(tmp_path: Path, messages: list[int]) -> None:
    one, two, unknown = messages
    mail = SentMail(tmp_path, TAG)
    found = mail.of_header(received(message_name(two, TAG)), ("C@X.example",))
    assert found is not None
    assert found.recipient == "c@x.example"
    assert mail.of_header(received(message_name(two, TAG)), ("hash@x.example",)) is None  # one of two
    alone = mail.of_header(received(message_name(one, TAG)), ())
    assert alone is not None
    assert alone.recipient == "a@x.example"
    assert mail.of_header(received(message_name(unknown, TAG)), ()) is None
    assert mail.of_header(received(message_name(one, OTHER)), ()) is None
    assert mail.of_header(Fields(), ()) is None
