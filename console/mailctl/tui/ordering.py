"""The order of a screen's rows, and when they may move into it: live numbers must not make a table dance."""

from collections.abc import Mapping, Sequence
from time import monotonic

from mailctl.tui.listing import Column, Listing, Record

HOLD_S = 1.0
"""Rows keep their order this long after a key press."""
RESORT_S = 5.0
"""And this long anyway, while they are ordered by a column."""


class Ordering:
    """Which column rows are ordered by, and where they stand until they may move."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self.by: tuple[int, bool] | None = None
        """The column, and whether its largest value comes first; None: the screen's own order."""
        self._places: Mapping[str, int] = {}
        self._typed_at = self._sorted_at = -RESORT_S

    @property
    def idle_s(self) -> float:
        """Seconds since a key was pressed."""
        return monotonic() - self._typed_at

    def key_pressed(self) -> None:
        """Somebody types: rows keep still for a while."""
        self._typed_at = monotonic()

    def by_column(self, index: int) -> None:
        """Order by the column at `index`, in the direction that makes sense for it."""
        self.by = (index, self._columns[index].descending)

    def by_title(self, title: str, *, descending: bool) -> None:
        """Order by the column of that title; in the screen's own order where there is none."""
        sortable = (index for index, column in enumerate(self._columns) if column.sort and column.title == title)
        index = next(sortable, None)
        self.by = None if index is None else (index, descending)
        self.anew()

    def by_next(self) -> Column | None:
        """Order by the next column that can be ordered by; None after the last: the screen's own order."""
        before = -1 if self.by is None else self.by[0]
        later = (index for index, column in enumerate(self._columns) if index > before and column.sort is not None)
        index = next(later, None)
        self.by = None
        if index is not None:
            self.by_column(index)
        self._typed_at = self._sorted_at = -RESORT_S
        return None if index is None else self._columns[index]

    def anew(self) -> None:
        """Let the rows take their order with the next drawing, whoever types."""
        self._sorted_at = -RESORT_S

    def forget_places(self) -> None:
        """Let new rows stand where they belong, also while the others stand still."""
        self._places = {}

    def stands_still(self, *, is_asking: bool) -> bool:
        """Whether rows keep their order: somebody types, a question is open, or they were ordered just now."""
        now = monotonic()
        typing = now - self._typed_at < HOLD_S or is_asking
        just_ordered = self.by is not None and now - self._sorted_at < RESORT_S
        ordered = self._sorted_at >= 0  # else the rows have never been in this order
        if ordered and (typing or just_ordered):
            return True
        self._sorted_at = now
        return False

    def held(self, listing: Listing[Record], *, is_asking: bool) -> Listing[Record]:
        """`listing`, its rows where they stood if they stand still."""
        if self.stands_still(is_asking=is_asking):
            listing = listing.in_order(self._places)
        self._places = listing.places
        return listing
