"""One line of text before a verb is planned: a time, a limit, an address."""

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from mailctl.tui.dialogs.modal import Modal
from mailctl.tui.text import clean
from mailctl.tui.theme import Tone


class PromptDialog(Modal[str | None]):
    """Dismissed with what was typed, or with None. Changes nothing by itself: a plan and its question follow."""

    DEFAULT_CSS = """
    PromptDialog {
        align: center middle; background: $background 60%;
        & > Vertical {
            width: 80%; max-width: 76; height: auto; background: $band; border: round $tone-accent;
            border-title-color: $tone-strong; padding: 1 2;
        }
        & Input { height: 1; border: none; padding: 0 1; background: $cursor-band; }
        & .hint { height: auto; margin-top: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", id="prompt.cancel")]

    def __init__(self, title: str, hint: str, check: Callable[[str], str], text: str = "") -> None:
        super().__init__()
        self._title = title
        self._hint = hint
        self._check = check
        self._text = text

    def compose(self) -> ComposeResult:
        """The line, and below it what may stand there."""
        box = Vertical()
        box.border_title = f" {clean(self._title)} "
        with box:
            yield Input(self._text, compact=True)  # what is proposed is selected: typing replaces it
            yield Static(Content.styled(f"{self._hint}   enter goes on, esc cancels", Tone.QUIET.style), classes="hint")

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value.strip()
        if wrong := self._check(text) if text else "nothing typed":
            self.query_one(".hint", Static).update(Content.styled(f"{clean(wrong)}   {self._hint}", Tone.WARN.style))
        else:
            self.dismiss(text)

    def action_cancel(self) -> None:
        """Leave everything as it is."""
        self.dismiss(None)
