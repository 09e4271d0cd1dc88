"""What stands in the brackets behind a status."""

import pytest

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.outcome.classification import Classifier, load_rules
from mailagent.postfix.log.replies import said
from mailagent.postfix.tables import HELD

MX = "host mx1.a.example[192.0.2.9]"


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (
            f"{MX} said: 550 5.1.1 <u@a.example>: User unknown (in reply to RCPT TO command)",
            SmtpReply(code=550, enhanced="5.1.1", text="<u@a.example>: User unknown", verb=Verb.RCPT),
        ),
        (
            f"{MX} said: 550 no such user (in reply to RCPT TO command)",
            SmtpReply(code=550, text="no such user", verb=Verb.RCPT),
        ),
        (
            f"{MX} said: 452-4.2.2 over quota. Please direct 452-4.2.2 the recipient to 452 4.2.2  https://x.example"
            " (in reply to RCPT TO command)",
            SmtpReply(
                code=452,
                enhanced="4.2.2",
                text="over quota. Please direct the recipient to  https://x.example",
                verb=Verb.RCPT,
            ),
        ),
        (
            f"{MX} said: 554 5.7.1 spam (in reply to end of DATA command)",
            SmtpReply(code=554, enhanced="5.7.1", text="spam", verb=Verb.DOT),
        ),
        (
            f"{MX} said: 451 4.7.1 later (x) (in reply to MAIL FROM command)",
            SmtpReply(code=451, enhanced="4.7.1", text="later (x)", verb=Verb.MAIL),
        ),
        (
            f"{MX} refused to talk to me: 421 4.7.0 [TSS04] too many",
            SmtpReply(code=421, enhanced="4.7.0", text="[TSS04] too many"),
        ),
        (
            f"{MX} said: 550 5.7.1 cut by sysl",
            SmtpReply(code=550, enhanced="5.7.1", text="cut by sysl"),
        ),
    ],
)
def test_what_the_peer_said(text: str, reply: SmtpReply) -> None:
    found = said("5.0.0", "deferred", text)
    assert found.reply == reply
    assert (found.host, found.address) == ("mx1.a.example", "192.0.2.9")
    assert not found.held_back


def test_a_success_has_the_reply_to_the_dot() -> None:
    assert said("2.0.0", "sent", "250 2.0.0 Ok: queued as 4F2").reply == SmtpReply(
        code=250, enhanced="2.0.0", text="Ok: queued as 4F2", verb=Verb.DOT
    )
    assert said("2.0.0", "sent", "delivered to mailbox").reply.local


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("connect to mx1.a.example[192.0.2.9]:25: Connection timed out", Verb.CONNECT),
        ("lost connection with mx1.a.example[192.0.2.9] while receiving the initial server greeting", Verb.CONNECT),
        ("lost connection with mx1.a.example[192.0.2.9] while performing the EHLO handshake", Verb.EHLO),
        ("lost connection with mx1.a.example[192.0.2.9] while sending RCPT TO", Verb.RCPT),
        (
            "conversation with mx1.a.example[192.0.2.9] timed out while sending end of data -- message may be sent"
            " more than once",
            Verb.DOT,
        ),
        ("conversation with mx1.a.example[192.0.2.9] timed out while sending message body", Verb.DOT),
        ("Host or domain name not found. Name service error for name=a.example type=MX: Host not found", Verb.CONNECT),
    ],
)
def test_what_postfix_said_itself(text: str, verb: Verb) -> None:
    found = said("4.4.2", "deferred", text)
    assert found.reply == SmtpReply(code=0, enhanced="4.4.2", text=text, verb=verb, local=True)


def test_a_dead_destination_keeps_the_reply_that_killed_it() -> None:
    found = said("4.7.0", "deferred", f"delivery temporarily suspended: {MX} refused to talk to me: 421 4.7.0 [TSS04]")
    assert found.held_back
    assert found.reply == SmtpReply(code=421, enhanced="4.7.0", text="[TSS04]")


def test_a_suspension_of_ours_is_no_reply() -> None:
    assert said("4.3.2", "deferred", f"{HELD}: gmail, by ada").emulated
    for hop in ("[127.0.0.1]:9", "relay.example:submission", "relay.example", "[a.example], [b.example]:25"):
        assert said("4.0.0", "deferred", hop).emulated, "a row with a next hop alone has taken the place of the reason"
        assert not said("5.0.0", "bounced", hop).emulated
    assert not said("4.0.0", "deferred", "mailbox full").emulated
    assert not said("4.3.2", "deferred", f"{MX} said: 450 4.3.2 {HELD} (in reply to RCPT TO command)").emulated


@pytest.mark.parametrize(
    ("dsn", "text", "category"),
    [
        ("4.4.1", "connect to mx1.a.example[192.0.2.9]:25: Connection refused", "network"),
        ("4.4.2", "lost connection with mx1.a.example[192.0.2.9] while sending RCPT TO", "network"),
        ("4.4.3", "Host or domain name not found. Name service error for name=a type=MX: Host not found, try again",
         "dns-temp"),
        ("5.4.4", "Host or domain name not found. Name service error for name=a type=MX: Host not found", "bad-domain"),
        ("4.7.5", "Server certificate not trusted", "tls-required"),
        ("4.7.4", "TLS is required, but was not offered by host mx1.a.example[192.0.2.9]", "tls-required"),
        ("5.1.1", f"{MX} said: 550 5.1.1 User unknown (in reply to RCPT TO command)", "bad-mailbox"),
        ("4.7.0", f"{MX} refused to talk to me: 421 4.7.0 too many connections from your host", "connection-limit"),
    ],
)  # fmt: skip
def test_the_rules_know_what_postfix_says(dsn: str, text: str, category: str) -> None:
    assert Classifier(load_rules()).verdict(said(dsn, "deferred", text).reply, "").category == category
