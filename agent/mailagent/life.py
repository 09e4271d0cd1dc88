"""What both engines have: tasks that a host owns, one way to fail, what it writes, and its answers for rpc."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from mailagent.api.ids import ProviderName, VmtaName
from mailagent.config import Origins
from mailagent.config.structs import AgentConfig
from mailagent.control.state import HostState
from mailagent.control.verbs import AGENT, Control
from mailagent.delivery import bind_problem
from mailagent.dns import Resolver
from mailagent.host import Act, Read
from mailagent.outcome.accounting import AccountingLog
from mailagent.outcome.events import Events
from mailagent.outcome.suppression import SuppressionBook
from mailagent.reputation import Reputation
from mailagent.reputation.identity import Keys
from mailagent.rollout.service import Configuring, Loaded
from mailagent.scraping import Scraping
from mailagent.spool.errors import StorageFailed
from mailagent.spool.store import Spool
from mailagent.suppressing import Suppressing
from mailagent.telemetry.archive import Archive
from mailagent.telemetry.counters import Counters
from mailagent.telemetry.history import History
from mailagent.telemetry.last_sent import LastSent
from mailagent.upkeep import Upkeep

log = logging.getLogger(__name__)

SIGHUP: Final = "SIGHUP"
"""Author of a reload by signal."""


class Life(ABC):
    """One host. `start`, then `stop`; which engine carries its mail is for those that derive from it."""

    STANDING: ClassVar[frozenset[str]] = frozenset()
    """Tasks whose end is the end of the host."""
    ENDING: ClassVar[str] = "engine stops"
    """What a failure means, for the log."""

    _spool: Spool
    _control: Control
    _state: HostState
    _accounting: AccountingLog
    _events: Events
    _book: SuppressionBook
    _suppressing: Suppressing
    _configuring: Configuring[Any]
    _upkeep: Upkeep
    _last_sent: LastSent
    _scraping: Scraping
    _reputation: Reputation
    _reads: Mapping[str, Read]
    _verbs: Mapping[str, Act]

    def __init__(self, config: AgentConfig, origins: Origins, *, path: Path) -> None:
        """`path` is the configuration file, to be read again."""
        self._config = config
        self._origins = origins
        self._path = path
        self.on_reload: Callable[[AgentConfig], None] = lambda _: None
        """Told of each configuration that was taken over."""
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the host cannot go on: it has stopped what it did, and should end."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._counters = Counters()
        self._history = History(self._counters)

    @property
    def config(self) -> AgentConfig:
        """The configuration in effect."""
        return self._config

    @abstractmethod
    async def start(self) -> None:
        """Begin; what is wrong is raised, and nothing runs then."""

    @abstractmethod
    async def stop(self, grace_s: float) -> None:
        """End: what is under way has `grace_s` at most."""

    async def note(self, verb: str, author: str, detail: str) -> None:
        """Keep what happened to the host itself among its operations."""
        await self._control.note(verb, author, detail)

    # -- tasks ---------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task that the host owns; its unforeseen end is logged, and fatal for the standing ones."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            stands = task.get_name() in self.STANDING
            if stands and self.failed.done():
                return  # by the same failure, which is told already
            log.error("task=%s failed", task.get_name(), exc_info=error)
            if stands:
                self._fail(f"{task.get_name()} failed: {error!r}")

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _storage_failed(self, error: StorageFailed) -> None:
        self._fail(str(error))

    def _fail(self, why: str) -> None:
        log.critical("%s: %s", self.ENDING, why)
        if not self.failed.done():
            self.failed.set_result(why)

    # -- what it writes ------------------------------------------------------------------------------------------

    async def _open(self, *, patient: bool = False) -> None:
        """The spool, which may be `patient` with a full disk; then what only its owner may touch."""
        config = self._config
        self._spool = await Spool.open(
            config.state_dir, before_commit=self._account, on_failure=self._storage_failed, patient=patient
        )
        self._accounting = AccountingLog(config.state_dir / "accounting", config.accounting)
        self._events = Events(config.host, self._accounting, config.state_dir / "events")
        await asyncio.to_thread(self._events.configure, config.events)

    async def _close(self) -> None:
        """The spool, and what is written beside it."""
        await self._spool.close(clean=not self.failed.done())
        await self._upkeep.stop()
        await asyncio.to_thread(self._events.stop)
        self._accounting.close()

    async def _keep_history(self, each_minute: Callable[[], None]) -> Archive:
        """What was sent, by minutes and hours, once the task `upkeep` runs."""
        archive = await asyncio.to_thread(Archive, self._config.state_dir / "history.db")
        self._last_sent = await asyncio.to_thread(LastSent, archive)
        self._upkeep = Upkeep(
            self._history, archive, self._accounting, each_minute=each_minute, closed=self._last_sent.take
        )
        return archive

    def _account(self, lines: list[bytes]) -> None:
        self._accounting.write(lines)

    async def _suppress(self, outcomes: Callable[[str], int]) -> None:
        """The suppression list; `outcomes` of a provider so far, whatever they were."""
        self._book = SuppressionBook(
            self._config.suppression,
            self._spool,
            outcomes=outcomes,
            frozen=lambda provider: self._state.holds_suppression(provider),
            incident=self._incident,
        )
        await self._book.load()
        self._suppressing = Suppressing(self._book, self._control, lambda: self._config)

    def _incident(self, provider: str, held: int) -> None:
        self._spawn(self._suppressing.freeze_by_itself(ProviderName(provider), held), f"freeze:{provider}")

    def _watch_reputation(self, resolver: Resolver, keys: Keys, changed: Callable[[], None]) -> None:
        """What others think of us, once the task `reputation` runs; `keys`: those that sign now."""
        self._reputation = Reputation(
            self._config, resolver, keys, note=lambda verb, words: self.note(verb, AGENT, words), changed=changed
        )

    # -- configuration -------------------------------------------------------------------------------------------

    async def reload_config(self, author: str = SIGHUP) -> list[str]:
        """Take over what the configuration file says now; the sections that changed.

        Raises:
            InvalidRequest: the file is wrong, or changes what needs a restart; everything stays as it was.
        """
        return await self._take_over(self._configuring.load(), author)

    @abstractmethod
    async def _take_over(self, loaded: Loaded[Any], author: str) -> list[str]:
        """Put another configuration into effect; the sections that changed."""

    async def _taken_over(self, changed: list[str], author: str) -> None:
        """Have what is written follow, and tell of it."""
        self.on_reload(self._config)
        self._scraping.configure(self._config)
        self._reputation.configure(self._config)
        if "accounting" in changed:
            try:
                await asyncio.to_thread(self._accounting.configure, self._config.accounting)
            except OSError as exc:
                log.error("accounting files not begun anew: %s; they are with the next line", exc)
        if "events" in changed:
            try:
                await asyncio.to_thread(self._events.configure, self._config.events)
            except OSError as exc:
                log.error("event sinks not begun: %s; reload again", exc)
        log.info("configuration reloaded by=%s changed=%s", author, ",".join(changed))
        if author == SIGHUP:  # the verb keeps a record of its own
            await self._control.note("reload", author, f"changed {', '.join(changed)}")

    # -- host ----------------------------------------------------------------------------------------------------

    @property
    def reads(self) -> Mapping[str, Read]:
        """What this host answers."""
        return self._reads

    @property
    def verbs(self) -> Mapping[str, Act]:
        """What this host can be told to do."""
        return self._verbs

    @property
    def emulated(self) -> Mapping[str, str]:
        """Nothing, where every verb is the engine's own."""
        return {}

    @property
    def name(self) -> str:
        """The host's name in the fleet."""
        return self._config.host

    @property
    def spool_id(self) -> str:
        """Identity of the spool."""
        return self._spool.spool_id

    def unfit(self, vmta: str) -> list[str]:
        """Why `vmta` should not begin to send now: it cannot be bound, or receivers would mind."""
        problem = bind_problem(self._config.virtual_mtas[VmtaName(vmta)])
        found = [] if problem is None else [f"cannot be bound: {problem}"]
        return found + self._reputation.unfit(VmtaName(vmta))

    def doubts(self, vmta: str) -> list[str]:
        """What may speak against `vmta`, and is no reason to refuse it."""
        silence = self._last_sent.doubt(VmtaName(vmta), datetime.now(UTC))
        return [*([silence] if silence else []), *self._reputation.doubts(VmtaName(vmta))]
