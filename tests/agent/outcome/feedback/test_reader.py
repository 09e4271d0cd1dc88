"""Reports that come back: every form, dirt, and input that means harm."""

import json
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailagent.outcome.feedback.mime import MAX_DEPTH, MAX_PARTS, read_fields, read_parts
from mailagent.outcome.feedback.reader import read_report
from mailagent.outcome.feedback.reports import Action, AutoReply, BounceReport, Complaint, Reading, Unread
from tests.agent.outcome.feedback import samples

EXPECTED: dict[str, dict[str, list[str]]] = json.loads((samples.BOUNCES / "expected.json").read_text(encoding="utf-8"))
NOT_READ = {
    "aol_01.txt": "names the mailbox without its domain",
    "simple_14.txt": "the second address stands only in the reply that is quoted",
    "yale_01.txt": "names the mailbox without its domain",
}
"""Samples that are read otherwise than flufl.bounce reads them."""
WRONG = {"yale_01.txt"}
"""Of those, the ones in which an address is found that did not bounce: it stands in advice on how to write."""


def bounce(reading: Reading) -> BounceReport:
    assert isinstance(reading, BounceReport), reading
    return reading


def complaint(reading: Reading) -> Complaint:
    assert isinstance(reading, Complaint), reading
    return reading


def found(name: str) -> tuple[set[str], set[str]]:
    """(failed for good, failed for now) in a sample."""
    reading = read_report((samples.BOUNCES / name).read_bytes())
    recipients = reading.recipients if isinstance(reading, BounceReport) else ()
    return (
        {(one.original or one.address).lower() for one in recipients if one.action is Action.FAILED},
        {(one.original or one.address).lower() for one in recipients if one.action is Action.DELAYED},
    )


# -- samples ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in NOT_READ])
def test_sample_is_read_as_flufl_bounce_reads_it(name: str) -> None:
    failed, delayed = found(name)
    assert failed == {address.lower() for address in EXPECTED[name]["permanent"]}
    assert delayed == {address.lower() for address in EXPECTED[name]["temporary"]}


def test_114_of_117_samples_are_read_and_one_names_an_address_that_did_not_bounce() -> None:
    assert len(EXPECTED) == len(list(samples.BOUNCES.glob("*.txt"))) == 117
    assert len(NOT_READ) == 3
    for name in NOT_READ:
        failed, delayed = found(name)
        told = {address.lower() for address in EXPECTED[name]["permanent"]}
        assert failed != told
        assert delayed == set()
        assert (not failed <= told) == (name in WRONG)


@pytest.mark.parametrize(
    ("message", "address", "status", "code", "permanent"),
    [
        (samples.GMAIL, "nobody@gmail.com", "5.1.1", 550, True),
        (samples.EXCHANGE_ONLINE, "gone@contoso.example", "5.1.10", 550, True),
        (samples.POSTFIX_WRONG_STATUS, "user@example.org", "5.7.1", 554, True),
        (samples.GMAIL_DELAYED, "slow@example.org", "4.4.1", 0, False),
        (samples.NOTES, "gone@example.de", "5.1.1", 550, True),
    ],
)
def test_receivers_of_today(message: bytes, address: str, status: str, code: int, permanent: bool) -> None:
    (one,) = bounce(read_report(message)).recipients
    assert (one.address, one.status, one.code, one.permanent) == (address, status, code, permanent)


def test_exim_names_its_recipients_in_a_field() -> None:
    report = bounce(read_report(samples.EXIM))
    assert [(one.address, one.status) for one in report.recipients] == [
        ("gone@example.net", "5.1.1"),
        ("away@example.net", "5.0.0"),
    ]
    assert report.form == "exim"


def test_header_of_the_returned_message_is_there() -> None:
    report = bounce(read_report(samples.GMAIL))
    assert report.original.get("message-id") == "<1@example.com>"
    assert report.reporting_mta == "googlemail.com"


# -- RFC 3464 and its dirt ----------------------------------------------------------------------


def test_status_with_a_comment_rfc_3464_section_2_3_4() -> None:
    text = "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.2.1 (disabled)"
    assert bounce(read_report(samples.report(text))).recipients[0].status == "5.2.1"


def test_groups_without_an_empty_line_between_them() -> None:
    text = (
        "Reporting-MTA: dns; x\nFinal-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1\n"
        "Final-Recipient: rfc822; c@d.example\nAction: delayed\nStatus: 4.2.2"
    )
    report = bounce(read_report(samples.report(text)))
    assert [(one.address, one.action) for one in report.recipients] == [
        ("a@b.example", Action.FAILED),
        ("c@d.example", Action.DELAYED),
    ]
    assert report.reporting_mta == "x"


def test_a_group_torn_apart_by_an_empty_line() -> None:
    text = "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b.example\n\nAction: failed\nStatus: 5.1.1"
    (one,) = bounce(read_report(samples.report(text))).recipients
    assert (one.address, one.status) == ("a@b.example", "5.1.1")


def test_quoted_printable_folding_that_no_field_announces() -> None:
    text = (
        "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b.ex=\nample\nAction: failed\nStatus: 5.0.0\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such u=\nser"
    )
    (one,) = bounce(read_report(samples.report(text))).recipients
    assert (one.address, one.status) == ("a@b.example", "5.1.1")
    assert one.diagnostic.endswith("no such user")


def test_base64_status() -> None:
    text = "UmVwb3J0aW5nLU1UQTogZG5zOyB4CgpGaW5hbC1SZWNpcGllbnQ6IHJmYzgyMjsgYUBiLmV4YW1wbGUKQWN0aW9uOiBmYWlsZWQK"
    (one,) = bounce(read_report(samples.report(text, encoding="base64"))).recipients
    assert one.address == "a@b.example"


def test_utf_8_addresses_rfc_6533_section_3() -> None:
    text = (
        "Reporting-MTA: dns; x\n\nOriginal-Recipient: utf-8; j\\x{F6}rg@b.example\n"
        "Final-Recipient: utf-8; jörg@b.example\nAction: failed\nStatus: 5.1.1"
    )
    (one,) = bounce(read_report(samples.report(text, kind="global-delivery-status"))).recipients
    assert one.address == one.original == "jörg@b.example"


@pytest.mark.parametrize("action", ["delivered", "relayed", "expanded"])
def test_success_is_no_failure(action: str) -> None:
    text = f"Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b.example\nAction: {action}\nStatus: 2.0.0"
    (one,) = bounce(read_report(samples.report(text))).recipients
    assert one.action == action
    assert not one.permanent


def test_a_4yz_given_up_says_nothing_about_the_address() -> None:
    text = (
        "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.0.0\n"
        "Diagnostic-Code: smtp; 451 4.7.1 try later"
    )
    (one,) = bounce(read_report(samples.report(text))).recipients
    assert one.action is Action.FAILED
    assert (one.status, one.permanent) == ("4.7.1", False)


# -- complaints ----------------------------------------------------------------------


def test_yahoo_arf() -> None:
    report = complaint(read_report(samples.YAHOO_ARF))
    assert (report.form, report.type, report.source_ip) == ("arf", "abuse", "203.0.113.13")
    assert report.recipients == ("someone@yahoo.com",)
    assert report.original_sender == "b+token@bounce.example.com"
    assert report.domains == ("news.example.com",)
    assert report.feedback_id == "spring:shop:news:mctl-1"


def test_jmrp_as_it_was() -> None:
    report = complaint(read_report(samples.JMRP_OLD))
    assert (report.form, report.type, report.source_ip) == ("jmrp", "abuse", "203.0.113.13")
    assert report.recipients == ("someone@hotmail.com",)
    assert report.original_sender == "b+token@bounce.example.com"


def test_jmrp_with_the_header_only() -> None:
    report = complaint(read_report(samples.JMRP_HEADERS_ONLY))
    assert (report.form, report.source_ip) == ("arf", "203.0.113.13")
    assert report.recipients == ("someone@hotmail.com",)
    assert report.original.get("message-id") == "<1@news.example.com>"


def test_unknown_type_is_other_rfc_5965_section_3_1() -> None:
    text = "Feedback-Type: !\nUser-Agent: x\nVersion: 1\nIncidents: 3"
    report = complaint(read_report(samples.report(text, kind="feedback-report")))
    assert (report.type, report.incidents) == ("other", 3)


# -- neither ----------------------------------------------------------------------


def test_a_vacation_note_is_no_bounce_though_it_has_the_null_sender_and_an_address() -> None:
    assert isinstance(read_report(samples.VACATION, null_sender=True), AutoReply)


def test_a_person_who_writes_is_not_read() -> None:
    mail = b"From: a@example.com\nSubject: hello\n\nYour message could not be delivered to b@example.com, I heard.\n"
    assert isinstance(read_report(mail, null_sender=False), Unread)


# -- hostile input ----------------------------------------------------------------------


@given(st.binary(max_size=4000))
@example(b"")
@example(b"\r\n\r\n")
def test_any_octets_are_read(data: bytes) -> None:
    read_report(data)


@given(st.randoms(use_true_random=False), st.sampled_from(sorted(EXPECTED)), st.binary(max_size=40))
def test_a_damaged_sample_is_read(chance: random.Random, name: str, junk: bytes) -> None:
    data = bytearray((samples.BOUNCES / name).read_bytes())
    for _ in range(8):
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(60)] = junk
    read_report(bytes(data))


def test_deep_nesting_is_cut() -> None:
    head = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(5000))
    parts = read_parts(head.encode())
    assert len(parts) == MAX_DEPTH + 1


def test_many_parts_are_cut() -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\nX: y\n\ntext\n" * 100_000
    assert len(read_parts(data)) == MAX_PARTS


@pytest.mark.parametrize(
    "data",
    [
        b"A: b\n" * 2_000_000,
        b"From: mailer-daemon\n\n" + b"could not be delivered " * 400_000,
        b"From: mailer-daemon\n\ncould not be delivered\n" + (b" " * 999 + b"x\n") * 9_000,
        b"From: mailer-daemon\n\ncould not be delivered\n" + b"a" * 9_000_000,
        b"From: mailer-daemon\n\ncould not be delivered\n" + b"a@" * 4_000_000,
        b"From: mailer-daemon\n\ncould not be delivered\n" + b"<a@b.c>:\n" * 900_000,
        b"Content-Type: text/html\nFrom: mailer-daemon\n\nundeliverable" + b"<a " * 3_000_000,
        b"Content-Type: multipart/mixed; " + b"a=b;" * 30_000 + b" boundary=b\n\n" + b"--b\n" * 2_000_000,
        b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
        + b"Final-Recipient: rfc822; a@b.c\nAction: failed\n" * 180_000,
        b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
        + b"Final-Recipient: rfc822; a@b.c\n\n"
        + b"x:1\n\n" * 200_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n"
        + b"Content-Type: multipart/mixed; boundary=c\n\n"
        + b"\r--c x" * 1_600_000,
        b"X-Failed-Recipients: " + b"a@b.c, " * 1_000_000 + b"\n\n" + b"failed\n" * 10_000,
    ],
    ids=lambda data: data[-12:].decode(),
)
def test_ten_megabytes_meant_to_be_slow_cost_what_their_size_costs(data: bytes) -> None:
    read_report(data)  # with a backtracking pattern the test would not end


def test_folded_fields_are_joined_and_lines_that_are_none_left_out() -> None:
    fields = read_fields(b"From VM Wed Oct  4\r\nA: b\r\n c\r\nno field\r\nB:d\r\n")
    assert fields.items == (("a", "b c"), ("b", "d"))


def test_a_multipart_without_its_delimiters_is_read_as_text() -> None:
    inner = (
        b"Content-Type: multipart/alternative;\n\nCould not deliver to\n\n  gone@b.example\n\n550 5.1.1 no such user\n"
    )
    outer = b'From: mailer-daemon@b.example\nContent-Type: multipart/mixed; boundary="x"\n\n--x\n' + inner + b"--x--\n"
    (one,) = bounce(read_report(outer)).recipients
    assert (one.address, one.status) == ("gone@b.example", "5.1.1")


@pytest.mark.parametrize(
    "notice",
    [
        "There was an error delivering your mail to <gone@b.example>.\nmx.b.example did not like RCPT:\n550 5.1.1 no",
        "An error has occurred while attempting to deliver a message for\nthe following list of recipients:\n\n"
        "gone@b.example: 550 5.1.1 no such user\n\nBelow is a copy of the original message:\n\nto@b.example",
        "------- Failure Reasons  --------\n\nUser not listed in public Name & Address Book 550 5.1.1\ngone@b.example\n"
        "550 5.1.1 no\n------- Returned Message --------\nother@b.example",
        "   ----- Transcript of session follows -----\n554 <gone@b.example>... 550 5.1.1 User unknown\n",
    ],
    ids=["DragonFly", "OpenSMTPD", "Notes", "Sendmail 5"],
)
def test_more_mailers(notice: str) -> None:
    (one,) = bounce(read_report(f"From: MAILER-DAEMON <>\nSubject: failed\n\n{notice}".encode())).recipients
    assert (one.address, one.permanent) == ("gone@b.example", True)
