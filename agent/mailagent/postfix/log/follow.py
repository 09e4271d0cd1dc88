"""A log file, followed through rotation: nothing twice, nothing left out.

A position has a checksum of what stands before it. So the file is found again whatever became of it: renamed, packed,
or copied and truncated. No clock and no event loop: who reads says when.
"""

import bz2
import errno
import gzip
import logging
import lzma
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

MAX_LINE = 65_536
"""Bytes of a line that are looked at; rsyslog cuts at 8,192."""
CHUNK = 65_536
"""Bytes read at once: some 300 lines, under 2 ms."""
_TAIL = 1024
"""Bytes before a position that must be the same again: three lines or more, with their times."""
_DIGEST = 16
_PACKED_SEARCHED = 3
"""Packed files in which a position is sought: each is unpacked up to there."""

_UNPACK: dict[str, Callable[[Path], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}

log = logging.getLogger(__name__)


class Position(msgspec.Struct, frozen=True, tag="file"):
    """Up to where a file was read."""

    offset: int
    digest: bytes  # of the last 1,024 bytes before `offset`
    inode: int = 0  # tells files apart of which nothing was read
    inside: bool = False  # in a line too long, whose rest is passed over


class Chunk(msgspec.Struct, frozen=True):
    """What one look at the file gave."""

    lines: list[bytes]  # without line ends
    position: Position  # behind them
    gap: bool = False  # before them, lines are lost, or these were there before: the log is not the one that was read


class _Plain:
    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(self._fd)
        self.key = (found.st_dev, found.st_ino)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._fd)
            raise OSError(errno.EINVAL, "no regular file", str(path))

    def at(self, offset: int, most: int) -> bytes:
        return os.pread(self._fd, most, offset)

    def stat(self) -> os.stat_result:
        return os.fstat(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class _Packed:
    """A rotated file that was packed; it does not change any more."""

    def __init__(self, path: Path) -> None:
        self._stat = path.stat()
        self._file = _UNPACK[path.suffix](path)
        self.key = (self._stat.st_dev, self._stat.st_ino)

    def at(self, offset: int, most: int) -> bytes:
        try:
            self._file.seek(offset)
            return self._file.read(most)
        except (EOFError, lzma.LZMAError) as exc:  # half packed
            raise OSError(str(exc)) from exc

    def stat(self) -> os.stat_result:
        return self._stat

    def close(self) -> None:
        self._file.close()


_File = _Plain | _Packed


class FileTail:
    """Reads one log in order. Methods block on the disk only; raise OSError when it cannot be read."""

    def __init__(self, path: Path, position: Position | None = None, *, from_start: bool = False) -> None:
        """Go on at `position`; without one begin at the end of the file, or at its start."""
        self.path = path
        self.gaps = 0
        """Times that the log was not the one that was read before."""
        self._rotated_name = re.compile(rf"{re.escape(path.name)}[.-]\d[\d.T-]*(?:\.gz|\.bz2|\.xz)?")
        self._wanted = position
        self._from_start = from_start
        self._file: _File | None = None
        self._offset = 0
        self._tail = b""
        self._inside = False
        self._gap = False
        self._ended = False  # a line was seen in what follows: nothing is written to this one any more

    @property
    def position(self) -> Position | None:
        """Where reading stands; None: nothing to stand in was found yet."""
        return self._position() if self._file is not None or self._open() else None

    @property
    def is_open(self) -> bool:
        """Whether there is a log."""
        return self._file is not None

    @property
    def behind(self) -> int:
        """Bytes of the open file that are not read yet."""
        return max(0, self._file.stat().st_size - self._offset) if isinstance(self._file, _Plain) else 0

    def read(self) -> Chunk | None:
        """The next whole lines; None when there are none for now, or no file."""
        while self._file is not None or self._open():
            assert self._file is not None  # noqa: S101 - just said
            if self._was_replaced(self._file):
                self._wanted = self._position()
                self.close()
                continue
            data = self._file.at(self._offset, CHUNK)
            lines = self._take(data)
            if lines is None:
                following = self._following(self._file)
                if following is None:
                    return None
                if not data:
                    self._use(following, 0)
                    continue
                lines = [data]  # its writer was stopped within a line
                self._pass(data)
                following.close()
            gap, self._gap = self._gap, False
            return Chunk(lines, self._position(), gap)
        return None

    def before(self, most: int) -> list[bytes]:
        """Whole lines that end at the position, out of `most` bytes: what is known already, for its context."""
        if self._file is None and not self._open():
            return []
        assert self._file is not None  # noqa: S101 - opened above
        start = max(0, self._offset - most)
        lines = self._file.at(start, self._offset - start).split(b"\n")
        return lines[1 if start else 0 : -1]

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # --- lines ----------------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> list[bytes] | None:
        """Whole lines at the start of `data`, passed over from now on; None: there is none yet."""
        end = data.rfind(b"\n") + 1
        if not end:
            if len(data) < MAX_LINE:
                return None
            lines = [] if self._inside else [data]
            self._pass(data)
            self._inside = True
            return lines
        lines = data[: end - 1].split(b"\n")
        if self._inside:
            del lines[0]
            self._inside = False
        self._pass(data[:end])
        return lines

    def _pass(self, data: bytes) -> None:
        self._offset += len(data)
        self._tail = (self._tail + data)[-_TAIL:]

    def _position(self) -> Position:
        inode = self._file.key[1] if self._file is not None else 0
        return Position(self._offset, _digest(self._tail), inode, self._inside)

    # --- files ----------------------------------------------------------------------------------------------------

    def _open(self) -> bool:
        """Open the log for the first time, or find it again; False: there is none."""
        if self._wanted is not None:
            return self._find(self._wanted)
        try:
            file = _Plain(self.path)
        except FileNotFoundError:
            self._from_start = True  # what comes is new
            return False
        self._use(file, 0 if self._from_start else _last_line_end(file))
        return True

    def _was_replaced(self, file: _File) -> bool:
        """Whether the open file was truncated, or written anew."""
        if isinstance(file, _Packed):
            return False
        return file.at(self._offset - len(self._tail), len(self._tail)) != self._tail

    def _find(self, position: Position) -> bool:
        """Open the file of `position`, whatever its name is now; without it begin with what `path` has."""
        try:
            present = _Plain(self.path)
        except FileNotFoundError:
            present = None
        for file in self._candidates(present):
            if _fits(file, position):
                if present is not None and file is not present:
                    present.close()
                self._use(file, position.offset, inside=position.inside)
                self._wanted = None
                return True
            if file is not present:
                file.close()
        if present is None:
            return False
        log.warning("log is not the one that was read before; begun anew file=%s", self.path)
        self._use(present, 0)
        self._wanted = None
        self._gap = True
        self.gaps += 1
        return True

    def _candidates(self, present: _Plain | None) -> Iterator[_File]:
        """The log, and rotated files, the newest first."""
        if present is not None:
            yield present
        packed = 0
        for path in reversed(self._rotated()):
            packed += path.suffix in _UNPACK
            if packed > _PACKED_SEARCHED:
                return
            try:
                yield _opened(path)
            except OSError as exc:
                log.warning("rotated log not read file=%s error=%s", path, exc)

    def _following(self, file: _File) -> _File | None:
        """What is to be read after `file`; None while it may still grow, or no line stands in what follows.

        A file of which nothing was read is no place to be: a position in it would have no checksum.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        if (found.st_dev, found.st_ino) == file.key:
            return None
        for path in self._later(file):
            with suppress(FileNotFoundError):  # rotated again meanwhile: the next look finds it
                following = _opened(path)
                first = following.at(0, CHUNK)
                has_line = b"\n" in first or len(first) == CHUNK
                if has_line and self._ended:
                    return following
                following.close()
                if has_line:  # what was written to `file` before that may not be read yet: look once more
                    self._ended = True
                    return None
        return None

    def _later(self, file: _File) -> Iterator[Path]:
        """Rotated files that are newer than `file`, the oldest first, and the log."""
        newer_than = file.stat().st_mtime_ns
        for path in self._rotated():
            with suppress(FileNotFoundError):
                found = path.stat()
                if found.st_mtime_ns > newer_than and (found.st_dev, found.st_ino) != file.key:
                    yield path
        yield self.path

    def _rotated(self) -> list[Path]:
        """The oldest first; what is being packed is still there as it was."""
        found = []
        with suppress(FileNotFoundError):
            for path in self.path.parent.iterdir():
                if self._rotated_name.fullmatch(path.name):
                    if path.suffix in _UNPACK and path.with_suffix("").exists():
                        continue
                    with suppress(FileNotFoundError):
                        found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def _use(self, file: _File, offset: int, *, inside: bool = False) -> None:
        if self._file is not None and self._file is not file:
            self._file.close()
        self._file = file
        self._offset = offset
        self._inside = inside
        start = max(0, offset - _TAIL)
        self._tail = file.at(start, offset - start)
        self._ended = False


def _opened(path: Path) -> _File:
    return _Packed(path) if path.suffix in _UNPACK else _Plain(path)


def _last_line_end(file: _Plain) -> int:
    size = file.stat().st_size
    start = max(0, size - MAX_LINE)
    return start + file.at(start, size - start).rfind(b"\n") + 1


def _fits(file: _File, position: Position) -> bool:
    if position.offset == 0:
        return file.key[1] == position.inode
    start = max(0, position.offset - _TAIL)
    try:
        return _digest(file.at(start, position.offset - start)) == position.digest
    except OSError as exc:
        log.warning("rotated log not read: %s", exc)
        return False


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST).digest()
