"""How much room is left, and whether it is enough to accept mail."""

import os
import time
from pathlib import Path

import msgspec

from mailagent.spool.journal import FILE_NAME as JOURNAL
from mailagent.spool.schema import FILE_NAME as DATABASE

MIN_FREE_BYTES = 2 * 1024**3
MIN_FREE_SHARE = 0.10
REFRESH_S = 1.0


class SpaceView(msgspec.Struct, frozen=True, kw_only=True):
    """Room on the file system of the spool."""

    ok: bool
    reason: str  # a sentence, empty while ok
    free_bytes: int


def judge(*, free_bytes: int, total_bytes: int, free_inodes: int, total_inodes: int) -> SpaceView:
    """Too little is under the smaller of 10 % and 2 GiB, or under 10 % of the inodes (0 in all: not counted)."""
    floor = min(int(total_bytes * MIN_FREE_SHARE), MIN_FREE_BYTES)
    reason = ""
    if free_bytes < floor:
        reason = f"disk full: {free_bytes / 2**20:.0f} MiB free, {floor / 2**20:.0f} MiB are kept free"
    elif total_inodes and free_inodes < total_inodes * MIN_FREE_SHARE:
        reason = f"out of inodes: {free_inodes} of {total_inodes} free, {MIN_FREE_SHARE:.0%} are kept free"
    return SpaceView(ok=not reason, reason=reason, free_bytes=free_bytes)


class Space:
    """The file system under a directory, looked at no more than once in REFRESH_S."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._looked_at = float("-inf")
        self._view = SpaceView(ok=True, reason="", free_bytes=0)

    def view(self) -> SpaceView:
        """Room now, as far as unprivileged processes may use it."""
        now = time.monotonic()
        if now - self._looked_at >= REFRESH_S:
            self._looked_at = now
            found = os.statvfs(self._directory)
            self._view = judge(
                free_bytes=found.f_bavail * found.f_frsize,
                total_bytes=found.f_blocks * found.f_frsize,
                free_inodes=found.f_favail,
                total_inodes=found.f_files,
            )
        return self._view


def stored_bytes(directory: Path) -> tuple[int, int]:
    """Sizes of the database with its write-ahead log, and of the journal; a file that is not there has none."""
    return _size(directory / DATABASE) + _size(directory / f"{DATABASE}-wal"), _size(directory / JOURNAL)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
