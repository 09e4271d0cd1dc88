"""The side file of in-doubt marks: what was about to be taken over by a peer when we died.

One line per recipient, appended before the final dot with one write per transaction and never synced: a killed process
loses nothing of it. A mark is closed when the outcome is in the database; the line stays until the file is made anew.
After power loss lines may be missing, and recovery does not rely on them (see `mailagent.spool.recovery`).
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from mailagent.spool import crash
from mailagent.spool.errors import StorageError, StorageFailed, StorageFull
from mailagent.spool.records import InDoubtMark, Settlement

FILE_NAME = "in-doubt"
COMPACT_BYTES = 4 * 1024 * 1024

_encode = msgspec.json.Encoder().encode
_line = msgspec.json.Decoder(tuple[int, int, str, str, str])
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


def read_marks(path: Path) -> dict[int, InDoubtMark]:
    """The last mark of each recipient in the file, closed ones too; what is not a whole line is skipped."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    marks: dict[int, InDoubtMark] = {}
    for line in data.split(b"\n"):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            recipient, at, vmta, site, remote = _line.decode(line)
            marks[recipient] = InDoubtMark(recipient, at, vmta, site, remote)
    return marks


class Marks:
    """The marks of this process. Used on the event loop only."""

    def __init__(self, path: Path) -> None:
        """Start with an empty file: recovery has dealt with what the last process left."""
        self._path = path
        self._open: dict[int, InDoubtMark] = {}
        self._file = os.open(path, _FLAGS | os.O_TRUNC, 0o640)
        self._size = 0

    @property
    def open_count(self) -> int:
        """Marks whose outcome is not yet durable."""
        return len(self._open)

    def open_of(self, vmta: str) -> int:
        """The same for one virtual MTA."""
        return sum(mark.vmta == vmta for mark in self._open.values())

    def find(self, recipient: int) -> InDoubtMark | None:
        """The open mark of a recipient."""
        return self._open.get(recipient)

    def add(self, marks: Sequence[InDoubtMark]) -> None:
        """Append marks; on return they survive the death of the process.

        Raises:
            StorageError: not written: the final dot must not be sent.
        """
        crash.at("before_mark")
        if self._size > COMPACT_BYTES:
            self._compact()
        data = _lines(marks)
        try:
            written = os.write(self._file, data)
        except OSError as exc:
            raise _storage_error(exc) from exc
        if written != len(data):
            os.ftruncate(self._file, self._size)  # half a line would spoil the next one
            raise StorageFull(f"{self._path}: no room for an in-doubt mark")
        self._size += written
        for mark in marks:
            self._open[mark.recipient] = mark
        crash.at("after_mark")

    def close_settled(self, settlements: Sequence[Settlement]) -> None:
        """The outcomes are durable."""
        for settlement in settlements:
            self._open.pop(settlement.recipient, None)

    def _compact(self) -> None:
        """Write the open marks to a new file that takes the place of the old one, if there is one to be had."""
        fresh = self._path.with_suffix(".new")
        data = _lines(self._open.values())
        try:
            file = os.open(fresh, _FLAGS | os.O_TRUNC, 0o640)
            try:
                if os.write(file, data) != len(data):
                    raise OSError(errno.ENOSPC, "short write")
                crash.at("compacting_marks")
                fresh.replace(self._path)
            except BaseException:
                os.close(file)
                raise
        except OSError as exc:
            if exc.errno in _PASSING:
                return  # the old one goes on
            raise _storage_error(exc) from exc
        os.close(self._file)
        self._file = file
        self._size = len(data)

    def close(self) -> None:
        """Sync and close the file; open marks are for the next start."""
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)


def _lines(marks: Iterable[InDoubtMark]) -> bytes:
    lines = [_encode((mark.recipient, mark.at, mark.vmta, mark.site, mark.remote)) for mark in marks]
    lines.append(b"")
    return b"\n".join(lines)


def _storage_error(exc: OSError) -> StorageError:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"no room for an in-doubt mark: {exc}")
    return StorageFailed("writing an in-doubt mark", exc)
