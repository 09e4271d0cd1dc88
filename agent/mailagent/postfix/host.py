"""A host whose mail a Postfix carries: the composition root of the agent that stands in front of it.

The agent looks and orders; Postfix does not know about it. Nothing here starts or stops Postfix: an agent that stops or
crashes changes nothing in its delivery.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from mailagent.ages import Ages
from mailagent.api import views
from mailagent.api.errors import Refused
from mailagent.api.ids import VmtaName
from mailagent.api.operations import Impact, OperationResult
from mailagent.api.requests import Mutation
from mailagent.api.targets import MessageFilter, Target
from mailagent.census import Census
from mailagent.config import Origins, load_agent_with_origins
from mailagent.config.structs import AgentConfig
from mailagent.control.lock import LockVerbs
from mailagent.control.state import HostState
from mailagent.control.verbs import AGENT, Control
from mailagent.dns import Resolver
from mailagent.host import Act, Principal
from mailagent.life import Life
from mailagent.named import rules
from mailagent.outcome.accounting import Finder
from mailagent.outcome.accounting.tallies import Tallies
from mailagent.outcome.classification import Classifier
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
from mailagent.scraping import Scraping
from mailagent.telemetry.connect_times import ConnectTimes
from mailagent.telemetry.paces import Paces
from mailagent.version import __version__

log = logging.getLogger(__name__)

OF_CONTROL: Final = ("note_add",)
"""Verbs of control that need nothing of Postfix."""
UNHEEDED: Final = "kept on the list; Postfix does not ask it, and goes on sending"
"""Of the suppression list."""
CACHE_KIB: Final = 8 * 1024
"""Of the mirror in memory: what is read again and again is the index of queue ids."""


class NoReadyQueues:
    """Postfix tells of no ready queue: its scheduler's state cannot be read."""

    ready: Mapping[tuple[str, VmtaName], ReadyQueue] = {}


class PostfixHost(Life):
    """One Postfix instance and the agent's own state. `start`, then `stop`."""

    STANDING = frozenset({"control", "census", "ages", "upkeep", "mirror", "places", "log", "mail-orders", "maps"})
    ENDING = "the agent stops, Postfix goes on"

    def __init__(self, config: AgentConfig, origins: Origins, *, path: Path) -> None:
        """`path` is the configuration file, to be read again."""
        super().__init__(config, origins, path=path)
        self._classifier = rules(config)
        self._stopping = False

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
        await self._open(patient=True)
        await self._spool.bound_caches(CACHE_KIB)
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
        self._maps = Maps(
            config,
            writer,
            lambda: self._destinations,
            Path(instance.config_dir),
            keep=lambda: self._destinations.save(),
        )
        self._destinations = Destinations(config.state_dir / DESTINATIONS, self._maps.look)
        await asyncio.to_thread(self._destinations.load)
        self._mirror.on_site = self._destinations.note
        self._maps.apply(self._state)
        self._agreement = Agreement(programs, self._maps, lambda: self._state.directives)
        self._changes = Changes(config, self._classifier, site_of=self._mirror.site_of, lifetime_s=instance.lifetime_of)
        await self._suppress(lambda provider: self._changes.outcomes[provider])
        self._changes.suppression = self._book
        self._log = await keeper_of(
            config.postfix,
            instance,
            changes=self._changes,
            spool=self._spool,
            counters=self._counters,
            gone=self._mirror.gone,
            now=lambda: self._mirror.instance,
        )
        self._overview = Overview(
            config,
            self._spool,
            NoReadyQueues(),
            self._census,
            self._history,
            self._control.generations,
            self._changes.deferrals,
            ConnectTimes(),
            Paces(),
        )
        self._watch_reputation(self._resolver, tuple, lambda: self._snapshots.expire())
        self._changes.blamed = self._reputation.block_lists.look_soon
        self._overview.standing, self._overview.pool_faults = self._reputation.of, self._reputation.of_pool
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
        archive = await self._keep_history(self._each_minute)
        self._overview.last_sent = self._last_sent.at
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
        self._scraping = Scraping(
            config,
            snapshot=self.snapshot,
            history=self._history,
            waiting=lambda: self._census.by_stream,
            suppressed=lambda: len(self._book),
            events=self._events.events,
        )
        self._reads = {
            **reads.methods,
            "find": Finder(self._accounting).find,
            "ages": ages.ages,
            "outcomes": Tallies(self._accounting.directory, lambda: self._config.accounting.records).outcomes,
            "events": self._events.events,
            **self._scraping.reads,
            **self._reputation.reads,
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
        self._spawn(self._scraping.run(), "metrics")
        self._spawn(self._reputation.run(), "reputation")
        self._spawn(self._agreement.look(config), "agreement")
        log.info(
            "postfix host runs host=%s version=%s queue=%s", config.host, instance.version_text, instance.queue_dir
        )
        await self._control.note("start", AGENT, f"version {__version__}, Postfix {instance.version_text}")

    async def stop(self, grace_s: float) -> None:  # noqa: ARG002 - nothing is in flight here
        """Look no more. Postfix goes on."""
        self._stopping = True
        if not (self.failed.done() or self._spool.stuck):
            await self._control.note("stop", AGENT, "Postfix goes on without the agent")
        await self._end_tasks()
        await self._resolver.close()
        await asyncio.to_thread(self._destinations.save)
        await self._close()

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

    # -- effects of control --------------------------------------------------------------------------------------

    def apply(self, state: HostState) -> None:
        """Directives or configuration have changed: take effect."""
        self._state = state
        self._maps.apply(state)
        self._snapshots.expire()
        self._mail.look()

    async def impact(self, target: Target | None, filter: MessageFilter | None) -> Impact:
        """Size of what a verb on `target` or `filter` touches."""
        await self._census.count()
        chosen = await self._names.filter(filter) if filter is not None else None
        return await self._overview.impact(target, chosen, self._snapshots.waiting)

    # -- host ----------------------------------------------------------------------------------------------------

    @property
    def emulated(self) -> Mapping[str, str]:
        """Verbs that Postfix has no means for of its own."""
        return self._emulated

    def snapshot(self) -> views.Snapshot:
        """The state now, a moment old at most."""
        return self._snapshots.now(self._state, state_of=self._engine_state())

    def _engine_state(self) -> views.EngineState:
        if self.failed.done():
            return views.EngineState.FAILED
        if self._stopping:
            return views.EngineState.STOPPING
        return views.EngineState.RUNNING if self._state.host_drain is None else views.EngineState.DRAINING

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
            self._maps.configure(config)
            self._control.reconfigure(config, author)  # at once: maps of one file by the state of another fit nothing
            await self._taken_over(changed, author)
        self._spawn(self._agreement.look(config), "agreement")
        return changed
