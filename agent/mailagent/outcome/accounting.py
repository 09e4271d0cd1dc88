"""The accounting log: one JSON line per event of a recipient, in files that appear finished.

`accounting/current.jsonl.part` is being written and is nobody else's to read. It becomes
`accounting/acct-20300101T000000Z-000001.jsonl` by rename, so whoever collects files never sees half a line.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from mailagent.api.smtp import Verb
from mailagent.config import structs

LIVE_NAME = "current.jsonl.part"

_TAIL_BLOCK = 65_536

log = logging.getLogger(__name__)

_encoder = msgspec.json.Encoder()


class EventType(StrEnum):
    """What happened."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    EXPIRED = "expired"


class AccountingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One event of one recipient.

    Lines reach the file before the outcome's commit: after a crash one may stand there twice, then with the same
    `event`.
    """

    event: str  # `event_id`
    type: EventType
    time: datetime  # UTC
    host: str
    message_id: str
    n: int  # of the recipient in its message
    sender: str
    recipient: str
    stream: str
    pool: str
    size_bytes: int
    vmta: str = ""
    source: str = ""  # source address
    site: str = ""
    provider: str = ""
    mx: str = ""  # host name of the peer
    remote: str = ""  # its address:port
    tls: str = ""  # protocol, cipher, and unverified, verified or dane; empty in clear
    attempt: int = 0  # 1 for the first
    verb: Verb | None = None  # what the reply answered
    code: int = 0
    enhanced: str = ""
    text: str = ""
    queued_s: float = 0.0  # since reception
    duration_s: float = 0.0  # of the attempt
    job: str = ""


def event_id(message_id: str, n: int, attempt: int, kind: EventType) -> str:
    """The same for the same event, however often its line is written."""
    return f"{message_id}-{n}-{attempt}-{kind}"


def line(record: AccountingRecord) -> bytes:
    """`record` as one line."""
    return _encoder.encode(record) + b"\n"


class AccountingLog:
    """The files of one host. Methods may be called from any thread, block on the disk, and raise OSError."""

    def __init__(self, directory: Path, config: structs.Accounting, *, clock: Callable[[], float] = time.time) -> None:
        """Open the log; a live file that a crash left behind is finished first."""
        self._directory = directory
        self._live = directory / LIVE_NAME
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._sequence = 0
        self._fd = -1
        self._size = 0
        self._opened_at = 0.0
        directory.mkdir(parents=True, exist_ok=True)
        self._recover()
        self._open()
        self._purge()

    def write(self, lines: Sequence[bytes]) -> None:
        """Append `lines` (each with its line end): all of them, or none and OSError."""
        block = b"".join(lines)
        if not block:
            return
        with self._lock:
            if self._fd < 0:
                self._open()
            written = 0
            try:
                while written < len(block):
                    written += os.write(self._fd, memoryview(block)[written:])
            except OSError:
                os.ftruncate(self._fd, self._size)  # no half line stays; O_APPEND goes on from here
                raise
            self._size += written
            try:
                self._rotate_if_due()
            except OSError as exc:  # the lines are safe; the next write tries again
                log.warning("accounting file not rotated directory=%s error=%s", self._directory, exc)

    def maintain(self) -> None:
        """Finish a live file that has grown old and delete what is past its keep; call about once a minute."""
        with self._lock:
            self._rotate_if_due()
            self._purge()

    def close(self) -> None:
        """Finish the live file; the log is not used after that."""
        with self._lock:
            if self._fd >= 0:
                self._finish()

    # -- inside; the lock is held

    def _rotate_if_due(self) -> None:
        aged = self._clock() - self._opened_at >= self._config.rotate_after.total_seconds()
        if self._size >= self._config.rotate_bytes or (aged and self._size):
            self._finish()
            self._open()
            self._purge()
        elif aged:
            self._opened_at = self._clock()

    def _open(self) -> None:
        self._fd = os.open(self._live, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size
        self._opened_at = self._clock()

    def _finish(self) -> None:
        """Close the live file; rename it, or delete it when it is empty."""
        fd, self._fd = self._fd, -1
        try:
            os.fdatasync(fd)  # what appears under its final name is whole, even after power loss
        finally:
            os.close(fd)
        if self._size:
            self._live.rename(self._finished_name())
        else:
            self._live.unlink()

    def _finished_name(self) -> Path:
        stamp = _stamp(self._clock())
        while True:  # a restart within a second must not overwrite
            self._sequence += 1
            path = self._directory / f"acct-{stamp}-{self._sequence:06d}.jsonl"
            if not path.exists():
                return path

    def _recover(self) -> None:
        """Finish a live file that was left behind, without the half line that a crash may have put at its end."""
        try:
            self._fd = os.open(self._live, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        self._size = _whole_lines(self._fd)
        os.ftruncate(self._fd, self._size)
        self._finish()

    def _purge(self) -> None:
        """Delete finished files past their keep; their names tell their age and sort by it."""
        oldest = f"acct-{_stamp(self._clock() - self._config.keep.total_seconds())}"
        for path in self._directory.glob("acct-*.jsonl"):
            if path.name < oldest:
                path.unlink(missing_ok=True)  # its reader may have taken it


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")


def _whole_lines(fd: int) -> int:
    """Length of the file up to its last line end."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _TAIL_BLOCK)
        block = os.pread(fd, end - start, start)
        last = block.rfind(b"\n")
        if last >= 0:
            return start + last + 1
        end = start
    return 0
