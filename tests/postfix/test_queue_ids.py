"""Queue ids of both forms."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mailagent.postfix.queue_ids import DIGITS, made_at_us, message_number
from mailagent.spool.ids import EPOCH_US, arrival_ms, recipient_id


def long_id(at_us: int, inode: str = "9rXH") -> str:
    """As Postfix makes it (MQID_LG_ENCODE_SEC, MQID_LG_ENCODE_USEC)."""

    def encode(value: int, least: int) -> str:
        text = ""
        while value:
            value, digit = divmod(value, 52)
            text = DIGITS[digit] + text
        return text.rjust(least, "0")

    return f"{encode(at_us // 1_000_000, 6)}{encode(at_us % 1_000_000, 4)}z{inode}"


@given(at_us=st.integers(1_000_000_000_000_000, 4_000_000_000_000_000))
def test_a_long_id_tells_when_it_was_made(at_us: int) -> None:
    assert made_at_us(long_id(at_us)) == at_us


def test_a_real_id_is_read() -> None:
    made = made_at_us("4bQWbM4gNXz1Qr")
    assert made is not None
    assert 2024 < datetime.fromtimestamp(made / 1e6, UTC).year < 2030


def test_short_ids_do_not_tell() -> None:
    assert made_at_us("3E21B2A0D1") is None
    assert made_at_us("") is None


@given(at_us=st.integers(EPOCH_US + 1_000_000, 4_000_000_000_000_000))
def test_numbers_sort_by_arrival(at_us: int) -> None:
    number = message_number(long_id(at_us), at_us // 1_000_000)
    assert number == at_us - EPOCH_US
    assert arrival_ms(recipient_id(number, 0)) == at_us // 1000


def test_short_ids_get_different_numbers_within_their_second() -> None:
    numbers = {message_number(f"{n:06X}AB12", 1_700_000_000) for n in range(1000)}
    assert len(numbers) > 990
    assert {arrival_ms(number << 12) // 1000 for number in numbers} == {1_700_000_000}
