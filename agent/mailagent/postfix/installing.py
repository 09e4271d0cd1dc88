"""Puts a setup into a Postfix and takes it away again: whole, or not at all.

The changes are made by `postconf` on a copy of main.cf and master.cf, so what is shown is what is written. The two
files then take the place of the old ones by rename. What stood before is kept beside the maps, where only root writes:
for the way back when something fails, also when this process dies on the way, and for the day when every trace goes.
"""

import difflib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from mailagent.config.structs import AgentConfig
from mailagent.control.state import HostState
from mailagent.postfix.allowed import Allowed
from mailagent.postfix.commands import Programs
from mailagent.postfix.errors import PostfixError, ProgramFailed
from mailagent.postfix.files import MapFolder, beside_of, map_type, replace_file
from mailagent.postfix.foreign import foreign_rows
from mailagent.postfix.holding import slot_texts
from mailagent.postfix.instance import parameters, read_instance
from mailagent.postfix.record import RECORD, Installed, folder_of, home, installed
from mailagent.postfix.setup import (
    HEAD,
    MAPS,
    Change,
    Setup,
    SetupRefused,
    Standing,
    differences,
    wanted,
)
from mailagent.postfix.tables import ALLOWED, FOLDER, HELD_MAP, map_text, shown

_FILES: Final = ("main.cf", "master.cf")
_BEFORE: Final = ".before"
_UNDO: Final = ".undo"


class SetupFailed(PostfixError):
    """A step failed; everything was put back, or the message says what was not."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be written, and why; made from what stands there now."""

    changes: tuple[Change, ...]
    diffs: Mapping[str, str]  # of main.cf, master.cf and maps
    notes: tuple[str, ...]
    record: Installed | None  # None: nothing of ours is to stand there
    old: Mapping[str, bytes]  # main.cf and master.cf
    new: Mapping[str, bytes]
    files: Mapping[str, str] = field(default_factory=dict)  # maps to write
    gone: tuple[str, ...] = ()  # maps to take away

    @property
    def diff(self) -> str:
        """All that changes, as one text."""
        return "".join(self.diffs.values())

    @property
    def is_nothing(self) -> bool:
        """Whether all of it stands there already."""
        return not self.changes and not self.diff


class Installing:
    """Plan, apply and remove for one instance."""

    def __init__(self, config: AgentConfig, programs: Programs, state: HostState) -> None:
        """`state`: what the file and standing orders allow; a drained virtual MTA gets no slots."""
        self._config = config
        self._programs = programs
        self._state = state
        self._at = Path()  # where the instance is configured, once it was asked

    @property
    def _home(self) -> Path:
        return home(self._at)

    async def plan(self) -> Plan:
        """What the host's file asks for and does not stand there yet.

        Raises:
            SetupRefused: something stands in the way.
            PostfixError: Postfix's programs do not answer.
        """
        standing = await self._standing()
        setup = wanted(self._config, standing)
        folder = MapFolder(self._at / FOLDER, standing.type)
        slots = slot_texts(self._config, self._state, setup.streams, setup.vmtas, setup.nexthop)
        allowed = Allowed(standing.type, setup.vmtas, setup.streams, setup.nexthop)
        files = {**setup.files, **slots, ALLOWED: allowed.text()}
        held = folder.text(HELD_MAP)
        if held is None or _changes_type(installed(self._at, self._config), standing.type):
            files[HELD_MAP] = map_text(()) if held is None else held  # later it is the agent's, who knows the domains
        gone = tuple(sorted(folder.names() - {HELD_MAP, *files}))
        record = Installed(
            config_dir=str(self._at),
            command=self._config.postfix.command,
            type=standing.type,
            vmtas=setup.vmtas,
            streams=setup.streams,
            nexthop=setup.nexthop,
        )
        return await self._planned(setup, standing, folder, files, gone, record)

    async def plan_removal(self) -> Plan:
        """What is to be taken away so that nothing of ours is left.

        Raises:
            PostfixError: as `plan`.
        """
        standing = await self._standing()
        folder = MapFolder(self._at / FOLDER, standing.type)
        plan = await self._planned(Setup(), standing, folder, {}, tuple(sorted(folder.names())), None)
        return self._as_it_was(plan)

    async def apply(self, plan: Plan) -> str:
        """Write what `plan` or `plan_removal` said; the sentence of what was done.

        Raises:
            SetupFailed: a step failed and all was put back.
            SetupRefused: the files have changed since the plan was made.
        """
        await self._standing()
        place = self._at
        async with self._alone():
            if {name: (place / name).read_bytes() for name in _FILES} != dict(plan.old):
                raise SetupRefused([f"main.cf or master.cf in {place} has changed since the plan was made; plan again"])
            before = installed(place, self._config)
            folder = MapFolder(place / FOLDER, plan.record.type if plan.record else before.type if before else "hash")
            maps = {name: folder.text(name) for name in (*plan.files, *plan.gone)}
            anew = plan.record is not None and _changes_type(before, plan.record.type)
            self._remember(plan, before)
            try:
                await folder.write(plan.files, self._programs, anew=anew)
                for name in _FILES:
                    if plan.new[name] != plan.old[name]:
                        replace_file(_true(place / name), plan.new[name], like=place / name)
                await self._programs.run("postfix", "check")
                running = await self._reload()
            except (PostfixError, OSError) as exc:
                back = folder_of(before) if before is not None else folder
                left = await self._put_back(place, back, maps, before)
                raise SetupFailed(f"{exc}; {left}") from exc
            folder.take_away(plan.gone)
            folder.take_away_other_indices()
            self._done(plan, folder)
            return "Postfix has reloaded" if running else "Postfix is not running; it takes effect when it starts"

    async def recover(self) -> str:
        """Put back what an apply that was interrupted has left half done; a sentence, or nothing."""
        await self._standing()
        record = installed(self._at, self._config)
        if record is None or not record.begun:
            return ""
        async with self._alone():
            before = self._previous()
            folder = folder_of(before or record)
            maps = {name: folder.text(name) for name in folder.names()} if _changes_type(before, record.type) else {}
            await self._put_back(self._at, folder, maps, before)
        return "an apply that was interrupted was put back"

    # -- reading -------------------------------------------------------------------------------------------------

    async def _standing(self) -> Standing:
        instance = await read_instance(self._programs)
        place = self._at = Path(instance.config_dir)
        missing = [name for name in _FILES if not (place / name).is_file()]
        if missing:
            where = place / missing[0]
            raise SetupRefused([f"{where} is not there: a Postfix in a container is not set up from outside"])
        types = (await self._programs.run("postconf", "-m")).decode().split()
        default = (await self._programs.run("postconf", "-h", "default_database_type")).decode().strip()
        main = (place / "main.cf").read_text(encoding="utf-8", errors="surrogateescape")
        lines = [line for line in main.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        return Standing(
            instance=instance,
            parameters=parameters("\n".join(lines)),
            services=services((await self._programs.run("postconf", "-M")).decode("utf-8", "surrogateescape")),
            type=map_type(types, default),
            others=await foreign_rows(self._programs),
        )

    async def _planned(
        self,
        setup: Setup,
        standing: Standing,
        folder: MapFolder,
        files: Mapping[str, str],
        gone: tuple[str, ...],
        record: Installed | None,
    ) -> Plan:
        place = self._at
        to_set, to_serve = differences(setup, standing)
        old = {name: (place / name).read_bytes() for name in _FILES}
        new = await self._edited(standing, old, to_set, to_serve) if to_set or to_serve else old
        diffs = {name: _diff(name, _text(old[name]), _text(new[name])) for name in _FILES}
        for name in sorted({*files, *gone}):
            diffs[name] = _diff(f"{FOLDER}/{name}", shown(name, folder.text(name)), shown(name, files.get(name)))
        return Plan(
            changes=(*to_set, *to_serve),
            diffs=diffs,
            notes=setup.notes,
            record=record,
            old=old,
            new=new,
            files=files,
            gone=gone,
        )

    async def _edited(
        self, standing: Standing, old: Mapping[str, bytes], to_set: list[Change], to_serve: list[Change]
    ) -> dict[str, bytes]:
        """The two files after postconf has changed copies of them."""
        with tempfile.TemporaryDirectory(prefix="mailagent-postfix-") as name:
            copy = Path(name)
            for file, data in old.items():
                (copy / file).write_bytes(data)
            _append(copy / "main.cf", [one for one in to_set if one.value and one.name not in standing.parameters])
            postconf = self._programs.of(name)
            changed = [one for one in to_set if one.value and one.name in standing.parameters]
            await _each(postconf, ("-e",), [f"{one.name}={one.value}" for one in changed])
            await _each(postconf, ("-X",), [one.name for one in to_set if not one.value])
            await _each(postconf, ("-M",), [f"{one.name}={one.value}" for one in to_serve if one.value])
            await _each(postconf, ("-M", "-X"), [one.name for one in to_serve if not one.value])
            return {file: (copy / file).read_bytes() for file in old}

    def _as_it_was(self, plan: Plan) -> Plan:
        """With the very bytes of before, where nobody has touched the files since."""
        record = installed(self._at, self._config)
        if record is None or record.begun:
            return plan
        new = dict(plan.new)
        for name, after in (("main.cf", record.main_after), ("master.cf", record.master_after)):
            kept = self._home / f"{name}{_BEFORE}"
            if after == _digest(plan.old[name]) and kept.exists():
                new[name] = kept.read_bytes()
        diffs = {name: _diff(name, _text(plan.old[name]), _text(new[name])) for name in _FILES}
        return replace(plan, new=new, diffs={**plan.diffs, **diffs})

    # -- writing -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Two who apply at once: the second is refused."""
        for path in (self._home.parent, self._home):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)  # whatever the umask: Postfix and the agent read there
        descriptor = os.open(self._home, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise SetupRefused([f"somebody else is changing this Postfix ({self._home})"]) from exc
            yield
        finally:
            os.close(descriptor)
            with suppress(OSError):  # where nothing of ours stands nothing stays; a folder that is not empty does
                self._home.rmdir()
                self._home.parent.rmdir()

    def _remember(self, plan: Plan, before: Installed | None) -> None:
        """Keep what stands there, before anything changes."""
        after = {"main.cf": before.main_after, "master.cf": before.master_after} if before else {}
        for name in _FILES:
            replace_file(self._home / f"{name}{_UNDO}", plan.old[name], like=self._at / name)
            if not before and _is_foreign(plan.old):
                replace_file(self._home / f"{name}{_BEFORE}", plan.old[name], like=self._at / name)
            elif before and after[name] != _digest(plan.old[name]):  # somebody has edited it: that is no way back
                (self._home / f"{name}{_BEFORE}").unlink(missing_ok=True)
        if before is not None:
            self._record(before, f"{RECORD}{_UNDO}")
        record = plan.record or before
        if record is not None:
            self._record(msgspec.structs.replace(record, begun=True))

    def _done(self, plan: Plan, folder: MapFolder) -> None:
        if plan.record is None:
            shutil.rmtree(self._home)
            self._sweep(folder)
            folder.take_away(folder.names())
            return
        main_after, master_after = (_digest(plan.new[name]) for name in _FILES)
        self._record(msgspec.structs.replace(plan.record, main_after=main_after, master_after=master_after))
        self._forget_undo()

    def _forget_undo(self) -> None:
        for name in (*_FILES, RECORD):
            (self._home / f"{name}{_UNDO}").unlink(missing_ok=True)

    def _record(self, record: Installed, name: str = RECORD) -> None:
        replace_file(self._home / name, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        (self._home / name).chmod(0o644)

    def _previous(self) -> Installed | None:
        path = self._home / f"{RECORD}{_UNDO}"
        return msgspec.json.decode(path.read_bytes(), type=Installed) if path.exists() else None

    async def _put_back(
        self, place: Path, folder: MapFolder, maps: Mapping[str, str | None], before: Installed | None
    ) -> str:
        """Everything as it stood before: what could not be put back, as a sentence."""
        trouble = []
        for name in _FILES:
            kept = self._home / f"{name}{_UNDO}"
            try:
                if kept.exists() and (place / name).read_bytes() != kept.read_bytes():
                    replace_file(_true(place / name), kept.read_bytes(), like=place / name)
            except OSError as exc:
                trouble.append(f"{place / name} is not put back ({exc}); its text is in {kept}")
        if trouble:
            return "; ".join(trouble)
        try:
            folder.take_away([name for name, text in maps.items() if text is None])
            texts = {name: text for name, text in maps.items() if text is not None}
            begun = installed(place, self._config)
            await folder.write(texts, self._programs, anew=begun is not None and _changes_type(before, begun.type))
            folder.take_away_other_indices()
            self._sweep(folder)
            await self._reload()
        except (PostfixError, OSError) as exc:
            trouble.append(f"main.cf and master.cf are put back, and after that: {exc}")
        if before is None:
            shutil.rmtree(self._home, ignore_errors=True)
            folder.take_away(folder.names())
        else:
            self._record(before)
            self._forget_undo()
        return "; ".join(trouble) or "everything is put back as it was"

    def _sweep(self, folder: MapFolder) -> None:
        """Delete what a process that was killed had begun to write."""
        folder.sweep()
        for name in _FILES:
            beside_of(_true(self._at / name)).unlink(missing_ok=True)

    async def _reload(self) -> bool:
        """Have a running Postfix read its files again; False when none runs."""
        try:
            await self._programs.run("postfix", "status")
        except ProgramFailed:
            return False
        await self._programs.run("postfix", "reload")
        return True


def _true(path: Path) -> Path:
    """Where the file is that a link leads to: a rename would take the place of the link."""
    return Path(os.path.realpath(path))


def _changes_type(before: Installed | None, type: str) -> bool:
    """Whether maps that stand there have indices that a table of `type` does not read."""
    return before is not None and before.type != type


def _is_foreign(old: Mapping[str, bytes]) -> bool:
    """Whether main.cf has nothing of ours: what has, though nobody knows of a setup, is nothing to go back to."""
    return f"{MAPS} =".encode() not in old["main.cf"]


def services(text: str) -> dict[str, str]:
    """`postconf -M`: the lines of master.cf by service and type, blanks as they are within options."""
    lines: list[str] = []
    for line in text.splitlines():
        if line[:1].isspace() and lines:
            lines[-1] += f" {line.strip()}"
        elif line.strip():
            lines.append(line)
    found = (" ".join(line.strip().split(maxsplit=HEAD)) for line in lines)
    return {"/".join(line.split(" ")[:2]): line for line in found}


def _append(path: Path, new: list[Change]) -> None:
    """Add parameters, as postconf does, but in our order: of several new ones it adds them in any."""
    text = path.read_bytes()
    lines = "".join(f"{one.name} = {one.value}\n" for one in new).encode()
    path.write_bytes(text + (b"" if text.endswith(b"\n") or not text else b"\n") + lines)


async def _each(programs: Programs, options: tuple[str, ...], arguments: list[str]) -> None:
    if arguments:
        await programs.run("postconf", *options, *arguments)


def _diff(name: str, old: str, new: str) -> str:
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"{name} (now)", f"{name} (then)"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
