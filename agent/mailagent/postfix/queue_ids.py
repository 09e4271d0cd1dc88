"""Postfix's queue ids, and the numbers that its messages have in the spool. Pure.

A long id has the time at which its queue file was made: seconds (6 digits or more) and microseconds (4) in base 52,
`z`, and the inode in base 51 (src/global/mail_queue.h). Numbers sort by arrival, as those of our own mail do.
"""

import hashlib
from typing import Final

from mailagent.spool.ids import EPOCH_US

DIGITS: Final = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_VALUES: Final = {char: value for value, char in enumerate(DIGITS)}
_MICROSECONDS: Final = 4
_SECONDS: Final = 6
_PER_SECOND: Final = 1_000_000


def made_at_us(queue_id: str) -> int | None:
    """Microseconds since 1970 at which a long queue id was made; None: it is a short one, which does not say."""
    head, end, inode = queue_id.rpartition("z")
    if not end or not inode or len(head) < _SECONDS + _MICROSECONDS or not all(char in _VALUES for char in head):
        return None
    micros = _value(head[-_MICROSECONDS:])
    return _value(head[:-_MICROSECONDS]) * _PER_SECOND + micros if micros < _PER_SECOND else None


def message_number(queue_id: str, arrival_time: int) -> int:
    """The number that a message wants that arrived at this second; another one may have it."""
    made = made_at_us(queue_id)
    fraction = (made if made is not None else digest(queue_id.encode())) % _PER_SECOND
    return max(1, arrival_time * _PER_SECOND + fraction - EPOCH_US)


def digest(data: bytes) -> int:
    """63 bits that are equal when the bytes are."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1


def _value(text: str) -> int:
    value = 0
    for char in text:
        value = value * len(DIGITS) + _VALUES[char]
    return value
