"""The book of alerts on disk: a file for each fleet file, which rounds and acknowledgements change in turn.

Two locks: one for the time of a round, so that no alert is sent by two, and one for the moment of a change.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from mailctl.alerts.book import Book
from mailctl.alerts.errors import Busy, StoreError


class Store:
    """The book of the fleet file at `fleet`."""

    def __init__(self, fleet: Path) -> None:
        digest = hashlib.sha256(str(fleet.resolve()).encode()).hexdigest()[:12]
        self._path = state_directory() / f"alerts-{digest}.json"

    def load(self) -> Book:
        """The book as it is; an empty one before the first round.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Book)
        except FileNotFoundError:
            return Book()
        except (OSError, msgspec.DecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else exc
            raise StoreError(f"{self._path}: {why}; when it is removed, what is open is told again") from exc

    def update(self, change: Callable[[Book], Book]) -> Book:
        """Put what `change` makes of the book in its place, whole or not at all.

        Raises:
            StoreError: it cannot be read or written.
        """
        with self._locked("lock", fcntl.LOCK_EX):
            book = change(self.load())
            part = self._path.with_suffix(".part")
            try:
                with part.open("wb") as file:
                    file.write(msgspec.json.encode(book))
                    file.flush()
                    os.fsync(file.fileno())
                part.rename(self._path)
            except OSError as exc:
                raise StoreError(f"{part}: {exc.strerror}") from exc
            return book

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold off other rounds.

        Raises:
            Busy: another one is at work.
            StoreError: the lock cannot be opened.
        """
        with self._locked("round", fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextlib.contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        path = self._path.with_suffix(f".{name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = path.open("wb")
        except OSError as exc:
            raise StoreError(f"{path}: {exc.strerror}; XDG_STATE_HOME says where the state is kept") from exc
        with file:  # its end releases the lock, also when the process dies
            try:
                fcntl.flock(file, how)
            except BlockingIOError:
                raise Busy from None
            yield


def state_directory() -> Path:
    """`$XDG_STATE_HOME/mailctl`, or below `~/.local/state`.

    Raises:
        StoreError: there is no home directory.
    """
    home = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(home) if home else Path("~/.local/state").expanduser()) / "mailctl"
    except RuntimeError:
        raise StoreError("no home directory; XDG_STATE_HOME says where the state is kept") from None
