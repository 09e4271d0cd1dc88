"""A program in a terminal of its own: what it draws, and when; and what it costs."""

import fcntl
import os
import pty
import signal
import struct
import termios
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

KEPT_BYTES = 1 << 20


class Terminal:
    """A process under a pseudo-terminal. A thread takes what it writes, so that it never waits for us."""

    def __init__(self, command: Sequence[str], *, size: tuple[int, int] = (120, 36), cwd: Path | None = None) -> None:
        self.started_at = time.perf_counter()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            if cwd is not None:
                os.chdir(cwd)
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            os.execvp(command[0], list(command))
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        os.kill(self.pid, signal.SIGWINCH)
        self._news = threading.Condition()
        self._text = b""
        self._dropped = 0  # bytes that are no longer in _text
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._reader.join(timeout=5)
        os.close(self._fd)

    @property
    def written(self) -> int:
        """Bytes that came so far."""
        with self._news:
            return self._dropped + len(self._text)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._fd, keys.encode())

    def until(self, wanted: bytes, *, since: int = 0, within_s: float = 30.0) -> float:
        """Seconds of `time.perf_counter` at which `wanted` stood in what came after `since` bytes.

        Raises:
            TimeoutError: it did not come; the message has the end of what did.
        """
        deadline = time.monotonic() + within_s
        with self._news:
            while wanted not in self._text[max(0, since - self._dropped) :]:
                if not self._news.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise TimeoutError(f"{wanted!r} was not drawn within {within_s:g} s: … {self._text[-400:]!r}")
            return time.perf_counter()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                return
            if not data:
                return
            with self._news:
                self._text += data
                if (over := len(self._text) - KEPT_BYTES) > 0:
                    self._text = self._text[over:]
                    self._dropped += over
                self._news.notify_all()


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
