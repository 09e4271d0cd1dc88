import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.delivery.raw_reply import RawReply
from mailagent.delivery.replies import BrokenReply, ReplyReader


def read_all(chunks: list[bytes]) -> list[RawReply]:
    reader = ReplyReader()
    found = []
    for chunk in chunks:
        reader.feed(chunk)
        while (reply := reader.next()) is not None:
            found.append(reply)
    return found


STREAM = (
    b"220 hello\r\n250-one\r\n250-two words\r\n250 SIZE 10\r\n354\r\n550-5.1.1 no such\r\n550 5.1.1 user\n421 x\r\n"
)


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=10))
def test_every_way_to_cut_the_stream_gives_the_same_replies(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert (
        read_all(chunks)
        == read_all([STREAM])
        == [
            RawReply(220, [b"hello"]),
            RawReply(250, [b"one", b"two words", b"SIZE 10"]),
            RawReply(354, [b""]),
            RawReply(550, [b"5.1.1 no such", b"5.1.1 user"]),
            RawReply(421, [b"x"]),
        ]
    )


@given(data=st.binary(max_size=300), cut=st.integers(0, 300))
def test_hostile_bytes_are_replies_or_refused(data: bytes, cut: int) -> None:
    try:
        replies = read_all([data[:cut], data[cut:]])
    except BrokenReply:
        return
    assert all(200 <= reply.code <= 599 for reply in replies)


@pytest.mark.parametrize(
    "data",
    [b"25", b"250", b"250 ok", b"250-ok\r\n", b""],
    ids=["code cut", "no line end", "text", "continued", "nothing"],
)
def test_an_incomplete_reply_waits_for_more(data: bytes) -> None:
    reader = ReplyReader()
    reader.feed(data)
    assert reader.next() is None
    assert reader.is_empty() == (data == b"")


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"150 ok\r\n",
        b"650 ok\r\n",
        b"\xb2\xb5\xb0 ok\r\n",
        b"250 " + b"x" * 5000,
        b"250 " + b"x" * 5000 + b"\r\n",
        b"250-x\r\n" * 10_000,
        (b"250-" + b"x" * 4000 + b"\r\n") * 20,
    ],
)
def test_what_is_no_reply_or_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenReply):
        read_all([data])


def test_the_enhanced_code_is_cut_from_each_line() -> None:
    raw = RawReply(550, [b"5.1.1 The account", b"5.1.1 does not \xff exist", b"5.1.2 other"])
    assert raw.parsed(Verb.RCPT) == SmtpReply(
        code=550, enhanced="5.1.1", text="The account does not \\xff exist 5.1.2 other", verb=Verb.RCPT
    )


def test_a_long_text_is_cut_and_says_so() -> None:
    assert RawReply(550, [b"x" * 4000]).parsed(Verb.RCPT).text.endswith("… [truncated]")
