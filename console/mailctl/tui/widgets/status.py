"""The two lines at the bottom: what just happened, and what can be pressed."""

from dataclasses import dataclass

from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget

from mailctl.tui.text import clean
from mailctl.tui.theme import Tone

MOST_HINTS = 8
FADES_S = 60.0
"""What was said so long ago is no news, and must not look like trouble of now."""
_GAP = 2
_NAMES = {"/": "slash", "?": "question_mark", "esc": "escape"}
"""Of keys, where they differ from what is shown."""
_STANDING = 2
"""The last hints, help and quit, are there at any width."""


class StatusLine(Widget):
    """The last message, which stays until the next and fades in between; at the right the filter and the marks."""

    DEFAULT_CSS = """
    StatusLine { height: 1; background: $band; color: $tone-text; padding: 0 1; }
    """

    def __init__(self, message: str = "", tone: Tone = Tone.TEXT) -> None:
        super().__init__()
        self._message = (clean(message), tone)
        self._aside = ""
        self._fading: Timer | None = None

    def on_mount(self) -> None:
        """What it began with gets old too."""
        self._fade_later()

    @property
    def message(self) -> str:
        """What it says."""
        return self._message[0]

    def say(self, message: str, tone: Tone = Tone.TEXT) -> None:
        """Show `message` until the next one."""
        self._message = (clean(message), tone)
        self._fade_later()
        self.refresh()

    def _fade_later(self) -> None:
        if self._fading is not None:
            self._fading.stop()
        self._fading = self.set_timer(FADES_S, self._fade) if self.message and self.is_mounted else None

    def _fade(self) -> None:
        self._message = (self.message, Tone.QUIET)
        self.refresh()

    def aside(self, text: str) -> None:
        """Show `text` at the right."""
        if text != self._aside:
            self._aside = text
            self.refresh()

    def render(self) -> RenderResult:
        """Message at the left, aside at the right."""
        message, tone = self._message
        room = self.size.width - len(self._aside) - (2 if self._aside else 0)
        text = Content.styled(message, tone.style).truncate(max(0, room), ellipsis=True, pad=bool(self._aside))
        return Content.assemble(text, ("  " if self._aside else "", ""), (self._aside, Tone.ACCENT.style))


@dataclass(frozen=True, slots=True)
class Hint:
    """One key and what it does now; an impossible one is grey."""

    key: str
    label: str
    possible: bool = True


class Hints(Widget):
    """Up to eight keys that matter here."""

    DEFAULT_CSS = """
    Hints { height: 1; background: $background; color: $tone-text; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._hints: tuple[Hint, ...] = ()

    def show(self, hints: tuple[Hint, ...]) -> None:
        """Draw `hints`."""
        if hints != self._hints:
            self._hints = hints
            self.refresh()

    def render(self) -> RenderResult:
        """`D drain  R rotate …`; grey ones are struck through, so that they are told apart without colour."""
        parts: list[tuple[str, str]] = []
        for hint in fitting(self._hints, self.size.width):
            parts.append((hint.key, f"bold {Tone.ACCENT.style}" if hint.possible else Tone.QUIET.style))
            parts.append((f" {hint.label}", Tone.TEXT.style if hint.possible else f"strike {Tone.QUIET.style}"))
            parts.append((" " * _GAP, ""))
        return Content.assemble(*parts)

    def on_click(self, event: events.Click) -> None:
        """A click on a hint presses its key."""
        at, end = event.get_content_offset(self), 0
        for hint in fitting(self._hints, self.size.width) if at is not None else ():
            end += _cells(hint)
            if at is not None and at.x < end - _GAP:
                key = _NAMES.get(hint.key, hint.key)
                self.app.post_message(events.Key(key, hint.key if len(hint.key) == 1 else None))
                return
            if at is not None and at.x < end:
                return


def fitting(hints: tuple[Hint, ...], width: int) -> tuple[Hint, ...]:
    """As many of the first hints as have room in `width` cells beside the standing ones."""
    own, standing = hints[:-_STANDING], hints[-_STANDING:]
    room = width + _GAP - sum(map(_cells, standing))
    kept: list[Hint] = []
    for hint in own[: MOST_HINTS - len(standing)]:
        room -= _cells(hint)
        if room < 0:
            break
        kept.append(hint)
    return (*kept, *standing)


def _cells(hint: Hint) -> int:
    return len(hint.key) + 1 + len(hint.label) + _GAP
