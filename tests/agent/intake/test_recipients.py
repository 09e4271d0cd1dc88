"""Recipients of one transaction: each once, and postmaster without a domain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.structs import Intake
from mailagent.intake.parameters import RcptParameters
from mailagent.intake.submission import NO_REQUESTS, Submission, each_once
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


@pytest.mark.parametrize(
    ("given_twice", "kept"),
    [
        (("b@two.test", "b@two.test"), ("b@two.test",)),
        (("b@Two.test", "c@two.test", "b@TWO.TEST"), ("b@Two.test", "c@two.test")),
        (("b@two.test", "B@two.test"), ("b@two.test", "B@two.test")),  # the case of a local part may matter
        (('"b"@two.test', "b@two.test"), ('"b"@two.test', "b@two.test")),
        (('"X@Y"@two.test', '"X@Y"@Two.test', '"x@y"@two.test'), ('"X@Y"@two.test', '"x@y"@two.test')),
        (("b@[192.0.2.1]", "b@[192.0.2.1]"), ("b@[192.0.2.1]",)),
        (("ops@corp.test", "postmaster", "Postmaster"), ("ops@corp.test",)),
    ],
)
def test_a_recipient_given_twice_is_one(given_twice: tuple[str, ...], kept: tuple[str, ...]) -> None:
    """RFC 5321 section 2.4: local parts as they are, domains in any case."""
    assert submission(Talk(), *given_twice).recipients == tuple(one.encode() for one in kept)


def test_domains_beyond_ascii_are_compared_in_any_case() -> None:
    one = submission(Talk(), "ä@bücher.example", "ä@BÜCHER.example", "Ä@bücher.example", mail=" SMTPUTF8")
    assert one.recipients == ("ä@bücher.example".encode(), "Ä@bücher.example".encode())


def test_what_was_asked_for_the_first_of_equal_recipients_stands() -> None:
    one = submission(
        Talk(),
        "a@two.test",
        "b@two.test NOTIFY=FAILURE ORCPT=rfc822;first@two.test",
        "a@two.test NOTIFY=NEVER",
        "b@Two.test NOTIFY=SUCCESS ORCPT=rfc822;second@two.test",
        "c@two.test NOTIFY=DELAY",
    )
    assert one.recipients == (b"a@two.test", b"b@two.test", b"c@two.test")
    assert one.requests == {1: RcptParameters("FAILURE", "rfc822;first@two.test"), 2: RcptParameters("DELAY")}


def test_recipients_count_as_often_as_they_are_given() -> None:
    talk = Talk(config=Intake(max_recipients=2))
    talk.open((b"a@two.test", b"a@two.test"))
    talk.send(b"Text\r\n.\r\n")
    talk.send(b"MAIL FROM:<a@one.test>\r\n")
    replies = talk.send(b"RCPT TO:<a@two.test>\r\n" * 3).splitlines()
    assert [reply[:9] for reply in replies] == [b"250 2.1.5", b"250 2.1.5", b"452 4.5.3"]


_ADDRESSES = st.sampled_from([b"a@x.test", b"a@X.Test", b"b@x.test", b"postmaster", b"", "ä@é.test".encode()])


@given(recipients=st.lists(_ADDRESSES).map(tuple), asking=st.sets(st.integers(0, 20)))
def test_each_once_keeps_order_and_the_first_requests(recipients: tuple[bytes, ...], asking: set[int]) -> None:
    requests = {n: RcptParameters(orcpt=f"rfc822;{n}") for n in asking if n < len(recipients)}
    kept, wanted = each_once(recipients, requests)
    firsts = [n for n, one in enumerate(recipients) if one.lower() not in [other.lower() for other in recipients[:n]]]
    assert kept == tuple(recipients[n] for n in firsts)
    assert wanted == {place: requests[n] for place, n in enumerate(firsts) if n in requests}
    assert each_once(kept, wanted) == (kept, wanted)


def test_recipients_without_a_repetition_stay_the_very_same() -> None:
    recipients = (b"a@x.test", b"b@x.test")
    assert each_once(recipients, NO_REQUESTS)[0] is recipients
