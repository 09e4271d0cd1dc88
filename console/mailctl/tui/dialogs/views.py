"""Saved views: open one, or forget it."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from mailctl.tui.dialogs.choice import ChoiceDialog
from mailctl.tui.saved import SavedView
from mailctl.tui.text import clean
from mailctl.tui.theme import Tone


class ViewsDialog(ChoiceDialog[str]):
    """Dismissed with the name of a view to open, or with None."""

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

    def heading(self) -> str:
        """Saved views."""
        return "Saved views"

    def keys(self) -> Content:
        """Open, forget."""
        return Content.styled("enter opens   X forgets   esc closes   s on a screen saves it", Tone.QUIET.style)

    def rows(self) -> Sequence[Content]:
        """Name, screen, order and filter."""
        lines = [
            Content.assemble(
                ("▌ " if place == self.at else "  ", Tone.ACCENT.style),
                (clean(name).ljust(24), (Tone.STRONG if place == self.at else Tone.TEXT).style),
                ("  ".join(clean(word) for word in (view.screen, view.order, view.filter) if word), Tone.QUIET.style),
            )
            for place, (name, view) in enumerate(self._views().items())
        ]
        return lines or [Content.styled("none is left", Tone.TEXT.style)]

    def _under_cursor(self) -> str | None:
        names = list(self._views())
        return names[self.at] if self.at < len(names) else None

    def action_open(self) -> None:
        """This one."""
        self.dismiss(self._under_cursor())

    def action_forget(self) -> None:
        """Take it from the list for good."""
        if (name := self._under_cursor()) is not None:
            self._forget(name)
            self.action_go(0)
