"""Help: the keys, the states and the words of the filter, on one page."""

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
)
_LOOK = (
    ("/", "filter"),
    ("o", "order by …"),
    ("f", "fold a pool"),
    ("h", "15 min … 400 d"),
    ("t a", "timeline, ages"),
    ("w", "trace sessions"),
    ("v", "message parts"),
    ("ctrl+f", "find mail"),
    ("y", "copy"),
    (": ctrl+p", "palette"),
    ("? q", "this page, quit"),
    ("F5 … 8", "demo incidents"),
)
_ACT = (
    ("D", "drain"),
    ("E", "end D, S or H"),
    ("R", "rotate to standby"),
    ("S", "suspend"),
    ("L", "lower a limit"),
    ("T", "retry now"),
    ("V", "evacuate a host"),
    ("H B X M", "hold, end, move"),
    ("U M", "undo one, all mine"),
    ("X", "cancel, remove"),
    ("P T", "pin, end of orders"),
    ("A F", "suppress, freeze"),
)
_WIDTH = 22  # of a column
_KEY = 7


class HelpScreen(Modal[None]):
    """Closes with any of the usual keys."""

    DEFAULT_CSS = """
    HelpScreen {
        align: center middle; background: $background 60%;
        & > Vertical {
            width: 78; height: auto; max-height: 100%; background: $band; border: round $tone-accent;
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
            yield Static(page(self._keys), markup=False)

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)


def page(own: Keymap) -> Content:
    """Keys in three columns, then states and filter terms, then keys of one's own."""
    titles = ("Move and mark", "Look", "Act")
    rows = [Content.assemble(*((title.ljust(_WIDTH + 1), f"bold {Tone.ACCENT.style}") for title in titles))]
    rows += [
        Content.assemble(*(piece for entry in entries for piece in _entry(*entry)))
        for entries in zip_longest(_MOVE, _LOOK, _ACT, fillvalue=("", ""))
    ]
    states = [*(link_cell(state) for state in LinkState), *(member_cell(state) for state in MemberState)]
    rows += [Content(""), Content.styled("States", f"bold {Tone.ACCENT.style}")]
    by_four = [states[start : start + 4] for start in range(0, len(states), 4)]
    rows += [Content.assemble(*((cell.text.ljust(17), cell.tone.style) for cell in cells)) for cells in by_four]
    short = {kind: word for word, kind in SHORT.items()}
    kinds = [f"{short.get(kind, kind)}:" for kind in TermKind]
    rows += [
        Content(""),
        Content.styled("Filter", f"bold {Tone.ACCENT.style}"),
        Content.styled(" ".join(kinds[:10]), Tone.TEXT.style),
        Content.styled(" ".join(kinds[10:]), Tone.TEXT.style),
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
