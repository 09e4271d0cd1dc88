"""Parameters of MAIL and RCPT: DSN (RFC 3461), SMTPUTF8 (RFC 6531), AUTH (RFC 4954)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.intake.parameters import (
    PLAIN,
    MailParameters,
    RcptParameters,
    mail_parameters,
    rcpt_parameters,
    xtext_decoded,
)
from tests.agent.intake.doubles import Talk

MAX = 1000


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"SIZE=999 BODY=8BITMIME", PLAIN),
        (b"AUTH=<>", PLAIN),
        (b"auth=e+3Dmc2@example.com", PLAIN),  # RFC 4954 section 5
        (b"SMTPUTF8 BODY=8BITMIME", MailParameters(utf8=True)),
        (b"RET=hdrs ENVID=QQ314159", MailParameters(ret="HDRS", envid="QQ314159")),  # RFC 3461 section 10
        (b"ret=FULL", MailParameters(ret="FULL")),
        (b"ENVID=a+2Bb+20c", MailParameters(envid="a+2Bb+20c")),
    ],
)
def test_mail_parameters(text: bytes, found: MailParameters) -> None:
    assert mail_parameters(text, MAX) == found


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"RET=ALL", b"501 5.5.4 Bad RET"),
        (b"RET", b"501 5.5.4 Bad RET"),
        (b"ENVID=", b"501 5.5.4 Bad ENVID"),
        (b"ENVID=a+2", b"501 5.5.4 Bad ENVID"),
        (b"ENVID=a+0Ab", b"501 5.5.4 Bad ENVID"),  # section 4.4: printable before encoding
        (b"ENVID=" + b"a" * 101, b"501 5.5.4 Bad ENVID"),
        (b"AUTH=", b"501 5.5.4 Bad AUTH"),
        (b"AUTH=a=b", b"501 5.5.4 Bad AUTH"),
        (b"SMTPUTF8=yes", b"501 5.5.4 SMTPUTF8 takes no value"),
        (b"RET=FULL ret=HDRS", b"501 5.5.4 Parameter given twice"),
        (b"SIZE=1001", b"552 5.3.4 "),
        (b"NOTIFY=NEVER", b"555 5.5.4 "),
    ],
)
def test_faults_in_mail_parameters(text: bytes, reply: bytes) -> None:
    fault = mail_parameters(text, MAX)
    assert isinstance(fault, bytes)
    assert fault.startswith(reply)
    assert fault.endswith(b"\r\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"NOTIFY=NEVER", RcptParameters("NEVER", "")),
        (b"notify=success,Delay", RcptParameters("SUCCESS,DELAY", "")),
        (b"ORCPT=rfc822;Carol@Ivory.EDU", RcptParameters("", "rfc822;Carol@Ivory.EDU")),
        (b"NOTIFY=FAILURE ORCPT=rfc822;a+2Bb@x.example", RcptParameters("FAILURE", "rfc822;a+2Bb@x.example")),
        # RFC 6533 section 3: raw UTF-8 is kept in the form that any peer takes
        ("ORCPT=utf-8;jürgen@x.example".encode(), RcptParameters("", "utf-8;j\\x{FC}rgen@x.example")),
        (b"ORCPT=utf-8;j\\x{FC}rgen@x.example", RcptParameters("", "utf-8;j\\x{FC}rgen@x.example")),
    ],
)
def test_rcpt_parameters(text: bytes, found: RcptParameters) -> None:
    assert rcpt_parameters(text, utf8=True) == found


@pytest.mark.parametrize(
    "text",
    [
        b"NOTIFY=",
        b"NOTIFY=NEVER,SUCCESS",  # section 4.1: NEVER stands alone
        b"NOTIFY=SUCCESS,SUCCESS",
        b"NOTIFY=SOMETIMES",
        b"ORCPT=a@b",
        b"ORCPT=rfc822;",
        b"ORCPT=rfc822;a=b",
        b"ORCPT=rfc822;" + b"a" * 500,
        "ORCPT=utf-8;jürgen@x.example".encode(),  # RFC 6533 section 3: not without SMTPUTF8
        b"RET=FULL",
        b"NOTIFY=NEVER NOTIFY=NEVER",
    ],
)
def test_faults_in_rcpt_parameters(text: bytes) -> None:
    fault = rcpt_parameters(text, utf8=False)
    assert isinstance(fault, bytes)
    assert fault[:9] in (b"501 5.5.4", b"555 5.5.4")


@given(st.binary(max_size=80).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b"")))
def test_any_text_is_parameters_or_a_reply(text: bytes) -> None:
    for parsed in (mail_parameters(text, MAX), rcpt_parameters(text, utf8=False)):
        if isinstance(parsed, bytes):
            assert parsed[:1] == b"5"
            assert parsed.endswith(b"\r\n")
        else:
            assert (
                all(value.isascii() for value in parsed if isinstance(value, str))
                if isinstance(parsed, RcptParameters)
                else parsed.envid.isascii()
            )


def test_xtext_is_decoded() -> None:
    assert xtext_decoded("a+2Bb+3Dc") == "a+b=c"


def test_parameters_reach_the_submission_and_end_with_their_transaction() -> None:
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    talk.send(b"MAIL FROM:<a@one.test> RET=HDRS ENVID=E1\r\n")
    talk.send(b"RCPT TO:<b@two.test>\r\nRCPT TO:<c@two.test> NOTIFY=NEVER\r\nDATA\r\n")
    talk.send(b"x\r\n.\r\n")
    talk.send(b"MAIL FROM:<a@one.test>\r\nRCPT TO:<b@two.test>\r\nDATA\r\n")
    talk.send(b"x\r\n.\r\n")
    first, second = talk.gate.submissions
    assert (first.ret, first.envid, dict(first.requests)) == ("HDRS", "E1", {1: RcptParameters("NEVER", "")})
    assert (second.ret, second.envid, dict(second.requests)) == ("", "", {})


def test_addresses_beyond_ascii_need_smtputf8() -> None:
    """RFC 6531 section 3.4 and 3.5."""
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    assert talk.send("MAIL FROM:<jürgen@one.test>\r\n".encode()).startswith(b"553 5.6.7 ")
    assert talk.send(b"MAIL FROM:<a@one.test>\r\n").startswith(b"250 ")
    assert talk.send("RCPT TO:<jürgen@two.test>\r\n".encode()).startswith(b"553 5.6.7 ")
    talk.send(b"RSET\r\n")
    assert talk.send("MAIL FROM:<jürgen@one.test> SMTPUTF8\r\n".encode()).startswith(b"250 ")
    assert talk.send("RCPT TO:<用户@例子.test>\r\n".encode()).startswith(b"250 ")
    talk.send(b"DATA\r\n")
    talk.send("Subject: grüße\r\n\r\nx\r\n.\r\n".encode())
    (submission,) = talk.gate.submissions
    assert submission.utf8
    assert submission.sender == "jürgen@one.test".encode()
    assert submission.recipients == ("用户@例子.test".encode(),)


@pytest.mark.parametrize(
    ("header", "utf8"), [("Subject: grüße\r\n\r\nx", True), ("Subject: x\r\n\r\ngrüße", False), ("\r\ngrüße", False)]
)
def test_only_what_needs_smtputf8_later_on_has_it(header: str, utf8: bool) -> None:
    """RFC 6531 section 3.4: the parameter alone makes no message internationalised."""
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    talk.send(b"MAIL FROM:<a@one.test> SMTPUTF8\r\nRCPT TO:<b@two.test>\r\nDATA\r\n")
    talk.send(header.encode() + b"\r\n.\r\n")
    assert talk.gate.submissions[0].utf8 is utf8


@pytest.mark.parametrize("line", [b"EHLO \xc3\xbc.test", b"NOOP \xc3\xbc", b"MAIL FROM:<\xff@x.test> SMTPUTF8",
                                  b"MAIL FROM:<\xc2\x85@x.test> SMTPUTF8"])  # fmt: skip
def test_other_commands_and_broken_utf8_stay_refused(line: bytes) -> None:
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    assert talk.send(line + b"\r\n").startswith(b"501 5.5.2 ")
