"""Whether Postfix is set up as the host's file says, and how it follows another file that comes by rpc.

Nothing is put into a Postfix that nobody has set up: the first `mailagent postfix apply` is an operator's, on the host.
From then on an agent that may write main.cf follows the file in the same steps; any other one says what is to be run.
"""

import asyncio
import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from mailagent.api.directives import Directive
from mailagent.api.errors import Refused
from mailagent.api.rollout import Ceiling, ConfigChange, How
from mailagent.config.structs import AgentConfig
from mailagent.control.state import host_state
from mailagent.postfix.commands import Programs
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.installing import Installing, Plan
from mailagent.postfix.maps import Maps
from mailagent.postfix.record import RECORD, Installed, home, installed
from mailagent.postfix.setup import SetupRefused
from mailagent.postfix.tables import HELD_MAP, ROUTES_MAP, SENDERS
from mailagent.rollout.beside import Need
from mailagent.rollout.difference import ceilings, changed_sections, cut
from mailagent.routing.limits import LIMIT_NAMES
from mailagent.routing.providers import DEFAULT_PROVIDER

log = logging.getLogger(__name__)

COMMAND: Final = "mailagent postfix apply"
OF_POSTFIX: Final = ("virtual_mtas", "pools", "streams", "default_stream", "providers", "routes")
"""Sections that a setup is made of."""
_MAIN, _MASTER, _MAP = "main.cf", "master.cf", "map"
_NAMES: Final = 3
"""Changes that a notice names."""


class Agreement:
    """Postfix and the file. Runs on the loop; implements `mailagent.rollout.beside.Beside`."""

    def __init__(self, programs: Programs, maps: Maps, directives: Callable[[], Sequence[Directive]]) -> None:
        self._programs = programs
        self._maps = maps
        self._directives = directives
        self._seen: object = None  # what the last look was at
        self._need = Need()  # of the file in effect
        self._said: tuple[str, ...] = ()  # what Postfix does not do as the file in effect says

    def notices(self, host: str) -> list[str]:
        """What an operator must know before relying on the file."""
        need = self._need
        if need.problems:
            return [f"Postfix cannot be set up as the file says: {'; '.join(need.problems)}"]
        if need.changes:
            return [f"Postfix is not set up as the file says ({_names(need.changes)}): run {COMMAND} on {host}"]
        return []

    async def look(self, config: AgentConfig) -> None:
        """See whether Postfix is still as `config`, the file in effect, says; cheap when nothing was touched.

        A setup that was interrupted, by a crash of this agent or somebody's, is put back.
        """
        seen = (config, await asyncio.to_thread(_fingerprint, self._maps.place, config))
        if seen == self._seen:
            return
        await self._mend(config)
        before = self.notices(config.host)
        self._need = await self.need(config, config)
        self._seen = None if self._need.problems else seen
        for line in self.notices(config.host):
            if line not in before:
                log.warning("%s", line)

    # -- beside --------------------------------------------------------------------------------------------------

    def ceilings(self, running: AgentConfig, config: AgentConfig) -> list[Ceiling]:
        """Those of virtual MTAs. Limits of providers hold per recipient domain here: they are changes of main.cf."""
        return [one for one in ceilings(running, config) if not one.provider]

    async def need(self, running: AgentConfig, config: AgentConfig) -> Need:
        """What is to change in Postfix for `config`, by whom, and what it will not do."""
        concerned = [name for name in OF_POSTFIX if name in changed_sections(running, config)]
        try:
            record = await asyncio.to_thread(installed, self._maps.place, config)
            if record is None:
                return Need(notes=_not_set_up(config, concerned))
            plan = await self._installing(config).plan()
        except SetupRefused as exc:
            if concerned or config == running:
                return Need(problems=tuple(exc.problems))
            return Need(notes=tuple(exc.problems))  # they stand there already, and this file has no part in it
        except (PostfixError, OSError) as exc:
            return Need(problems=(f"it is not known what Postfix has: {exc}",))
        if config == running:
            self._said = plan.notes
        rows = tuple(_rows(plan))
        notes = [*_not_kept(running, config), *(note for note in plan.notes if note not in self._said)]
        by_hand = _by_hand(record)
        if rows and by_hand and config != running:
            notes.append(f"{by_hand}: {_names(rows)} only after {COMMAND} on {config.host}")
        return Need(changes=rows, notes=tuple(notes), by_hand=bool(by_hand))

    async def make(self, config: AgentConfig) -> str:
        """Set Postfix up for `config`, in the steps of `mailagent postfix apply`.

        Raises:
            Refused: a step failed; Postfix is as it was.
        """
        try:
            record = await asyncio.to_thread(installed, self._maps.place, config)
            if record is None or _by_hand(record):
                return ""
            async with self._maps.writing:
                return await self._set_up(config, record)
        except SetupRefused as exc:
            raise Refused("\n".join(exc.problems)) from exc
        except (PostfixError, OSError) as exc:
            raise Refused(f"Postfix: {exc}") from exc
        finally:
            self._seen = None

    async def _mend(self, config: AgentConfig) -> None:
        try:
            record = await asyncio.to_thread(installed, self._maps.place, config)
            if record is None or not record.begun or _by_hand(record):
                return
            async with self._maps.writing:
                said = await self._installing(config).recover()
        except (PostfixError, OSError) as exc:  # somebody's apply is under way, mostly
            log.info("a setup of Postfix is not finished: %s", exc)
            return
        if said:
            log.warning("postfix: %s", said)
            await self._maps.again()

    async def _set_up(self, config: AgentConfig, record: Installed) -> str:
        installing = self._installing(config)
        if record.begun:
            log.warning("%s", await installing.recover())
        plan = await installing.plan()
        if not any(True for _ in _rows(plan)):
            return ""  # slots follow by the maps
        said = await installing.apply(plan)
        log.info("postfix set up changes=%d: %s", len(plan.changes), said)
        return said

    def _installing(self, config: AgentConfig) -> Installing:
        return Installing(config, self._programs, host_state(config, self._directives()))


def _rows(plan: Plan) -> Iterable[ConfigChange]:
    """What `plan` changes that the maps of standing orders do not change anyway; services first."""
    main, master = (plan.old[name].decode("utf-8", "replace") for name in (_MAIN, _MASTER))
    for one in sorted(plan.changes, key=lambda change: "/" not in change.name):
        service, slash, kind = one.name.partition("/")
        begins = rf"^{re.escape(service)}\s+{kind}\s" if slash else rf"^{re.escape(service)}\s*="
        stands = re.search(begins, master if slash else main, re.MULTILINE)
        how = How.REMOVED if not one.value else How.CHANGED if stands else How.ADDED
        detail = cut(f"{one.reason}: {one.value}" if one.value else one.reason)
        yield ConfigChange(section=_MASTER if slash else _MAIN, name=one.name, how=how, detail=detail)
    for name in plan.gone:
        if _is_of_the_file(name):
            yield ConfigChange(section=_MAP, name=name, how=How.REMOVED, detail="")
    for name in plan.files:
        if _is_of_the_file(name) and plan.diffs.get(name):
            yield ConfigChange(section=_MAP, name=name, how=How.CHANGED, detail="")


def _is_of_the_file(name: str) -> bool:
    return name != HELD_MAP and (name == ROUTES_MAP or name.endswith(SENDERS))


def _by_hand(record: Installed) -> str:
    """Why this agent does not set Postfix up; empty when it does."""
    place = Path(record.config_dir)
    if all(os.access(path, os.W_OK) for path in (place, place / _MAIN, place / _MASTER)):
        return ""
    return "this agent may not write main.cf"


def _not_set_up(config: AgentConfig, concerned: Sequence[str]) -> tuple[str, ...]:
    if not concerned:
        return ()
    return (f"Postfix is not set up: {', '.join(concerned)} mean nothing to it before {COMMAND} on {config.host}",)


def _not_kept(running: AgentConfig, config: AgentConfig) -> Iterable[str]:
    """Providers whose limits differ, which no Postfix keeps."""
    for name in dict.fromkeys((*running.providers, *config.providers)):
        if name == DEFAULT_PROVIDER:
            continue
        before, after = running.providers.get(name), config.providers.get(name)
        keys = [key for key in LIMIT_NAMES if getattr(before, key, None) != getattr(after, key, None)]
        if keys:
            words = "not kept here: Postfix counts per virtual MTA and recipient domain"
            yield f"provider {name}: {', '.join(keys)}: {words}"


def _names(rows: Sequence[ConfigChange]) -> str:
    names = ", ".join(row.name for row in rows[:_NAMES])
    return names if len(rows) <= _NAMES else f"{names} and {len(rows) - _NAMES} more"


def _fingerprint(place: Path, config: AgentConfig) -> tuple[object, ...]:
    """What changes when somebody touches the files of a setup."""
    paths = [home(place) / RECORD]
    try:
        record = installed(place, config)
    except PostfixError:
        record = None
    if record is not None:
        paths += [place / _MAIN, place / _MASTER]
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
