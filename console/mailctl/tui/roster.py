"""Rows of many hosts in one order: of 100,000 rows only those of hosts where something changed are made again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from mailctl.tui.listing import Column, Listing, Record, Row

Tally = TypeVar("Tally")


@dataclass(frozen=True, slots=True)
class Part(Generic[Record]):
    """The rows of one host. They are asked for when `version` is not equal to the one before."""

    name: str
    version: object
    rows: Callable[[], Sequence[Record]]


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Record, Tally]):
    version: object
    rows: Sequence[Record]
    keys: tuple[str, ...]
    tally: Tally


class Roster(Generic[Record, Tally]):
    """Keeps what was made for each host: rows, their keys, their part of the sum."""

    def __init__(
        self,
        columns: tuple[Column, ...],
        key: Callable[[Record], str],
        place: Callable[[Record], Any],
        tally: Callable[[Sequence[Record]], Tally],
    ) -> None:
        """`place` orders the rows where no column does; `tally` adds up rows of one host."""
        self._columns = columns
        self._key = key
        self._place = place
        self._tally = tally
        self._parts: dict[str, _Kept[Record, Tally]] = {}
        self._records: dict[str, Record] = {}
        self._own_order: list[str] = []  # of the keys
        self._keys: list[str] = []
        self._places: dict[str, int] = {}
        self._sorted_by: tuple[int, bool] | None = None
        self._values: dict[str, Any] = {}  # by key, what that column orders by
        self._reshaped = False  # keys came or went since the last listing

    def update(self, parts: Iterable[Part[Record]]) -> None:
        """Take what changed."""
        names = set()
        for part in parts:
            names.add(part.name)
            old = self._parts.get(part.name)
            if old is not None and old.version == part.version:
                continue
            rows = part.rows()
            keys = tuple(map(self._key, rows))
            self._parts[part.name] = _Kept(part.version, rows, keys, self._tally(rows))
            if old is not None and old.keys == keys:
                self._records.update(zip(keys, rows, strict=True))
                self._values.update(self._measured(keys, rows))
            else:
                self._reshaped = True
        for name in self._parts.keys() - names:
            del self._parts[name]
            self._reshaped = True
        if self._reshaped:
            records = [row for kept in self._parts.values() for row in kept.rows]
            records.sort(key=self._place)
            self._own_order = list(map(self._key, records))
            self._records = dict(zip(self._own_order, records, strict=True))
            self._values = self._measured(self._own_order, records)

    @property
    def tallies(self) -> list[Tally]:
        """Of each host."""
        return [kept.tally for kept in self._parts.values()]

    def listing(
        self,
        draw: Callable[[Record], tuple[Any, ...]],
        *,
        sorted_by: tuple[int, bool] | None,
        still: bool,
        total: Row | None,
    ) -> Listing[Record]:
        """All rows. `still`: in the order of the last time, if there was one, new ones at the end."""
        turned = sorted_by != self._sorted_by
        if turned:
            self._sorted_by = sorted_by
            self._values = self._measured(self._records, self._records.values())
        if still and sorted_by is not None and self._keys:
            if self._reshaped:
                places, last = self._places, len(self._places)
                self._order(sorted(self._own_order, key=lambda key: places.get(key, last)))
        elif sorted_by is None:
            if self._reshaped or turned:
                self._order(self._own_order)
        elif self._columns[sorted_by[0]].sort is not None:
            self._order(sorted(self._own_order, key=self._values.__getitem__, reverse=sorted_by[1]))
        self._reshaped = False
        return Listing(
            self._columns, _InOrder(self._keys, self._records), self._keys, self._places, draw, total, sorted_by
        )

    def _measured(self, keys: Iterable[str], records: Iterable[Record]) -> dict[str, Any]:
        """What the ordering column makes of each record, by key: kept, since 100,000 calls for each sort are slow."""
        value = None if self._sorted_by is None else self._columns[self._sorted_by[0]].sort
        return {} if value is None else dict(zip(keys, map(value, records), strict=True))

    def _order(self, keys: list[str]) -> None:
        if keys != self._keys:
            self._keys = keys
            self._places = dict(zip(keys, range(len(keys)), strict=True))


@dataclass(frozen=True, slots=True)
class _InOrder(Sequence[Record]):
    """Records in the order of their keys, looked up when they are drawn."""

    keys: Sequence[str]
    records: Mapping[str, Record]

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        if isinstance(index, slice):
            return [self.records[key] for key in self.keys[index]]
        return self.records[self.keys[index]]
