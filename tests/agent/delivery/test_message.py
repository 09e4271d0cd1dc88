from hypothesis import given
from hypothesis import strategies as st

from mailagent.delivery.message import BLOCK_BYTES, wire_blocks

lines = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"x", b"x.", b"a" * 70]), max_size=12)


def received(wire: bytes) -> bytes:
    """What a server takes from `wire`: up to the first end of data, dots removed."""
    data, _, rest = (b"\r\n" + wire).partition(b"\r\n.\r\n")
    assert rest == b"", "something after the end of data"
    return data.replace(b"\r\n.", b"\r\n")[2:] + b"\r\n"


@given(lines=lines, repeat=st.sampled_from([1, 1, 20_000]), added=st.sampled_from([b"", b"Received: x\r\n"]))
def test_a_server_gets_back_exactly_the_message(lines: list[bytes], repeat: int, added: bytes) -> None:
    body = b"".join(line + b"\r\n" for line in lines) * repeat
    leading, last = wire_blocks(added, body)
    blocks = [*leading, last]
    assert all(len(block) <= BLOCK_BYTES + 16 for block in blocks)
    assert last.endswith(b".\r\n")
    if added + body:
        assert received(b"".join(blocks)) == added + body
    else:
        assert blocks == [b".\r\n"]


def test_a_last_line_without_its_end_gets_one() -> None:
    _, last = wire_blocks(b"", b"Subject: x\r\n\r\nno end")
    assert last == b"Subject: x\r\n\r\nno end\r\n.\r\n"


def test_a_large_header_block_before_a_small_body_is_sent_in_order() -> None:
    added = b"X: y\r\n" * 20_000
    leading, last = wire_blocks(added, b".dot\r\n")
    assert b"".join((*leading, last)) == added + b"..dot\r\n.\r\n"
