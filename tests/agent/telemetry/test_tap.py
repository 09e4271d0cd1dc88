"""What a trace shows of a session, and what it never shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.trace import Side
from mailagent.telemetry.tap import Tap


@dataclass
class Lines:
    """Keeps lines as a trace without addresses does."""

    said: list[tuple[str, str]] = field(default_factory=list)
    room: int = 10_000
    dropped: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.said) >= self.room

    def drop(self, lines: int) -> None:
        self.dropped += lines

    def take(self, tap: Tap, side: Side, text: str) -> None:
        self.said.append((str(side), tap.hidden(text)))


def tap_of(sink: Lines, *, ours: bool = False) -> Tap:
    return Tap((sink,), session="1", queue="q", peer="p", ours=ours)


Turn = tuple[str, bytes]
SESSION: Sequence[Turn] = (
    ("s", b"220 mx.example.test ESMTP\r\n"),
    ("c", b"EHLO client.test\r\n"),
    ("s", b"250-mx.example.test\r\n250 PIPELINING\r\n"),
    ("c", b"AUTH LOGIN\r\n"),
    ("s", b"334 VXNlcm5hbWU6\r\n"),
    ("c", b"c2VjcmV0dXNlcg==\r\n"),
    ("s", b"334 UGFzc3dvcmQ6\r\n"),
    ("c", b"c2VjcmV0cGFzcw==\r\n"),
    ("s", b"235 2.7.0 welcome\r\n"),
    ("c", b"MAIL FROM:<prvs=1=anna@shop.test>\r\nRCPT TO:<bob@gmail.test> ORCPT=rfc822;bob@gmail.test\r\nDATA\r\n"),
    ("s", b"250 ok\r\n250 2.1.5 <bob@gmail.test> ok\r\n354 go\r\n"),
    ("c", b"Subject: hidden words\r\n\r\nMAIL FROM:<hidden@body.test>\r\n..\r\n.\r\nRSET\r\n"),
    ("s", b"250 2.0.0 queued\r\n250 reset\r\n"),
    ("c", b"DATA\r\n"),
    ("s", b"503 no recipients\r\n"),
    ("c", b"QUIT\r\n"),
    ("s", b"221 bye\r\n"),
)


def played(turns: Sequence[Turn], cuts: Sequence[int] = ()) -> list[tuple[str, str]]:
    """What is said of `turns`, each sent in pieces that end at `cuts`."""
    sink = Lines()
    tap = tap_of(sink)
    for side, data in turns:
        ends = sorted({*(cut for cut in cuts if cut < len(data)), len(data)})
        start = 0
        for end in ends:
            (tap.client if side == "c" else tap.server)(data[start:end])
            start = end
    return sink.said


def test_a_session_is_told_without_secrets_texts_and_local_parts() -> None:
    said = played(SESSION)
    text = "\n".join(words for _, words in said)
    for secret in ("c2Vj", "VXNl", "UGFz", "hidden", "bob", "anna"):
        assert secret not in text, secret
    assert ("client", "AUTH LOGIN [login left out]") in said
    assert ("client", "MAIL FROM:<…@shop.test>") in said
    assert ("client", "RCPT TO:<…@gmail.test> ORCPT=rfc822;…@gmail.test") in said
    assert ("server", "250 2.1.5 <…@gmail.test> ok") in said
    assert ("event", "text of 62 octets") in said
    assert ("client", "RSET") in said
    assert said[-1] == ("server", "221 bye")


@given(st.lists(st.integers(1, 120), max_size=30))
def test_portions_of_octets_do_not_matter(cuts: list[int]) -> None:
    assert played(SESSION, cuts) == played(SESSION)


@given(st.binary(max_size=300), st.lists(st.integers(1, 300), max_size=8))
def test_a_text_is_never_shown_even_by_a_client_that_does_not_wait(body: bytes, cuts: list[int]) -> None:
    marked = b"".join(b"QUIT text-" + line + b"\r\n" for line in body.split(b"\n"))
    turns = (
        ("c", b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n" + marked),
        ("s", b"250 ok\r\n250 ok\r\n354 go\r\n"),
    )
    assert not [words for _, words in played(turns, cuts) if "text-" in words]


@given(st.lists(st.sampled_from([b"AUTH PLAIN c2Vj\r\n", b"c2Vj\r\n", b"NOOP\r\n", b"AUTH LOGIN\r\n"]), max_size=8))
def test_a_login_is_never_shown_even_by_a_client_that_does_not_wait(lines: list[bytes]) -> None:
    sink = Lines()
    tap = tap_of(sink)
    tap.client(b"AUTH LOGIN\r\n")
    for line in lines:
        tap.client(line)
        tap.server(b"334 c2Vj\r\n")
    assert not [words for _, words in sink.said if "c2Vj" in words]


def test_who_comes_late_sees_neither_the_text_nor_the_login_under_way() -> None:
    sink = Lines()
    tap = tap_of(sink)
    tap.begin(in_text=True)
    tap.client(b"QUIT is a word of the text\r\n.\r\nNOOP\r\n")
    tap.begin(in_login=True)
    tap.client(b"c2VjcmV0\r\n")
    tap.server(b"235 welcome\r\n")
    tap.client(b"NOOP\r\n")
    assert [words for side, words in sink.said if side == "client"] == ["NOOP", "[login left out]", "NOOP"]


def test_the_local_part_is_left_out_of_replies_that_name_it_alone() -> None:
    sink = Lines()
    tap = tap_of(sink, ours=True)
    tap.client(b"MAIL FROM:<>\r\nRCPT TO:<bob.smith@gmail.test>\r\nDATA\r\n")
    tap.server(b"550 5.1.1 no mailbox bob.smith here\r\n")
    assert sink.said[-1] == ("server", "550 5.1.1 no mailbox … here")


@pytest.mark.parametrize("line", [b"x" * 200_000, b"250 " + b"a@" * 100_000, b"250 " + b"\x1b[2J" * 50_000])
def test_a_line_without_measure_is_cut(line: bytes) -> None:
    sink = Lines()
    tap = tap_of(sink, ours=True)
    for _ in range(3):
        tap.server(line)
    tap.server(b"\r\n")
    [(_, words)] = sink.said
    assert len(words) < 600


def test_without_room_lines_are_counted_and_not_made() -> None:
    sink = Lines(room=2)
    tap = tap_of(sink, ours=True)
    tap.client(b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n")
    tap.server(b"250 ok\r\n250 ok\r\n")
    assert len(sink.said) == 2
    assert sink.dropped == 2
