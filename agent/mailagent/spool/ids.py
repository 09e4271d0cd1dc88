"""Identifiers of the spool: 63-bit integers inside, a short name outside.

    message_id   = microseconds since 2020-01-01 UTC (51 bits, enough until 2091), strictly increasing
    recipient_id = message_id << 12 | n          so a message has at most 4,096 recipients
    MessageId    = 11 characters of time + 6 characters of spool tag, Crockford base32

Sorting by any of them sorts by arrival. The tag is random per spool, so that names are unique over the fleet.
"""

import hashlib
import time
from functools import lru_cache

from mailagent.api.ids import MessageId
from mailagent.api.smtp import normalised
from mailagent.spool.records import QueueName

EPOCH_US = 1_577_836_800_000_000
"""2020-01-01T00:00:00Z in microseconds since 1970."""
RECIPIENT_BITS = 12
MAX_RECIPIENTS = 1 << RECIPIENT_BITS
TAG_CHARS = 6

_TIME_CHARS = 11
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_VALUES = {char: value for value, char in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}


def now_ms() -> int:
    """Wall time in milliseconds since 1970. Not by dividing nanoseconds: that is arithmetic of large numbers."""
    return int(time.time() * 1000)


class MessageIds:
    """Source of message ids: the time, or one more than the last when the clock stands or goes back."""

    def __init__(self, last: int) -> None:
        self._last = last

    def new(self) -> int:
        """The next id."""
        now = time.time_ns() // 1000 - EPOCH_US
        self._last = now if now > self._last else self._last + 1
        return self._last


def at_ms(ms: int) -> int:
    """The message id that stands for a time in milliseconds since 1970."""
    return ms * 1000 - EPOCH_US


def arrival_ms(recipient: int) -> int:
    """When the message of `recipient` got its id, in milliseconds since 1970."""
    return ((recipient >> RECIPIENT_BITS) + EPOCH_US) // 1000


def recipient_id(message: int, n: int) -> int:
    """The id of recipient number `n` (from 0) of `message`."""
    return message << RECIPIENT_BITS | n


def split(recipient: int) -> tuple[int, int]:
    """(message id, n) of a recipient id."""
    return recipient >> RECIPIENT_BITS, recipient & (MAX_RECIPIENTS - 1)


def base32(value: int, chars: int) -> str:
    """`value` in Crockford base32, exactly `chars` characters."""
    text = ""
    for _ in range(chars // 2):
        text = _PAIRS[value & 1023] + text
        value >>= 10
    return _ALPHABET[value & 31] + text if chars % 2 else text


def parse_base32(text: str) -> int:
    """The value of capital letters and digits that `base32` wrote; ValueError for others."""
    value = 0
    for char in text:
        if char not in _VALUES:
            raise ValueError(f"{char!r} is no base32")
        value = value << 5 | _VALUES[char]
    return value


@lru_cache(maxsize=8192)  # asked for at the 250, in the trace field and in accounting
def message_name(message: int, tag: str) -> MessageId:
    """What people see of a message id."""
    return MessageId(f"{_second(message >> 20)}{_PAIRS[message >> 10 & 1023]}{_PAIRS[message & 1023]}{tag}")


@lru_cache(maxsize=8)
def _second(time: int) -> str:
    """The first characters of names, which all messages of about a second share."""
    return base32(time, _TIME_CHARS - 4)


def parse_message_name(name: str) -> tuple[int, str]:
    """(message id, spool tag) of a name; small letters and the usual misreadings (O for 0, I and L for 1) are fine.

    Raises:
        ValueError: it is no message name.
    """
    chars = name.strip().upper()
    if len(chars) != _TIME_CHARS + TAG_CHARS or not all(char in _VALUES for char in chars):
        raise ValueError(f"{name!r} is no message id: {_TIME_CHARS + TAG_CHARS} letters and digits are expected")
    return parse_base32(chars[:_TIME_CHARS]), "".join(_ALPHABET[_VALUES[char]] for char in chars[_TIME_CHARS:])


def _hash63(data: bytes, key: bytes = b"") -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest(), "big") >> 1


@lru_cache(maxsize=65_536)
def queue_id(name: QueueName, key: bytes) -> int:
    """The id of a scheduled queue; keyed with the spool's secret, so that nobody can choose domains that collide."""
    parts = [name.pool, name.stream, name.priority, name.domain]
    if name.job:
        parts.append(name.job)
    return _hash63("\0".join(parts).encode(), key)


@lru_cache(maxsize=4096)
def reply_group(provider: str, code: int, enhanced: str, text: str) -> tuple[int, str]:
    """(key, normalised text) of the group of a reply; the key is the same on every host."""
    normal = normalised(text)
    return _hash63("\0".join((provider, str(code), enhanced, normal)).encode("utf-8", "backslashreplace")), normal


def group_key(key: int) -> str:
    """A group's key for the wire: 16 hexadecimal digits."""
    return f"{key:016x}"
