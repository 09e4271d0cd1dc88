"""The journal: changes that are durable and not in the database yet.

Each group of changes becomes one frame, durable after one write and one sync. The database gets all of them within a
second, in one transaction; mail that has left by then never goes there, which is most of what a message costs. That
transaction also names the mark of the frames to come, so that none counts twice, and the file is written from its
beginning again.

    frame      mark (16 random bytes), length of the payload and CRC-32 of all the rest (4 bytes each, little-endian),
               payload
    payload    MessagePack: [milliseconds since 1970, [[name of a change, [its arguments]], ...]]

Frames count from the beginning of the file, as long as they have the mark that is in the database and their sum is
right. What follows them is left over from earlier. Who sends mail does not know the mark, so no text can pass for a
frame.
"""

import contextlib
import errno
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mailagent.spool.errors import StorageFailed
from mailagent.spool.records import InDoubtMark, NewMessage, Settlement

log = logging.getLogger(__name__)

FILE_NAME = "journal"
MARK_BYTES = 16

Entry = tuple[str, tuple[Any, ...]]
"""One change: the method of `Transaction` that stages it, and its arguments."""
Frame = tuple[int, list[Entry]]
"""When it was written (milliseconds since 1970), and what is in it."""

_HEAD = struct.Struct(f"<{MARK_BYTES}sII")
_SUMMED = struct.Struct(f"<{MARK_BYTES}sI")
_encode = msgspec.msgpack.Encoder().encode
_frame = msgspec.msgpack.Decoder(tuple[int, list[tuple[str, msgspec.Raw]]])
_arguments: dict[str, msgspec.msgpack.Decoder[Any]] = {
    "accept": msgspec.msgpack.Decoder(tuple[NewMessage]),
    "settle": msgspec.msgpack.Decoder(tuple[list[Settlement], int, list[InDoubtMark]]),
    "park": msgspec.msgpack.Decoder(tuple[int, str]),
    "release": msgspec.msgpack.Decoder(tuple[list[int]]),
    "placed": msgspec.msgpack.Decoder(tuple[int, str, str]),
}


class Journal:
    """The file, open for writing. Used by the writer's thread only."""

    def __init__(self, path: Path) -> None:
        """Make it when there is none.

        Raises:
            OSError: it cannot be made or written.
        """
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._mark = b""
        self.size = 0
        """Bytes of the frames that count."""
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # or a new file may be gone after power loss
        finally:
            os.close(folder)

    def begin(self, mark: bytes) -> None:
        """Write from the beginning again: all that counts has this mark from now on."""
        self._mark = mark
        self.size = 0

    def append(self, payload: bytes) -> None:
        """Make one frame durable.

        Raises:
            OSError: it was not written.
            StorageFailed: it was, and may be there at the next start.
        """
        head = _HEAD.pack(self._mark, len(payload), _checksum(self._mark, payload))
        if os.pwritev(self._file, (head, payload), self.size) != len(head) + len(payload):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            os.fdatasync(self._file)
        except OSError as exc:  # the frame may be there or not, and nobody can tell
            raise StorageFailed("syncing the journal", exc) from exc
        self.size += len(head) + len(payload)

    def frames(self, mark: bytes) -> list[Frame]:
        """What a run before left with this mark."""
        return _readable(self._file, mark)

    def own_frames(self) -> list[Frame]:
        """What was appended since `begin`.

        Raises:
            StorageFailed: it is not what was written.
        """
        found = list(_frames(self._file, self._mark)) if self.size else []
        end = found[-1][2] if found else 0
        if end != self.size:
            raise StorageFailed("reading the journal", ValueError(f"{self.size} bytes were written, {end} are there"))
        return [(at, [(name, _arguments[name].decode(raw)) for name, raw in entries]) for at, entries, _ in found]

    def close(self) -> None:
        """Close the file; what counts is for the next start."""
        with contextlib.suppress(OSError):
            os.close(self._file)


def payload(at: int, entries: Sequence[Entry]) -> bytes:
    """What a frame says: changes of one group, and the time in milliseconds since 1970."""
    return _encode((at, entries))


def read_journal(path: Path, mark: bytes) -> list[Frame]:
    """What counts in the file, without writing to it; nothing when there is none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        return _readable(file, mark)
    finally:
        os.close(file)


def _readable(file: int, mark: bytes) -> list[Frame]:
    """All frames; a change that cannot be read is told and left out, since the spool has to start."""
    frames: list[Frame] = []
    for at, raw in ((at, raw) for at, raw, _ in _frames(file, mark)):
        entries: list[Entry] = []
        for name, arguments in raw:
            try:
                entries.append((name, _arguments[name].decode(arguments)))
            except (msgspec.DecodeError, KeyError, ValueError) as exc:
                log.critical("a change in the journal is lost: %s: %r: %.2000r", name, exc, bytes(arguments))
        frames.append((at, entries))
    return frames


def _frames(file: int, mark: bytes) -> Iterator[tuple[int, list[tuple[str, msgspec.Raw]], int]]:
    """Time and content of each frame, and where it ends."""
    at = 0
    size = os.fstat(file).st_size
    while len(head := os.pread(file, _HEAD.size, at)) == _HEAD.size:
        its_mark, length, checksum = _HEAD.unpack(head)
        if its_mark != mark:
            return
        data = os.pread(file, length, at + _HEAD.size) if at + _HEAD.size + length <= size else b""
        if len(data) != length or _checksum(mark, data) != checksum:
            log.warning("the journal ends in a frame that was not finished at=%d", at)
            return
        at += _HEAD.size + length
        written_at, entries = _frame.decode(data)
        yield written_at, entries, at


def _checksum(mark: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_SUMMED.pack(mark, len(payload))))
