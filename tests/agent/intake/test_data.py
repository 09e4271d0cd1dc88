"""The reader of a text alone, against the plainest statement of its rules."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from mailagent.delivery.message import wire_blocks
from mailagent.intake.data import DataReader, Fault

pieces = st.lists(
    st.sampled_from([b"\r\n", b"\r\n", b"\r", b"\n", b".", b"..", b"x", b"xyz", b"\r\n.", b"\0"]), max_size=14
)
cuts = st.lists(st.integers(0, 40), max_size=6)


def read(wire: bytes, cuts: list[int]) -> tuple[bytes | Fault, DataReader, int]:
    """What a reader makes of `wire` in portions: the outcome, the reader, octets after the end."""
    reader = DataReader(10_000)
    bounds = [0, *sorted({cut for cut in cuts if cut < len(wire)} - {0}), len(wire)]
    for first, last in pairwise(bounds):
        end = reader.feed(wire[first:last])
        if end >= 0:
            return reader.finish(), reader, len(wire) - first - end
    raise AssertionError("no end of data")


@given(pieces=pieces, cuts=cuts)
@example(pieces=[b"x", b"\r\n.", b"x"], cuts=[2])
@example(pieces=[b"x", b"\r"], cuts=[2])
def test_the_first_lone_dot_ends_the_text_and_only_crlf_ends_its_lines(pieces: list[bytes], cuts: list[int]) -> None:
    sent = b"\r\n" + b"".join(pieces) + b"\r\n.\r\n"
    stuffed = sent[: sent.index(b"\r\n.\r\n")] + b"\r\n"
    text, _, left = read(sent[2:], cuts)
    assert left == len(sent) - len(stuffed) - len(b".\r\n")
    if b"\0" in stuffed:
        assert text is Fault.NUL
    elif b"\r" in stuffed.replace(b"\r\n", b"") or b"\n" in stuffed.replace(b"\r\n", b""):
        assert text is Fault.LINE_ENDS
    else:
        assert text == stuffed.replace(b"\r\n.", b"\r\n")[2:]


@given(pieces=pieces, cuts=cuts)
def test_a_text_without_stuffed_dots_goes_out_as_it_is(pieces: list[bytes], cuts: list[int]) -> None:
    text, reader, _ = read(b"".join(pieces) + b"\r\n.\r\n", cuts)
    if isinstance(text, bytes) and not reader.stuffed:
        assert wire_blocks(b"", text, plain=True)[1] == wire_blocks(b"", text)[1]


def test_an_end_of_data_in_portions_is_no_stuffed_dot() -> None:
    wire = b"Subject: x\r\n\r\nhello.\r\n.\r\n"
    for cut in range(len(wire)):
        _, reader, _ = read(wire, [cut])
        assert not reader.stuffed


def test_a_lenient_reader_takes_what_is_only_read_here() -> None:
    reader = DataReader(10_000, lenient=True)
    text = b"bare\nline\rends, NUL \0 and " + b"x" * 2000 + b"\r\n"
    assert reader.feed(text + b".\r\n") > 0
    assert reader.finish() == text
