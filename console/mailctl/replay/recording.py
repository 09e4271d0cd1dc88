"""Reads recordings. Knows where sections begin; lines are read when they are asked for, so memory stays flat."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import msgspec

from mailctl.replay.errors import RecordingError
from mailctl.replay.lines import FORMAT, HEAD, AnyLine, Start, decoder
from mailctl.replay.recorder import part

CHUNK_BYTES = 256 * 1024
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's way to say: with gzip's header


@dataclass(frozen=True, slots=True)
class Section:
    """Where a section begins: at a byte of a file, and how many sections begin there before it."""

    at: datetime
    file: int
    offset: int
    skip: int


@dataclass(frozen=True, slots=True)
class Recording:
    """The files of one recording, oldest first, and its sections."""

    files: tuple[Path, ...]
    sections: tuple[Section, ...]
    ended_at: datetime

    @classmethod
    def open(cls, path: Path) -> "Recording":
        """Look through `path` and the older files beside it. A last line that was cut is left out.

        Raises:
            RecordingError: no recording, an empty one, or one of a newer version.
            OSError: a file cannot be read.
        """
        older: list[Path] = []
        for number in count(1):
            if not part(path, number).exists():
                break
            older.append(part(path, number))
        files = (*reversed(older), path)
        sections: list[Section] = []
        ended_at: datetime | None = None
        for index, file in enumerate(files):
            last = b""
            heads: dict[int, int] = {}
            for offset, line in _lines(file, 0):
                if line.startswith(HEAD):
                    head = _decode(file, line)
                    if not isinstance(head, Start):
                        raise RecordingError(f"{file}: a section without its head")
                    if head.format > FORMAT:
                        raise RecordingError(
                            f"{file}: format {head.format}, written by mailctl {head.mailctl}; this mailctl reads up "
                            f"to {FORMAT}"
                        )
                    sections.append(Section(head.at, index, offset, heads.get(offset, 0)))
                    heads[offset] = heads.get(offset, 0) + 1
                elif not heads:
                    raise RecordingError(f"{file}: no recording of mailctl")
                last = line
            if last:
                ended_at = _decode(file, last).at
        if not sections or ended_at is None:
            raise RecordingError(f"{path}: nothing is recorded in it")
        return cls(files, tuple(sections), ended_at)

    @property
    def began_at(self) -> datetime:
        """Time of the first line."""
        return self.sections[0].at

    def section_at(self, moment: datetime) -> int:
        """Index of the last section that begins at `moment` or before; the first for what is earlier."""
        return max((index for index, section in enumerate(self.sections) if section.at <= moment), default=0)

    def lines(self, section: int) -> Iterator[AnyLine]:
        """All lines from the beginning of a section to the end of the recording.

        Raises:
            RecordingError: a line is not one of ours.
        """
        start = self.sections[section]
        skip = start.skip
        for index in range(start.file, len(self.files)):
            file = self.files[index]
            for _, line in _lines(file, start.offset if index == start.file else 0):
                if skip >= 0 and index == start.file:
                    skip -= line.startswith(HEAD)
                    if skip >= 0:
                        continue
                yield _decode(file, line)


def _decode(file: Path, line: bytes) -> AnyLine:
    try:
        found: AnyLine = decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RecordingError(f"{file}: not a line of a recording: {exc}") from exc
    return found


def _lines(file: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """(where a reader can begin to get it, line) of each whole line from byte `start` on."""
    rest, at = b"", start
    for offset, chunk in _chunks(file, start):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield (at if offset is None else offset), line
            at += len(line) + 1


def _chunks(file: Path, start: int) -> Iterator[tuple[int | None, bytes]]:
    """(where its member begins, or None in a plain file; bytes), unpacked. A file that was cut gives what it has."""
    with file.open("rb") as source:
        packed = source.read(2) == _GZIP
        source.seek(start)
        if not packed:
            while chunk := source.read(CHUNK_BYTES):
                yield None, chunk
            return
        member, data = start, source.read(CHUNK_BYTES)
        unpacker = zlib.decompressobj(_GZIP_WINDOW)
        while data:
            try:
                unpacked = unpacker.decompress(data, CHUNK_BYTES)
            except zlib.error as exc:
                raise RecordingError(f"{file}: damaged near byte {member}: {exc}") from exc
            if unpacked:
                yield member, unpacked
            if unpacker.eof:
                data = unpacker.unused_data
                member = source.tell() - len(data)
                unpacker = zlib.decompressobj(_GZIP_WINDOW)
                data = data or source.read(CHUNK_BYTES)
            else:
                data = unpacker.unconsumed_tail or source.read(CHUNK_BYTES)
