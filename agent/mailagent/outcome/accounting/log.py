"""The writing side of the accounting log: append, finish, keep, purge."""

import gzip
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mailagent.config.accounting import Accounting
from mailagent.outcome.accounting.files import LIVE_NAME, FinishedFile, all_files, file_name, finished_files
from mailagent.outcome.accounting.pmta import PmtaCsv

SEQUENCE_NAME = "sequence"
"""Number of the live file. Kept apart, so that no number comes twice even when all finished files are deleted."""
CSV_LIVE_NAME = "current.csv.part"

_TAIL_BLOCK = 65_536

log = logging.getLogger(__name__)


class _Live:
    """One file that is being written."""

    def __init__(self, path: Path, header: bytes = b"") -> None:
        """Make it, with `header` in front; raises OSError."""
        self.path = path
        self.header = header
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self.size = os.fstat(self._fd).st_size
        if not self.size and header:
            try:
                self.append(header)
            except OSError:
                os.close(self._fd)
                raise

    def append(self, block: bytes) -> None:
        """Write all of `block`, or none and raise OSError."""
        written = 0
        try:
            while written < len(block):
                written += os.write(self._fd, memoryview(block)[written:])
        except OSError:
            self.cut(self.size)  # no half line stays
            raise
        self.size += written

    def cut(self, size: int) -> None:
        """Forget what stands beyond `size`; O_APPEND goes on from there."""
        os.ftruncate(self._fd, size)
        self.size = size

    def cut_half_line(self) -> None:
        """Forget what a crash left behind the last line end."""
        self.cut(_whole_lines(self._fd, self.size))

    def finish(self, directory: Path, name: str) -> bool:
        """Close it and give it its final name; delete it, and say False, when it holds nothing but its header."""
        try:
            os.fdatasync(self._fd)  # what appears under its final name is whole, even after power loss
        finally:
            os.close(self._fd)
        if self.size <= len(self.header):
            self.path.unlink()
            return False
        self.path.rename(directory / name)
        return True


class AccountingLog:
    """The files of one host. Methods may be called from any thread, block on the disk, and raise OSError."""

    def __init__(self, directory: Path, config: Accounting, *, clock: Callable[[], float] = time.time) -> None:
        """Open the log; live files that a crash left behind are finished first."""
        self._directory = directory
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._live: _Live | None = None
        self._csv_live: _Live | None = None
        self._csv: PmtaCsv | None = None
        self._opened_at = 0.0
        directory.mkdir(parents=True, exist_ok=True)
        self.number = self._first_number()
        """Number that the live file will have."""
        self._recover()
        self._open()
        self._purge()

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._directory

    def write(self, lines: Sequence[bytes]) -> None:
        """Append `lines` (each with its line end): all of them, or none and OSError."""
        block = b"".join(lines)
        if not block:
            return
        with self._lock:
            if self._live is None:
                self._open()
            live = self._live
            assert live is not None  # noqa: S101 - just opened
            live.append(block)
            if self._csv is not None and self._csv_live is not None:
                try:
                    self._csv_live.append(self._csv.rows(lines))
                except OSError:
                    live.cut(live.size - len(block))
                    raise
            try:
                self._rotate_if_due(live)
            except OSError as exc:  # the lines are safe; the next write tries again
                log.warning("accounting file not rotated directory=%s error=%s", self._directory, exc)

    def position(self) -> tuple[int, int]:
        """(number of the live file, bytes of it that others may read)."""
        with self._lock:
            return self.number, self._live.size if self._live is not None else 0

    def configure(self, config: Accounting) -> None:
        """Use `config` from now on."""
        with self._lock:
            before, self._config = self._config, config
            if config.csv != before.csv:
                self._finish()
                self._open()

    def maintain(self) -> None:
        """Finish files that have grown old, pack and delete finished ones; call about once a minute."""
        with self._lock:
            if self._live is not None:
                self._rotate_if_due(self._live)
            self._purge()
        if self._config.compress:
            self._pack()

    def close(self) -> None:
        """Finish the live files, or leave that to the next start; the log is not used after that."""
        with self._lock:
            try:
                self._finish()
            except OSError as exc:
                log.error("accounting files not finished: %s; the next start does it", exc)

    # -- inside; the lock is held

    def _rotate_if_due(self, live: _Live) -> None:
        aged = self._clock() - self._opened_at >= self._config.rotate_after.total_seconds()
        if live.size >= self._config.rotate_bytes or (aged and live.size):
            self._finish()
            self._open()
            self._purge()
        elif aged:
            self._opened_at = self._clock()

    def _open(self) -> None:
        self._csv = None
        if self._config.csv is not None:
            self._csv = PmtaCsv(self._config.csv.records)
            if self._csv_live is None:  # else the other one could not be opened a moment ago
                self._csv_live = _Live(self._directory / CSV_LIVE_NAME, self._csv.header)
        self._live = _Live(self._directory / LIVE_NAME)
        self._opened_at = self._clock()

    def _finish(self) -> None:
        now = self._clock()
        live, self._live = self._live, None
        csv_live, self._csv_live = self._csv_live, None
        if csv_live is not None:
            csv_live.finish(self._directory, file_name(now, self.number, "csv"))
        if live is not None and live.finish(self._directory, file_name(now, self.number, "jsonl")):
            self.number += 1
            self._note_number()

    def _first_number(self) -> int:
        number = max((file.number + 1 for file in all_files(self._directory)), default=1)
        with suppress(FileNotFoundError, ValueError):
            number = max(number, int((self._directory / SEQUENCE_NAME).read_text()))
        return number

    def _note_number(self) -> None:
        part = self._directory / f"{SEQUENCE_NAME}.part"
        part.write_text(f"{self.number}\n")
        part.rename(self._directory / SEQUENCE_NAME)

    def _recover(self) -> None:
        """Finish live files that were left behind, without the half line that a crash may have put at their ends."""
        for name in (CSV_LIVE_NAME, LIVE_NAME):
            if (self._directory / name).exists():
                left = _Live(self._directory / name)
                left.cut_half_line()
                if name == LIVE_NAME:
                    self._live = left
                else:
                    self._csv_live = left
        self._finish()
        for path in self._directory.glob("*.gz.part"):
            path.unlink()

    def _purge(self) -> None:
        """Delete finished files past their keep, then the oldest until the rest is within its bytes."""
        oldest = self._clock() - self._config.keep.total_seconds()
        kept: list[FinishedFile] = []
        for file in sorted(all_files(self._directory)):
            if file.finished_at < oldest:
                file.path.unlink(missing_ok=True)  # its reader may have taken it
            else:
                kept.append(file)
        if self._config.keep_bytes is not None:
            sizes = [_size(file.path) for file in kept]
            excess = sum(sizes) - self._config.keep_bytes
            for file, size in zip(kept, sizes, strict=True):
                if excess <= 0:
                    break
                file.path.unlink(missing_ok=True)
                excess -= size

    def _pack(self) -> None:
        """Pack finished JSON lines; the CSV stays plain for its readers.

        Without the lock: nobody else changes finished files, and at worst one is deleted meanwhile.
        """
        for file in finished_files(self._directory):
            if not file.is_compressed:
                with suppress(FileNotFoundError):
                    _gzip(file.path)


def _gzip(path: Path) -> None:
    packed = path.with_name(f"{path.name}.gz")
    part = path.with_name(f"{path.name}.gz.part")
    with path.open("rb") as plain, part.open("wb") as raw:
        with gzip.GzipFile(filename=path.name, mode="wb", fileobj=raw, compresslevel=6) as target:
            shutil.copyfileobj(plain, target, 1 << 20)
        raw.flush()
        os.fsync(raw.fileno())
    part.rename(packed)
    path.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _whole_lines(fd: int, end: int) -> int:
    """Length of the file up to its last line end."""
    while end > 0:
        start = max(0, end - _TAIL_BLOCK)
        block = os.pread(fd, end - start, start)
        last = block.rfind(b"\n")
        if last >= 0:
            return start + last + 1
        end = start
    return 0
