"""A host whose mail a Postfix carries: the composition root of the agent that stands in front of it.

The agent looks and orders; Postfix does not know about it. Nothing here starts or stops Postfix: an agent that stops or
crashes changes nothing in its delivery.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from mailagent.ages import Ages
from mailagent.api import views
from mailagent.api.errors import Refused
from mailagent.api.ids import ProviderName, VmtaName
from mailagent.api.operations import Impact, OperationResult
from mailagent.api.requests import Mutation
from mailagent.api.targets import MessageFilter, Target
from mailagent.census import Census
from mailagent.config import Origins, load_agent_with_origins
from mailagent.config.structs import AgentConfig
from mailagent.control.lock import LockVerbs
from mailagent.control.state import HostState
from mailagent.control.verbs import AGENT, Control
from mailagent.delivery import bind_problem
from mailagent.dns import Resolver
from mailagent.host import Act, Principal, Read
from mailagent.named import rules
from mailagent.outcome.accounting import AccountingLog, Finder
from mailagent.outcome.accounting.tallies import Tallies
from mailagent.outcome.classification import Classifier
from mailagent.outcome.events import Events
from mailagent.outcome.suppression import SuppressionBook
from mailagent.overview import Overview
from mailagent.parts import Parts
from mailagent.postfix.agreement import Agreement
from mailagent.postfix.asking import Helper
from mailagent.postfix.destinations import FILE as DESTINATIONS
from mailagent.postfix.destinations import Destinations
from mailagent.postfix.hands import Helped, Own
from mailagent.postfix.instance import find_programs, read_instance
from mailagent.postfix.live import LiveQueue
from mailagent.postfix.log.changes import Changes
from mailagent.postfix.log.opening import keeper_of, log_file
from mailagent.postfix.maps import Maps
from mailagent.postfix.mirror import Mirror
from mailagent.postfix.names import Names
from mailagent.postfix.orders import QueueOrders
from mailagent.postfix.reads import Reads
from mailagent.postfix.snapshots import Snapshots
from mailagent.postfix.standing import EMULATED, StandingOrders
from mailagent.postfix.texts import Texts
from mailagent.postfix.writers import HelpedWriter, OwnWriter
from mailagent.rollout.difference import changed_sections
from mailagent.rollout.file import ConfigFile
from mailagent.rollout.reach import Reach
from mailagent.rollout.service import Configuring, Loaded, Running
from mailagent.routing import Router
from mailagent.scheduling.ready import ReadyQueue
from mailagent.spool.errors import StorageFailed
from mailagent.spool.store import Spool
from mailagent.suppressing import Suppressing
from mailagent.telemetry.archive import Archive
from mailagent.telemetry.connect_times import ConnectTimes
from mailagent.telemetry.counters import Counters
from mailagent.telemetry.history import History
from mailagent.telemetry.paces import Paces
from mailagent.upkeep import Upkeep
from mailagent.version import __version__

log = logging.getLogger(__name__)

STANDING: Final = frozenset({"control", "census", "ages", "upkeep", "mirror", "places", "log", "mail-orders", "maps"})
"""Tasks whose end is the end of the agent."""
OF_CONTROL: Final = ("note_add",)
"""Verbs of control that need nothing of Postfix."""
UNHEEDED: Final = "kept on the list; Postfix does not ask it, and goes on sending"
"""Of the suppression list."""
SIGHUP: Final = "SIGHUP"
CACHE_KIB: Final = 8 * 1024
"""Of the mirror in memory: what is read again and again is the index of queue ids."""


class NoReadyQueues:
    """Postfix tells of no ready queue: its scheduler's state cannot be read."""

    ready: Mapping[tuple[str, VmtaName], ReadyQueue] = {}


class PostfixHost:
    """One Postfix instance and the agent's own state. `start`, then `stop`."""

    def __init__(self, config: AgentConfig, origins: Origins, *, path: Path) -> None:
        """`path` is the configuration file, to be read again."""
        self._config = config
        self._origins = origins
        self._path = path
        self._classifier = rules(config)
        self.on_reload: Callable[[AgentConfig], None] = lambda _: None
        """Told of each configuration that was taken over."""
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the agent cannot go on."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._counters = Counters()
        self._history = History(self._counters)

    @property
    def config(self) -> AgentConfig:
        """The configuration in effect."""
        return self._config

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Ask Postfix what it is, then look at its queue.

        Raises:
            PostfixError: there is no such instance, or none that can be used.
            StorageError: the agent's own state cannot be opened.
        """
        config = self._config
        programs = await find_programs(config.postfix)
        instance = await read_instance(programs)
        self._spool = await Spool.open(
            config.state_dir, before_commit=self._account, on_failure=self._storage_failed, patient=True
        )
        await self._spool.bound_caches(CACHE_KIB)
        self._accounting = AccountingLog(config.state_dir / "accounting", config.accounting)
        self._events = Events(config.host, self._accounting, config.state_dir / "events")
        await asyncio.to_thread(self._events.configure, config.events)
        self._resolver = Resolver(config.dns)
        self._router = Router(config, self._resolver)
        self._control = Control(config, ledger=self._spool, effects=self)
        self._state = await self._control.load()
        self._census = Census(self._spool)
        ages = Ages(self._spool)
        self._mirror = Mirror(
            programs,
            instance,
            self._spool,
            router=lambda: self._router,
            classify=lambda reply, provider: self._classifier.verdict(reply, provider),
            poll_s=config.postfix.poll.total_seconds(),
            log_file=lambda: log_file(self._config.postfix, self._mirror.instance),
        )
        helper = Helper(config.postfix.helper) if config.postfix.helper else None
        writer = OwnWriter(programs) if helper is None else HelpedWriter(helper)
        self._maps = Maps(config, writer, lambda: self._destinations)
        self._destinations = Destinations(config.state_dir / DESTINATIONS, self._maps.look)
        await asyncio.to_thread(self._destinations.load)
        self._mirror.on_site = self._destinations.note
        self._maps.apply(self._state)
        self._agreement = Agreement(programs, self._maps, lambda: self._state.directives)
        self._changes = Changes(config, self._classifier, site_of=self._mirror.site_of, lifetime_s=instance.lifetime_of)
        self._book = self._changes.suppression = SuppressionBook(
            config.suppression,
            self._spool,
            outcomes=lambda provider: self._changes.outcomes[provider],
            frozen=lambda provider: self._state.holds_suppression(provider),
            incident=self._incident,
        )
        await self._book.load()
        self._suppressing = Suppressing(self._book, self._control, lambda: self._config)
        self._log = await keeper_of(
            config.postfix,
            instance,
            changes=self._changes,
            spool=self._spool,
            counters=self._counters,
            gone=self._mirror.gone,
        )
        self._overview = Overview(
            config,
            self._spool,
            NoReadyQueues(),
            self._census,
            self._history,
            self._control.generations,
            self._changes.last_replies,
            ConnectTimes(),
            Paces(),
        )
        self._snapshots = Snapshots(
            config,
            spool=self._spool,
            mirror=self._mirror,
            log=self._log,
            maps=self._maps,
            agreement=self._agreement,
            census=self._census,
            history=self._history,
            overview=self._overview,
            generations=self._control.generations,
        )
        archive = await asyncio.to_thread(Archive, config.state_dir / "history.db")
        self._upkeep = Upkeep(self._history, archive, self._accounting, each_minute=self._each_minute)
        self._names = Names(self._spool)
        self._configuring = Configuring(
            ConfigFile(self._path, config.state_dir),
            partial(load_agent_with_origins, self._path),
            self._control,
            named=lambda config, _: rules(config),
            running=lambda: Running(self._config, self._state.directives),
            take_over=self._take_over,
            size=Reach(self._spool, NoReadyQueues(), self._census, lambda: self._snapshots.waiting).of,
            beside=self._agreement,
        )
        texts = Texts(programs, helper, self._spool)
        reads = Reads(
            config.host, self._spool, self._mirror, self._names, texts, self._history, archive,
            lambda: (self._config, self._state) if self._maps.ready else None,
        )  # fmt: skip
        self._reads: dict[str, Read] = {
            **reads.methods,
            "find": Finder(self._accounting).find,
            "ages": ages.ages,
            "outcomes": Tallies(self._accounting.directory, lambda: self._config.accounting.records).outcomes,
            "events": self._events.events,
            **self._configuring.reads,
            **self._suppressing.reads,
            **Parts(config.host, texts.of).reads,
        }
        own = Own(programs)
        self._mail = QueueOrders(
            self._control,
            self._spool,
            LiveQueue(
                programs,
                instance.config_dir,
                self._spool,
                inward=self._names.filter,
                look=self._mirror.look_soon,
            ),
            own if helper is None else Helped(helper, own),
        )
        self._overview.mail = self._mail.progress
        verbs: dict[str, Act] = {
            **{name: self._control.verbs[name] for name in OF_CONTROL},
            **StandingOrders(self._control, self._maps, instance, lambda: self._config).verbs,
            **LockVerbs(self._control).verbs,
            **self._mail.verbs,
            **self._configuring.verbs,
            **self._suppressing.verbs,
        }
        self._verbs = {name: self._stored(act) for name, act in verbs.items()}
        self._emulated: dict[str, str] = {**EMULATED, "suppression_add": UNHEEDED}
        self._spawn(self._control.run(), "control")
        self._spawn(self._census.run(), "census")
        self._spawn(ages.run(), "ages")
        self._spawn(self._upkeep.run(), "upkeep")
        self._spawn(self._mirror.run(), "mirror")
        self._spawn(self._mirror.place(), "places")
        self._spawn(self._log.run(), "log")
        self._spawn(self._mail.run(), "mail-orders")
        self._spawn(self._maps.run(), "maps")
        self._spawn(self._agreement.look(config), "agreement")
        log.info(
            "postfix host runs host=%s version=%s queue=%s", config.host, instance.version_text, instance.queue_dir
        )
        await self._control.note("start", AGENT, f"version {__version__}, Postfix {instance.version_text}")

    async def note(self, verb: str, author: str, detail: str) -> None:
        """Keep what happened to the host itself among its operations."""
        await self._control.note(verb, author, detail)

    async def stop(self, grace_s: float) -> None:  # noqa: ARG002 - nothing is in flight here
        """Look no more. Postfix goes on."""
        self._stopping = True
        if not (self.failed.done() or self._spool.stuck):
            await self._control.note("stop", AGENT, "Postfix goes on without the agent")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._resolver.close()
        await asyncio.to_thread(self._destinations.save)
        await self._spool.close(clean=not self.failed.done())
        await self._upkeep.stop()
        await asyncio.to_thread(self._events.stop)
        self._accounting.close()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task that the host owns; its unforeseen end is logged, and fatal for the standing ones."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task=%s failed", task.get_name(), exc_info=error)
            if task.get_name() in STANDING:
                self._fail(f"{task.get_name()} failed: {error!r}")

    def _incident(self, provider: str, held: int) -> None:
        self._spawn(self._suppressing.freeze_by_itself(ProviderName(provider), held), f"freeze:{provider}")

    def _each_minute(self) -> None:
        self._spawn(self._suppressing.upkeep(), "suppressions")
        self._spawn(asyncio.to_thread(self._destinations.save), "destinations")
        self._spawn(self._agreement.look(self._config), "agreement")

    def _stored(self, act: Act) -> Act:
        """`act`, refused at once while it could only wait for room."""

        async def stored(request: Mutation, caller: Principal) -> OperationResult:
            if self._spool.stuck:
                raise Refused(f"{self._config.host} cannot store an order now: {self._spool.stuck}")
            return await act(request, caller)

        return stored

    def _account(self, lines: list[bytes]) -> None:
        self._accounting.write(lines)

    def _storage_failed(self, error: StorageFailed) -> None:
        self._fail(str(error))

    def _fail(self, why: str) -> None:
        log.critical("the agent stops, Postfix goes on: %s", why)
        if not self.failed.done():
            self.failed.set_result(why)

    # -- effects of control --------------------------------------------------------------------------------------

    def apply(self, state: HostState) -> None:
        """Directives or configuration have changed: take effect."""
        self._state = state
        self._maps.apply(state)
        self._snapshots.expire()
        self._mail.look()

    def bind_problem(self, vmta: str) -> str | None:
        """Why the addresses of `vmta` cannot be bound now; None when they can."""
        return bind_problem(self._config.virtual_mtas[VmtaName(vmta)])

    async def impact(self, target: Target | None, filter: MessageFilter | None) -> Impact:
        """Size of what a verb on `target` or `filter` touches."""
        await self._census.count()
        chosen = await self._names.filter(filter) if filter is not None else None
        return await self._overview.impact(target, chosen, self._snapshots.waiting)

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
        """Verbs that Postfix has no means for of its own."""
        return self._emulated

    @property
    def name(self) -> str:
        """The host's name in the fleet."""
        return self._config.host

    @property
    def spool_id(self) -> str:
        """Identity of the agent's state."""
        return self._spool.spool_id

    def snapshot(self) -> views.Snapshot:
        """The state now, a moment old at most."""
        return self._snapshots.now(self._state, state_of=self._engine_state())

    def _engine_state(self) -> views.EngineState:
        if self.failed.done():
            return views.EngineState.FAILED
        if self._stopping:
            return views.EngineState.STOPPING
        return views.EngineState.RUNNING if self._state.host_drain is None else views.EngineState.DRAINING

    async def reload_config(self, author: str = SIGHUP) -> list[str]:
        """Take over what the configuration file says now; the sections that changed.

        Raises:
            InvalidRequest: the file is wrong, or changes what needs a restart; everything stays as it was.
        """
        return await self._take_over(self._configuring.load(), author)

    async def _take_over(self, loaded: Loaded[Classifier], author: str) -> list[str]:
        """Put another configuration into effect; the sections that changed."""
        config, classifier = loaded.config, loaded.named
        changed = changed_sections(self._config, config)
        self._config, self._origins, self._classifier = config, loaded.origins, classifier
        self._changes.configure(config, classifier)
        if changed:
            self._snapshots.configure(config)
            self._overview.config = config
            self._book.config = config.suppression
            if "dns" in changed:
                self._resolver.configure(config.dns)
            self._router = Router(config, self._resolver, before=self._router)
            await asyncio.to_thread(self._accounting.configure, config.accounting)
            await asyncio.to_thread(self._events.configure, config.events)
            self._maps.configure(config)
            self._control.reconfigure(config, author)  # at once: maps of one file by the state of another fit nothing
            self.on_reload(config)
            log.info("configuration reloaded by=%s changed=%s", author, ",".join(changed))
            if author == SIGHUP:  # the verb keeps a record of its own
                await self._control.note("reload", author, f"changed {', '.join(changed)}")
        self._spawn(self._agreement.look(config), "agreement")
        return changed
