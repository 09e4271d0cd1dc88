"""The session alone: what it writes for what it hears."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.delivery.session import ClientSession, Phase, Starttls
from mailagent.delivery.transaction import Transaction

EHLO = b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 8BITMIME\r\n"
BODY = b"Subject: x\r\n\r\nhello\r\n"


def transaction(
    *recipients: bytes, sender: bytes = b"a@b.example", body: bytes = BODY, eightbit: bool = False
) -> Transaction:
    return Transaction(
        sender=sender, recipients=recipients or (b"u@x.example",), added=b"", body=body, eightbit=eightbit
    )


class Recorder:
    """Obeys the session, writes down what it asks for."""

    def __init__(self, starttls: Starttls = Starttls.NEVER) -> None:
        self.session = ClientSession("m1.example.com", self, starttls)
        self.wire = b""
        self.shaken = self.upgrades = 0
        self.bodies: list[list[int]] = []
        self.settlements: list[list[SmtpReply]] = []
        self.end: SmtpReply | None = None

    def write(self, data: bytes) -> None:
        self.wire += data

    def upgrade(self) -> None:
        self.upgrades += 1

    def handshaken(self) -> None:
        self.shaken += 1

    def send_body(self, accepted: Sequence[int]) -> None:
        self.bodies.append(list(accepted))
        self.session.dot_written()
        self.wire += b"(message)"

    def settled(self, replies: Sequence[SmtpReply]) -> None:
        self.settlements.append(list(replies))

    def ended(self, reply: SmtpReply) -> None:
        assert self.end is None
        self.end = reply

    def hear(self, data: bytes) -> bytes:
        """What is written in answer to `data`."""
        self.wire = b""
        self.session.receive(data)
        return self.wire


def ready(ehlo: bytes = EHLO) -> Recorder:
    peer = Recorder()
    assert peer.hear(b"220 mx.example ESMTP\r\n") == b"EHLO m1.example.com\r\n"
    assert peer.hear(ehlo) == b""
    assert peer.shaken == 1
    peer.wire = b""
    return peer


def sending(*recipients: bytes, ehlo: bytes = EHLO, sender: bytes = b"a@b.example") -> Recorder:
    peer = ready(ehlo)
    peer.session.send(transaction(*recipients, sender=sender))
    return peer


def codes(replies: list[SmtpReply]) -> list[tuple[int, Verb]]:
    return [(reply.code, reply.verb) for reply in replies]


def test_a_pipelined_envelope_goes_out_at_once() -> None:
    peer = sending(b"u@x.example", b"v@x.example")
    assert peer.wire == (
        b"MAIL FROM:<a@b.example> SIZE=21\r\nRCPT TO:<u@x.example>\r\nRCPT TO:<v@x.example>\r\nDATA\r\n"
    )
    assert peer.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n") == b"(message)"
    assert peer.bodies == [[0, 1]]
    peer.hear(b"250 2.0.0 queued as 1\r\n")
    assert not peer.session.past_dot
    expected = SmtpReply(code=250, enhanced="2.0.0", text="queued as 1", verb=Verb.DOT)
    assert peer.settlements == [[expected, expected]]
    assert peer.session.phase is Phase.IDLE


def test_without_pipelining_each_command_waits_for_its_answer() -> None:
    peer = sending(b"u@x.example", b"v@x.example", ehlo=b"250 mx.example\r\n", sender=b"")
    assert peer.wire == b"MAIL FROM:<>\r\n"
    assert peer.hear(b"250 ok\r\n") == b"RCPT TO:<u@x.example>\r\n"
    assert peer.hear(b"550 no\r\n") == b"RCPT TO:<v@x.example>\r\n"
    assert peer.hear(b"250 ok\r\n") == b"DATA\r\n"
    assert peer.hear(b"354 go\r\n") == b"(message)"
    peer.hear(b"250 ok\r\n")
    assert [codes(replies) for replies in peer.settlements] == [[(550, Verb.RCPT), (250, Verb.DOT)]]


def test_without_pipelining_nothing_more_is_sent_once_nobody_can_get_the_message() -> None:
    peer = sending(b"u@x.example", ehlo=b"250 mx.example\r\n")
    assert peer.hear(b"450 busy\r\n") == b""
    assert codes(peer.settlements[0]) == [(450, Verb.MAIL)]
    peer.session.send(transaction())
    assert peer.wire == b"MAIL FROM:<a@b.example>\r\n"  # nothing to reset: MAIL was refused
    assert peer.hear(b"250 ok\r\n") == b"RCPT TO:<u@x.example>\r\n"
    assert peer.hear(b"550 no\r\n") == b""
    assert codes(peer.settlements[1]) == [(550, Verb.RCPT)]
    peer.wire = b""
    peer.session.send(transaction())
    assert peer.wire == b"RSET\r\n"
    assert peer.hear(b"250 ok\r\n") == b"MAIL FROM:<a@b.example>\r\n"


def test_eightbit_goes_with_its_parameter() -> None:
    peer = ready()
    peer.session.send(transaction(eightbit=True))
    assert peer.wire.startswith(b"MAIL FROM:<a@b.example> BODY=8BITMIME SIZE=21\r\n")


def test_ehlo_refused_for_good_falls_back_to_helo() -> None:
    peer = Recorder()
    peer.hear(b"220 old\r\n")
    assert peer.hear(b"502 what\r\n") == b"HELO m1.example.com\r\n"
    peer.hear(b"250 old.example PIPELINING\r\n")
    assert peer.shaken == 1
    assert not peer.session.pipelining


@pytest.mark.parametrize(
    ("heard", "verb"),
    [
        ([b"554 5.7.1 go away\r\n"], Verb.CONNECT),
        ([b"421 later\r\n"], Verb.CONNECT),
        ([b"220 x\r\n", b"450 4.7.1 not now\r\n"], Verb.EHLO),
        ([b"220 x\r\n", b"421 closing\r\n"], Verb.EHLO),
        ([b"220 x\r\n", b"502 x\r\n", b"550 no\r\n"], Verb.EHLO),
    ],
)
def test_a_refused_handshake_ends_with_the_peers_words(heard: list[bytes], verb: Verb) -> None:
    peer = Recorder()
    for data in heard:
        peer.hear(data)
    assert peer.end is not None
    assert (peer.end.verb, peer.end.local) == (verb, False)
    assert peer.shaken == 0


def test_all_refused_and_data_refused_is_reset_before_the_next() -> None:
    peer = sending(b"u@x.example", b"v@x.example")
    assert peer.hear(b"250 ok\r\n550 5.1.1 no\r\n450 later\r\n503 no recipients\r\n") == b""
    assert codes(peer.settlements[0]) == [(550, Verb.RCPT), (450, Verb.RCPT)]
    peer.session.send(transaction())
    assert peer.wire.startswith(b"RSET\r\nMAIL FROM")
    peer.hear(b"250 reset\r\n250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n"[:-10])
    peer.hear(b"250 done\r\n")
    assert codes(peer.settlements[1]) == [(250, Verb.DOT)]


def test_all_refused_but_data_taken_is_ended_with_a_lone_dot() -> None:
    peer = sending(b"u@x.example")
    assert peer.hear(b"250 ok\r\n550 no\r\n354 go\r\n") == b".\r\n"
    assert not peer.session.past_dot
    peer.hear(b"554 no valid recipients\r\n")
    assert codes(peer.settlements[0]) == [(550, Verb.RCPT)]
    assert peer.bodies == []
    peer.wire = b""
    peer.session.send(transaction())
    assert peer.wire.startswith(b"MAIL FROM")


def test_refused_mail_is_the_answer_for_every_recipient() -> None:
    peer = sending(b"u@x.example", b"v@x.example")
    peer.hear(b"550 5.7.1 sender\r\n503 x\r\n503 x\r\n503 x\r\n")
    assert codes(peer.settlements[0]) == [(550, Verb.MAIL), (550, Verb.MAIL)]


def test_refused_data_is_the_answer_for_accepted_recipients() -> None:
    peer = sending(b"u@x.example", b"v@x.example")
    peer.hear(b"250 ok\r\n250 ok\r\n550 no\r\n451 4.3.0 disk\r\n")
    assert codes(peer.settlements[0]) == [(451, Verb.DATA), (550, Verb.RCPT)]


@pytest.mark.parametrize("answered", range(4))
def test_421_before_the_message_leaves_it_unsettled(answered: int) -> None:
    peer = sending(b"u@x.example", b"v@x.example")
    peer.hear(b"250 ok\r\n" * answered + b"421 4.7.0 slow down\r\n")
    assert peer.settlements == []
    assert peer.end == SmtpReply(
        code=421,
        enhanced="4.7.0",
        text="slow down",
        verb=(Verb.MAIL, Verb.RCPT, Verb.RCPT, Verb.DATA)[answered],
    )


def test_421_after_the_dot_settles_and_ends() -> None:
    peer = sending(b"u@x.example")
    peer.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    peer.hear(b"421 4.3.2 shutting down\r\n")
    assert codes(peer.settlements[0]) == [(421, Verb.DOT)]
    assert peer.end is not None
    assert peer.end.code == 421
    assert not peer.session.past_dot


@pytest.mark.parametrize(
    "answers",
    [
        b"350 what\r\n",
        b"250 ok\r\n350 what\r\n",
        b"250 ok\r\n250 ok\r\n250 what\r\n",
        b"250 ok\r\n250 ok\r\n354 go\r\n250 already done\r\n",  # nothing was sent yet
        b"250 ok\r\nno reply at all\r\n",
        b"250-" + b"x\r\n250-" * 10_000,
    ],
)
def test_a_broken_dialogue_ends_unsettled_with_a_local_reply(answers: bytes) -> None:
    peer = sending(b"u@x.example")
    peer.hear(answers)
    assert peer.settlements == []
    assert peer.bodies == []
    assert peer.end is not None
    assert (peer.end.local, peer.end.code) == (True, 0)
    assert peer.hear(b"250 ok\r\n") == b""  # deaf from now on


def test_3yz_to_the_message_is_in_doubt() -> None:
    peer = sending(b"u@x.example")
    peer.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    peer.hear(b"354 again\r\n")
    assert peer.settlements == []
    assert peer.end is not None
    assert peer.session.past_dot


def test_a_reply_hidden_behind_the_greeting_is_not_taken_for_the_answer_to_ehlo() -> None:
    peer = Recorder()
    assert peer.hear(b"220 x\r\n250 PIPELINING\r\n") == b""
    assert peer.end is not None
    assert peer.end.local


def test_a_reply_hidden_behind_the_last_one_is_not_taken_for_the_next_message() -> None:
    peer = sending(b"u@x.example")
    peer.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    peer.hear(b"250 queued\r\n250 also queued\r\n")
    assert len(peer.settlements) == 1
    assert peer.end is not None
    assert "nobody asked for" in peer.end.text


def test_421_while_idle_ends_with_the_peers_words() -> None:
    peer = ready()
    peer.hear(b"421 4.4.2 idle too long\r\n")
    assert peer.end == SmtpReply(code=421, enhanced="4.4.2", text="idle too long")


def test_quit_ends_with_its_answer() -> None:
    peer = ready()
    peer.session.quit()
    assert peer.wire == b"QUIT\r\n"
    peer.hear(b"221 bye\r\n")
    assert peer.end == SmtpReply(code=221, text="bye", verb=Verb.QUIT)


@pytest.mark.parametrize(
    ("message", "code", "enhanced"),
    [
        (transaction(body=b"x" * 999 + b"\r\n"), 552, "5.3.4"),
        (transaction(body=b"bare\nline\r\n"), 554, "5.6.0"),
        (transaction(body=b"bare\rreturn\r\n"), 554, "5.6.0"),
        (transaction(body=b"crossed\n\r.\n\r"), 554, "5.6.0"),
        (transaction(b"u@x>\r\nDATA\r\n"), 553, "5.1.3"),
        (transaction(b"u@x", b"\xc3\xbc@x"), 553, "5.1.3"),
        (transaction(sender=b"a\0@x"), 553, "5.1.3"),
    ],
)
def test_what_must_not_go_out_is_refused_here(message: Transaction, code: int, enhanced: str) -> None:
    refusal = ready().session.refusal(message)
    assert refusal is not None
    assert (refusal.code, refusal.enhanced, refusal.local) == (code, enhanced, True)


def test_eightbit_to_a_peer_without_it_is_refused_here() -> None:
    refusal = ready(b"250 mx.example\r\n").session.refusal(transaction(eightbit=True))
    assert refusal is not None
    assert refusal.enhanced == "5.6.3"


def test_size_without_a_number_is_no_limit() -> None:
    peer = ready(b"250-mx.example\r\n250-size\r\n250 pipelining\r\n")
    assert peer.session.refusal(transaction(body=b"x" * 100_000 + b"\r\n")) is None
    assert peer.session.pipelining


@pytest.mark.parametrize("name", ["", "a b", "a\r\nMAIL FROM:<x>", "a\0", "ä.example", "x" * 300])
def test_an_ehlo_name_that_cannot_be_sent_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="EHLO"):
        ClientSession(name, Recorder())


REPLIES = [b"250 ok\r\n", b"250-a\r\n250 b\r\n", b"354 go\r\n", b"421 bye\r\n", b"450 later\r\n", b"550 5.1.1 no\r\n"]


@given(
    answers=st.lists(st.sampled_from(REPLIES), max_size=12),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    pipelining=st.booleans(),
    recipients=st.integers(1, 3),
)
def test_every_dialogue_settles_all_recipients_or_ends(
    answers: list[bytes], cuts: list[int], pipelining: bool, recipients: int
) -> None:
    """And how the bytes are cut makes no difference, except where a reply comes before its question."""
    peer = ready(EHLO if pipelining else b"250 mx.example\r\n")
    addresses = [b"u%d@x.example" % n for n in range(recipients)]
    asked = itertools.count()
    peer.session.send(transaction(*addresses))
    for answer in answers:
        if peer.end is not None:
            break
        if peer.session.awaiting is None:
            peer.session.send(transaction(*addresses))
            next(asked)
        edges = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
        for start, end in itertools.pairwise(edges):
            if start < end and peer.end is None:
                peer.session.receive(answer[start:end])
    assert all(len(replies) == recipients for replies in peer.settlements)
    assert len(peer.settlements) <= next(asked) + 1
    for replies in peer.settlements:
        assert all(reply.code in (250, 421, 450, 550) for reply in replies)
        assert all(reply.verb is Verb.DOT for reply in replies if reply.is_success)


@given(data=st.binary(max_size=400))
def test_hostile_bytes_never_crash_the_session(data: bytes) -> None:
    for peer in (Recorder(), ready(), sending(b"u@x.example")):
        peer.session.receive(data)
        assert peer.settlements == [] or len(peer.settlements[0]) == 1


UTF8 = EHLO.replace(b"250 8BITMIME", b"250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN")
JURGEN = "jürgen@b.example".encode()


def international(*recipients: bytes, sender: bytes = b"a@b.example", body: bytes = BODY) -> Transaction:
    return Transaction(sender=sender, recipients=recipients, added=b"", body=body, eightbit=True, utf8=True)


def test_smtputf8_is_asked_for_where_the_peer_has_it() -> None:
    """RFC 6531 section 3.4."""
    peer = ready(UTF8)
    message = international("用户@例子.example".encode(), sender=JURGEN)
    assert peer.session.refusal(message) is None
    peer.session.send(message)
    assert peer.wire.startswith(b"MAIL FROM:<%b> BODY=8BITMIME SIZE=" % JURGEN)
    assert b" SMTPUTF8\r\nRCPT TO:<" in peer.wire


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (international(b"u@x.example", sender=JURGEN), "5.6.7"),
        (international(JURGEN), "5.6.7"),
        (international(b"u@x.example", body="Subject: ü\r\n\r\nx\r\n".encode()), "5.6.9"),
        (international(b"u\x01@x.example"), "5.1.3"),
    ],
)
def test_without_smtputf8_what_needs_it_is_refused_here(message: Transaction, code: str) -> None:
    """RFC 6531 section 3.2: no conversion."""
    refusal = ready().session.refusal(message)
    assert refusal is not None
    assert (refusal.enhanced, refusal.local, refusal.is_permanent) == (code, True, True)


def test_a_domain_beyond_ascii_goes_out_as_a_labels_without_smtputf8() -> None:
    """RFC 6531 section 3.2; the recipient that cannot go is the only one refused."""
    peer = ready()
    message = international("u@bücher.example".encode(), JURGEN, body="Subject: x\r\n\r\nü\r\n".encode())
    assert peer.session.refusal(message) is None
    peer.session.send(message)
    assert b"RCPT TO:<u@xn--bcher-kva.example>\r\nDATA" in peer.wire
    peer.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    peer.hear(b"250 ok\r\n")
    ((delivered, refused),) = peer.settlements
    assert (delivered.code, refused.code, refused.enhanced) == (250, 553, "5.6.7")


def test_dsn_parameters_go_only_to_peers_with_dsn() -> None:
    """RFC 3461 section 5.2.1."""
    message = Transaction(
        sender=b"a@b.example",
        recipients=(b"u@x.example", b"v@x.example"),
        added=b"",
        body=BODY,
        eightbit=False,
        mail_options=b" RET=HDRS ENVID=E1",
        rcpt_options=(b" NOTIFY=NEVER", b""),
    )
    with_dsn = ready(UTF8)
    with_dsn.session.send(message)
    assert b" RET=HDRS ENVID=E1\r\nRCPT TO:<u@x.example> NOTIFY=NEVER\r\nRCPT TO:<v@x.example>\r\n" in with_dsn.wire
    without = ready()
    without.session.send(message)
    assert b"RET" not in without.wire
    assert b"NOTIFY" not in without.wire
