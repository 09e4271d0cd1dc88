"""How far a sink has read the accounting files, and what comes next."""

from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from mailagent.outcome.accounting import LIVE_NAME, AccountingLog, finished_files, open_file

READ_BYTES = 1 << 20
"""Read at a time, the most that a sink holds in memory. Lines have some kilobytes at most."""


class Cursor(msgspec.Struct, frozen=True):
    """A place in the accounting files: the number of one, and bytes into its (unpacked) text."""

    number: int
    offset: int


class Chunk(NamedTuple):
    """Whole lines after a cursor, each with the cursor behind it; `lost` files before them are gone."""

    lines: list[tuple[bytes, Cursor]]
    after: Cursor
    lost: int


def load(path: Path, accounting: AccountingLog) -> Cursor | None:
    """The cursor that was saved; None for a sink that is new. A damaged one begins anew with the oldest file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cursor)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:  # an empty file, after a power loss: events come again, none is missing
        oldest = min((file.number for file in finished_files(accounting.directory)), default=accounting.position()[0])
        return Cursor(oldest, 0)


def save(path: Path, cursor: Cursor) -> None:
    """Keep it. After a power loss an older one, or an empty file, may stand there."""
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(cursor))
    part.rename(path)


def read(accounting: AccountingLog, cursor: Cursor) -> Chunk:
    """What stands after `cursor`, at most about READ_BYTES of it; blocks on the disk, raises OSError."""
    number, readable = accounting.position()
    if cursor.number == number and cursor.offset >= readable:
        return Chunk([], cursor, 0)
    if cursor.number >= number:
        start = cursor.offset if cursor.number == number else 0  # a cursor of another directory starts anew
        with (accounting.directory / LIVE_NAME).open("rb") as live:
            if accounting.position()[0] != number:
                return Chunk([], cursor, 0)  # it was finished this moment: next time by its number
            return _chunk(live, Cursor(number, start), readable - start, 0)
    files = [file for file in finished_files(accounting.directory) if cursor.number <= file.number < number]
    for file in files:
        start = cursor.offset if file.number == cursor.number else 0
        opened = open_file(file)
        if opened is None:
            continue
        with opened as stream:
            chunk = _chunk(stream, Cursor(file.number, start), READ_BYTES, file.number - cursor.number)
        if chunk.lines:
            return chunk
        # at its end; the number after it is the next file or the live one, without a gap
        return Chunk([], Cursor(file.number + 1, 0), file.number - cursor.number)
    return Chunk([], Cursor(number, 0), number - cursor.number)


def _chunk(stream: IO[bytes], start: Cursor, size: int, lost: int) -> Chunk:
    stream.seek(start.offset)
    data = stream.read(max(0, min(size, READ_BYTES)))
    lines: list[tuple[bytes, Cursor]] = []
    at = 0
    while (end := data.find(b"\n", at)) >= 0:
        lines.append((data[at:end], Cursor(start.number, start.offset + end + 1)))
        at = end + 1
    return Chunk(lines, lines[-1][1] if lines else start, lost)
