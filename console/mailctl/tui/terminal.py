"""A console ends with its terminal.

A terminal that goes away sends SIGHUP to the first process of its session alone. Behind `make`, or a program that
starts consoles, nobody passes it on: Textual's writer would fail, and the console wait for it without end.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_WRITER = "textual-output"
"""Name of Textual's thread that writes to the terminal."""


@contextmanager
def hung_up_with_terminal() -> Iterator[None]:
    """Within the block, a terminal that cannot be written any more is a hang-up."""
    before = threading.excepthook

    def failed(what: threading.ExceptHookArgs) -> None:
        if what.thread is not None and what.thread.name == _WRITER and isinstance(what.exc_value, OSError):
            is_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM if is_ignored else signal.SIGHUP)
        else:
            before(what)

    threading.excepthook = failed
    try:
        yield
    finally:
        threading.excepthook = before
