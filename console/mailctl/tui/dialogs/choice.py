"""A list with a cursor in a box, and the keys that act on it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mailctl.tui.dialogs.modal import Modal

Answer = TypeVar("Answer")


class ChoiceDialog(Modal[Answer | None]):
    """What dialogs over a list share. Keys that act on it belong to each of them, and so do their ids."""

    DEFAULT_CSS = """
    ChoiceDialog {
        align: center middle; background: $background 60%;
        & > Vertical {
            width: 76; max-width: 100%; height: auto; max-height: 100%; background: $band; border: round $tone-accent;
            border-title-color: $tone-strong; padding: 0 2;
        }
        & VerticalScroll { height: auto; max-height: 16; scrollbar-size-vertical: 1; }
        & .keys { height: auto; margin-top: 1; }
    }
    """
    AUTO_FOCUS = "VerticalScroll"

    def __init__(self) -> None:
        super().__init__()
        self.at = 0  # place of the cursor

    @abstractmethod
    def heading(self) -> str:
        """What the list is of."""

    @abstractmethod
    def rows(self) -> Sequence[Content]:
        """A line for each, that at `at` as the cursor's."""

    @abstractmethod
    def keys(self) -> Content:
        """What can be done."""

    def compose(self) -> ComposeResult:
        """The list, and below it the keys."""
        box = Vertical()
        box.border_title = f" {self.heading()} "
        with box:
            with VerticalScroll():
                yield Static(self._list(), classes="list", markup=False)
            yield Static(self.keys(), classes="keys", markup=False)

    def _list(self) -> Content:
        return Content("\n").join(self.rows())

    def draw(self) -> None:
        """Show the list as it is now, the cursor in the middle where it is long."""
        self.query_one(".list", Static).update(self._list())
        box = self.query_one(VerticalScroll)
        box.scroll_to(y=max(0, self.at - box.size.height // 2), animate=False)

    def action_go(self, by: int) -> None:
        """Another row."""
        self.at = max(0, min(self.at + by, len(self.rows()) - 1))
        self.draw()

    def action_cancel(self) -> None:
        """Nothing is chosen."""
        self.dismiss(None)
