"""The server session: commands, limits, end of data, and independence of portions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.smtp import SmtpReply
from mailagent.config import structs
from mailagent.intake.rules import reply_line
from mailagent.intake.session import MAX_COMMAND
from tests.agent.intake.doubles import QUEUED, KeepingGate, Talk

MESSAGE = b"From: a@one.test\r\nSubject: hello\r\n\r\nText\r\n"


def test_ehlo_offers_exactly_what_is_there() -> None:
    talk = Talk(config=structs.Intake(max_message_bytes=1000))
    assert talk.greeting == b"220 mx1.test ESMTP\r\n"
    assert talk.send(b"EHLO client.test\r\n") == (
        b"250-mx1.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n"
        b"250-DSN\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
    )
    assert talk.send(b"HELO client.test\r\n") == b"250 mx1.test\r\n"


def test_a_transaction_becomes_one_submission() -> None:
    talk = Talk(KeepingGate(frozenset({b"subject"})))
    assert talk.open((b"b@two.test", b'"odd >@ one"@three.test')).startswith(b"354 ")
    assert talk.send(MESSAGE + b".\r\n") == b"250 2.0.0 Ok: queued\r\n"
    (submission,) = talk.gate.submissions
    assert submission.sender == b"a@one.test"
    assert submission.recipients == (b"b@two.test", b'"odd >@ one"@three.test')
    assert submission.body == MESSAGE
    assert submission.headers == {b"subject": b"hello"}
    assert (submission.client, submission.helo, submission.esmtp) == ("192.0.2.1", "client.test", True)
    assert not submission.eightbit


def test_control_headers_are_taken_out_of_the_message() -> None:
    talk = Talk()
    talk.open()
    talk.send(b"X-Virtual-MTA: mkt-1\r\nSubject: x\r\nx-job:\r\n news-42\r\n\r\nText\r\n.\r\n")
    (submission,) = talk.gate.submissions
    assert (submission.virtual_mta, submission.job) == ("mkt-1", "news-42")
    assert submission.body == b"Subject: x\r\n\r\nText\r\n"


def test_pipelined_groups_are_answered_in_order() -> None:
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    replies = talk.send(b"MAIL FROM:<>\r\nRCPT TO:<b@two.test>\r\nRCPT TO:<bad>\r\nDATA\r\n")
    assert [line[:9] for line in replies.splitlines()] == [b"250 2.1.0", b"250 2.1.5", b"501 5.1.3", b"354 End d"]
    replies = talk.send(b"Text\r\n.\r\nMAIL FROM:<a@one.test>\r\nRSET\r\n")
    assert [line[:9] for line in replies.splitlines()] == [b"250 2.0.0", b"250 2.1.0", b"250 2.0.0"]


@pytest.mark.parametrize("group", [b"DATA\r\nText\r\n.\r\n", b"EHLO again.test\r\nNOOP\r\n", b"HELO x\r\nNOOP\r\n"])
def test_octets_after_a_command_that_ends_a_group_close_the_connection(group: bytes) -> None:
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    talk.send(b"MAIL FROM:<a@one.test>\r\nRCPT TO:<b@two.test>\r\n")
    assert talk.send(group).startswith(b"554 5.5.0 ")
    assert talk.session.closed
    assert not talk.gate.submissions


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"NOOP", b"250 2.0.0"),
        (b"noop with words", b"250 2.0.0"),
        (b"RSET", b"250 2.0.0"),
        (b"VRFY someone", b"252 2.5.0"),
        (b"HELP", b"214 2.0.0"),
        (b"QUIT", b"221 2.0.0"),
        (b"STARTTLS", b"502 5.5.1"),
        (b"AUTH PLAIN AAAA", b"502 5.5.1"),
        (b"BDAT 10 LAST", b"502 5.5.1"),
        (b"NOOPS", b"500 5.5.2"),
        (b"", b"500 5.5.2"),
        (b"XYZZY", b"500 5.5.2"),
        (b"EHLO", b"501 5.5.4"),
        (b"EHLO two words", b"501 5.5.4"),
        (b"EHLO a(b", b"501 5.5.4"),
        (b"NOOP \x00", b"501 5.5.2"),
        (b"NOOP \xc3\xa4", b"501 5.5.2"),
        (b"NOOP a\nQUIT", b"501 5.5.2"),
        (b"NOOP a\rQUIT", b"501 5.5.2"),
        (b"NOOP " + b"x" * (MAX_COMMAND - 5), b"250 2.0.0"),
        (b"NOOP " + b"x" * (MAX_COMMAND - 4), b"500 5.5.2"),
        (b"RCPT TO:<b@two.test>", b"503 5.5.1"),
        (b"DATA", b"503 5.5.1"),
        (b"MAIL FROM:a@one.test", b"501 5.5.4"),
        (b"MAIL FROM:<a@one.test>SIZE=1", b"501 5.5.4"),
        (b"MAIL FROM:<a>", b"501 5.1.7"),
        (b"MAIL FROM:<@x.test:a@one.test>", b"501 5.1.7"),
        (b"MAIL FROM:<a@one.test> SIZE=99 BODY=8BITMIME", b"250 2.1.0"),
        (b"mail from: <a@one.test> size=99 body=7bit", b"250 2.1.0"),
        (b"MAIL FROM:<a@one.test> SIZE=99999999999", b"552 5.3.4"),
        (b"MAIL FROM:<a@one.test> SIZE=x", b"501 5.5.4"),
        (b"MAIL FROM:<a@one.test> SIZE=1 SIZE=2", b"501 5.5.4"),
        (b"MAIL FROM:<a@one.test> BODY=BINARYMIME", b"501 5.5.4"),
        (b"MAIL FROM:<a@one.test> SOLICIT=org.example", b"555 5.5.4"),
    ],
)
def test_commands_are_answered(command: bytes, reply: bytes) -> None:
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    assert talk.send(command + b"\r\n").startswith(reply)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"MAIL FROM:<c@one.test>", b"503 5.5.1"),
        (b"RCPT TO:<>", b"501 5.1.3"),
        (b"RCPT TO:<postmaster>", b"250 2.1.5"),
        (b"RCPT TO:<postmaster@two.test>", b"250 2.1.5"),
        (b"RCPT TO:<@x.test,@y.test:b@two.test>", b"501 5.1.3"),
        (b"RCPT TO:<b@two.test> NOTIFY=NEVER", b"250 2.1.5"),
        (b"RCPT TO:<b@two.test> RRVS=2014-04-03T23:01:00Z", b"555 5.5.4"),
        (b"RCPT TO: b@two.test", b"501 5.5.4"),
        (b"DATA", b"554 5.5.1"),
        (b"DATA now", b"501 5.5.4"),
    ],
)
def test_commands_within_a_transaction_are_answered(command: bytes, reply: bytes) -> None:
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    talk.send(b"MAIL FROM:<a@one.test>\r\n")
    assert talk.send(command + b"\r\n").startswith(reply)


def test_mail_before_ehlo_is_refused() -> None:
    assert Talk().send(b"MAIL FROM:<a@one.test>\r\n").startswith(b"503 5.5.1")


def test_a_client_that_may_not_relay_hears_the_same_whatever_it_asks() -> None:
    talk = Talk(may_relay=False)
    talk.send(b"EHLO client.test\r\n")
    talk.send(b"MAIL FROM:<a@one.test>\r\n")
    replies = {talk.send(b"RCPT TO:%s\r\n" % path) for path in (b"<b@two.test>", b"<bad>", b"nonsense")}
    assert replies == {b"550 5.7.1 Relaying denied\r\n"}


def test_the_gate_may_refuse_mail() -> None:
    talk = Talk()
    talk.send(b"EHLO client.test\r\n")
    talk.gate.mail = SmtpReply(code=452, enhanced="4.3.1", text="Disk full")
    assert talk.send(b"MAIL FROM:<a@one.test>\r\n") == b"452 4.3.1 Disk full\r\n"
    talk.gate.mail = None
    assert talk.send(b"MAIL FROM:<a@one.test>\r\n").startswith(b"250 ")


def test_recipients_beyond_the_limit_are_sent_back_without_harm() -> None:
    talk = Talk(config=structs.Intake(max_recipients=2))
    talk.open((b"a@two.test", b"b@two.test", *[b"c@two.test"] * 500))
    assert talk.send(b"Text\r\n.\r\n").startswith(b"250 ")
    assert len(talk.gate.submissions[0].recipients) == 2


def test_twenty_errors_close_the_connection() -> None:
    talk = Talk()
    for _ in range(19):
        assert talk.send(b"XYZZY\r\n").startswith(b"500 ")
    assert talk.send(b"XYZZY\r\nNOOP\r\n").endswith(b"421 4.7.0 Too many errors\r\n")
    assert talk.session.closed


def test_an_accepted_message_forgives_earlier_errors() -> None:
    talk = Talk()
    for _ in range(5):
        for _ in range(15):
            talk.send(b"XYZZY\r\n")
        talk.open()
        assert talk.send(MESSAGE + b".\r\n").startswith(b"250 ")
    assert not talk.session.closed


def test_commands_that_lead_nowhere_end_in_421() -> None:
    talk = Talk()
    assert talk.send(b"NOOP\r\n" * 10_000).count(b"\r\n") <= 122
    assert talk.session.closed


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"POST /submit HTTP/1.1", b"CONNECT mx1.test:25 HTTP/1.1"])
def test_a_browser_is_cut_at_its_first_line(line: bytes) -> None:
    talk = Talk()
    assert talk.send(line + b"\r\nMAIL FROM:<a@one.test>\r\n").startswith(b"421 ")
    assert talk.session.closed


def test_nothing_is_read_while_a_submission_is_in_flight() -> None:
    talk = Talk()
    talk.gate.holding = True
    talk.open()
    assert talk.send(MESSAGE + b".\r\nNOOP\r\n") == b""
    assert talk.send(b"QUIT\r\n") == b""
    assert talk.session.backlog == len(b"NOOP\r\nQUIT\r\n")
    talk.gate.waiting[0](QUEUED)
    assert [line[:3] for line in talk.session.take_output().splitlines()] == [b"250", b"250", b"221"]
    assert talk.session.backlog == 0


def test_a_session_asked_to_part_finishes_its_transaction_first() -> None:
    farewell = SmtpReply(code=421, enhanced="4.3.2", text="Bye")
    talk = Talk()
    talk.open()
    talk.session.part(farewell)
    assert talk.session.take_output() == b""
    assert talk.send(MESSAGE + b".\r\n") == b"250 2.0.0 Ok: queued\r\n421 4.3.2 Bye\r\n"
    assert talk.session.closed
    idle = Talk()
    idle.session.part(farewell)
    assert idle.session.closed


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"a\nb\r\n", b"550 5.5.2"),
        (b"a\rb\r\n", b"550 5.5.2"),
        (b"a\r\r\nb\r\n", b"550 5.5.2"),
        (b"a\0b\r\n", b"550 5.5.2"),
        (b"x" * 998 + b"\r\n", b"250 2.0.0"),
        (b"." + b"x" * 998 + b"\r\n", b"250 2.0.0"),  # the stuffed dot does not count
        (b"x" * 999 + b"\r\n", b"550 5.5.2"),
        (b"\r\n" + b"x" * 5000 + b"\r\n", b"550 5.5.2"),
        (b"\r\n" + b"x" * 100 * 78 + b"\r\n", b"550 5.5.2"),
        (b"Subject: " + b"\r\n ".join([b"x" * 900] * 150) + b"\r\n", b"552 5.3.4"),
        (b"A: 1\r\n" * 1001 + b"\r\n", b"552 5.3.4"),
        (b"A: 1\r\n" * 1000 + b"\r\n", b"250 2.0.0"),
        (b"\r\n" + b"y\r\n" * 70_000, b"552 5.3.4"),  # over the size of 200,000
        (b"Received: from a\r\n\tby b\r\n" * 4 + b"\r\n", b"554 5.4.6"),
        (b"Received: from a\r\n\tby b\r\n" * 3 + b"\r\nReceived: not a header\r\n", b"250 2.0.0"),
        (b"", b"250 2.0.0"),
    ],
)
def test_faulty_texts_are_refused_after_their_end(text: bytes, reply: bytes) -> None:
    talk = Talk(config=structs.Intake(max_message_bytes=200_000, max_hops=3))
    talk.open()
    assert talk.send(text + b".\r\n").startswith(reply)
    assert bool(talk.gate.submissions) == (reply[:1] == b"2")
    assert talk.open().startswith(b"354 "), "the session goes on"


@pytest.mark.parametrize(
    "ending", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r", b"\r\r\n.\r\r\n", b"\r.\r"]
)
def test_no_other_sequence_ends_the_data(ending: bytes) -> None:
    talk = Talk()
    talk.open()
    smuggled = b"MAIL FROM:<evil@one.test>\r\nRCPT TO:<b@two.test>\r\nDATA\r\nSmuggled\r\n"
    assert talk.send(b"Text" + ending + smuggled) == b""
    assert talk.send(b".\r\n").startswith(b"550 5.5.2 ")
    assert not talk.gate.submissions


def test_stuffed_dots_are_taken_out() -> None:
    talk = Talk()
    talk.open()
    talk.send(b"..\r\n...two\r\n.odd\r\nno.\r\n.\r\n")
    assert talk.gate.submissions[0].body == b".\r\n..two\r\nodd\r\nno.\r\n"


def test_the_size_limit_is_exact_with_stuffed_dots() -> None:
    for extra, code in ((0, b"250 "), (1, b"552 ")):
        talk = Talk(config=structs.Intake(max_message_bytes=3000))
        talk.open()
        body = b".\r\n" * 999 + b"." * (1 + extra) + b"\r\n"
        assert len(body) == 3000 + extra
        assert talk.send(body.replace(b".\r\n", b"..\r\n").replace(b"....", b"...") + b".\r\n").startswith(code)


def test_an_endless_text_is_not_stored() -> None:
    talk = Talk(config=structs.Intake(max_message_bytes=10_000))
    talk.open()
    for _ in range(50):
        talk.send(b"x" * 70 + b"\r\n" + b"y" * 65_000)
        reader = talk.session._reader
        assert reader is not None
        assert sum(map(len, reader._chunks)) < 20_000
    assert talk.send(b"\r\n.\r\n").startswith(b"552 5.3.4")


def test_eightbit_says_what_the_body_holds() -> None:
    talk = Talk()
    talk.open()
    talk.send("Subject: ü\r\n\r\n".encode() + b".\r\n")
    assert talk.gate.submissions[0].eightbit


def test_replies_are_one_safe_line_of_at_most_512_octets() -> None:
    assert reply_line(SmtpReply(code=250, enhanced="2.0.0", text="a\r\nb\0ü")) == b"250 2.0.0 a  b ?\r\n"
    assert len(reply_line(SmtpReply(code=554, text="x" * 1000))) == 512


def test_a_failing_gate_is_our_fault_not_the_clients() -> None:
    class Broken(KeepingGate):
        def mail_refusal(self) -> SmtpReply | None:
            raise RuntimeError("broken")

    talk = Talk(Broken())
    talk.send(b"EHLO client.test\r\n")
    assert talk.send(b"MAIL FROM:<a@one.test>\r\n").startswith(b"451 4.3.0 ")


CONVERSATION = [
    b"EHLO client.test\r\n",
    b"MAIL FROM:<a@one.test> SIZE=100\r\nRCPT TO:<b@two.test>\r\nRCPT TO:<bad>\r\nDATA\r\n",
    b"X-Job: 7\r\nSubject: x\r\n\r\n..dot\r\n.\r\nNOOP " + b"x" * 600 + b"\r\nRSET\r\n",
    b"MAIL FROM:<c@one.test>\r\nRCPT TO:<d@two.test>\r\nDATA\r\n",
    b"bare\nline\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<e@two.test>\r\nDATA\r\n",
    b".\r\nQUIT\r\n",
]


def _converse(portions: list[list[bytes]]) -> tuple[bytes, list[object]]:
    talk = Talk()
    replies = b"".join(talk.send(portion) for group in portions for portion in group)
    return replies, list(talk.gate.submissions)


def test_every_split_point_gives_the_same_conversation() -> None:
    whole = _converse([[group] for group in CONVERSATION])
    assert whole[0].endswith(b"221 2.0.0 Bye\r\n")
    assert len(whole[1]) == 2
    assert _converse([[bytes([octet]) for octet in group] for group in CONVERSATION]) == whole
    for index, group in enumerate(CONVERSATION):
        for split in range(1, len(group)):
            portions = [[other] for other in CONVERSATION]
            portions[index] = [group[:split], group[split:]]
            assert _converse(portions) == whole


_TOKENS = st.sampled_from(
    [b"\r", b"\n", b".", b"\0", b"a", b"\r\n", b"\r\n.\r\n", b"..", b"\xff", b"\r\n.", b".\r\n", b"X-Job: 1\r\n"]
)


@given(text=st.lists(_TOKENS, max_size=30).map(b"".join), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_any_text_reads_the_same_in_any_portions(text: bytes, cuts: list[int]) -> None:
    whole = Talk()
    whole.open()
    expected = whole.send(text)
    talk = Talk()
    talk.open()
    bounds = [0, *sorted(cuts), len(text) + 60]
    got = b"".join(talk.send(text[a:b]) for a, b in itertools.pairwise(bounds))
    assert (got, talk.gate.submissions) == (expected, whole.gate.submissions)
    if talk.gate.submissions:
        body = talk.gate.submissions[0].body
        assert b"\0" not in body
        assert body.replace(b"\r\n", b"").count(b"\r") == body.replace(b"\r\n", b"").count(b"\n") == 0


_HOSTILE = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"EHLO x\r\n",
            b"MAIL FROM:<a@b>\r\n",
            b"RCPT TO:<a@b>\r\n",
            b"DATA\r\n",
            b"\r\n.\r\n",
            b"RSET\r\n",
            b"\xff" * 700,
        ]
    ),
)


@given(st.lists(_HOSTILE, max_size=40))
def test_hostile_octets_never_crash_a_session(portions: list[bytes]) -> None:
    talk = Talk()
    for portion in portions:
        replies = talk.send(portion)
        assert all(line[:3].isdigit() and len(line) <= 510 for line in replies.splitlines())


def test_a_stranger_may_write_to_what_the_gate_calls_ours_and_to_nothing_else() -> None:
    gate = KeepingGate()
    gate.ours = frozenset({b"postmaster", b"b+x@bounce.test"})
    talk = Talk(gate, may_relay=False)
    talk.send(b"EHLO client.test\r\n")
    talk.send(b"MAIL FROM:<>\r\n")
    assert talk.send(b"RCPT TO:<user@example.com>\r\n") == b"550 5.7.1 Relaying denied\r\n"
    assert talk.send(b"RCPT TO:nonsense\r\n") == b"550 5.7.1 Relaying denied\r\n"
    assert talk.send(b"RCPT TO:<Postmaster>\r\n") == b"550 5.7.1 Relaying denied\r\n"
    assert talk.send(b"RCPT TO:<postmaster>\r\n").startswith(b"250")  # without a domain: RFC 5321 section 4.5.1
    assert talk.send(b"RCPT TO:<b+x@bounce.test>\r\n").startswith(b"250")
    assert talk.send(b"DATA\r\n").startswith(b"354")
    assert talk.send(b"hello\r\n.\r\n").startswith(b"250")
    assert gate.submissions[0].recipients == (b"postmaster", b"b+x@bounce.test")
