"""Saved views: open one, or forget it."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mailctl.tui.dialogs.modal import Modal
from mailctl.tui.saved import SavedView
from mailctl.tui.text import clean
from mailctl.tui.theme import Tone


class ViewsDialog(Modal[str | None]):
    """Dismissed with the name of a view to open, or with None."""

    DEFAULT_CSS = """
    ViewsDialog {
        align: center middle; background: $background 60%;
        & > Vertical {
            width: 76; height: auto; max-height: 100%; background: $band; border: round $tone-accent;
            border-title-color: $tone-strong; padding: 0 2;
        }
        & VerticalScroll { height: auto; max-height: 16; scrollbar-size-vertical: 1; }
        & .keys { height: auto; margin-top: 1; }
    }
    """
    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Cancel", id="views.cancel"),
        Binding("enter", "open", "Open", id="views.open"),
        Binding("up,k", "go(-1)", "Up", priority=True, id="views.up"),
        Binding("down,j", "go(1)", "Down", priority=True, id="views.down"),
        Binding("X", "forget", "Forget", id="views.forget"),
    ]

    def __init__(self, views: Callable[[], Mapping[str, SavedView]], forget: Callable[[str], None]) -> None:
        super().__init__()
        self._views = views
        self._forget = forget
        self._at = 0

    def compose(self) -> ComposeResult:
        """The views, and below them the keys."""
        box = Vertical()
        box.border_title = " Saved views "
        with box:
            with VerticalScroll():
                yield Static(self._list(), classes="list", markup=False)
            keys = Content.styled("enter opens   X forgets   esc closes   s on a screen saves it", Tone.QUIET.style)
            yield Static(keys, classes="keys", markup=False)

    def _list(self) -> Content:
        lines = [
            Content.assemble(
                ("▌ " if place == self._at else "  ", Tone.ACCENT.style),
                (clean(name).ljust(24), (Tone.STRONG if place == self._at else Tone.TEXT).style),
                ("  ".join(clean(word) for word in (view.screen, view.order, view.filter) if word), Tone.QUIET.style),
            )
            for place, (name, view) in enumerate(self._views().items())
        ]
        return Content("\n").join(lines or [Content.styled("none is left", Tone.TEXT.style)])

    def _draw(self) -> None:
        self.query_one(".list", Static).update(self._list())
        self.query_one(VerticalScroll).scroll_to(y=max(0, self._at - 8), animate=False)

    def _under_cursor(self) -> str | None:
        names = list(self._views())
        return names[self._at] if self._at < len(names) else None

    def action_go(self, by: int) -> None:
        """Another view."""
        self._at = max(0, min(self._at + by, len(self._views()) - 1))
        self._draw()

    def action_open(self) -> None:
        """This one."""
        self.dismiss(self._under_cursor())

    def action_forget(self) -> None:
        """Take it from the list for good."""
        if (name := self._under_cursor()) is not None:
            self._forget(name)
            self.action_go(0)

    def action_cancel(self) -> None:
        """None."""
        self.dismiss(None)
