"""The table: draws visible rows only, keeps cursor and marks as keys, pins header and sum row.

Cost of a frame does not depend on the number of rows. Rows are values, so the strip cache is keyed by what is drawn:
a changed row is another key, and nothing has to be invalidated but on a new width or theme.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from mailctl.tui.layout import Layout, fitted
from mailctl.tui.listing import GAP, Cell, Column, Listing, Row, RowSource
from mailctl.tui.theme import Tone

_GUTTER = 2  # cursor bar and mark
_AIMED = Style(reverse=True, bold=True)
_EMPTY: Listing[None] = Listing((), (), (), {}, lambda _: ())


class FleetTable(ScrollView, can_focus=True):
    """Rows of a `RowSource` with a keyed cursor."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header",
        "table--sorted",
        "table--sum",
        "table--cursor",
        "table--cursor-quiet",
        "table--marked",
        "table--bar",
        *(f"table--{tone}" for tone in Tone),
    }
    DEFAULT_CSS = """
    FleetTable {
        background: $background; color: $tone-text; scrollbar-size-vertical: 1; overflow-x: hidden;
        & > .table--header { color: $tone-quiet; background: $band; }
        & > .table--sorted { color: $tone-accent; background: $band; }
        & > .table--sum { background: $band; text-style: bold; }
        & > .table--cursor { background: $cursor-band; }
        & > .table--cursor-quiet { background: $band; }
        & > .table--marked { background: $mark-band; }
        & > .table--bar { color: $tone-accent; text-style: bold; }
        & > .table--text { color: $tone-text; }
        & > .table--strong { color: $tone-strong; text-style: bold; }
        & > .table--quiet { color: $tone-quiet; }
        & > .table--good { color: $tone-good; }
        & > .table--warn { color: $tone-warn; }
        & > .table--bad { color: $tone-bad; text-style: bold; }
        & > .table--accent { color: $tone-accent; }
        & > .table--flow { color: $tone-flow; }
        &:nocolor > .table--cursor { text-style: reverse; }
        &:nocolor > .table--header { text-style: underline; }
        &:ansi > .table--header { text-style: underline; }
        &:ansi > .table--cursor { color: ansi_bright_white; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="table.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="table.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="table.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="table.page-down"),
        Binding("home,g", "edge(0)", "First", show=False, id="table.first"),
        Binding("end,G", "edge(1)", "Last", show=False, id="table.last"),
        Binding("space", "mark", "Mark", show=False, id="table.mark"),
        Binding("asterisk", "mark_all", "Mark all", show=False, id="table.mark-all"),
        Binding("backslash", "unmark", "Unmark", show=False, id="table.unmark"),
    ]

    class CursorMoved(Message):
        """The cursor stands on another key."""

        def __init__(self, table: "FleetTable", key: str | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> "FleetTable":
            """The table."""
            return self.table

    class Chosen(Message):
        """Enter or a click on the cursor's row."""

        def __init__(self, table: "FleetTable", key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> "FleetTable":
            """The table."""
            return self.table

    class Marked(Message):
        """The set of marks changed; `lost` marks left with their rows."""

        def __init__(self, table: "FleetTable", lost: int) -> None:
            super().__init__()
            self.table = table
            self.lost = lost

    def __init__(self, *, id: str | None = None, empty: str = "nothing here") -> None:
        super().__init__(id=id)
        self.empty = empty  # what to say when there are no rows
        self.silent = False  # no host answers: an empty table means nothing
        self.marks: set[str] = set()
        self._source: RowSource = _EMPTY
        self._cursor: str | None = None
        self._cursor_index = 0
        self._aimed: int | None = None  # column that stands out in the cursor's row
        self._is_led = False  # somebody put the cursor where it is
        self._layouts: Mapping[tuple[Column, ...], Layout] = {}
        self._fitted: tuple[tuple[int, int], ...] = ()
        self._drawn: list[object] = []  # per visible line: what was drawn last
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(512)
        self._tones: dict[Tone, Style] = {}

    # data

    @property
    def source(self) -> RowSource:
        """What is shown."""
        return self._source

    @property
    def cursor(self) -> str | None:
        """Key of the row under the cursor, None when there are no rows."""
        return self._cursor

    @property
    def row_count(self) -> int:
        """Rows of the source."""
        return len(self._source)

    def show(self, source: RowSource) -> None:
        """Draw `source` from now on: cursor and marks stay with their keys, the cursor's row on its screen line.

        Until somebody has moved the cursor or marked a row, both stay at the first row: that is where the worst one
        comes in.
        """
        old_columns, old_size = self._source.columns, (len(self._source), self._source.total is None)
        line = self._cursor_index - round(self.scroll_y)
        self._source = source
        if source.columns != old_columns:
            self._refit()
        if (len(source), source.total is None) != old_size:
            self._resize_virtual()
        lost = {key for key in self.marks if source.index_of(key) is None}
        if lost:
            self.marks -= lost
            self.post_message(self.Marked(self, len(lost)))
        self._hold_cursor(line)
        self._refresh_changed()

    def move_to(self, key: str) -> None:
        """Put the cursor on `key` if it is there."""
        index = self._source.index_of(key)
        if index is not None:
            self._set_cursor(index)

    def point_at(self, keys: Sequence[str]) -> bool:
        """Put the cursor on the first of `keys` that is there, and mark them if they are several."""
        known = [key for key in keys if self._source.index_of(key) is not None]
        if not known:
            return False
        self.marks = set(known) if len(known) > 1 else set()
        self.post_message(self.Marked(self, 0))
        self.move_to(known[0])
        return True

    def lead(self) -> None:
        """From now on the cursor stays with its row, as if somebody had moved it there."""
        self._is_led = True

    def rewind(self) -> None:
        """Put cursor and view on the first row, where they stay until somebody moves the cursor."""
        self._set_cursor(0)
        self._is_led = False

    def lay_out(self, layouts: Mapping[tuple[Column, ...], Layout]) -> None:
        """Show the columns of a table as a layout says, while the source has columns of that table."""
        if layouts != self._layouts:
            self._layouts = layouts
            self._refit()
            self.refresh()

    def aim(self, column: int | None) -> None:
        """Let a column stand out in the header and in the cursor's row."""
        if column != self._aimed:
            self._aimed = column
            self._forget_drawn()
            self.refresh()

    def selected(self) -> tuple[str, ...]:
        """Keys that a verb acts on: the marked rows in their order, else the one under the cursor."""
        if self.marks:
            return tuple(key for key in map(self._source.key, range(len(self._source))) if key in self.marks)
        return (self._cursor,) if self._cursor is not None else ()

    def _hold_cursor(self, line: int) -> None:
        """Find the cursor's key again; when it is gone, the row that took its place."""
        count = len(self._source)
        index = self._source.index_of(self._cursor) if self._cursor is not None and self._is_led else None
        if index is None:
            old = self._cursor
            self._cursor_index = min(self._cursor_index, max(0, count - 1)) if self._is_led else 0
            self._cursor = self._source.key(self._cursor_index) if count else None
            if self._cursor != old:
                self.post_message(self.CursorMoved(self, self._cursor))
        elif index != self._cursor_index:
            self._cursor_index = index
            if 0 <= line < self._body_height:
                self.scroll_to(y=max(0, index - line), animate=False, immediate=True)

    # geometry

    @property
    def _body_height(self) -> int:
        return max(0, self.size.height - 1 - (self._source.total is not None))

    def _resize_virtual(self) -> None:
        lines = len(self._source) + 1 + (self._source.total is not None)
        self.virtual_size = Size(self.size.width, lines)
        if self.styles.height is not None and self.styles.height.is_auto:
            self.refresh(layout=True)

    def _refit(self) -> None:
        columns, room = self._source.columns, max(0, self.scrollable_content_region.width - _GUTTER - 1)
        layout = next((one for all_of, one in self._layouts.items() if set(columns) <= set(all_of)), ())
        self._fitted = fitted(columns, layout, room)
        self._forget_drawn()

    def _forget_drawn(self) -> None:
        self._strips.clear()
        self._drawn = []

    def on_resize(self, _event: events.Resize) -> None:
        """Widths follow the terminal."""
        self._refit()
        self._resize_virtual()
        self._keep_visible()
        self.refresh()

    def notify_style_update(self) -> None:
        """New theme or focus: strips hold colours, so they go."""
        super().notify_style_update()
        self._tones.clear()
        self._forget_drawn()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """Lines of header, rows and sum; one more to say that there is nothing."""
        return 1 + max(1, len(self._source)) + (self._source.total is not None)

    # drawing

    def _refresh_changed(self) -> None:
        """Repaint only lines whose content differs from what was drawn last."""
        if len(self._drawn) != self.size.height:
            self.refresh()
            return
        width = self.size.width
        for y, before in enumerate(self._drawn):
            if self._content(y) != before:
                self.refresh(Region(0, y, width, 1))

    def _content(self, y: int) -> tuple[object, ...]:
        """What stands on line `y`: the strip's identity."""
        source = self._source
        count = len(source)
        if y == 0:
            return ("header", source.sorted_by)
        if source.total is not None and y == min(max(1, count) + 1, self.size.height - 1):
            return ("sum", source.total)
        index = y - 1 + round(self.scroll_y)
        if index < count:
            row = source.row(index)
            return (row, row.key == self._cursor, row.key in self.marks, self.has_focus)
        if count or y != 1:
            return ("blank",)
        return ("empty", "no host answers yet" if self.silent else self.empty)

    def render_line(self, y: int) -> Strip:
        """Line `y` of the viewport."""
        if len(self._drawn) != self.size.height:
            self._drawn = [None] * self.size.height
        content = self._content(y)
        if y < len(self._drawn):
            self._drawn[y] = content
        strip = self._strips.get(content)
        if strip is None:
            strip = self._strips[content] = self._strip(content)
        return strip

    def _strip(self, content: tuple[object, ...]) -> Strip:
        width = self.size.width
        match content:
            case (Row() as row, bool(cursor), bool(marked), bool(focused)):
                band = "table--cursor" if focused else "table--cursor-quiet"
                style = self._band(band if cursor else "table--marked" if marked else "")
                bar = Segment("▌" if cursor else " ", style + self.get_component_rich_style("table--bar", partial=True))
                mark = Segment("•" if marked else " ", style + self._tone(Tone.ACCENT))
                aimed = self._aimed if cursor else None
                return Strip([bar, mark, *self._cells(row.cells, style, aimed)]).adjust_cell_length(width, style)
            case ("sum", Row() as row):
                style = self._band("table--sum")
                return Strip([Segment("  ", style), *self._cells(row.cells, style)]).adjust_cell_length(width, style)
            case ("header", _):
                return self._header(width)
            case ("empty", str(what)):
                style = self._band("")
                return Strip([Segment(f"  {what}", style + self._tone(Tone.QUIET))]).adjust_cell_length(width, style)
            case _:
                return Strip.blank(width, self._band(""))

    def _band(self, name: str) -> Style:
        return self.get_component_rich_style(name) if name else self.rich_style

    def _tone(self, tone: Tone) -> Style:
        style = self._tones.get(tone)
        if style is None:
            style = self._tones[tone] = self.get_component_rich_style(f"table--{tone}", partial=True)
        return style

    def _cells(self, cells: tuple[Cell, ...], band: Style, aimed: int | None = None) -> Iterable[Segment]:
        gap = Segment(" " * GAP, band)
        for place, (index, width) in enumerate(self._fitted):
            if place:
                yield gap
            cell, column = cells[index], self._source.columns[index]
            text = cell.text[-width:].rjust(width) if column.tail else sized(cell.text, width, right=column.right)
            style = band + self._tone(cell.tone)
            yield Segment(text, style + _AIMED if index == aimed else style)

    def _header(self, width: int) -> Strip:
        plain = self._band("table--header")
        ordered = self._source.sorted_by
        segments = [Segment("  ", plain)]
        for place, (index, cells) in enumerate(self._fitted):
            column: Column = self._source.columns[index]
            title, style = column.title, plain
            if ordered is not None and ordered[0] == index:
                style = self._band("table--sorted")
                arrow = "▾" if ordered[1] else "▴"
                title = f"{arrow}{title}" if column.right else f"{title}{arrow}"
            if index == self._aimed:
                style += _AIMED
            if place:
                segments.append(Segment(" " * GAP, plain))
            segments.append(Segment(sized(title, cells, right=column.right), style))
        return Strip(segments).adjust_cell_length(width, plain)

    # keys and mouse

    def _set_cursor(self, index: int) -> None:
        count = len(self._source)
        if not count:
            return
        self._is_led = True
        self._cursor_index = max(0, min(index, count - 1))
        key = self._source.key(self._cursor_index)
        if key != self._cursor:
            self._cursor = key
            self.post_message(self.CursorMoved(self, key))
        self._keep_visible()
        self._refresh_changed()

    def _keep_visible(self) -> None:
        top, body = round(self.scroll_y), self._body_height
        if body <= 0:
            return
        if self._cursor_index < top:
            self.scroll_to(y=self._cursor_index, animate=False, immediate=True)
        elif self._cursor_index >= top + body:
            self.scroll_to(y=self._cursor_index - body + 1, animate=False, immediate=True)

    def action_move(self, by: int) -> None:
        """One row up or down."""
        self._set_cursor(self._cursor_index + by)

    def action_page(self, by: int) -> None:
        """One screen up or down."""
        self._set_cursor(self._cursor_index + by * max(1, self._body_height - 1))

    def action_edge(self, last: int) -> None:
        """First or last row."""
        self._set_cursor(len(self._source) - 1 if last else 0)

    def action_mark(self) -> None:
        """Mark or unmark the row and go to the next."""
        if self._cursor is not None:
            self.marks ^= {self._cursor}
            self.post_message(self.Marked(self, 0))
            self._set_cursor(self._cursor_index + 1)
            self._refresh_changed()

    def action_mark_all(self) -> None:
        """Mark all rows that the filter shows."""
        self._is_led = True
        self.marks = {self._source.key(index) for index in islice(range(len(self._source)), 10_000)}
        self.post_message(self.Marked(self, 0))
        self._refresh_changed()

    def action_unmark(self) -> None:
        """Take all marks away."""
        self.marks.clear()
        self.post_message(self.Marked(self, 0))
        self._refresh_changed()

    def action_choose(self) -> None:
        """Go down into the row."""
        if self._cursor is not None:
            self._is_led = True
            self.post_message(self.Chosen(self, self._cursor))

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; a click on the cursor's row goes down."""
        index = event.y - 1 + round(self.scroll_y)
        if event.y < 1 or index >= len(self._source) or self._content(event.y)[0] == "sum":
            return
        if self._source.key(index) == self._cursor and event.chain == 2:
            self.action_choose()
        else:
            self._set_cursor(index)


def sized(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells; what does not fit ends in `…`."""
    length = len(text) if text.isascii() else cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    if length == width:
        return text
    return " " * (width - length) + text if right else text + " " * (width - length)
