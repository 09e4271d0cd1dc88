"""Plain aligned tables: fit for a terminal, for a pipe into awk, and for a ticket. Pure."""

import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mailctl.output.human import printable

GAP = "  "
LEAST_FLEX = 10
"""A column that gives way keeps this much."""
FAIR_NAME = 24
"""Names are cut to no less than this while a late column could be left out instead."""
FAIR_FLEX = 16
"""Spare columns go as long as one that gives way would have less than this."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, whether it holds numbers, and whether it may be cut, or left out, to make room."""

    title: str
    right: bool = False
    flex: bool = False
    spare: int = 0  # the highest is left out first; 0: late, or never
    late: int = 0  # the same of what is left out only where cutting others does not make room; 0: last, from the right


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    total: Sequence[str] | None = None,
    width: int | None = None,
) -> str:
    """The table as lines, each without blanks at its end; `width` None cuts nothing (a pipe).

    `total` is a last row under a rule. Too wide a table leaves out its spare columns, which a last line names, and cuts
    its flexible ones with an ellipsis, the widest first. Where that is not enough late columns follow, names are cut as
    well, and at last columns go from the right on: no row is wider than the terminal.
    """
    body = [[printable(cell) for cell in row] for row in (*rows, *([total] if total is not None else []))]
    widths = [max([cells(column.title), *(cells(row[index]) for row in body)]) for index, column in enumerate(columns)]
    left_out: list[str] = []
    if width is not None:
        kept = _kept(columns, widths, body, width)
        left_out = [
            column.title
            for index, column in enumerate(columns)
            if index not in kept and any(row[index] for row in body)
        ]
        columns, widths = [columns[index] for index in kept], [widths[index] for index in kept]
        body = [[row[index] for index in kept] for row in body]
        _shrink(widths, [index for index, column in enumerate(columns) if column.flex], width, LEAST_FLEX)
        _shrink(widths, [index for index, column in enumerate(columns) if not column.right], width, LEAST_FLEX)
        _shrink(widths, range(len(columns)), width, 1)
    lines = [_line([column.title for column in columns], columns, widths)]
    lines += [_line(row, columns, widths) for row in body]
    if total is not None:
        lines.insert(-1, GAP.join("-" * one for one in widths))
    if left_out:
        lines += wrapped(f"(too narrow for {', '.join(left_out)}; --json has all)", indent=0, width=width)
    return "\n".join(lines)


def fields(pairs: Sequence[tuple[str, str]], width: int | None = None) -> str:
    """Names and values below each other; values keep their own lines, cleaned, and wrap at `width`."""
    indent = max(cells(name) for name, _ in pairs) + len(GAP)
    lines = []
    for name, value in pairs:
        below = [part for line in value.split("\n") for part in wrapped(printable(line), indent=indent, width=width)]
        lines.append(f"{name}{below[0][cells(name) :]}".rstrip())
        lines += [line.rstrip() for line in below[1:]]
    return "\n".join(lines)


def wrapped(text: str, *, indent: int, width: int | None) -> list[str]:
    """`text` as lines of a terminal, each behind `indent` blanks; words longer than a line stay whole (links)."""
    margin = " " * indent
    if width is None or indent + cells(text) <= width:
        return [margin + text]
    return textwrap.wrap(
        text, width, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )


def cells(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def cut(text: str, width: int) -> str:
    """`text`, or its start with an ellipsis, in at most `width` columns."""
    if cells(text) <= width:
        return text
    taken = 0
    for index, char in enumerate(text):
        taken += _cells(char)
        if taken > width - 1:
            return text[:index] + "…"
    return text


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _kept(columns: Sequence[Column], widths: Sequence[int], body: Sequence[Sequence[str]], width: int) -> list[int]:
    """Indices of the columns that fit, those being cut at a fair width; empty columns that give way go before all."""
    kept = list(range(len(columns)))
    empty = [index for index in kept if columns[index].flex and not any(row[index] for row in body)]
    spare = sorted((index for index in kept if columns[index].spare), key=lambda index: -columns[index].spare)
    late = sorted((index for index in kept if columns[index].late), key=lambda index: -columns[index].late)

    def leave_out(order: Iterable[int], cut: Callable[[int], int]) -> None:
        for index in order:
            if sum(cut(one) for one in kept) + len(GAP) * (len(kept) - 1) <= width:
                return
            if index in kept:
                kept.remove(index)

    def fair(index: int) -> int:
        return min(widths[index], FAIR_FLEX) if columns[index].flex else widths[index]

    def least(index: int) -> int:
        most = LEAST_FLEX if columns[index].flex else widths[index] if columns[index].right else FAIR_NAME
        return min(widths[index], most)

    def last(index: int) -> int:  # what is longer than a number can be is none
        return min(widths[index], FAIR_FLEX if columns[index].right else LEAST_FLEX)

    leave_out(dict.fromkeys((*empty, *spare)), fair)
    leave_out(late, least)
    leave_out(range(len(columns) - 1, 0, -1), last)
    return kept


def _shrink(widths: list[int], flexible: Sequence[int], width: int, least: int) -> None:
    """Make columns of `flexible` narrower, the widest first, until all fit or each of them has `least`."""
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    while excess > 0 and flexible:
        widest = max(flexible, key=lambda index: widths[index])
        if widths[widest] <= least:
            return
        widths[widest] -= 1
        excess -= 1


def _line(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    parts = []
    for cell, column, width in zip(row, columns, widths, strict=True):
        shown = cut(cell, width)
        pad = " " * (width - cells(shown))
        parts.append(pad + shown if column.right else shown + pad)
    return GAP.join(parts).rstrip()
