"""A set of keys in little memory: 8 bytes each, a million in 8 MB. Pure."""

from array import array
from bisect import bisect_left

from mailagent.outcome.suppression.keys import REASON_BITS

MERGE = 32_768
"""Changes that are kept apart until they are merged."""
_ALL = (1 << REASON_BITS) - 1
_GONE = -1


class Table:
    """key -> small number (0 to 7). A look-up costs a microsecond, a change no more, but for one in MERGE."""

    __slots__ = ("_recent", "_size", "_sorted")

    def __init__(self) -> None:
        self._sorted = array("q")  # key * 8 + number
        self._recent: dict[int, int] = {}  # key -> number, or _GONE
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def extend(self, packed: list[int]) -> None:
        """Fill at the start: key * 8 + number, ascending, all beyond what is there."""
        self._sorted.extend(packed)
        self._size += len(packed)

    def get(self, key: int) -> int | None:
        """The number of `key`; None: it is not in the table."""
        number = self._recent.get(key)
        if number is not None:
            return None if number == _GONE else number
        return self._old(key)

    def put(self, key: int, number: int) -> None:
        """Add or change."""
        self._size += self.get(key) is None
        self._note(key, number)

    def discard(self, key: int) -> None:
        """Take out, if it is there."""
        if self.get(key) is not None:
            self._size -= 1
            self._note(key, _GONE)

    def _old(self, key: int) -> int | None:
        at = bisect_left(self._sorted, key << REASON_BITS)
        if at < len(self._sorted) and (found := self._sorted[at]) >> REASON_BITS == key:
            return found & _ALL
        return None

    def _note(self, key: int, number: int) -> None:
        self._recent[key] = number
        if len(self._recent) >= MERGE:
            self._merge()

    def _merge(self) -> None:
        recent, self._recent = self._recent, {}
        kept = [one for one in self._sorted if one >> REASON_BITS not in recent]
        kept += sorted(key << REASON_BITS | number for key, number in recent.items() if number != _GONE)
        kept.sort()  # two runs that are sorted already
        self._sorted = array("q", kept)
