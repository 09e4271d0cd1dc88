"""Map files of the agent in a Postfix: written beside, built, read back, and put in place whole."""

import asyncio
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from mailagent.postfix.errors import PostfixError
from mailagent.postfix.tables import ALLOWED, HELD_MAP, ROUTES_MAP, SENDERS, SLOTS_OF, rows_of

_INDEX: Final = {"lmdb": ".lmdb", "cdb": ".cdb", "hash": ".db", "btree": ".db"}
"""Types that postmap writes an index for, best first: a renamed index is noticed without a reload."""
_ENDINGS: Final = tuple(dict.fromkeys(_INDEX.values()))
_LAID_BESIDE: Final = re.compile(r".*\.(?:new(?:\.db|\.lmdb|\.cdb(?:\.tmp)?)?|mailagent-new)")
"""What a process that was killed has left: postmap makes `.cdb` as `.cdb.tmp`."""
PLAIN: Final = "texthash"
"""Read whole when a process starts: it needs a reload after each change, and nothing else."""


class MapsFailed(PostfixError):
    """Maps could not be written; the ones before are in effect."""


class Programs(Protocol):
    """Postfix's programs; `mailagent.postfix.commands.Programs` is one."""

    async def run(self, program: str, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> bytes:
        """What one of them said; PostfixError when it did not do it."""


def map_type(available: Iterable[str], preferred: str) -> str:
    """The type of table to write: Postfix's own default if it has an index, else the best there is."""
    there = set(available)
    return next((name for name in (preferred, *_INDEX) if name in there and name in _INDEX), PLAIN)


def replace_file(path: Path, data: bytes, *, like: Path | None = None) -> None:
    """Put a file in place whole, on disk before it has its name; with mode and owner of `like`.

    Raises:
        OSError: it stays as it was.
    """
    beside = beside_of(path)
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _as(beside, like)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def beside_of(path: Path) -> Path:
    """Where `replace_file` writes before it renames."""
    return path.with_name(f"{path.name}.mailagent-new")


@dataclass(frozen=True, slots=True)
class MapFolder:
    """The maps of one instance."""

    path: Path
    type: str

    @property
    def needs_reload(self) -> bool:
        """Whether Postfix sees a change only after a reload."""
        return self.type == PLAIN

    def text(self, name: str) -> str | None:
        """A map as it stands there."""
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def changed(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Those of `texts` that do not stand there, with their index."""
        return {name: text for name, text in texts.items() if self.text(name) != text or not self._whole(name)}

    async def write(self, texts: Mapping[str, str], programs: Programs, *, anew: bool = False) -> set[str]:
        """Put maps in place, all or none; the names of those that changed, or of all when their indices are of another
        type (`anew`).

        Each is made beside and read back before the first is renamed. An index has its new name before its text has.

        Raises:
            MapsFailed: nothing has changed.
        """
        changed = dict(texts) if anew else self.changed(texts)
        try:
            await asyncio.to_thread(self._lay_beside, changed)
            for name, text in changed.items():
                if self._indexed(name):
                    await self._index(name, text, programs)
            await asyncio.to_thread(self._put_in_place, changed)
        except (OSError, PostfixError) as exc:
            self._clear_up(changed)
            raise MapsFailed(f"the maps in {self.path} stay as they were: {exc}") from exc
        return set(changed)

    def take_away(self, names: Iterable[str]) -> None:
        """Delete maps with their indices; a folder that is empty then too."""
        for name in names:
            for path in (self.path / name, *self._any_index_of(name)):
                path.unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def take_away_other_indices(self) -> None:
        """Delete indices of other types."""
        for name in self.names():
            for path in self._any_index_of(name):
                if not (self._indexed(name) and path == self._index_of(self.path / name)):
                    path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what was laid beside and never put in place."""
        for path in list(self.path.iterdir()) if self.path.is_dir() else ():
            if _LAID_BESIDE.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def names(self) -> set[str]:
        """The maps that are there."""
        endings = (SENDERS, SLOTS_OF)
        if not self.path.is_dir():
            return set()
        there = {path.name for path in self.path.iterdir()}
        return {name for name in there if name in (HELD_MAP, ROUTES_MAP, ALLOWED) or name.endswith(endings)}

    def _beside(self, name: str) -> Path:
        return self.path / f"{name}.new"

    def _lay_beside(self, texts: Mapping[str, str]) -> None:
        if texts:
            self.path.mkdir(exist_ok=True)
            self.path.chmod(0o755)  # whatever the umask: Postfix and the agent read here
        for name, text in texts.items():
            replace_file(self._beside(name), text.encode())
            self._beside(name).chmod(0o644)

    async def _index(self, name: str, text: str, programs: Programs) -> None:
        table = f"{self.type}:{self._beside(name)}"
        await programs.run("postmap", table)
        rows = rows_of(text)
        if not rows:
            return
        keys = "".join(f"{key}\n" for key in rows).encode()
        said = await programs.run("postmap", "-q", "-", table, stdin=keys)  # a table of cdb cannot be listed
        if rows_of(said.decode("utf-8", "replace")) != rows:  # postmap only warns of what it does not understand
            raise MapsFailed(f"postmap did not write all of {name}")

    def _put_in_place(self, names: Iterable[str]) -> None:
        for name in names:
            if self._indexed(name):
                index = self._index_of(self._beside(name))
                _sync(index)
                index.replace(self._index_of(self.path / name))
            self._beside(name).replace(self.path / name)
        if self.path.is_dir():
            _sync(self.path)

    def _clear_up(self, names: Iterable[str]) -> None:
        for name in names:
            self._beside(name).unlink(missing_ok=True)
            self._index_of(self._beside(name)).unlink(missing_ok=True)

    def _indexed(self, name: str) -> bool:
        return self.type in _INDEX and name != ALLOWED and not name.endswith(SENDERS)

    def _index_of(self, path: Path) -> Path:
        return path.with_name(path.name + _INDEX.get(self.type, ".db"))

    def _any_index_of(self, name: str) -> list[Path]:
        return [self.path / f"{name}{ending}" for ending in _ENDINGS]

    def _whole(self, name: str) -> bool:
        return not self._indexed(name) or self._index_of(self.path / name).exists()


def _as(path: Path, like: Path | None) -> None:
    if like is None or not like.exists():
        return
    found = like.stat()
    path.chmod(found.st_mode & 0o7777)
    if os.geteuid() == 0:
        os.chown(path, found.st_uid, found.st_gid)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
