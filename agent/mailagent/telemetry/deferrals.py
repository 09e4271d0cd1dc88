"""What deferrals are, per virtual MTA at a provider and on the whole host: the kind of most of the last minute.

The last reply alone says another thing from one moment to the next where a provider throttles and mailboxes are full.
"""

from collections import defaultdict, deque
from typing import Final

from mailagent.api.smtp import SmtpReply
from mailagent.api.views import Deferring

SPAN_S: Final = 60
BUCKET_S: Final = 5
"""What is counted together; a count goes when its bucket is older than the span."""
MORE: Final = 1.5
"""So many times as many another kind must have to be told instead: two that are level do not take turns."""

Cell = tuple[str, str]
"""Provider, virtual MTA."""


class Kinds:
    """Of one cell, or of the host. Pure; at most one entry per category."""

    __slots__ = ("_counts", "_replies", "_told")

    def __init__(self) -> None:
        self._counts: dict[str, deque[list[int]]] = {}  # (bucket, deferrals), oldest first
        self._replies: dict[str, SmtpReply] = {}
        self._told = ""

    def add(self, category: str, reply: SmtpReply, now_s: float) -> None:
        """One more."""
        bucket = int(now_s) // BUCKET_S
        counts = self._counts.get(category)
        if counts is None:
            counts = self._counts[category] = deque(maxlen=SPAN_S // BUCKET_S)
        if counts and counts[-1][0] >= bucket:  # a clock that is set back counts where it was
            counts[-1][1] += 1
        else:
            counts.append([bucket, 1])
        self._replies[category] = reply
        if len(self._replies) == 1:
            self._told = category

    def most(self, now_s: float) -> Deferring | None:
        """The kind that most are; the one before while there was none in the last minute."""
        if not self._replies:
            return None
        oldest = int(now_s) // BUCKET_S - SPAN_S // BUCKET_S
        sums = {
            name: sum(count for bucket, count in counts if bucket > oldest) for name, counts in self._counts.items()
        }
        first = max(sums, key=sums.__getitem__)
        if sums[first] and sums[first] >= MORE * sums[self._told]:
            self._told = first
        return Deferring(category=self._told, reply=self._replies[self._told])


class Deferrals:
    """Of one host. Memory is bounded by providers, virtual MTAs and categories."""

    def __init__(self) -> None:
        self.last: dict[Cell, SmtpReply] = {}
        """The last reply of each provider to each virtual MTA that deferred a recipient."""
        self._host = Kinds()
        self._cells: dict[Cell, Kinds] = defaultdict(Kinds)

    def add(self, cell: Cell, category: str, reply: SmtpReply, now_s: float) -> None:
        """One recipient was deferred, at `now_s` (Unix time). Without a provider it counts for the host alone."""
        self._host.add(category, reply, now_s)
        if cell[0]:
            self.last[cell] = reply
            self._cells[cell].add(category, reply, now_s)

    def most(self, cell: Cell, now_s: float) -> Deferring | None:
        """What most of a cell are."""
        kinds = self._cells.get(cell)
        return kinds.most(now_s) if kinds is not None else None

    def most_of_all(self, now_s: float) -> Deferring | None:
        """What most on the host are."""
        return self._host.most(now_s)
