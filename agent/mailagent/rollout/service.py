"""The methods about the host's configuration: read it again, look at another one, put that in place, put it back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

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
from mailagent.dkim import KeyRing, load_ring
from mailagent.host import Act, Principal, Read
from mailagent.intake.listener import certificates
from mailagent.intake.tls import Contexts
from mailagent.outcome.classification import Classifier, load_rules
from mailagent.outcome.return_path import Keys as ReturnKeys
from mailagent.returns.service import return_keys
from mailagent.rollout.difference import (
    Touched,
    ceilings,
    changed_sections,
    changes,
    misfits,
    restart_keys,
    touched,
)
from mailagent.rollout.file import ConfigFile, Found, difference, digest

IN_EFFECT: Final = "the file says what is already in effect; keys, certificates and rules that it names are read again"
_KEEPS: Final = "the old configuration stays in effect"


class Loaded(NamedTuple):
    """A configuration with what it names and a reload reads again."""

    config: AgentConfig
    origins: Origins
    ring: KeyRing
    contexts: Contexts
    classifier: Classifier
    return_keys: ReturnKeys | None


class Parse(Protocol):
    """Reads the host's file, or another text as if it stood there."""

    def __call__(self, *, text: bytes | None = None) -> tuple[AgentConfig, Origins]:
        """The configuration. Raises OSError and ValueError."""


@dataclass(frozen=True, slots=True)
class Running:
    """What the agent runs, as far as another configuration asks for it."""

    config: AgentConfig
    directives: Sequence[Directive]


class Configuring:
    """By name in `reads` and `verbs`."""

    def __init__(
        self,
        file: ConfigFile,
        parse: Parse,
        control: Control,
        *,
        running: Callable[[], Running],
        take_over: Callable[[Loaded, str], Awaitable[list[str]]],
        size: Callable[[Touched], Awaitable[tuple[int, int]]],
    ) -> None:
        """`take_over` puts a configuration into effect, `size` counts ready queues and waiting recipients."""
        self._file = file
        self._parse = parse
        self._control = control
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

    def load(self, text: bytes | None = None, *, restart: bool = False) -> Loaded:
        """The file, or `text` in its place, with what it names.

        Raises:
            InvalidRequest: it is wrong, or changes what needs a restart and `restart` does not allow that.
        """
        try:
            config, origins = self._parse(text=text)
            classifier = Classifier(load_rules(config.classification.rules))
            loaded = Loaded(
                config,
                origins,
                load_ring(config, origins),
                certificates(config.intake),
                classifier,
                return_keys(config),
            )
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
        if config is None or config == running.config:
            return base
        rows, limits = changes(running.config, config), ceilings(running.config, config)
        queues, waiting = await self._size(touched(running.config, config))
        unfit = misfits(config, running.directives)
        most = MOST_ROWS // 2
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

        async def check() -> tuple[Loaded, Found, str]:
            """The file to be, the one that is, and why there is nothing to do, if so."""
            loaded = await asyncio.to_thread(self.load, text, restart=request.restart)
            found, book = await asyncio.to_thread(self._look)
            own, state, edits = await asyncio.to_thread(self._state, found, book)
            if own == loaded.config == self._running().config:
                return loaded, found, "the host runs this already"
            if own == loaded.config and state is FileState.PENDING:
                return loaded, found, "written already; in effect after a restart of the agent"
            if request.base and request.base != found.digest:
                raise StalePlan(f"{self._file.path} is not the file that the plan was made on; plan again")
            if state is FileState.EDITED and own != loaded.config and not request.override:
                raise GuardRefused(
                    "\n".join((f"{self._file.path} was edited by hand; adopt that, or apply with --force:", *edits))
                )
            return loaded, found, ""

        def outcome(loaded: Loaded, verb: str) -> str:
            running = self._running()
            sections = changed_sections(running.config, loaded.config)
            text = f"{verb} {', '.join(sections) or 'nothing but the text'}"
            if keys := restart_keys(running.config, loaded.config):
                text += f"; in effect after a restart of the agent, because of {', '.join(keys)}"
            return text

        async def plan() -> tuple[bool, str]:
            loaded, _, nothing = await check()
            return (False, nothing) if nothing else (True, outcome(loaded, "would change"))

        async def act() -> tuple[bool, str]:
            loaded, found, nothing = await check()
            if nothing:
                return False, nothing
            detail = outcome(loaded, "changed")
            entry = self._entry(request, caller, found, digest(text))
            adopted = await self._put(text, loaded, entry, caller)
            ends.extend(adopted)
            if adopted:
                detail += f"; ended, since the file says the same: {', '.join(one.id for one in adopted)}"
            return True, detail

        return await self._control.carry_out(
            "config_apply", request, caller, plan=plan, act=act, ends=lambda: ends, undo_note=_undo_note(request)
        )

    async def config_undo(self, request: ConfigUndo, caller: Principal) -> OperationResult:
        """Put the file back that an apply replaced."""

        async def check() -> tuple[AppliedFile, bytes, Loaded, Found]:
            found, book = await asyncio.to_thread(self._look)
            entry = _to_undo(book, request)
            if found.digest != entry.after and not request.override:
                _, _, edits = await asyncio.to_thread(self._state, found, book)
                raise GuardRefused("\n".join((f"{self._file.path} has changed since {entry.op_id}:", *edits)))
            text = await asyncio.to_thread(self._file.before, entry.op_id)
            return entry, text, await asyncio.to_thread(self.load, text, restart=request.restart), found

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

    async def _put(self, text: bytes, loaded: Loaded, entry: AppliedFile, caller: Principal) -> list[Directive]:
        """Write and take over; the directives that the file says itself now."""
        running = self._running()
        restart = bool(restart_keys(running.config, loaded.config))
        await asyncio.to_thread(self._file.put, text, msgspec.structs.replace(entry, restart=restart))
        if restart:
            return []
        await self._take_over(loaded, caller.user)
        return [one.directive for one in misfits(loaded.config, running.directives) if one.adopted]

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
