"""Operation ids: time-ordered, short enough to be typed after `mailctl undo`."""

import re
import secrets
import time

from mailagent.api.ids import OpId

UNNAMED = OpId("")
"""Placeholder until the operation has its id."""
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: no i, l, o, u."""
_KEY = re.compile(r"[A-Za-z0-9_:-]{1,48}")
"""No dot: what follows one is the number of a step."""


def new_op_id() -> OpId:
    """9 characters of milliseconds (enough until 3084) and 6 random ones (30 bits)."""
    return OpId(_base32(time.time_ns() // 1_000_000, 9) + _base32(secrets.randbits(30), 6))


def keyed_op_id(key: str) -> OpId:
    """The id of the operation that `key` names, the same whenever it is asked for.

    Raises:
        ValueError: it is no key.
    """
    if not _KEY.fullmatch(key):
        raise ValueError("a key is 1 to 48 letters, digits and _ : -")
    return OpId(f"key-{key}")


def step_id(op_id: OpId, index: int) -> OpId:
    """The id of the step number `index` (from 0) of one operation on one host.

    An agent refuses an op_id with another body, so the second and later objects of one host get a suffix.
    """
    return op_id if index == 0 else OpId(f"{op_id}.{index + 1}")


def belongs(op_id: str, operation: str) -> bool:
    """Whether the record `op_id` is a step of `operation`."""
    return op_id == operation or op_id.startswith(f"{operation}.")


def _base32(number: int, digits: int) -> str:
    return "".join(_ALPHABET[number >> 5 * index & 31] for index in reversed(range(digits)))
