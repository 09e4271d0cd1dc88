"""Whether a file has changed since one looked last. Pure but for the look."""

from pathlib import Path
from typing import NamedTuple


class _Stamp(NamedTuple):
    device: int
    inode: int
    size: int
    changed_ns: int


class Watched:
    """One file, which need not be there.

    A change counts when it stands unchanged at the next look: editors write in pieces, and put a new file in place of
    the old one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = self._last = _stamp(path)

    def has_changed(self) -> bool:
        """Whether it is another than at the last change, and is so for two looks. Once for each change."""
        now = _stamp(self.path)
        settled, self._last = now == self._last, now
        if not settled or now == self._known:
            return False
        self._known = now
        return True

    def note(self) -> None:
        """Whatever it is now is known: who asks wrote it."""
        self._known = self._last = _stamp(self.path)


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
