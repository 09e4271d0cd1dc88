"""Help: the keys, the states and the words of the filter, on one page."""

import textwrap
from itertools import zip_longest
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mailagent.api.views import MemberState
from mailctl.fleet.state import LinkState
from mailctl.ops.grammar import SHORT, TermKind
from mailctl.tui.dialogs.modal import Modal
from mailctl.tui.keymap import Keymap
from mailctl.tui.listing import Cell
from mailctl.tui.screens.columns import OTHER_ENGINE
from mailctl.tui.states import link_cell, member_cell
from mailctl.tui.theme import Tone

_MOVE = (
    ("1 … 8", "screens"),
    ("enter", "go into the row"),
    ("esc", "back up"),
    ("- +", "back, forward"),
    ("j k", "down, up"),
    ("g G", "first, last"),
    ("tab", "next table"),
    ("space", "mark the row"),
    ("*", "mark all shown"),
    ("\\", "take marks away"),
    ("|", "columns"),
    ("s z", "save, open view"),
    ("c", "apply the file"),
)
_LOOK = (
    ("!", "the worst alarm"),
    ("/", "filter"),
    ("o", "order by …"),
    ("f", "fold a pool"),
    ("h", "15 min … 400 d"),
    ("t a", "timeline, ages"),
    ("w", "trace sessions"),
    ("v", "message parts"),
    ("ctrl+f", "find mail"),
    ("y e", "copy, export"),
    (":", "palette, ctrl+p"),
    ("? q", "this page, quit"),
    ("F5 …12", "demo incidents"),
)
_ACT = (
    ("D", "drain"),
    ("E", "end D, S or H"),
    ("R", "rotate to standby"),
    ("S", "suspend"),
    ("L", "lower a limit"),
    ("T", "retry now"),
    ("V", "evacuate a host"),
    ("H B", "hold, bounce mail"),
    ("M", "move; undo mine"),
    ("U", "undo the last one"),
    ("X", "delete, cancel"),
    ("P", "probe; pin orders"),
    ("A F", "suppress, freeze"),
)
_WIDTH = 22  # of a column
_KEY = 7
_STATE = 17
_PAGE = 71  # cells of the whole page
_FRAME = 7  # of border, padding and scroll bar


class HelpScreen(Modal[None]):
    """Closes with any of the usual keys."""

    DEFAULT_CSS = """
    HelpScreen {
        align: center middle; background: $background 60%;
        & > Vertical {
            width: 78; max-width: 100%; height: auto; max-height: 100%; background: $band; border: round $tone-accent;
            border-title-color: $tone-strong; padding: 0 2;
        }
        & VerticalScroll { height: auto; max-height: 100%; scrollbar-size-vertical: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,question_mark", "close", "Close", id="help.close")]

    def __init__(self, keys: Keymap | None = None) -> None:
        super().__init__()
        self._keys = keys or {}

    def compose(self) -> ComposeResult:
        """The page."""
        box = Vertical()
        box.border_title = " Keys "
        with box, VerticalScroll():
            yield Static(page(self._keys, min(_PAGE, self.app.size.width - _FRAME)), markup=False)

    def on_resize(self) -> None:
        """In as many columns as fit."""
        self.query_one(Static).update(page(self._keys, min(_PAGE, self.app.size.width - _FRAME)))

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)


def page(own: Keymap, width: int = _PAGE) -> Content:
    """Keys in up to three columns, as many as fit, then states and filter terms, then keys of one's own."""
    sections = (("Move and mark", _MOVE), ("Look", _LOOK), ("Act", _ACT))
    beside = max(1, min(len(sections), width // (_WIDTH + 1)))
    rows: list[Content] = []
    for first in range(0, len(sections), beside):
        shown = sections[first : first + beside]
        rows += [Content("")] if first else []
        rows.append(Content.assemble(*((title.ljust(_WIDTH + 1), f"bold {Tone.ACCENT.style}") for title, _ in shown)))
        rows += [
            Content.assemble(*(piece for entry in entries for piece in _entry(*entry)))
            for entries in zip_longest(*(entries for _, entries in shown), fillvalue=("", ""))
        ]
    states = [*(link_cell(state) for state in LinkState), *(member_cell(state) for state in MemberState)]
    states.append(Cell(f"{OTHER_ENGINE} other engine", Tone.TEXT))
    rows += [Content(""), Content.styled("States", f"bold {Tone.ACCENT.style}")]
    each = max(1, width // _STATE)
    in_rows = [states[start : start + each] for start in range(0, len(states), each)]
    rows += [Content.assemble(*((cell.text.ljust(_STATE), cell.tone.style) for cell in cells)) for cells in in_rows]
    short = {kind: word for word, kind in SHORT.items()}
    kinds = [f"{short.get(kind, kind)}:" for kind in TermKind]
    rows += [
        Content(""),
        Content.styled("Filter", f"bold {Tone.ACCENT.style}"),
        *(Content.styled(line, Tone.TEXT.style) for line in textwrap.wrap(" ".join(kinds), width)),
        Content.styled('and words: to:*@a.example code:4.7.* age:>2h !pool:cold "rate limit"', Tone.QUIET.style),
    ]
    rows += [
        Content.assemble((f"{key}  ", f"bold {Tone.STRONG.style}"), (f"now does {binding}", Tone.TEXT.style))
        for binding, key in own.items()
    ]
    return Content("\n").join(rows)


def _entry(key: str, what: str) -> tuple[tuple[str, str], tuple[str, str]]:
    width = max(_KEY, len(key) + 1)
    return (key.ljust(width), f"bold {Tone.STRONG.style}"), (what.ljust(_WIDTH + 1 - width), Tone.TEXT.style)
