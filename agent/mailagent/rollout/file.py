"""The host's configuration file: replaced whole, the one before kept beside it, edits by hand noticed.

In `state_dir`, `config.json` has the last applies, and `config.applied` the text of the latest. Beside the file stand
`NAME.before-OP_ID`, what each of them replaced. Nothing else is written.
"""

import contextlib
import difflib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from mailagent.api import codec
from mailagent.api.errors import NotFound, Refused
from mailagent.api.ids import OpId
from mailagent.api.rollout import MOST_EDITS, AppliedFile

KEPT: Final = 10
"""Applies that can be undone."""
_MAX_LINE: Final = 200


class _Book(msgspec.Struct, frozen=True, kw_only=True):
    """`config.json`, the latest last."""

    applied: tuple[AppliedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The file as it is."""

    text: bytes
    digest: str


class ConfigFile:
    """The file at `path`. Methods block: call them in a thread."""

    def __init__(self, path: Path, state_dir: Path) -> None:
        self.path = path.resolve()  # where the agent was told to read through a link, the link stays
        self._book_path = state_dir / "config.json"
        self._copy = state_dir / "config.applied"

    def read(self) -> Found:
        """The file now.

        Raises:
            Refused: it cannot be read.
        """
        try:
            text = self.path.read_bytes()
        except OSError as exc:
            raise Refused(f"{self.path} cannot be read: {exc.strerror}") from exc
        return Found(text, digest(text))

    def applied(self) -> tuple[AppliedFile, ...]:
        """The last applies, the latest last."""
        try:
            book: _Book = codec.decode(self._book_path.read_bytes(), _Book)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as exc:
            raise Refused(f"{self._book_path} cannot be read: {exc}; move it away to start anew") from exc
        return book.applied

    def edits(self, found: Found) -> tuple[str, ...]:
        """What `found` has that the latest apply did not write, as a difference; empty when that is not known."""
        try:
            before = self._copy.read_bytes()
        except FileNotFoundError:
            return ()
        return difference(before, found.text)

    def before(self, op_id: OpId) -> bytes:
        """What the apply `op_id` replaced.

        Raises:
            NotFound: it is not kept any more.
        """
        try:
            return self._kept(op_id).read_bytes()
        except OSError as exc:
            raise NotFound(f"{self._kept(op_id)} cannot be read: {exc.strerror}") from exc

    def put(self, text: bytes, entry: AppliedFile) -> None:
        """Put `text` in place, with owner and mode as they were; the same again after a crash goes on where it was.

        Raises:
            Refused: the file or its directory may not be written by the agent's account; nothing was changed.
        """
        found, kept = self.read(), self._kept(entry.op_id)
        fresh = self.path.with_name(f".{self.path.name}.{entry.op_id}.new")
        try:
            like = self.path.stat()
            if not kept.exists():
                self._write(kept, found.text, like)
            self._write(fresh, text, like)
        except OSError as exc:
            self._forget(entry.op_id)
            raise Refused(
                f"{self.path} cannot be replaced: {exc.strerror}; the agent's account needs to own the file, to"
                f" be in its group, and to write in {self.path.parent}"
            ) from exc
        fresh.replace(self.path)
        _sync(self.path.parent)
        self._save(self._copy, text)
        self._note((*(one for one in self.applied() if one.op_id != entry.op_id), entry))

    def _kept(self, op_id: OpId) -> Path:
        return self.path.with_name(f"{self.path.name}.before-{op_id}")

    def _note(self, entries: Iterable[AppliedFile]) -> None:
        """Write the book with the newest entries; copies of older ones go."""
        rows = tuple(entries)
        self._save(self._book_path, codec.encode(_Book(applied=rows[-KEPT:])))
        for one in rows[:-KEPT]:
            self._forget(one.op_id)

    def _forget(self, op_id: OpId) -> None:
        for path in (self._kept(op_id), self.path.with_name(f".{self.path.name}.{op_id}.new")):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _save(self, path: Path, data: bytes) -> None:
        fresh = path.with_name(f"{path.name}.new")
        self._write(fresh, data, None)
        fresh.replace(path)
        _sync(path.parent)

    @staticmethod
    def _write(path: Path, data: bytes, like: os.stat_result | None) -> None:
        """Write a new file, on disk when this returns; with owner and mode of `like`, else for the agent alone."""
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            if like is not None:
                own = os.fstat(handle)
                if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
                    os.fchown(handle, like.st_uid, like.st_gid)
                os.fchmod(handle, stat.S_IMODE(like.st_mode))
            file.write(data)
            file.flush()
            os.fsync(handle)


def digest(text: bytes) -> str:
    """16 hex digits of a file's text."""
    return blake2b(text, digest_size=8).hexdigest()


def difference(before: bytes, after: bytes) -> tuple[str, ...]:
    """Lines that differ, as `diff -u` has them, cut to what a person reads."""
    lines = [
        line[:_MAX_LINE]
        for line in difflib.unified_diff(
            before.decode(errors="backslashreplace").splitlines(),
            after.decode(errors="backslashreplace").splitlines(),
            "applied",
            "on the host",
            lineterm="",
            n=1,
        )
    ]
    if len(lines) > MOST_EDITS:
        lines = [*lines[:MOST_EDITS], f"… {len(lines) - MOST_EDITS} more lines"]
    return tuple(lines)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
