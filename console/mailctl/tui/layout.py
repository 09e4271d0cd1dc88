"""Which columns of a table are shown, in which order and how wide, as an operator wants them. Pure.

Written as `HOST` or `HOST=12`, one column after the other. Without a choice a table has all its columns, those that
matter least leave when the terminal is narrow. With a choice the last ones leave first.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from mailctl.ops.selector import near
from mailctl.tui.listing import Column, fit

WIDEST = 200


class Chosen(NamedTuple):
    """One column: its title, and its width where that is not left to the table."""

    title: str
    width: int | None = None

    def __str__(self) -> str:
        return self.title if self.width is None else f"{self.title}={self.width}"


Layout = tuple[Chosen, ...]
Layouts = Mapping[str, Layout]
"""By the name of the table, such as `fleet` or `operations.log`."""
Tables = Mapping[str, tuple[Column, ...]]
"""All columns of each table."""


def parse(text: str, columns: Collection[Column]) -> Chosen:
    """`OUT/MIN=9` as a choice among `columns`.

    Raises:
        ValueError: there is no such column, or no such width.
    """
    title, equals, width = text.partition("=")
    titles = [column.title for column in columns]
    if title not in titles:
        raise ValueError(f"no column {title!r}{near(title, titles)}")
    if not equals:
        return Chosen(title)
    if not (width.isascii() and width.isdecimal() and 1 <= int(width) <= WIDEST):
        raise ValueError(f"{title}={width}: a width is a number from 1 to {WIDEST}")
    return Chosen(title, int(width))


def fitted(columns: Sequence[Column], layout: Layout, width: int) -> tuple[tuple[int, int], ...]:
    """(index in `columns`, width) of what is shown in `width` cells, in order; titles that lack are passed over."""
    places = {column.title: index for index, column in enumerate(columns)}
    chosen = [(places[one.title], one.width) for one in layout if one.title in places]
    if not chosen:
        return fit(columns, width)
    arranged = [
        replace(columns[index], drop=place)
        if wanted is None
        else replace(columns[index], drop=place, width=wanted, grow=0)
        for place, (index, wanted) in enumerate(chosen)
    ]
    return tuple((chosen[place][0], cells) for place, cells in fit(arranged, width))
