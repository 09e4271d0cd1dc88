"""What a newcomer needs, in one screen; shown once."""

import os
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from mailctl.tui.dialogs.modal import Modal
from mailctl.tui.theme import Tone

_KEYS = (
    ("!", "goes to what is wrong, and says which key makes it safe"),
    ("1 … 8", "screens: Fleet, Pools, Destinations, Deferred, Message …"),
    ("enter esc", "into the row under the cursor, and back up"),
    ("- +", "back and forward through the screens that you saw"),
    ("/", "narrows: pool:marketing host:mx1"),
    ("space", "marks rows; what you do next is about all of them"),
    ("D R S", "drain, rotate, suspend; E ends it. Capital letters change"),
    ("", "things, small ones look. Each shows its plan first: only y"),
    ("", "does it, enter and escape cancel."),
    ("U", "takes the last one back"),
    (":", "finds screens, verbs and objects by name"),
    ("?", "all keys; y copies, q quits, and the fleet goes on"),
)
_STATES = "● live, active   ○ standby   ▽ draining   ‖ suspended   ✕ lost   ~ old"
_CLOSING = ("escape", "enter", "space", "question_mark")


class WelcomeScreen(Modal[None]):
    """Goes with any key; a key that means something does it as well."""

    DEFAULT_CSS = """
    WelcomeScreen {
        align: center middle; background: $background 60%;
        & > Vertical {
            width: 78; max-width: 100%; height: auto; max-height: 100%; background: $band; border: round $tone-accent;
            border-title-color: $tone-strong; padding: 1 2;
        }
    }
    """
    BINDINGS: ClassVar = []

    def compose(self) -> ComposeResult:
        """The page."""
        box = Vertical()
        box.border_title = " Welcome to mailctl "
        rows = [
            Content.assemble((key.ljust(11), f"bold {Tone.STRONG.style}"), (what, Tone.TEXT.style))
            for key, what in _KEYS
        ]
        rows += [Content(""), Content.styled(_STATES, Tone.QUIET.style), Content("")]
        rows.append(Content.styled("any key begins; this page comes once", Tone.ACCENT.style))
        with box:
            yield Static(Content("\n").join(rows), markup=False)

    def on_key(self, event: events.Key) -> None:
        """Go, and let the key do what it does."""
        event.stop()
        self.dismiss(None)
        if event.key not in _CLOSING:
            self.app.call_later(self.app.simulate_key, event.key)


def is_first_time() -> bool:
    """Whether the console was never opened by this user; from now on it was."""
    home = os.environ.get("XDG_STATE_HOME")
    mark = (Path(home) if home else Path("~/.local/state").expanduser()) / "mailctl" / "welcomed"
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch(exist_ok=False)
    except (OSError, RuntimeError):  # seen before, or nowhere to note it: then it must not come each time
        return False
    return True
