"""Answers by name, for as long as their TTL says and a bounded number of them."""

from collections import OrderedDict
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

MIN_TTL_S = 60
MX_MIN_TTL_S = 300
MAX_TTL_S = 86_400
MAX_NEGATIVE_TTL_S = 900
FAILURE_TTL_S = 5
"""RFC 9520 section 3.2 wants failures cached, for 1 s to 5 min."""
STALE_S = 86_400
"""How long after its end an answer may still stand in for one that the servers do not give."""
STALE_TTL_S = 30
"""How long a stale answer is served before the servers are asked again (RFC 8767 section 5)."""


def kept_s(ttl_s: int, *, negative: bool = False, floor_s: int = MIN_TTL_S) -> int:
    """Seconds to keep an answer whose records (its SOA, when negative) say `ttl_s`."""
    return max(floor_s, min(ttl_s, MAX_NEGATIVE_TTL_S if negative else MAX_TTL_S))


class Cache(Generic[Answer]):
    """The most recently used answers of one record type; times are monotonic seconds, passed in."""

    __slots__ = ("_entries", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[str, tuple[Answer, float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def fresh(self, name: str, now: float) -> Answer | None:
        """The answer for `name`, when it has not expired."""
        entry = self._entries.get(name)
        if entry is None or entry[1] <= now:
            return None
        self._entries.move_to_end(name)
        return entry[0]

    def stale(self, name: str, now: float) -> tuple[Answer, float] | None:
        """The last answer for `name` and the time until which it may stand in, when that has not passed."""
        entry = self._entries.get(name)
        return (entry[0], entry[2]) if entry is not None and entry[2] > now else None

    def put(self, name: str, answer: Answer, *, fresh_until: float, stale_until: float) -> None:
        """Keep `answer`; when the cache is full, the least recently used one gives way."""
        self._entries[name] = (answer, fresh_until, stale_until)
        self._entries.move_to_end(name)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
