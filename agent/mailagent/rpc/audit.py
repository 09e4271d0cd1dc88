"""The audit log: who ordered what and what came of it, as JSON lines that are only ever appended."""

import asyncio
import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from mailagent.api import codec
from mailagent.api.requests import Role


class Event(StrEnum):
    """Step of a verb's life. `asked` is on disk before anything happens, the others before the caller hears of it."""

    ASKED = "asked"
    DONE = "done"  # `result` says whether there was anything to do
    REFUSED = "refused"  # by a guard, a stale plan, a missing object, a malformed request
    FAILED = "failed"  # what became of it, the operation log knows
    LOOKED = "looked"  # at what is on record when it is looked at: a trace, a body
    DENIED = "denied"  # by role, or the caller has none


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line."""

    at: datetime
    event: Event
    user: str
    uid: int
    pid: int
    role: Role | None = None
    verb: str = ""
    op_id: str = ""
    request: msgspec.Raw | None = None  # as it came
    result: str = ""
    detail: str = ""


class AuditLog:
    """An open audit file. Each `write` is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._lock = asyncio.Lock()

    def open(self) -> None:
        """Open the file for appending, made when it is not there; called again, go on in a new file of the same name.

        Raises:
            OSError: it cannot be opened; a file that was open stays so.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        old, self._file = self._file, new
        if old is not None:
            os.close(old)

    async def write(self, entry: AuditEntry) -> None:
        """Append one line and sync it, beside the event loop.

        Raises:
            OSError: it is not on disk.
        """
        async with self._lock:
            await asyncio.to_thread(self._append, codec.encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, line: bytes) -> None:
        if self._file is None:
            raise OSError(f"{self._path}: the audit log is closed")
        written = os.write(self._file, line)
        if written != len(line):
            raise OSError(f"{self._path}: only {written} of {len(line)} bytes could be written")
        os.fsync(self._file)
