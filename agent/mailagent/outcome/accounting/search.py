"""Search the accounting files: live, finished and packed ones, without the agent, in bounded memory.

Files are read forwards in blocks. A block is searched for the bytes that every match must hold before any of its lines
is decoded, so that a rare recipient costs about as much as reading the files. Newest first reads the files from the
newest to the oldest and keeps the last matches of one file at a time: memory is bounded by the limit.
"""

import gzip
import logging
import os
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

import msgspec

from mailagent.api.accounting import EventType
from mailagent.outcome.accounting.files import LIVE_NAME, FinishedFile, finished_files, open_file
from mailagent.outcome.accounting.record import AccountingRecord

BLOCK_BYTES = 1 << 20
_NAME = b'"message_id":"'

_decoder = msgspec.json.Decoder(AccountingRecord)

log = logging.getLogger(__name__)


class Readable(Protocol):
    """What is read of a file."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


class Condition(Protocol):
    """What a search wants of a record."""

    @property
    def message_ids(self) -> frozenset[str]:
        """One of these, in capital letters; none: any."""

    @property
    def since(self) -> datetime | None:
        """Not before."""

    @property
    def until(self) -> datetime | None:
        """Before."""

    @property
    def needles(self) -> list[bytes]:
        """Lower-case bytes that stand in every line that matches, the longest first."""

    def matches(self, record: AccountingRecord) -> bool:
        """Whether `record` is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a line must say; what is empty does not matter."""

    recipient: str = ""  # or `@domain`
    sender: str = ""
    message_id: str = ""
    message_ids: frozenset[str] = frozenset()  # one of these, in capital letters
    n: int | None = None
    job: str = ""
    types: frozenset[EventType] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, record: AccountingRecord) -> bool:
        """Whether `record` is wanted."""
        return (
            (not self.recipient or _is_address(self.recipient, record.recipient))
            and (not self.sender or _is_address(self.sender, record.sender))
            and (not self.message_id or record.message_id.lower() == self.message_id.lower())
            and (not self.message_ids or record.message_id in self.message_ids)
            and (self.n is None or record.n == self.n)
            and (not self.job or record.job == self.job)
            and (not self.types or record.type in self.types)
            and (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
        )

    @property
    def needles(self) -> list[bytes]:
        """Lower-case bytes that stand in every line that matches, the longest first."""
        texts = (self.recipient, self.sender, self.message_id, self.job)
        return sorted((msgspec.json.encode(text)[1:-1].lower() for text in texts if text), key=len, reverse=True)


def search(
    directory: Path, wanted: Wanted, *, newest_first: bool = False, limit: int | None = None
) -> Iterator[tuple[AccountingRecord, bytes]]:
    """Matching records with their lines, in order of their files.

    Raises:
        ValueError: newest first without a limit.
        OSError: a file cannot be read; of a damaged one what comes before the damage counts.
    """
    if newest_first and limit is None:
        raise ValueError("newest first wants a limit")
    # the live file is opened before the others are listed: it may be finished meanwhile, and is still read once
    with opened_live(directory) as live:
        files = [file for file in finished_files(directory) if live is None or not is_same(file.path, live)]
        files = [file for n, file in enumerate(files) if overlaps(files[n - 1] if n else None, file, wanted)]
        left = limit
        order: list[FinishedFile | None] = [*files, None]
        for file in reversed(order) if newest_first else order:
            found = _scan(file, live, wanted)
            if newest_first:
                found = reversed(deque(found, maxlen=left))
            for match in found:
                yield match
                if left is not None:
                    left -= 1
                    if not left:
                        return


def newest_files(directory: Path, since: datetime, until: datetime) -> Iterator[tuple[float, Iterator[bytes]]]:
    """Files with lines of a time, the newest first: from when on (Unix time) a file may have lines, and its lines.

    Raises:
        OSError: a file cannot be read; of a damaged one what comes before the damage counts.
    """
    wanted = Wanted(since=since, until=until)
    with opened_live(directory) as live:
        files = [file for file in finished_files(directory) if live is None or not is_same(file.path, live)]
        begins = [0.0, *(file.finished_at for file in files)]
        if live is not None and begins[-1] <= until.timestamp():
            yield begins[-1], _lines(live)
        for n in reversed(range(len(files))):
            if overlaps(files[n - 1] if n else None, files[n], wanted):
                yield begins[n], _whole_lines(files[n])


def _whole_lines(file: FinishedFile) -> Iterator[bytes]:
    opened = open_file(file)
    if opened is not None:
        with opened as stream:
            try:
                yield from _lines(stream)
            except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
                log.warning("accounting file is damaged, the rest of it is left out file=%s error=%s", file.path, exc)


def _scan(
    file: FinishedFile | None, live: IO[bytes] | None, wanted: Wanted
) -> Iterator[tuple[AccountingRecord, bytes]]:
    if file is None:
        if live is not None:
            yield from matching(live, wanted)
        return
    opened = open_file(file)
    if opened is not None:
        with opened as stream:
            try:
                yield from matching(stream, wanted)
            except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
                log.warning("accounting file is damaged, the rest of it is left out file=%s error=%s", file.path, exc)


def matching(stream: Readable, wanted: Condition) -> Iterator[tuple[AccountingRecord, bytes]]:
    """Records of one file that `wanted` lets through, with their lines."""
    needles = wanted.needles
    if needles:
        lines = _candidates(stream, needles[0])
    else:
        lines = _of_messages(stream, wanted.message_ids) if wanted.message_ids else _lines(stream)
    for line in lines:
        lowered = line.lower() if len(needles) > 1 else b""
        if all(needle in lowered for needle in needles[1:]):
            try:
                record = _decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):  # not ours, or damaged: no match
                continue
            if wanted.matches(record):
                yield record, line


def _blocks(stream: Readable) -> Iterator[bytes]:
    """Blocks of whole lines; a half line at the end is still being written."""
    rest = b""
    while data := stream.read(BLOCK_BYTES):
        block, end, rest_of = (rest + data).rpartition(b"\n")
        rest = rest_of
        if end:
            yield block


def _lines(stream: Readable) -> Iterator[bytes]:
    for block in _blocks(stream):
        yield from block.split(b"\n")


def _candidates(stream: Readable, needle: bytes) -> Iterator[bytes]:
    for block in _blocks(stream):
        lowered = block.lower()
        at = lowered.find(needle)
        while at >= 0:
            start = block.rfind(b"\n", 0, at) + 1
            end = block.find(b"\n", at)
            end = len(block) if end < 0 else end
            yield block[start:end]
            at = lowered.find(needle, end)


def _of_messages(stream: Readable, names: frozenset[str]) -> Iterator[bytes]:
    """Lines of any of these messages: about 0.3 microseconds for each line, however many names there are."""
    wanted = frozenset(name.encode() for name in names)
    for block in _blocks(stream):
        at = block.find(_NAME)
        while at >= 0:
            at += len(_NAME)
            if block[at : block.find(b'"', at)] in wanted:
                end = block.find(b"\n", at)
                yield block[block.rfind(b"\n", 0, at) + 1 : end if end >= 0 else len(block)]
            at = block.find(_NAME, at)


@contextmanager
def opened_live(directory: Path) -> Iterator[IO[bytes] | None]:
    """The file that is being written, None when there is none."""
    try:
        stream = (directory / LIVE_NAME).open("rb")
    except FileNotFoundError:
        yield None
        return
    with stream:
        yield stream


def is_same(path: Path, stream: IO[bytes]) -> bool:
    """Whether `stream` reads the file at `path`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def overlaps(before: FinishedFile | None, file: FinishedFile, wanted: Condition) -> bool:
    """Whether lines of the file may lie in the wanted time; it was begun when the one before was finished."""
    if wanted.since is not None and file.finished_at + 1 < wanted.since.timestamp():
        return False
    return wanted.until is None or before is None or before.finished_at <= wanted.until.timestamp()


def _is_address(wanted: str, address: str) -> bool:
    if wanted.startswith("@"):
        return address.lower().endswith(wanted.lower())
    return address.lower() == wanted.lower()
