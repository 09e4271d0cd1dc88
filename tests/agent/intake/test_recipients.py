"""Recipients of one transaction: postmaster without a domain."""

import pytest

from mailagent.intake.parameters import RcptParameters
from mailagent.intake.submission import Submission
from tests.agent.intake.doubles import KeepingGate, Talk


def submission(talk: Talk, *recipients: str, mail: str = "") -> Submission:
    """What becomes of a transaction with `recipients`, each with its parameters; every RCPT is answered with 250."""
    talk.send(b"EHLO client.test\r\n")
    talk.send(f"MAIL FROM:<a@one.test>{mail}\r\n".encode())
    for recipient in recipients:
        address, _, parameters = recipient.partition(" ")
        assert talk.send(f"RCPT TO:<{address}> {parameters}\r\n".encode()) == b"250 2.1.5 Ok\r\n"
    talk.send(b"DATA\r\n")
    assert talk.send(b"Subject: hello\r\n\r\nText\r\n.\r\n").startswith(b"250 ")
    return talk.gate.submissions[-1]


@pytest.mark.parametrize("name", ["postmaster", "Postmaster", "POSTMASTER"])
def test_postmaster_needs_no_domain(name: str) -> None:  # RFC 5321 sections 4.1.1.3 and 4.5.1
    assert submission(Talk(), name).recipients == (b"ops@corp.test",)


def test_postmaster_without_a_domain_keeps_what_was_asked_for_it() -> None:
    one = submission(Talk(), "b@two.test", "Postmaster NOTIFY=NEVER")
    assert one.recipients == (b"b@two.test", b"ops@corp.test")
    assert one.requests == {1: RcptParameters(notify="NEVER")}


def test_postmaster_with_a_domain_is_a_recipient_like_others() -> None:
    assert submission(Talk(), "Postmaster@two.test").recipients == (b"Postmaster@two.test",)


def test_only_postmaster_needs_no_domain() -> None:
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    talk.send(b"MAIL FROM:<a@one.test>\r\n")
    for name in (b"abuse", b'"postmaster"', b"postmaster@", b"postmasters"):
        assert talk.send(b"RCPT TO:<%s>\r\n" % name).startswith(b"501 5.1.3 ")


def test_the_gate_is_asked_about_the_mailbox_behind_postmaster() -> None:
    gate, asked = KeepingGate(), list[bytes]()
    gate.recipient_refusal = asked.append
    submission(Talk(gate), "postmaster")
    assert asked == [b"ops@corp.test"]


def test_who_may_not_relay_may_not_write_to_postmaster_here() -> None:
    talk = Talk(may_relay=False)
    talk.send(b"EHLO client.test\r\n")
    talk.send(b"MAIL FROM:<a@one.test>\r\n")
    assert talk.send(b"RCPT TO:<postmaster>\r\n") == b"550 5.7.1 Relaying denied\r\n"


def test_postmaster_has_no_sender_without_a_domain() -> None:  # section 4.1.1.2 has it for RCPT alone
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    assert talk.send(b"MAIL FROM:<postmaster>\r\n").startswith(b"501 5.1.7 ")
