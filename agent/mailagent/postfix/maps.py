"""Standing orders as Postfix's maps: what directives allow becomes texts, written whole and beside the event loop.

A drained or suspended virtual MTA has no slot any more, a standby that was rotated in has some; a pool or stream that
may not send has its mail wait; domains of a suspended provider or destination have a row that has their mail wait. All
of it is emulated: Postfix counts the wait as an attempt. It notices a renamed table by itself, within 10 s; mail that
is in its active queue has its transport already, so what takes a way out of use is followed by a reload.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import VmtaName
from mailagent.config.structs import AgentConfig
from mailagent.control.state import HostState
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.holding import Destination, Holds, concerns_domains, in_vain, slot_texts
from mailagent.postfix.record import Installed, folder_of, installed
from mailagent.postfix.tables import HELD_MAP, map_text, rows_of
from mailagent.postfix.writers import Writer

log = logging.getLogger(__name__)

RELOAD_EVERY_S: Final = 5.0
"""Reloads are at least so far apart: each forgets what Postfix learned of its destinations."""
DOMAINS_EVERY_S: Final = 0.2
"""New domains of suspended providers and sites are written so often at most."""
RETRY_S: Final = 5.0
"""Pause after maps that could not be written, or a reload that was refused."""
SETTLE_S: Final = 20.0
"""Longest wait of a verb for its maps."""
_BY_MAPS: Final = (DirectiveKind.DRAIN, DirectiveKind.SUSPEND, DirectiveKind.ROTATE)


def takes_away(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Whether mail that Postfix has already routed by `before` may not go that way by `after`."""
    for name, text in after.items():
        old, new = rows_of(before.get(name, "")), rows_of(text)
        if name == HELD_MAP:
            if new.keys() - old.keys():
                return True
        elif set(old.values()) - set(new.values()):
            return True
    return False


class Maps:
    """Keeps the maps as configuration and directives want them. Runs on the loop thread."""

    def __init__(
        self,
        config: AgentConfig,
        writer: Writer,
        destinations: Callable[[], Iterable[Destination]],
        place: Path,
        *,
        keep: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`destinations` has every domain that mail was seen for, which `keep` stores (it blocks); `place` is where the
        instance is configured.
        """
        self.place = place
        self._config = config
        self._writer = writer
        self._destinations = destinations
        self._keep = keep
        self._clock = clock
        self._state: HostState | None = None
        self._written: HostState | None = None  # the state that the maps have
        self._reloaded_at = -RELOAD_EVERY_S
        self._owes_reload = False
        self._wake = asyncio.Event()
        self._looks: asyncio.TimerHandle | None = None
        self._asked = self._answered = 0
        self._settled = asyncio.Condition()
        self.writing = asyncio.Lock()
        """Held by who writes the maps."""
        self.trouble = ""
        """Why the maps are not as they should be; the last good ones are in effect."""
        self.ready = False
        """Whether Postfix is set up to obey."""
        self.obstacle = ""
        """Why this agent may not write the maps, and what to do."""
        self.held: Mapping[str, str] = {}
        """Domains whose mail waits, with the value that Postfix has."""
        self.vmtas: frozenset[VmtaName] = frozenset()
        """Virtual MTAs that Postfix has a service for."""

    def configure(self, config: AgentConfig) -> None:
        """Another file is in effect."""
        self._config = config
        self._ask()

    def apply(self, state: HostState) -> None:
        """Directives have changed. The maps follow at once; `settled` waits for them."""
        self._state = state
        self._ask()

    def look(self) -> None:
        """Mail for new domains was seen: they are looked at together, a moment later."""
        if self._state is None or not concerns_domains(self._state):
            return
        if self._looks is None:
            self._looks = asyncio.get_running_loop().call_later(DOMAINS_EVERY_S, self._look)

    async def again(self) -> None:
        """See whether Postfix has been set up meanwhile."""
        self._ask()
        await self.settled()

    def notices(self) -> list[str]:
        """What an operator must know of what is emulated."""
        found = [self.trouble] if self.trouble else []
        if self.held:
            count = "1 domain" if len(self.held) == 1 else f"{len(self.held):,} domains"
            found.append(
                f"{count} seen so far wait for suspended providers or sites: emulated, new ones follow their first mail"
            )
        return found + (in_vain(self._config, self._state) if self._state is not None else [])

    async def settled(self, timeout_s: float = SETTLE_S) -> str:
        """Wait until what was asked so far is in effect: what is in the way, or nothing."""
        asked = self._asked
        try:
            async with asyncio.timeout(timeout_s), self._settled:
                await self._settled.wait_for(lambda: self._answered >= asked)
        except TimeoutError:
            return f"Postfix's maps were not written within {timeout_s:g} s"
        return self.trouble

    async def run(self) -> None:
        """Write what was asked for, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            asked = self._asked
            try:
                async with self.writing:
                    await self._write()
                self.trouble = ""
            except (PostfixError, OSError) as exc:
                if self.trouble != str(exc):
                    log.error("postfix maps: %s; trying again every %g s", exc, RETRY_S)
                self.trouble = str(exc)
            async with self._settled:
                self._answered = asked
                self._settled.notify_all()
            if self.trouble:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await self._wake.wait()
                self._wake.set()

    def _look(self) -> None:
        self._looks = None
        self._ask()

    def _ask(self) -> None:
        self._asked += 1
        self._wake.set()

    async def _write(self) -> None:
        config, state = self._config, self._state
        if state is None:
            return
        record = await asyncio.to_thread(installed, self.place, config)
        self.ready = record is not None and not record.begun
        if record is None or not self.ready:
            self.vmtas, self.held = frozenset(), {}
            self._written = state
            if any(one.kind in _BY_MAPS for one in state.directives):
                raise NotInstalled(config.host)
            return
        self.obstacle = self._writer.why_not(folder_of(record))
        self.vmtas = frozenset(record.vmtas)
        rows = Holds(config, state).rows(self._destinations())
        texts = slot_texts(config, state, record.streams, record.vmtas, record.nexthop)
        texts[HELD_MAP] = map_text(rows.items())
        if rows.keys() - self.held.keys():  # an agent that was killed has to hold them again, before it sees them again
            await asyncio.to_thread(self._keep)
        await self._put(record, texts, ordered=state is not self._written)
        self.held = rows
        self._written = state

    async def _put(self, record: Installed, texts: Mapping[str, str], *, ordered: bool) -> None:
        """Write, then have Postfix see it; `ordered`: an operator waits for it, not only new domains."""
        folder = folder_of(record)
        before = {name: folder.text(name) or "" for name in texts}
        changed = await self._writer.write(folder, texts)
        if changed and (folder.needs_reload or (ordered and takes_away(before, texts))):
            self._owes_reload = True
        if self._owes_reload:
            await self._reload()
        if changed:
            log.info("postfix maps written maps=%s held=%d", ",".join(sorted(changed)), len(rows_of(texts[HELD_MAP])))

    async def _reload(self) -> None:
        wait_s = self._reloaded_at + RELOAD_EVERY_S - self._clock()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        self._reloaded_at = self._clock()
        try:
            await self._writer.reload()
        except PostfixError as exc:
            raise ReloadRefused(exc) from exc
        self._owes_reload = False


class NotInstalled(PostfixError):
    """There are standing orders, and Postfix has nothing that could obey them."""

    def __init__(self, host: str) -> None:
        super().__init__(f"standing orders are not in effect on {host}: run mailagent postfix apply there first")


class ReloadRefused(PostfixError):
    """The maps are written; mail that Postfix has already routed goes on the old way."""

    def __init__(self, why: PostfixError) -> None:
        super().__init__(f"the maps are written, but mail in the active queue still goes the old way: {why}")
