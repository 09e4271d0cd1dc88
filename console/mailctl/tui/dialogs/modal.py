"""What stands above a screen and goes away once."""

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

Answer = TypeVar("Answer")


class Modal(ModalScreen[Answer]):
    """A modal screen that is dismissed once, however many keys for it are on their way."""

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Go away. A second time does nothing: Textual would take away the screen below."""
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()
