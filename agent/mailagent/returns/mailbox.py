"""Mail that came back, on disk: `feedback/new` until it is read, `feedback/kept` for people.

A file is one JSON line (envelope) and the message as it came. It appears by rename and is synced with its directory
before the 250, so what stands in `new` after a crash is whole and is read again.
"""

import logging
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mailagent.api.feedback import FeedbackKind, KeptMail
from mailagent.outcome.feedback.mime import read_fields

SUFFIX = ".eml"
HEAD_BYTES = 65_536
MAX_ENVELOPE = 65_536

log = logging.getLogger(__name__)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Who brought a mail, when, and for whom."""

    id: str
    at: float  # seconds since 1970
    client: str
    sender: str  # empty for <>
    recipients: tuple[str, ...]
    kind: FeedbackKind | None = None  # set when it is kept
    why: str = ""  # it is kept


class Mailbox:
    """The two folders. Methods block on the disk, may be called from any thread, and raise OSError."""

    def __init__(self, directory: Path) -> None:
        self._new = directory / "new"
        self._kept = directory / "kept"
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}  # of kept files

    def open(self) -> list[str]:
        """Make the folders, forget half files; ids of mail that was not read yet, oldest first."""
        for folder in (self._new, self._kept):
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            for path in folder.glob(".*"):
                path.unlink()
        self._sizes = {path.stem: path.stat().st_size for path in self._kept.glob(f"*{SUFFIX}")}
        return sorted(path.stem for path in self._new.glob(f"*{SUFFIX}"))

    def store(self, envelope: Envelope, message: bytes) -> None:
        """Put a mail among the new ones, durably."""
        _write(self._new, envelope, message)

    def load(self, mail: str) -> tuple[Envelope, bytes]:
        """A new mail."""
        return _read(self._new / f"{mail}{SUFFIX}")

    def remove(self, mail: str) -> None:
        """A new mail has been dealt with."""
        (self._new / f"{mail}{SUFFIX}").unlink(missing_ok=True)

    def keep(self, envelope: Envelope, message: bytes, kind: FeedbackKind, why: str) -> None:
        """Keep a copy for people, durably; again for the same mail replaces it."""
        _write(self._kept, msgspec.structs.replace(envelope, kind=kind, why=why), message)
        with self._lock:
            self._sizes[envelope.id] = len(message)

    @property
    def kept(self) -> tuple[int, int]:
        """(number, bytes) of what is kept."""
        with self._lock:
            return len(self._sizes), sum(self._sizes.values())

    def purge(self, *, before: float, most_bytes: int) -> None:
        """Delete what was kept before a time, and the oldest of what is too much."""
        names = sorted(self._kept.glob(f"*{SUFFIX}"))
        total = sum(path.stat().st_size for path in names)
        for path in names:
            stat = path.stat()
            if stat.st_mtime >= before and total <= most_bytes:
                break
            path.unlink(missing_ok=True)
            total -= stat.st_size
            with self._lock:
                self._sizes.pop(path.stem, None)


def kept_mail(directory: Path) -> Iterator[KeptMail]:
    """What is kept under a `state_dir`, newest first; damaged files are left out.

    Raises:
        OSError: the folder cannot be read.
    """
    for path in sorted((directory / "feedback" / "kept").glob(f"*{SUFFIX}"), reverse=True):
        try:
            with path.open("rb") as file:
                envelope, _, head = file.read(MAX_ENVELOPE + HEAD_BYTES).partition(b"\n")
            told = msgspec.json.decode(envelope, type=Envelope)
            size = path.stat().st_size - len(envelope) - 1
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            continue
        yield KeptMail(
            id=told.id,
            kind=told.kind or FeedbackKind.UNREAD,
            at=datetime.fromtimestamp(told.at, UTC),
            why=told.why,
            client=told.client,
            sender=told.sender,
            recipients=told.recipients,
            subject=read_fields(head.partition(b"\r\n\r\n")[0].partition(b"\n\n")[0]).get("subject")[:200],
            size_bytes=size,
        )


def read_kept(directory: Path, mail: str) -> bytes | None:
    """The text of one kept mail, None when there is none of that id.

    Raises:
        OSError: it cannot be read.
    """
    if not mail.isalnum():
        return None
    try:
        return _read(directory / "feedback" / "kept" / f"{mail.upper()}{SUFFIX}")[1]
    except FileNotFoundError:
        return None


def _write(folder: Path, envelope: Envelope, message: bytes) -> None:
    path = folder / f"{envelope.id}{SUFFIX}"
    half = folder / f".{envelope.id}"
    fd = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(envelope) + b"\n")
            file.write(message)
            file.flush()
            os.fsync(fd)
        half.rename(path)
    except OSError:
        half.unlink(missing_ok=True)
        raise
    folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def _read(path: Path) -> tuple[Envelope, bytes]:
    head, _, message = path.read_bytes().partition(b"\n")
    return msgspec.json.decode(head, type=Envelope), message
