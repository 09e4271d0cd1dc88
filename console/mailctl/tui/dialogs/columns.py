"""Columns of a table: which, in which order, how wide."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.content import Content

from mailctl.tui.dialogs.choice import ChoiceDialog
from mailctl.tui.layout import WIDEST, Chosen, Layout
from mailctl.tui.listing import Column
from mailctl.tui.theme import Tone

_KEYS = (
    ("space", "shows, hides"),
    ("K J", "moves up, down"),
    ("+ -", "wider, narrower"),
    ("0", "as wide as needed"),
    ("d", "as shipped"),
    ("enter", "uses it"),
    ("S", "and keeps it in config.yaml"),
    ("esc", "cancels"),
)


class Answer(NamedTuple):
    """The columns; none of them stands for those that are shipped."""

    layout: Layout
    keep: bool  # also for the next start


class ColumnsDialog(ChoiceDialog[Answer]):
    """Dismissed with what was chosen, or with None. The table stays as it is until then."""

    DEFAULT_CSS = """
    ColumnsDialog {
        & > Vertical { width: 60; max-width: 100%; }
        & VerticalScroll { max-height: 14; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Cancel", id="columns.cancel"),
        Binding("enter", "use(False)", "Use", id="columns.use"),
        Binding("S", "use(True)", "Keep", id="columns.keep"),
        Binding("up,k", "go(-1)", "Up", priority=True, id="columns.up"),
        Binding("down,j", "go(1)", "Down", priority=True, id="columns.down"),
        Binding("K", "move(-1)", "Move up", id="columns.move-up"),
        Binding("J", "move(1)", "Move down", id="columns.move-down"),
        Binding("space", "switch", "Show, hide", id="columns.switch"),
        Binding("plus", "widen(1)", "Wider", id="columns.wider"),
        Binding("minus", "widen(-1)", "Narrower", id="columns.narrower"),
        Binding("0", "free", "As wide as needed", id="columns.free"),
        Binding("d", "reset", "As shipped", id="columns.reset"),
    ]

    def __init__(self, name: str, columns: Sequence[Column], layout: Layout) -> None:
        super().__init__()
        self._table = name
        self._columns = {column.title: column for column in columns}
        self._rows: list[Chosen] = []
        self._shown: set[str] = set()
        self._begin(layout)

    def _begin(self, layout: Layout) -> None:
        first = [one for one in layout if one.title in self._columns]
        taken = {one.title for one in first}
        self._rows = first + [Chosen(title) for title in self._columns if title not in taken]
        self._shown = taken or set(self._columns)

    @property
    def chosen(self) -> Layout:
        """What is chosen now; empty when it is what is shipped."""
        shown = tuple(one for one in self._rows if one.title in self._shown)
        return () if shown == tuple(map(Chosen, self._columns)) else shown

    def heading(self) -> str:
        """Of which table."""
        return f"Columns of {self._table}"

    def keys(self) -> Content:
        """What becomes of a column."""
        pieces = [
            Content.assemble((key, f"bold {Tone.ACCENT.style}"), (f" {what}", Tone.QUIET.style)) for key, what in _KEYS
        ]
        return Content("   ").join(pieces)

    def rows(self) -> Sequence[Content]:
        """The columns."""
        lines = []
        for place, one in enumerate(self._rows):
            here, shown = place == self.at, one.title in self._shown
            width = f"{one.width} wide" if one.width is not None else "as wide as needed"
            tone = Tone.STRONG if here else Tone.TEXT if shown else Tone.QUIET
            lines.append(
                Content.assemble(
                    ("▌ " if here else "  ", Tone.ACCENT.style),
                    ("[x] " if shown else "[ ] ", tone.style),
                    (one.title.ljust(16), tone.style),
                    (width if shown else "hidden", Tone.QUIET.style),
                )
            )
        return lines

    def action_move(self, by: int) -> None:
        """The column to another place."""
        to = self.at + by
        if 0 <= to < len(self._rows):
            self._rows[self.at], self._rows[to] = self._rows[to], self._rows[self.at]
            self.at = to
            self.draw()

    def action_switch(self) -> None:
        """Show or hide it; one stays."""
        title = self._rows[self.at].title
        if self._shown != {title}:
            self._shown ^= {title}
        self.draw()

    def action_widen(self, by: int) -> None:
        """One cell more or less."""
        one = self._rows[self.at]
        usual = self._columns[one.title].width if one.width is None else one.width
        self._rows[self.at] = one._replace(width=max(1, min(usual + by, WIDEST)))
        self.draw()

    def action_free(self) -> None:
        """As wide as the table finds it needed."""
        self._rows[self.at] = self._rows[self.at]._replace(width=None)
        self.draw()

    def action_reset(self) -> None:
        """As shipped."""
        self._begin(())
        self.at = 0
        self.draw()

    def action_use(self, keep: bool) -> None:
        """Take it."""
        self.dismiss(Answer(self.chosen, keep))
