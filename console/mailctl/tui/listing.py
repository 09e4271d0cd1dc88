"""What a table shows: columns, cells and rows as values, and a source that draws rows only when they are visible."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from mailctl.tui.theme import Tone

GAP = 2
"""Blank cells between two columns."""


class Cell(NamedTuple):
    """Text of one table cell and what it means."""

    text: str
    tone: Tone = Tone.TEXT


BLANK = Cell("")


class Row(NamedTuple):
    """One drawn row. `cells` stand in the order of the columns; equal rows look equal."""

    key: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. Widths come from here and never from the rows."""

    title: str
    width: int  # at least; exactly, unless it grows
    right: bool = False
    grow: int = 0  # share of the width that is left over
    most: int = 0  # width beyond which it does not grow; 0: no bound
    tail: bool = False  # what does not fit is cut at the left
    drop: int = 0  # the highest goes first when the terminal is narrow; 0 stays
    sort: Callable[[Any], Any] | None = None  # value of a record to order by
    descending: bool = False  # the first direction that makes sense


class RowSource(Protocol):
    """What the table asks. `len` and `key` are cheap; `row` is called for visible rows only."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """In order of appearance."""

    @property
    def total(self) -> Row | None:
        """The sum row."""

    @property
    def sorted_by(self) -> tuple[int, bool] | None:
        """Index of the ordering column, and whether descending; None: the source's own order."""

    def __len__(self) -> int: ...

    def key(self, index: int) -> str:
        """Key of the row at `index`."""

    def row(self, index: int) -> Row:
        """The row at `index`."""

    def index_of(self, key: str) -> int | None:
        """Where `key` stands, None when it is gone."""


Record = TypeVar("Record")


@dataclass(frozen=True)
class Listing(Generic[Record]):
    """Records in their order, drawn on demand."""

    columns: tuple[Column, ...]
    records: Sequence[Record]
    keys: Sequence[str]
    places: Mapping[str, int]
    draw: Callable[[Record], tuple[Cell, ...]]
    total: Row | None = None
    sorted_by: tuple[int, bool] | None = None

    @classmethod
    def of(
        cls,
        columns: tuple[Column, ...],
        records: Sequence[Record],
        key: Callable[[Record], str],
        draw: Callable[[Record], tuple[Cell, ...]],
        *,
        total: Row | None = None,
        sorted_by: tuple[int, bool] | None = None,
    ) -> "Listing[Record]":
        """A listing of `records`, ordered by a column when asked."""
        if sorted_by is not None and (value := columns[sorted_by[0]].sort):
            records = sorted(records, key=value, reverse=sorted_by[1])
        keys = [key(record) for record in records]
        places = {name: index for index, name in enumerate(keys)}
        return cls(columns, records, keys, places, draw, total, sorted_by)

    def in_order(self, places: Mapping[str, int]) -> "Listing[Record]":
        """The same records in an earlier order, new ones last: rows hold still while somebody types."""
        last = len(places)
        order = sorted(range(len(self.keys)), key=lambda index: places.get(self.keys[index], last + index))
        keys = [self.keys[index] for index in order]
        return Listing(
            self.columns,
            [self.records[index] for index in order],
            keys,
            {name: index for index, name in enumerate(keys)},
            self.draw,
            self.total,
            self.sorted_by,
        )

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        """Key of the row at `index`."""
        return self.keys[index]

    def row(self, index: int) -> Row:
        """The row at `index`."""
        return Row(self.keys[index], self.draw(self.records[index]))

    def index_of(self, key: str) -> int | None:
        """Where `key` stands, None when it is gone."""
        return self.places.get(key)

    def record(self, key: str) -> Record | None:
        """The record behind a key."""
        index = self.places.get(key)
        return None if index is None else self.records[index]


def fit(columns: Sequence[Column], width: int) -> tuple[tuple[int, int], ...]:
    """(column index, width) of the columns that fit into `width` cells, in order.

    Columns leave by `drop`, highest first; what is left over goes to the growing ones by their shares.
    """
    shown = list(range(len(columns)))
    droppable = sorted((index for index in shown if columns[index].drop), key=lambda index: -columns[index].drop)

    def needed() -> int:
        return sum(columns[index].width for index in shown) + GAP * (len(shown) - 1)

    for index in droppable:
        if needed() <= width:
            break
        shown.remove(index)
    widths = {index: columns[index].width for index in shown}
    spare = width - needed()
    growing = [index for index in shown if columns[index].grow]
    while spare > 0 and growing:
        shares = sum(columns[index].grow for index in growing)
        full = []
        given = 0
        for index in growing:
            part = max(1, spare * columns[index].grow // shares)
            bound = columns[index].most
            part = min(part, spare - given, max(0, bound - widths[index]) if bound else part)
            widths[index] += part
            given += part
            if bound and widths[index] >= bound:
                full.append(index)
        spare -= given
        growing = [index for index in growing if index not in full]
        if not given:
            break
    return tuple((index, widths[index]) for index in shown)
