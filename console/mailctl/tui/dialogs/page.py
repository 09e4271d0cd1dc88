"""A page of text with a question below it: `y` and nothing else means yes."""

from collections.abc import Callable
from time import monotonic
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mailctl.tui.dialogs.confirm import DEAF_S
from mailctl.tui.dialogs.modal import Modal
from mailctl.tui.text import clean
from mailctl.tui.theme import Tone


class PageDialog(Modal[bool]):
    """Dismissed with True for yes. Keys that come right after it opened were meant for something else."""

    DEFAULT_CSS = """
    PageDialog {
        align: center middle; background: $background 60%;
        & > Vertical {
            width: 92%; max-width: 110; height: auto; max-height: 92%; background: $band; border: round $tone-accent;
            border-title-color: $tone-strong; padding: 1 2 0 2;
        }
        & VerticalScroll { height: auto; max-height: 20; scrollbar-size-vertical: 1; }
        & .keys { height: 1; margin-top: 1; }
    }
    """
    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "agree", "Yes", id="page.yes"),
        Binding("escape,enter,n,q", "cancel", "Cancel", id="page.cancel"),
        Binding("j", "scroll(1)", "Down", id="page.down"),
        Binding("k", "scroll(-1)", "Up", id="page.up"),
    ]

    def __init__(self, title: str, text: Content, question: str, *, clock: Callable[[], float] = monotonic) -> None:
        """`question`: what `y` does; without one there is nothing to agree to."""
        super().__init__()
        self._title = title
        self._text = text
        self._question = question
        self._clock = clock
        self._opened_at = clock()

    def compose(self) -> ComposeResult:
        """The text, and below it the keys."""
        box = Vertical()
        box.border_title = f" {clean(self._title)} "
        asks = (("y", f"bold {Tone.ACCENT.style}"), (f" {self._question}   ", Tone.TEXT.style))
        with box:
            with VerticalScroll():
                yield Static(self._text, markup=False)
            closes = (("esc", f"bold {Tone.ACCENT.style}"), (" closes, nothing changes", Tone.QUIET.style))
            yield Static(Content.assemble(*(asks if self._question else ()), *closes), classes="keys", markup=False)

    @property
    def is_deaf(self) -> bool:
        """Whether keys are dropped still."""
        return self._clock() - self._opened_at < DEAF_S

    def action_agree(self) -> None:
        """Yes."""
        if self._question and not self.is_deaf:
            self.dismiss(True)

    def action_cancel(self) -> None:
        """No."""
        if not self.is_deaf:
            self.dismiss(False)

    def action_scroll(self, by: int) -> None:
        """Scroll a text that is taller than the dialog."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)
