"""The engine: the composition root of mail flow.

A message walks intake -> spool -> routing -> scheduling -> delivery -> outcome; this module hands each part what it
needs from the others, and answers for the whole: it is the effects of control and the host that rpc sees.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from mailagent.accepting import Acceptor
from mailagent.admission import Admission
from mailagent.ages import Ages
from mailagent.api import views
from mailagent.api.directives import DrainProgress
from mailagent.api.ids import ProviderName, VmtaName
from mailagent.api.operations import Impact
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.requests import HistoryScope
from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailagent.census import Census
from mailagent.config import Origins, load_agent_with_origins
from mailagent.config.structs import AgentConfig
from mailagent.control.automation import Automation
from mailagent.control.easing import STEP, Easing
from mailagent.control.lock import LockVerbs
from mailagent.control.state import HostState
from mailagent.control.users import UserVerbs
from mailagent.control.verbs import AGENT, Control
from mailagent.delivery import BindFailed, ConnectFailed, Source, TlsPolicies, bind_problem, connect
from mailagent.dkim import Signing
from mailagent.dns import Resolver
from mailagent.evacuating import Evacuating
from mailagent.host import Act, Read
from mailagent.intake.guard import Guard
from mailagent.intake.listener import Intake
from mailagent.intake.pressure import Pressure, rss_bytes
from mailagent.intake.ready import Readiness
from mailagent.intake.users import Users
from mailagent.jobs import Jobs
from mailagent.keys import Keys, chosen
from mailagent.mail_orders import MailOrders
from mailagent.named import Named, named
from mailagent.outcome.accounting import AccountingLog, Finder
from mailagent.outcome.accounting.tallies import Tallies
from mailagent.outcome.dsn import Action
from mailagent.outcome.events import Events
from mailagent.outcome.suppression import SuppressionBook
from mailagent.overview import Overview
from mailagent.parts import Parts
from mailagent.probing import Probing
from mailagent.reads import Reads
from mailagent.resigning import Resigning
from mailagent.returns.service import Feedback, Surroundings
from mailagent.rollout.difference import changed_sections
from mailagent.rollout.file import ConfigFile
from mailagent.rollout.reach import Reach
from mailagent.rollout.service import Configuring, Loaded, Running
from mailagent.routing import LimitTable, PathLimits, Router, Site, Unroutable
from mailagent.scheduling.ready import ReadyQueue
from mailagent.scheduling.scheduler import Scheduler
from mailagent.settlement import Settler
from mailagent.snapshots import Snapshots
from mailagent.spool.errors import StorageFailed
from mailagent.spool.ids import message_name
from mailagent.spool.records import LedgerEntry, NewMessage, Waiting
from mailagent.spool.store import Spool
from mailagent.suppressing import Suppressing
from mailagent.telemetry.archive import Archive
from mailagent.telemetry.connect_times import ConnectTimes
from mailagent.telemetry.counters import Counters
from mailagent.telemetry.history import History
from mailagent.tls_reporting import TlsReporting
from mailagent.tracing import Tracing
from mailagent.upkeep import Upkeep
from mailagent.version import __version__
from mailagent.why import Why

log = logging.getLogger(__name__)

STANDING = ("scheduler", "control", "automation", "census", "ages", "jobs", "mail-orders", "upkeep")
"""Tasks whose end is the end of the engine."""
SIGHUP = "SIGHUP"
"""Author of a reload by signal."""


class Ledger:
    """The spool as control sees it; after a change of due times the scheduler looks again."""

    def __init__(
        self, spool: Spool, recheck: Callable[[], None], end_rests: Callable[[MessageFilter], None] = lambda _: None
    ) -> None:
        self._recheck = recheck
        self._end_rests = end_rests
        self._spool = spool
        self.stored_operation = spool.stored_operation
        self.operations = spool.operations
        self.directives = spool.directives

    async def record(self, entry: LedgerEntry) -> int:
        """Write an operation with its effects; the recipients that it made due."""
        count = await self._spool.record(entry, made_due=self._recheck)
        if entry.due is not None:
            self._end_rests(entry.due.filter)
        return count


class Engine:
    """One host's mail flow. `start`, then `stop`; everything between runs on the loop and the spool's two threads."""

    def __init__(self, config: AgentConfig, origins: Origins, *, path: Path) -> None:
        """`path` is the configuration file, to be read again."""
        self._config = config
        self._origins = origins
        self._named = named(config, origins)
        self._path = path
        self.on_reload: Callable[[AgentConfig], None] = lambda _: None
        """Told of each configuration that was taken over."""
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when storage failed: the agent has stopped taking and sending mail, and should end."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._counters = Counters()
        self._history = History(self._counters)
        self._connect_times = ConnectTimes()

    @property
    def config(self) -> AgentConfig:
        """The configuration in effect."""
        return self._config

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Recover the spool, then deliver, then take mail in."""
        config = self._config
        self._spool = await Spool.open(config.state_dir, before_commit=self._account, on_failure=self._storage_failed)
        # after the spool: only its owner may touch the files of a running agent
        self._accounting = AccountingLog(config.state_dir / "accounting", config.accounting)
        self._events = Events(config.host, self._accounting, config.state_dir / "events")
        await asyncio.to_thread(self._events.configure, config.events)
        self._resolver = Resolver(config.dns)
        self._tls = TlsPolicies(config, self._resolver, self._spawn)
        self._router = Router(config, self._resolver, discovery=self._tls)
        self._limits = LimitTable(config, self._origins.find)
        self._control = Control(config, ledger=Ledger(self._spool, self.recheck, self._end_rests), effects=self)
        self._state = await self._control.load()
        self._scheduler = Scheduler(
            config,
            spool=self._spool,
            router=self._router,
            policy=self._state,
            attempts=(attempts := Settler(config, self._spool.tag, self._counters, self._dsn, self._named.classifier)),
            limits=self._path_limits,
            connect=self._connect,
            spawn=self._spawn,
            removed=self._removed,
        )
        self._settler = attempts
        self._book = attempts.suppression = SuppressionBook(
            config.suppression,
            self._spool,
            outcomes=self._counters.outcomes,
            frozen=lambda provider: self._state.holds_suppression(provider),
            incident=self._incident,
        )
        await self._book.load()
        self._book.changed = self._use_suppressions
        self._suppressing = Suppressing(self._book, self._control, lambda: self._config)
        self.failed.add_done_callback(lambda _: self._scheduler.halt())
        self._signing = Signing(config.dkim, self._named.ring, config.state_dir / "dkim")
        self._signing.choose(chosen(self._state))
        keys = Keys(self._control, self._signing, self._resolver, lambda key: self._origins.find(key))
        guard = Guard(config, signs=self._signing.signs, resolver=self._resolver, spawn=self._spawn)
        self._pressure = Pressure(config.queue, free=lambda: self._spool.free, rss_bytes=rss_bytes)
        self._acceptor = Acceptor(
            config, self._spool, self._scheduler, self._counters, self._signing, self._pressure, guard
        )
        self._users = Users(await self._spool.credentials())
        self._admission = Admission(self._acceptor, self._users, self._pressure, self._state, failed=self.failed.done)
        self._use_suppressions()
        self._reporting = TlsReporting(config, self._tls, self._resolver, self._admission.submit)
        self._census = Census(self._spool)
        ages = Ages(self._spool)
        self._acceptor.waiting = self._spool.recovered.recipients
        self._acceptor.jobs.update(count.name for count in await self._spool.jobs())
        self._overview = Overview(
            config,
            self._spool,
            self._scheduler,
            self._census,
            self._history,
            self._control.generations,
            attempts.last_replies,
            self._connect_times,
            attempts.paces,
        )
        self._feedback = Feedback(
            config,
            Surroundings(
                tag=self._spool.tag,
                accounting=self._accounting.directory,
                closed=self._admission.closed,
                short=self._admission.short,
                new_id=lambda: message_name(self._spool.new_message_id(), self._spool.tag),
                spawn=self._spawn,
                account=self._accounting.write,
                classify=lambda reply, provider: self._settler.classifier.verdict(reply, provider),
                submit=self._admission.submit,
                leaves=self._counters.leaves,
                suppress=self._suppressing.reported,
            ),
        )
        self._scheduler.envelopes = self._feedback.envelopes
        self._easing = Easing(
            lambda cell, before: self._history.pace(HistoryScope.CELL, "/".join(cell), before.timestamp())
        )
        self._automation = Automation(
            config,
            self._control,
            limits=lambda site, vmta: self._limits.limits(site, vmta),
            attempts=self._counters.attempts,
            flow=self._history.flow,
        )
        attempts.observers += (self._automation.observe, self._scheduler.leave_address)
        self._mail = MailOrders(
            self._control, self._spool, self._scheduler, attempts, self._removed, Resigning(self._signing).added
        )
        self._overview.mail = self._mail.progress
        probing = Probing(
            self._control,
            self._spool,
            self._scheduler,
            config=lambda: self._config,
            router=lambda: self._router,
            spawn=self._spawn,
        )
        users = UserVerbs(self._users, self._control, self._spool.credentials)
        archive = await asyncio.to_thread(Archive, config.state_dir / "history.db")
        self._upkeep = Upkeep(self._history, archive, self._accounting, each_minute=self._each_minute)
        why = Why(
            self._spool,
            self._scheduler,
            config=lambda: self._config,
            state=lambda: self._state,
            origin=lambda key: self._origins.find(key),
            trouble=self._trouble,
        )
        reads = Reads(config.host, self._spool, self._scheduler, self._overview, self._history, archive, why)
        jobs = Jobs(self._control, self._spool, why=why.reasons, forgotten=self._acceptor.jobs.difference_update)
        self._evacuating = Evacuating(
            self._control,
            self._spool,
            self._scheduler,
            self._acceptor,
            config=lambda: self._config,
            state=lambda: self._state,
            why_not=self._admission.why_not_ready,
        )
        await self._evacuating.load()
        self._configuring = Configuring(
            ConfigFile(self._path, config.state_dir),
            partial(load_agent_with_origins, self._path),
            self._control,
            named=named,
            running=lambda: Running(self._config, self._state.directives),
            take_over=self._take_over,
            size=Reach(self._spool, self._scheduler, self._census, lambda: self._acceptor.waiting).of,
        )
        self._intake = Intake(config.intake, config.host, self._admission)
        self._tracing = Tracing(self._intake, lambda: self._scheduler.ready.values(), lambda: self._config)
        self._reads: Mapping[str, Read] = {
            **reads.methods,
            **keys.reads,
            **jobs.reads,
            "credentials": users.credentials,
            "checks": guard.checks,
            "find": Finder(self._accounting).find,
            "ages": ages.ages,
            "outcomes": Tallies(self._accounting.directory, lambda: self._config.accounting.records).outcomes,
            "events": self._events.events,
            "automation": self._automation.automation,
            "feedback": self._feedback.feedback,
            **self._suppressing.reads,
            **self._evacuating.reads,
            **self._configuring.reads,
            **self._tracing.reads,
            **Parts(config.host, self._spool.body).reads,
        }
        self._verbs = {
            **self._control.verbs,
            **keys.verbs,
            **jobs.verbs,
            **self._mail.verbs,
            **probing.verbs,
            **users.verbs,
            **LockVerbs(self._control).verbs,
            **self._suppressing.verbs,
            **self._evacuating.verbs,
            **self._configuring.verbs,
        }
        self._snapshots = Snapshots(
            config,
            spool=self._spool,
            scheduler=self._scheduler,
            admission=self._admission,
            intake=self._intake,
            census=self._census,
            history=self._history,
            overview=self._overview,
            generations=self._control.generations,
        )
        self._readiness = Readiness(self._admission.why_not_ready)
        self._spawn(self._scheduler.run(), "scheduler")
        self._spawn(self._control.run(), "control")
        self._spawn(self._automation.run(), "automation")
        self._spawn(jobs.run(), "jobs")
        self._spawn(self._mail.run(), "mail-orders")
        self._spawn(self._census.run(), "census")
        self._spawn(ages.run(), "ages")
        self._spawn(self._upkeep.run(), "upkeep")
        self._spawn(self._reporting.run(), "tls-reports")
        await self._feedback.start()
        await self._intake.start()
        if config.intake.ready is not None:
            await self._readiness.start(config.intake.ready)
        found = self._spool.recovered
        log.info("engine runs host=%s waiting=%d in_doubt=%d", config.host, self._acceptor.waiting, found.in_doubt)
        words = (
            f"version {__version__}",
            f"{self._acceptor.waiting:,} waiting, {found.in_doubt:,} in doubt",
            found.ended,
        )
        await self.note("start", AGENT, "; ".join(filter(None, words)))
        if found.not_listed:
            log.warning(
                "power was lost: %d more recipients may arrive twice than the in-doubt list has", found.not_listed
            )

    async def stop(self, grace_s: float) -> None:
        """Refuse new mail, let final dots finish for `grace_s` at most; what is left stays in doubt."""
        self._admission.stopping = True
        self._intake.refuse_new()
        self._feedback.refuse_new()
        self._evacuating.stop()
        await self._scheduler.stop(grace_s)
        await self._intake.stop(grace_s)
        self._readiness.stop()
        self._store_uses()
        self._users.close()
        await self._feedback.stop(grace_s)
        if not (self.failed.done() or self._spool.stuck):  # a full disk would hold the stop up
            await self._control.note("stop", AGENT, f"{self._acceptor.waiting:,} waiting")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._tls.close()
        await self._reporting.save()
        await self._resolver.close()
        self._signing.close()
        await self._spool.close(clean=not self.failed.done())
        await self._upkeep.stop()
        await asyncio.to_thread(self._events.stop)
        self._accounting.close()

    async def note(self, verb: str, author: str, detail: str) -> None:
        """Keep what happened to the host itself among its operations."""
        await self._control.note(verb, author, detail)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task that the engine owns; its unforeseen end is logged, and fatal for the standing ones."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if task.get_name() in STANDING and self.failed.done():
                return  # by the same failure, which is told already
            log.error("task=%s failed", task.get_name(), exc_info=error)
            if task.get_name() in STANDING:
                self._fail(f"{task.get_name()} failed: {error!r}")

    def _account(self, lines: list[bytes]) -> None:
        self._accounting.write(lines)

    def _trouble(self) -> WaitReason | None:
        """What is wrong with the host itself, so that nothing is sent or no outcome gets to disk."""
        if self.failed.done():
            return WaitReason(
                kind=ReasonKind.STORAGE,
                detail=f"delivery has stopped: {self.failed.result()}",
                key="state_dir",
                release="a disk that works, and a new start of the agent",
            )
        if self._spool.stuck:
            return WaitReason(
                kind=ReasonKind.STORAGE,
                detail=f"outcomes cannot be written: {self._spool.stuck}",
                key="state_dir",
                release="room on the disk, or what else it names",
            )
        return None

    def _storage_failed(self, error: StorageFailed) -> None:
        self._fail(str(error))

    def _fail(self, why: str) -> None:
        log.critical("engine stops: %s", why)
        if not self.failed.done():
            self.failed.set_result(why)

    def _each_minute(self) -> None:
        self._settler.paces.tick()
        self._store_uses()
        self._spawn(self._suppressing.upkeep(), "suppressions")

    def _store_uses(self) -> None:
        if uses := self._users.take_uses():
            self._spool.credentials_used(uses)

    # -- suppression ---------------------------------------------------------------------------------------------

    def _use_suppressions(self) -> None:
        """The list has its first entry, or none any more, or another configuration."""
        self._scheduler.suppressed = self._book.of if len(self._book) else None
        self._admission.recipient_refusal = self._book.refusal if self._book.refuses else None

    def _incident(self, provider: str, held: int) -> None:
        self._spawn(self._suppressing.freeze_by_itself(ProviderName(provider), held), f"freeze:{provider}")

    # -- delivery ------------------------------------------------------------------------------------------------

    async def _connect(self, queue: ReadyQueue) -> None:
        """Open one connection for `queue`; it hears of the end through `ready`, `failed` or `no_path`."""
        vmta = self._config.virtual_mtas.get(queue.vmta)
        if vmta is None:  # a reload came in between
            gone = SmtpReply(code=0, text=f"virtual MTA {queue.vmta} is no longer configured", local=True)
            queue.failed(gone, bind=False)
            return
        path = await self._router.path(queue.site, ipv4=vmta.address is not None, ipv6=vmta.address6 is not None)
        if isinstance(path, Unroutable):
            queue.no_path(path.reply, permanent=path.permanent)
            return
        source = Source(
            vmta=queue.vmta, address=vmta.address, address6=vmta.address6, ehlo=vmta.ehlo or self._config.host
        )
        try:
            security = self._tls.towards(queue.site, queue.next_recipient)
            tap = self._tracing.outbound(queue)
            began = asyncio.get_running_loop().time()
            made = await connect(security.ordered(path), source, self._config.delivery.timeouts, queue, security, tap)
            self._connect_times.took(queue.site.provider, made.connect_s)
            self._settler.paces.of(queue.site.provider, queue.vmta).greeted(asyncio.get_running_loop().time() - began)
        except BindFailed as exc:
            queue.failed(exc.reply, bind=True)
        except ConnectFailed as exc:
            queue.failed(exc.reply, bind=False)

    def _path_limits(self, site: Site, vmta: VmtaName) -> PathLimits:
        """What binds `vmta` towards `site`: configuration, lowered by live directives."""
        limits = self._limits.limits(site, vmta)
        overrides = self._state.limits(vmta, site.provider, site.group)
        limits = limits.lowered({name: one.limit for name, one in overrides.items()})
        return limits.lowered(self._easing.limits((site.provider, vmta), datetime.now(UTC)))

    def _removed(self, count: int) -> None:
        self._acceptor.waiting -= count

    # -- effects of control --------------------------------------------------------------------------------------

    def apply(self, state: HostState) -> None:
        """Directives or configuration have changed: take effect at once."""
        eases = self._easing.changed(self._config, self._state, state, datetime.now(UTC))
        self._state = self._admission.state = state
        self._snapshots.expire()
        self._signing.choose(chosen(state))
        self._acceptor.look_for_headers()
        self._scheduler.apply(self._config, state)
        if eases is not None:
            self._spawn(self._ease(eases.total_seconds()), "easing")
        self._mail.look()

    async def _ease(self, span_s: float) -> None:
        while span_s > 0:
            await asyncio.sleep(min(span_s, STEP.total_seconds()))
            span_s -= STEP.total_seconds()
            self._scheduler.apply(self._config, self._state)

    def recheck(self) -> None:
        """Due times on disk have changed."""
        self._scheduler.recheck()

    def _end_rests(self, which: MessageFilter) -> None:
        self._scheduler.end_rests(which)

    def bind_problem(self, vmta: str) -> str | None:
        """Why the addresses of `vmta` cannot be bound now; None when they can."""
        return bind_problem(self._config.virtual_mtas[VmtaName(vmta)])

    def progress(self, target: Target) -> DrainProgress:
        """How far a drain of `target` is."""
        return self._overview.progress(target, self._acceptor.waiting)

    async def impact(self, target: Target | None, filter: MessageFilter | None) -> Impact:
        """Size of what a verb on `target` or `filter` touches."""
        if target is not None and target.kind is TargetKind.MAIL:
            orders = [self._mail.progress(one) for one in self._state.directives if one.target == target]
            return Impact(messages=sum(order.held for order in orders if order is not None))
        await self._census.count()
        return await self._overview.impact(target, filter, self._acceptor.waiting)

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
        """Nothing: every verb is the engine's own."""
        return {}

    @property
    def name(self) -> str:
        """The host's name in the fleet."""
        return self._config.host

    @property
    def spool_id(self) -> str:
        """Identity of the spool."""
        return self._spool.spool_id

    def snapshot(self) -> views.Snapshot:
        """The state now, a moment old at most."""
        return self._snapshots.now(self._acceptor.waiting, self._state, failed=self.failed.done())

    async def reload_config(self, author: str = SIGHUP) -> list[str]:
        """Take over what the configuration file says now; the sections that changed.

        Raises:
            InvalidRequest: the file is wrong, or changes what needs a restart; everything stays as it was.
        """
        return await self._take_over(self._configuring.load(), author)

    async def _take_over(self, loaded: Loaded[Named], author: str) -> list[str]:
        """Put another configuration into effect; the sections that changed."""
        config, files = loaded.config, loaded.named
        changed = changed_sections(self._config, config)
        self._origins = loaded.origins
        # what it names may have changed although the file itself has not
        self._signing.configure(config.dkim, files.ring)
        self._intake.configure(config.intake, files.contexts)
        self._feedback.configure(config, files.return_keys)
        self._scheduler.envelopes = self._feedback.envelopes
        self._settler.classifier = files.classifier
        if not changed:
            return changed
        self._config = config
        self._snapshots.configure(config)
        self._overview.config = config
        self._settler.configure(config)
        self._book.config = config.suppression
        self._use_suppressions()
        self._pressure.configure(config.queue)
        self._acceptor.configure(config)
        if "dns" in changed:
            self._resolver.configure(config.dns)
        self._tls = TlsPolicies(config, self._resolver, self._spawn, before=self._tls)
        self._reporting.configure(config, self._tls)
        self._router = Router(config, self._resolver, discovery=self._tls, before=self._router)
        self._limits = LimitTable(config, self._origins.find)
        self._scheduler.use_router(self._router)
        self._automation.configure(config)
        self._control.reconfigure(config, author)
        self.on_reload(config)
        if "accounting" in changed:
            try:
                await asyncio.to_thread(self._accounting.configure, config.accounting)
            except OSError as exc:
                log.error("accounting files not begun anew: %s; they are with the next line", exc)
        if "events" in changed:
            try:
                await asyncio.to_thread(self._events.configure, config.events)
            except OSError as exc:
                log.error("event sinks not begun: %s; reload again", exc)
        log.info("configuration reloaded by=%s changed=%s", author, ",".join(changed))
        if author == SIGHUP:  # the verb keeps a record of its own
            await self._control.note("reload", author, f"changed {', '.join(changed)}")
        return changed

    def _dsn(self, action: Action, row: Waiting, body: bytes | None, reply: SmtpReply, peer: str) -> NewMessage | None:
        return self._acceptor.dsn(action, row, body, reply, peer)
