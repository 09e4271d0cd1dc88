"""The methods about the host's configuration: read it again, look at another one, put that in place, put it back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from mailagent.api import codec, requests
from mailagent.api.directives import Directive
from mailagent.api.errors import GuardRefused, InvalidRequest, NotFound, Refused, StalePlan
from mailagent.api.operations import OperationResult
from mailagent.api.rollout import (
    MOST_ROWS,
    AppliedFile,
    ConfigApply,
    ConfigPlan,
    ConfigQuery,
    ConfigUndo,
    FileState,
    unpack,
)
from mailagent.config import Origins, dump_agent
from mailagent.config.structs import AgentConfig
from mailagent.control.verbs import Control
from mailagent.host import Act, Principal, Read
from mailagent.rollout.beside import ALONE, Beside, Need
from mailagent.rollout.difference import (
    Touched,
    changed_sections,
    changes,
    misfits,
    restart_keys,
    touched,
)
from mailagent.rollout.file import ConfigFile, Found, difference, digest

Named = TypeVar("Named")
"""What a configuration names, read: keys, certificates, rules."""
IN_EFFECT: Final = "the file says what is already in effect; keys, certificates and rules that it names are read again"
_KEEPS: Final = "the old configuration stays in effect"


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Named]):
    """A configuration with what it names and a reload reads again."""

    config: AgentConfig
    origins: Origins
    named: Named


class Parse(Protocol):
    """Reads the host's file, or another text as if it stood there."""

    def __call__(self, *, text: bytes | None = None) -> tuple[AgentConfig, Origins]:
        """The configuration. Raises OSError and ValueError."""


@dataclass(frozen=True, slots=True)
class Running:
    """What the agent runs, as far as another configuration asks for it."""

    config: AgentConfig
    directives: Sequence[Directive]


@dataclass(frozen=True, slots=True)
class _Checked(Generic[Named]):
    """A file that may take the place of the host's own."""

    loaded: Loaded[Named]
    found: Found  # the one that is
    need: Need
    is_there: bool  # the host runs this; only what stands beside may differ
    nothing: str = ""  # why there is nothing to do


class Configuring(Generic[Named]):
    """By name in `reads` and `verbs`."""

    def __init__(
        self,
        file: ConfigFile,
        parse: Parse,
        control: Control,
        *,
        named: Callable[[AgentConfig, Origins], Named],
        running: Callable[[], Running],
        take_over: Callable[[Loaded[Named], str], Awaitable[list[str]]],
        size: Callable[[Touched], Awaitable[tuple[int, int]]],
        beside: Beside = ALONE,
    ) -> None:
        """`named` reads what a configuration names (OSError, ValueError: it cannot be used), `take_over` puts one into
        effect, `size` counts ready queues and waiting recipients."""
        self._file = file
        self._parse = parse
        self._control = control
        self._named = named
        self._beside = beside
        self._running = running
        self._take_over = take_over
        self._size = size

    @property
    def reads(self) -> Mapping[str, Read]:
        """By wire name."""
        return {"config_plan": self.config_plan}

    @property
    def verbs(self) -> Mapping[str, Act]:
        """By wire name."""
        return {"reload": self.reload, "config_apply": self.config_apply, "config_undo": self.config_undo}

    def load(self, text: bytes | None = None, *, restart: bool = False) -> Loaded[Named]:
        """The file, or `text` in its place, with what it names.

        Raises:
            InvalidRequest: it is wrong, or changes what needs a restart and `restart` does not allow that.
        """
        try:
            config, origins = self._parse(text=text)
            loaded = Loaded(config, origins, self._named(config, origins))
        except (OSError, ValueError) as exc:
            raise InvalidRequest(f"{_KEEPS}: {exc}") from exc
        running = self._running().config
        fixed = restart_keys(running, config)
        if fixed and (not restart or config.host != running.host):
            raise InvalidRequest(f"{_KEEPS}: {', '.join(fixed)} can only change with a restart of the agent")
        return loaded

    async def reload(self, request: requests.Reload, caller: Principal) -> OperationResult:
        """Load the configuration file again: whole, or not at all with the reason."""

        async def plan() -> tuple[bool, str]:
            changed = changed_sections(self._running().config, self.load().config)
            return bool(changed), f"would change {', '.join(changed)}" if changed else IN_EFFECT

        async def act() -> tuple[bool, str]:
            changed = await self._take_over(self.load(), caller.user)
            return bool(changed), f"changed {', '.join(changed)}" if changed else IN_EFFECT

        note = "put the old file back and reload"
        return await self._control.carry_out("reload", request, caller, plan=plan, act=act, undo_note=note)

    async def config_plan(self, request: ConfigQuery) -> ConfigPlan:
        """What a file would change here; files that it names are looked at only by a dry run of the apply."""
        running = self._running()
        found, book = await asyncio.to_thread(self._look)
        own, state, edits = await asyncio.to_thread(self._state, found, book)
        base = ConfigPlan(
            host=running.config.host,
            file=str(self._file.path),
            state=state,
            digest=found.digest,
            edits=edits,
            last=book[-1] if book else None,
        )
        config = own
        if request.packed:
            try:
                config, _ = await asyncio.to_thread(self._parse, text=unpack(request.packed))
            except ValueError as exc:
                return msgspec.structs.replace(base, same=False, problems=tuple(str(exc).splitlines()[:MOST_ROWS]))
        need = await self._beside.need(running.config, config or running.config)
        base = msgspec.structs.replace(base, notes=need.notes, problems=need.problems)
        most = MOST_ROWS // 2
        if config is None or config == running.config:
            return msgspec.structs.replace(base, same=not need.changes, changes=need.changes[:most])
        rows = [*changes(running.config, config), *need.changes]
        limits = self._beside.ceilings(running.config, config)
        queues, waiting = await self._size(touched(running.config, config))
        unfit = misfits(config, running.directives)
        return msgspec.structs.replace(
            base,
            same=False,
            restart=restart_keys(running.config, config),
            changes=tuple(rows[:most]),
            ceilings=tuple(limits[:most]),
            misfits=tuple(unfit[:most]),
            queues=queues,
            waiting=waiting,
            truncated=max(len(rows), len(limits), len(unfit)) > most,
        )

    async def config_apply(self, request: ConfigApply, caller: Principal) -> OperationResult:
        """Put a file in place of the host's own and take it over: whole, or not at all with the reason."""
        text = unpack(request.packed)
        ends: list[Directive] = []

        async def check() -> _Checked[Named]:
            running = self._running().config
            loaded = await asyncio.to_thread(self.load, text, restart=request.restart)
            found, book = await asyncio.to_thread(self._look)
            own, state, edits = await asyncio.to_thread(self._state, found, book)
            need = await self._need(loaded)
            checked = _Checked(loaded, found, need, is_there=own == loaded.config == running)
            if own == loaded.config and state is FileState.PENDING:
                return replace(checked, nothing="written already; in effect after a restart of the agent")
            if checked.is_there and not need.does:
                return replace(checked, nothing="; ".join(("the host runs this already", *need.notes)))
            if request.base and request.base != found.digest:
                raise StalePlan(f"{self._file.path} is not the file that the plan was made on; plan again")
            if state is FileState.EDITED and own != loaded.config and not request.override:
                raise GuardRefused(
                    "\n".join((f"{self._file.path} was edited by hand; adopt that, or apply with --force:", *edits))
                )
            return checked

        def outcome(checked: _Checked[Named], verb: str) -> str:
            running, config = self._running().config, checked.loaded.config
            parts = changed_sections(running, config)
            if checked.need.does:
                parts += [row.name for row in checked.need.changes]
            words = f"{verb} {', '.join(parts) or 'nothing but the text'}"
            if keys := restart_keys(running, config):
                words += f"; in effect after a restart of the agent, because of {', '.join(keys)}"
            return "; ".join((words, *checked.need.notes))

        async def plan() -> tuple[bool, str]:
            checked = await check()
            return (False, checked.nothing) if checked.nothing else (True, outcome(checked, "would change"))

        async def act() -> tuple[bool, str]:
            checked = await check()
            if checked.nothing:
                return False, checked.nothing
            detail = outcome(checked, "changed")
            if checked.is_there:
                return True, f"{detail}; {await self._beside.make(checked.loaded.config)}"
            entry = self._entry(request, caller, checked.found, digest(text))
            adopted = await self._put(text, checked.loaded, entry, caller)
            ends.extend(adopted)
            if adopted:
                detail += f"; ended, since the file says the same: {', '.join(one.id for one in adopted)}"
            return True, detail

        return await self._control.carry_out(
            "config_apply", request, caller, plan=plan, act=act, ends=lambda: ends, undo_note=_undo_note(request)
        )

    async def config_undo(self, request: ConfigUndo, caller: Principal) -> OperationResult:
        """Put the file back that an apply replaced."""

        async def check() -> tuple[AppliedFile, bytes, Loaded[Named], Found]:
            found, book = await asyncio.to_thread(self._look)
            entry = _to_undo(book, request)
            if found.digest != entry.after and not request.override:
                _, _, edits = await asyncio.to_thread(self._state, found, book)
                raise GuardRefused("\n".join((f"{self._file.path} has changed since {entry.op_id}:", *edits)))
            text = await asyncio.to_thread(self._file.before, entry.op_id)
            loaded = await asyncio.to_thread(self.load, text, restart=request.restart)
            await self._need(loaded)
            return entry, text, loaded, found

        async def plan() -> tuple[bool, str]:
            entry, _, loaded, _ = await check()
            sections = changed_sections(self._running().config, loaded.config)
            return True, f"would put back the file before {entry.op_id}: {', '.join(sections) or 'the same in effect'}"

        async def act() -> tuple[bool, str]:
            done = next((one for one in self._file.applied() if one.op_id == request.op_id), None)
            if done is not None:  # a crash came before the record
                await self._take_over(self.load(restart=request.restart), caller.user)
                return True, f"put back the file before {done.undoes}"
            entry, text, loaded, found = await check()
            fresh = self._entry(request, caller, found, digest(text), undoes=entry)
            await self._put(text, loaded, fresh, caller)
            return True, f"put back the file before {entry.op_id}"

        return await self._control.carry_out(
            "config_undo", request, caller, plan=plan, act=act, undo_note=_undo_note(request)
        )

    async def _put(self, text: bytes, loaded: Loaded[Named], entry: AppliedFile, caller: Principal) -> list[Directive]:
        """Have what stands beside follow, write, and take over; the directives that the file says itself now.

        Raises:
            Refused: the old file and what stands beside are as they were.
        """
        running = self._running()
        restart = bool(restart_keys(running.config, loaded.config))
        if not restart:
            await self._beside.make(loaded.config)
        try:
            await asyncio.to_thread(self._file.put, text, msgspec.structs.replace(entry, restart=restart))
        except Refused:
            if not restart:
                await self._beside.make(running.config)
            raise
        if restart:
            return []
        await self._take_over(loaded, caller.user)
        return [one.directive for one in misfits(loaded.config, running.directives) if one.adopted]

    async def _need(self, loaded: Loaded[Named]) -> Need:
        """What `loaded` asks of what stands beside.

        Raises:
            Refused: it cannot follow.
        """
        running = self._running().config
        if restart_keys(running, loaded.config):
            return Need()  # it follows when the agent has been started again
        need = await self._beside.need(running, loaded.config)
        if need.problems:
            raise Refused("\n".join((f"{_KEEPS}:", *need.problems)))
        return need

    def _look(self) -> tuple[Found, tuple[AppliedFile, ...]]:
        return self._file.read(), self._file.applied()

    def _state(
        self, found: Found, book: tuple[AppliedFile, ...]
    ) -> tuple[AgentConfig | None, FileState, tuple[str, ...]]:
        """What the file says (None: it cannot be used), how it stands, and what was edited in it."""
        running = self._running().config
        try:
            own, _ = self._parse(text=found.text)
        except (OSError, ValueError):
            own = None
        if book and found.digest == book[-1].after:
            pending = book[-1].restart and own != running
            return own, FileState.PENDING if pending else FileState.IN_EFFECT, ()
        if book:
            return own, FileState.EDITED, self._file.edits(found)
        if own == running:
            return own, FileState.IN_EFFECT, ()
        text = found.text if own is None else dump_agent(own).encode()
        return own, FileState.EDITED, difference(dump_agent(running).encode(), text)

    @staticmethod
    def _entry(
        request: requests.Mutation, caller: Principal, found: Found, after: str, undoes: AppliedFile | None = None
    ) -> AppliedFile:
        return AppliedFile(
            op_id=request.op_id,
            at=codec.now(),
            author=caller.user,
            reason=request.reason,
            before=found.digest,
            after=after,
            undoes=undoes.op_id if undoes is not None else None,
        )


def _to_undo(book: Sequence[AppliedFile], request: ConfigUndo) -> AppliedFile:
    """The apply that an undo is about.

    Raises:
        NotFound: it was none of the last ones.
        Refused: a later one stands on it.
    """
    if not book:
        raise NotFound("nothing was applied here")
    latest = book[-1]
    if request.undoes == latest.op_id:
        return latest
    if any(one.undoes == request.undoes for one in book):
        raise Refused(f"{request.undoes} was undone already")
    if all(one.op_id != request.undoes for one in book):
        raise NotFound(f"{request.undoes} is none of the last applies here; they are {_names(book)}")
    raise Refused(f"{latest.op_id} came after {request.undoes}; undo that first")


def _names(book: Sequence[AppliedFile]) -> str:
    return ", ".join(one.op_id for one in book)


def _undo_note(request: requests.Mutation) -> str:
    return f"mailctl apply --undo {request.op_id} puts the file before it back"
