"""Plain aligned tables: fit for a terminal, for a pipe into awk, and for a ticket. Pure."""

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from mailctl.output.human import printable

GAP = "  "
LEAST_FLEX = 10
"""A column that gives way keeps this much."""
FAIR_FLEX = 16
"""Spare columns go as long as one that gives way would have less than this."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, whether it holds numbers, and whether it may be cut, or left out, to make room."""

    title: str
    right: bool = False
    flex: bool = False
    spare: int = 0  # the highest is left out first; 0: never


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    total: Sequence[str] | None = None,
    width: int | None = None,
) -> str:
    """The table as lines, each without blanks at its end; `width` None cuts nothing (a pipe).

    `total` is a last row under a rule. Too wide a table leaves out its spare columns, which a last line names, and cuts
    its flexible ones with an ellipsis, the widest first; what still does not fit wraps as the terminal does.
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
        _shrink(widths, [index for index, column in enumerate(columns) if column.flex], width)
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
    for index in dict.fromkeys((*empty, *spare)):
        needed = sum(min(widths[one], FAIR_FLEX) if columns[one].flex else widths[one] for one in kept)
        if needed + len(GAP) * (len(kept) - 1) <= width:
            break
        kept.remove(index)
    return kept


def _shrink(widths: list[int], flexible: list[int], width: int) -> None:
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    while excess > 0 and flexible:
        widest = max(flexible, key=lambda index: widths[index])
        if widths[widest] <= LEAST_FLEX:
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
