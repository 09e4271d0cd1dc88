"""What can be done to single messages of Postfix's queue: by which program, to which ids, and what it says. Pure.

Standard library only: the helper that runs as root imports this and nothing else of the agent.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MOST_IDS: Final = 1000
"""Ids that one run gets."""
_BASE_52: Final = "0-9BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxy"
_LONG: Final = re.compile(rf"[{_BASE_52}z]{{10,20}}z[{_BASE_52}]{{1,16}}", re.ASCII)
"""Seconds (6 digits or more) and microseconds (4) in base 52, `z`, the inode in base 51 (src/global/mail_queue.h)."""
_SHORT: Final = re.compile(r"[0-9A-F]{6,24}", re.ASCII)
"""Microseconds (5 digits) and the inode in base 16. Comes back when an inode is used again at the same microsecond."""


class Act(StrEnum):
    """What is done to a message."""

    HOLD = "hold"
    RELEASE = "release"
    REQUEUE = "requeue"  # it gets another id
    EXPIRE = "expire"  # returned to its sender with the next attempt, released for it if it is on hold
    DELETE = "delete"
    FLUSH = "flush"  # a deferred message is tried now


_OPTION: Final = {Act.HOLD: "-h", Act.RELEASE: "-H", Act.REQUEUE: "-r", Act.EXPIRE: "-f", Act.DELETE: "-d"}
_SAID: Final = {
    Act.HOLD: ("placed on hold",),
    Act.RELEASE: ("released from hold",),
    Act.REQUEUE: ("requeued",),
    Act.EXPIRE: ("expired", "released from hold"),  # the latter alone: it was expired before
    Act.DELETE: ("removed",),
}
_LINE: Final = re.compile(rb"^[^\s:]*postsuper(?:\[\d+\])?: ([0-9A-Za-z]+): ([a-z ]+?)\s*$", re.MULTILINE)
_LOUD: Final = re.compile(rb"\b(?:warning|error|fatal|panic): ")


@dataclass(frozen=True, slots=True)
class Done:
    """What one run did."""

    ids: frozenset[str]  # it said so of these
    trouble: str = ""  # why it may not have done all; empty: it came to its end
    text: bytes = b""  # of a message that was shown


def is_id(text: str) -> bool:
    """Whether `text` is a queue id, of either form."""
    return bool(_LONG.fullmatch(text) or _SHORT.fullmatch(text))


def is_long(text: str) -> bool:
    """Whether `text` is a queue id that is never used again."""
    return _LONG.fullmatch(text) is not None


def checked(ids: Iterable[str]) -> tuple[str, ...]:
    """`ids`, each once.

    Raises:
        ValueError: one is no queue id, or there are more than MOST_IDS.
    """
    found = tuple(dict.fromkeys(ids))
    for one in found:
        if not is_id(one):
            raise ValueError(f"{one[:40]!r} is no queue id")
    if len(found) > MOST_IDS:
        raise ValueError(f"{len(found)} queue ids at once; {MOST_IDS} at most")
    return found


def commands(act: Act, ids: Iterable[str]) -> list[tuple[str, tuple[str, ...], bytes]]:
    """What to run, one after the other: a program, its arguments and its standard input.

    Ids go to postsuper by standard input; postqueue takes one, and only those that pass the pattern come there.

    Raises:
        ValueError: see `checked`.
    """
    found = checked(ids)
    if act is Act.FLUSH:
        return [("postqueue", ("-i", one), b"") for one in found]
    return [("postsuper", (_OPTION[act], "-"), "".join(f"{one}\n" for one in found).encode("ascii"))]


def said(act: Act, output: bytes) -> frozenset[str]:
    """The ids of which postsuper said that it did `act`.

    It says a line for each; the numbers at its end are left aside. An id that it did not find has no line.
    """
    wanted = _SAID[act]
    return frozenset(name.decode("ascii") for name, what in _LINE.findall(output) if what.decode("ascii") in wanted)


def last_words(code: int, output: bytes) -> str:
    """Why a program ended with `code`: its last complaint, or its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    loud = [line for line in lines if _LOUD.search(line)]
    words = (loud or lines or [b""])[-1].decode("utf-8", "backslashreplace")[:300]
    return f"exit code {code}" + (f": {words}" if words else "")
