"""The audit log: who asked for which change, and what came of it. Append-only JSON lines, on disk before the answer."""

import os
import threading
from datetime import datetime
from pathlib import Path

import msgspec

from mailagent.api import codec


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One mutating call, refused ones too."""

    at: datetime
    user: str
    role: str
    pid: int
    method: str
    op_id: str
    reason: str
    request: msgspec.Raw
    result: str  # `applied`, `nothing-to-do`, `planned`, or the error's name
    detail: str


class AuditLog:
    """One file. `write` blocks on the disk: call it off the loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._fd = self._open()

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, record: AuditRecord) -> None:
        """Append and sync.

        Raises:
            OSError: the record is not on disk.
        """
        line = codec.encode(record) + b"\n"
        with self._lock:
            if os.write(self._fd, line) != len(line):
                raise OSError(f"{self._path}: short write")
            os.fdatasync(self._fd)

    def reopen(self) -> None:
        """Go on in a new file of the same name, after the old one was moved away."""
        with self._lock:
            fresh = self._open()
            os.close(self._fd)
            self._fd = fresh

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            os.close(self._fd)
