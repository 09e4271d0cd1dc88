"""Bounce notifications, read back by the standard library."""

from email import message_from_bytes
from email.message import Message
from email.policy import default as modern
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.outcome.dsn import Action, Report, after_delay, is_wanted, notification
from mailagent.outcome.feedback.reader import read_report
from mailagent.outcome.feedback.reports import BounceReport

REPLY = SmtpReply(code=550, enhanced="5.1.1", text="User unknown", verb=Verb.RCPT)
ORIGINAL = b"Received: from x\r\n\tby mx1.test\r\nSubject: hello\r\nMessage-ID: <1@one.test>\r\n\r\nSecret text\r\n"


def _dsn(**changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "reporting_mta": "mx1.test",
        "postmaster": "postmaster@mx1.test",
        "sender": b"a@one.test",
        "recipient": b"b@two.test",
        "reply": REPLY,
        "remote_mta": "mx.two.test",
        "original": ORIGINAL,
        "message_id": "0NEW",
        "original_id": "0OLD",
        "received_at": 1_893_456_000_000,
        "now": 1_893_456_060_000,
    }
    return notification(Report(**(arguments | changes)))


def _subparts(part: Message) -> list[Message]:
    payload = part.get_payload()
    assert isinstance(payload, list)
    return [item for item in payload if isinstance(item, Message)]


def _parts(dsn: bytes) -> tuple[Message, Message, Message, Message]:
    report = message_from_bytes(dsn)
    assert report.get_content_type() == "multipart/report"
    assert not report.defects
    notice, status, headers = _subparts(report)
    return report, notice, status, headers


def test_reports_the_failure_to_people_and_machines() -> None:
    report, notice, status, headers = _parts(_dsn())
    assert report.get_param("report-type") == "delivery-status"
    assert report["To"] == "<a@one.test>"
    assert report["From"] == "Mail Delivery System <postmaster@mx1.test>"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["Message-ID"] == "<0NEW@mx1.test>"
    assert "mx.two.test answered" in str(notice.get_payload())
    assert "550 5.1.1 User unknown" in str(notice.get_payload())
    of_message, of_recipient = _subparts(status)
    assert dict(of_message.items()) == {
        "Reporting-MTA": "dns; mx1.test",
        "X-Queue-ID": "0OLD",
        "Arrival-Date": "Tue, 01 Jan 2030 00:00:00 +0000",
    }
    assert dict(of_recipient.items()) == {
        "Final-Recipient": "rfc822; b@two.test",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.two.test",
        "Diagnostic-Code": "smtp; 550 5.1.1 User unknown",
        "Last-Attempt-Date": "Tue, 01 Jan 2030 00:01:00 +0000",
    }
    assert headers.get_content_type() == "text/rfc822-headers"
    assert message_from_bytes(str(headers.get_payload()).encode())["Subject"] == "hello"


def test_the_text_of_the_message_stays_here() -> None:
    assert b"Secret" not in _dsn()


def test_never_answers_the_null_sender() -> None:
    with pytest.raises(ValueError, match="null sender"):
        _dsn(sender=b"")


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (SmtpReply(code=550, text="no"), "5.0.0"),
        (SmtpReply(code=550, enhanced="4.1.1", text="no"), "5.0.0"),
        (SmtpReply(code=450, enhanced="4.2.0", text="greylisted"), "4.2.0"),
        (SmtpReply(code=450, text="busy"), "4.4.7"),
        (SmtpReply(code=0, enhanced="4.4.7", text="expired", local=True), "4.4.7"),
    ],
)
def test_the_status_agrees_with_the_reply(reply: SmtpReply, status: str) -> None:
    _, notice, report, _ = _parts(_dsn(reply=reply))
    assert _subparts(report)[1]["Status"] == status
    assert ("time was over" in str(notice.get_payload())) == (status[0] == "4")


def test_our_own_verdict_is_not_passed_off_as_the_peers() -> None:
    reply = SmtpReply(code=556, enhanced="5.1.10", text="Recipient address has null MX", local=True)
    _, _, status, _ = _parts(_dsn(reply=reply, remote_mta=""))
    recipient = _subparts(status)[1]
    assert recipient["Diagnostic-Code"].startswith("X-Mailagent; 556 ")
    assert "Remote-MTA" not in recipient


def test_eightbit_headers_travel_as_quoted_printable() -> None:
    original = "Subject: grüße\r\n".encode() + b"X: y\r\n\r\n"
    dsn = _dsn(original=original)
    assert dsn.isascii()
    part = _parts(dsn)[3]
    assert part.get_payload(decode=True) == original[:-2]


@pytest.mark.parametrize("field", [b"X-Long: " + b"y" * 900 + b"\r\n", b"X-Long: " + b"\xff" * 900 + b"\r\n"])
def test_stays_under_fifty_kilobytes(field: bytes) -> None:
    reply = SmtpReply(code=550, text="long " * 2000)
    dsn = _dsn(original=field * 120 + b"\r\nText\r\n", reply=reply)
    assert len(dsn) < 50_000
    assert len(dsn) > 20_000


@given(
    text=st.text(max_size=2000),
    mx=st.text(max_size=100),
    headers=st.lists(st.binary(max_size=200).map(lambda line: line.translate(None, b"\r\n\0")), max_size=10),
)
def test_hostile_text_cannot_break_the_report(text: str, mx: str, headers: list[bytes]) -> None:
    original = b"".join(b"A: " + line + b"\r\n" for line in headers) + b"\r\nText\r\n"
    dsn = _dsn(reply=SmtpReply(code=550, text=text), remote_mta=mx, original=original)
    assert dsn.isascii()
    assert b"\0" not in dsn
    lines = dsn.split(b"\r\n")
    assert lines.pop() == b""
    assert max(map(len, lines)) <= 998
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert len(_subparts(_parts(dsn)[2])) == 2
    assert message_from_bytes(dsn, policy=modern).is_multipart()


# -- what the sender asked for (RFC 3461) ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        ("", {Action.FAILED, Action.DELAYED}),
        ("NEVER", set()),
        ("FAILURE", {Action.FAILED}),
        ("DELAY", {Action.DELAYED}),
        ("SUCCESS", {Action.RELAYED}),
        ("SUCCESS,FAILURE,DELAY", {Action.FAILED, Action.DELAYED, Action.RELAYED}),
    ],
)
def test_notify_rfc_3461_section_4_1(notify: str, wanted: set[Action]) -> None:
    assert {action for action in Action if is_wanted(notify, action)} == wanted
    if notify:
        assert {action for action in Action if is_wanted(notify, action, unasked=False)} == wanted
    assert not is_wanted(after_delay(notify), Action.DELAYED)
    assert is_wanted(after_delay(notify), Action.FAILED) == is_wanted(notify, Action.FAILED)
    assert is_wanted(after_delay(notify), Action.RELAYED) == is_wanted(notify, Action.RELAYED)


def test_nobody_hears_of_a_delay_unasked_where_that_is_off() -> None:
    assert not is_wanted("", Action.DELAYED, unasked=False)


def test_envid_and_orcpt_come_back_decoded_rfc_3464_sections_2_2_1_and_2_3_1() -> None:
    status = _parts(_dsn(envid="QQ+2B1+3D", orcpt="rfc822;Bob+2Bx@two.test"))[2]
    of_message, of_recipient = _subparts(status)
    assert of_message["Original-Envelope-Id"] == "QQ+1="
    assert of_recipient["Original-Recipient"] == "rfc822; Bob+x@two.test"
    assert next(iter(of_recipient.keys())) == "Original-Recipient"  # before Final-Recipient


def test_ret_full_returns_the_message_of_a_failure_only() -> None:
    returned = _parts(_dsn(full=True))[3]
    assert returned.get_content_type() == "message/rfc822"
    assert b"Secret text" in _dsn(full=True)
    assert b"Secret text" not in _dsn(full=True, action=Action.RELAYED)
    large = ORIGINAL + b"x\r\n" * 100_000
    assert len(_dsn(full=True, original=large)) < 50_000


def test_an_eightbit_message_comes_back_as_it_is() -> None:
    original = b"Subject: x\r\n\r\ngr\xfc\xdfe\r\n"
    dsn = _dsn(full=True, original=original)
    assert original in dsn
    assert _parts(dsn)[3]["Content-Transfer-Encoding"] == "8bit"


def test_a_delay_says_until_when_it_is_tried() -> None:
    reply = SmtpReply(code=451, text="come back later", verb=Verb.RCPT)
    report, notice, status, _ = _parts(_dsn(action=Action.DELAYED, reply=reply, retry_until=1_893_542_400_000))
    recipient = _subparts(status)[1]
    assert (recipient["Action"], recipient["Status"]) == ("delayed", "4.0.0")
    assert recipient["Will-Retry-Until"] == "Wed, 02 Jan 2030 00:00:00 +0000"
    assert report["Subject"] == "Delayed Mail (still being retried)"
    assert "do not need to send it again" in str(notice.get_payload())


def test_relayed_is_no_delivery_rfc_3464_section_2_3_3() -> None:
    reply = SmtpReply(code=250, enhanced="2.0.0", text="taken", verb=Verb.DOT)
    _, notice, status, headers = _parts(_dsn(action=Action.RELAYED, reply=reply))
    recipient = _subparts(status)[1]
    assert (recipient["Action"], recipient["Status"]) == ("relayed", "2.0.0")
    assert headers.get_content_type() == "text/rfc822-headers"
    assert "does not report deliveries" in str(notice.get_payload())


# -- UTF-8 (RFC 6533) -----------------------------------------------------------------------------------------


def test_a_sender_with_smtputf8_reads_utf_8() -> None:
    dsn = _dsn(
        sender="jörg@one.test".encode(),
        recipient="grüße@zwei.test".encode(),
        utf8=True,
        orcpt="utf-8;gr\\x{FC}n@x.test",
    )
    assert "To: <jörg@one.test>\r\n".encode() in dsn
    report = message_from_bytes(dsn)
    notice, status, headers = _subparts(report)
    assert status.get_content_type() == "message/global-delivery-status"
    told = read_report(dsn)
    assert isinstance(told, BounceReport)
    (one,) = told.recipients
    assert (one.address, one.original) == ("grüße@zwei.test", "grün@x.test")
    assert "grüße@zwei.test" in notice.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert headers.get_content_type() == "text/rfc822-headers"  # they are ASCII here


def test_an_ascii_sender_gets_ascii_only() -> None:
    dsn = _dsn(recipient="grüße@zwei.test".encode())
    assert dsn.isascii()
    told = read_report(dsn)
    assert isinstance(told, BounceReport)
    assert told.recipients[0].address == "grüße@zwei.test"


@given(
    action=st.sampled_from(Action),
    sender=st.text(min_size=1, max_size=50),
    recipient=st.text(max_size=50),
    utf8=st.booleans(),
    full=st.booleans(),
    envid=st.from_regex(r"(?:[!-*,-<>-~]|\+[2-7][0-9A-E]){1,30}", fullmatch=True),
)
def test_hostile_addresses_cannot_break_the_report(
    action: Action, sender: str, recipient: str, utf8: bool, full: bool, envid: str
) -> None:
    dsn = _dsn(
        action=action,
        sender=sender.encode("utf-8", "surrogatepass"),
        recipient=recipient.encode("utf-8", "surrogatepass"),
        utf8=utf8,
        full=full,
        envid=envid,
        orcpt=f"rfc822;{envid}",
    )
    assert b"\0" not in dsn
    assert dsn.count(b"\n") == dsn.count(b"\r") == dsn.count(b"\r\n")
    report = message_from_bytes(dsn)
    assert len(_subparts(report)) == 3
    assert report["Auto-Submitted"] == "auto-replied"
