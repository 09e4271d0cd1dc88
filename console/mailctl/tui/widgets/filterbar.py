"""The filter line: opens with `/`, narrows while one types."""

from textual import events
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input


class FilterBar(Input):
    """Hidden until asked for; enter keeps the filter, escape takes it away."""

    DEFAULT_CSS = """
    FilterBar {
        display: none; height: 1; border: none; padding: 0 1; background: $cursor-band; color: $tone-strong;
        &:focus { border: none; background: $cursor-band; }
        &.-open { display: block; }
        & > .input--placeholder { color: $tone-quiet; }
    }
    """

    class Closed(Message):
        """The line was left with `text`, empty when the filter goes."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(
            placeholder="/ pool:marketing host:mx1 words …  enter keeps, esc clears",
            compact=True,
            select_on_focus=False,
        )
        self.can_focus = False
        self._before: Widget | None = None  # who had the focus

    def open(self, text: str, *, anew: bool = False) -> None:
        """Show the line with `text` in it; `anew`: what is typed next takes its place."""
        self._before = self.screen.focused
        self.can_focus = True
        self.add_class("-open")
        self.value = f"{text} " if text and not anew else text  # what is typed next is a term of its own
        self.cursor_position = len(self.value)
        if anew:
            self.select_all()
        self.screen.set_focus(self)  # at once: what is typed right behind the key is for this line

    def _close(self, *, keep: bool) -> None:
        self.remove_class("-open")
        self.can_focus = False
        self.post_message(self.Closed(self.value if keep else ""))

    def on_key(self, event: events.Key) -> None:
        """Enter and escape leave the line; what is typed right behind them is for whoever has the focus then."""
        if not self.has_class("-open"):
            event.stop()
            event.prevent_default()
            self.screen.set_focus(self._before)
            self.app.post_message(events.Key(event.key, event.character))
        elif event.key in ("enter", "escape"):
            event.stop()
            event.prevent_default()
            self._close(keep=event.key == "enter")

    def on_blur(self) -> None:
        """Leaving by mouse keeps the filter."""
        if self.has_class("-open"):
            self._close(keep=True)
