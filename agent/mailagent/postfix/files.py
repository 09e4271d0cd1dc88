"""What the agent puts into a Postfix: the names of its services and map files, their texts, and writing them whole.

A folder `mailagent` beside main.cf holds the maps. Postfix's own look-up chain uses them (docs/decisions/0011):

    held             recipient domain -> the waiting transport and why
    routes           recipient domain -> a fixed next hop
    STREAM.senders   patterns of the envelope sender (regexp)
    STREAM.slots     number of a slot -> transport of the virtual MTA that has it
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from mailagent.api.ids import StreamName, VmtaName
from mailagent.postfix.errors import PostfixError

FOLDER: Final = "mailagent"
"""Beside main.cf."""
PREFIX: Final = "vmta-"
"""Of the services of virtual MTAs."""
WAIT: Final = "mailagent-wait"
"""The service that defers what it is given. A copy of Postfix's `retry` under another name: smtpd refuses recipients
that go to `retry` itself, and mail of a suspended provider is to be taken and to wait."""
HELD: Final = "held by mailagent"
"""Begins the text of an emulated deferral, in the log and in the queue."""
SLOTS: Final = 100
"""Parts that a pool's mail is dealt out in: a weight counts in percent."""
HELD_MAP: Final = "held"
ROUTES_MAP: Final = "routes"
SENDERS: Final = ".senders"
SLOTS_OF: Final = ".slots"
_HEAD: Final = "# Written by mailagent; changes are lost. `mailagent postfix remove` takes it away.\n"
_INDEX: Final = {"lmdb": ".lmdb", "cdb": ".cdb", "hash": ".db", "btree": ".db"}
"""Types that postmap writes an index for, best first: a renamed index is noticed without a reload."""
PLAIN: Final = "texthash"
"""Read whole when a process starts: it needs a reload after each change, and nothing else."""
_MAX_WORDS: Final = 200
_SPECIAL: Final = re.compile(r"[][\\.^$*+?(){}|/]")


class MapsFailed(PostfixError):
    """Maps could not be written; the ones before are in effect."""


class Programs(Protocol):
    """Postfix's programs; `mailagent.postfix.commands.Programs` is one."""

    async def run(self, program: str, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> bytes:
        """What one of them said; PostfixError when it did not do it."""


def transport_of(vmta: VmtaName) -> str:
    """Name of the service of a virtual MTA."""
    return f"{PREFIX}{vmta}"


def vmta_of(syslog_name: str) -> str:
    """The virtual MTA whose service logs under this name (`postfix/vmta-mkt-1`); empty: none of ours."""
    return syslog_name.partition(f"/{PREFIX}")[2]


def waiting(words: str) -> str:
    """A value that has mail deferred, with why: one line of printable ASCII."""
    clean = " ".join(words.split()).encode("ascii", "replace").decode()
    text = f"{HELD}: {clean}" if clean else HELD
    return f"{WAIT}:4.3.2 {text[:_MAX_WORDS]}"


def slot_names() -> tuple[str, ...]:
    """The keys of a map of slots, as randmap has them."""
    return tuple(f"{number:02}" for number in range(SLOTS))


def dealt(weights: Mapping[VmtaName, int]) -> list[VmtaName]:
    """A virtual MTA for each slot: its share by weight, by largest remainder, at least one; nothing for nobody."""
    if not weights:
        return []
    total = sum(weights.values())
    exact = {name: SLOTS * weight / total for name, weight in weights.items()}
    share = {name: max(1, int(part)) for name, part in exact.items()}
    by_rest = sorted(exact, key=lambda name: share[name] - exact[name])
    while (short := SLOTS - sum(share.values())) != 0:
        for name in by_rest[:short] if short > 0 else [max(share, key=lambda one: share[one])]:
            share[name] += 1 if short > 0 else -1
    return [name for name in weights for _ in range(share[name])]


def slots_text(weights: Mapping[VmtaName, int], nexthop: str, why_none: str) -> str:
    """The map of a stream's slots. Without anybody who may send, its mail waits."""
    values = [f"{transport_of(name)}:{nexthop}" for name in dealt(weights)] or [waiting(why_none)] * SLOTS
    return map_text(zip(slot_names(), values, strict=True))


def map_text(rows: Iterable[tuple[str, str]]) -> str:
    """A table as postmap reads it."""
    return _HEAD + "".join(f"{key}\t{value}\n" for key, value in rows)


def rows_of(text: str) -> dict[str, str]:
    """What stands in `map_text`."""
    lines = (line.partition("\t") for line in text.splitlines() if not line.startswith("#"))
    return {key: value for key, _, value in lines}


def shown(name: str, text: str | None) -> str:
    """A map for people: of slots, how many each value has."""
    if text is None or not name.endswith(SLOTS_OF):
        return text or ""
    counts = Counter(rows_of(text).values())
    return "".join(f"{count:3} of {SLOTS} slots  {value}\n" for value, count in counts.items())


def senders_text(patterns: Sequence[str]) -> str:
    """A regexp table that knows the senders of a stream; `*` and `?` in patterns, no case."""
    return _HEAD + "".join(f"/^{_posix(pattern)}$/ found\n" for pattern in patterns)


def _posix(pattern: str) -> str:
    """A pattern as POSIX extended expression, in which `/` ends the pattern."""
    return "".join({"*": ".*", "?": "."}.get(char) or _SPECIAL.sub(r"\\\g<0>", char) for char in pattern)


def map_type(available: Iterable[str], preferred: str) -> str:
    """The type of table to write: Postfix's own default if it has an index, else the best there is."""
    there = set(available)
    return next((name for name in (preferred, *_INDEX) if name in there and name in _INDEX), PLAIN)


def replace_file(path: Path, data: bytes, *, like: Path | None = None) -> None:
    """Put a file in place whole, on disk before it has its name; with mode and owner of `like`.

    Raises:
        OSError: it stays as it was.
    """
    beside = path.with_name(f"{path.name}.mailagent-new")
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

    async def write(self, texts: Mapping[str, str], programs: Programs) -> set[str]:
        """Put maps in place, all or none; the names of those that changed.

        Each is made beside and read back before the first is renamed. An index has its new name before its text has.

        Raises:
            MapsFailed: nothing has changed.
        """
        changed = {name: text for name, text in texts.items() if self.text(name) != text or not self._whole(name)}
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
            for path in (self.path / name, self._index_of(self.path / name)):
                path.unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def names(self) -> set[str]:
        """The maps that are there."""
        endings = (SENDERS, SLOTS_OF)
        if not self.path.is_dir():
            return set()
        there = {path.name for path in self.path.iterdir()}
        return {name for name in there if name in (HELD_MAP, ROUTES_MAP) or name.endswith(endings)}

    def _beside(self, name: str) -> Path:
        return self.path / f"{name}.new"

    def _lay_beside(self, texts: Mapping[str, str]) -> None:
        if texts:
            self.path.mkdir(mode=0o755, exist_ok=True)
        for name, text in texts.items():
            replace_file(self._beside(name), text.encode())
            self._beside(name).chmod(0o644)

    async def _index(self, name: str, text: str, programs: Programs) -> None:
        table = f"{self.type}:{self._beside(name)}"
        await programs.run("postmap", table)
        said = (await programs.run("postmap", "-s", table)).decode("utf-8", "replace")
        if rows_of(said) != rows_of(text):  # postmap only warns of what it does not understand
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
        return self.type in _INDEX and not name.endswith(SENDERS)

    def _index_of(self, path: Path) -> Path:
        return path.with_name(path.name + _INDEX.get(self.type, ".db"))

    def _whole(self, name: str) -> bool:
        return not self._indexed(name) or self._index_of(self.path / name).exists()


def senders_map(stream: StreamName) -> str:
    """File name of a stream's patterns."""
    return f"{stream}{SENDERS}"


def slots_map(stream: StreamName) -> str:
    """File name of a stream's slots."""
    return f"{stream}{SLOTS_OF}"


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
