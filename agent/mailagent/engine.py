"""The engine: the composition root of mail flow.

A message walks intake -> spool -> routing -> scheduling -> delivery -> outcome; this module hands each part what it
needs from the others, and answers for the whole: it is the effects of control and the host that rpc sees.
"""

import asyncio
import logging
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mailagent.accepting import Acceptor
from mailagent.admission import Admission
from mailagent.ages import Ages
from mailagent.api import views
from mailagent.api.classification import Category, Verdict
from mailagent.api.directives import DrainProgress
from mailagent.api.ids import VmtaName
from mailagent.api.operations import Impact
from mailagent.api.requests import HistoryScope
from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailagent.census import Census
from mailagent.config import Origins, load_agent_with_origins
from mailagent.config.structs import AgentConfig
from mailagent.connecting import Connecting
from mailagent.control.automation import Automation
from mailagent.control.easing import STEP, Easing
from mailagent.control.lock import LockVerbs
from mailagent.control.state import HostState
from mailagent.control.users import UserVerbs
from mailagent.control.verbs import AGENT, Control
from mailagent.delivery import TlsPolicies
from mailagent.dkim import Signing, load_ring
from mailagent.dns import Resolver
from mailagent.evacuating import Evacuating
from mailagent.intake.guard import Guard
from mailagent.intake.listener import Intake
from mailagent.intake.pressure import Pressure, rss_bytes
from mailagent.intake.ready import Readiness
from mailagent.intake.users import Users
from mailagent.jobs import Jobs
from mailagent.keys import Keys, chosen
from mailagent.ledger import Ledger
from mailagent.life import Life
from mailagent.mail_orders import MailOrders
from mailagent.named import Named, named, rules
from mailagent.outcome.accounting import Finder
from mailagent.outcome.accounting.tallies import Tallies
from mailagent.outcome.dsn import Action
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
from mailagent.routing import LimitTable, PathLimits, Router, Site
from mailagent.scheduling.item import Item
from mailagent.scheduling.ready import ReadyQueue
from mailagent.scheduling.scheduler import Scheduler
from mailagent.scraping import Scraping
from mailagent.settlement import Settler
from mailagent.snapshots import Snapshots
from mailagent.spool.ids import message_name
from mailagent.spool.records import NewMessage, Waiting
from mailagent.telemetry.connect_times import ConnectTimes
from mailagent.tls_reporting import TlsReporting
from mailagent.tracing import Tracing
from mailagent.version import __version__
from mailagent.warming import Warming
from mailagent.why import Why, host_trouble

log = logging.getLogger(__name__)


class Engine(Life):
    """One host's mail flow. `start`, then `stop`; everything between runs on the loop and the spool's two threads."""

    STANDING = frozenset(
        {"scheduler", "control", "automation", "census", "ages", "jobs", "mail-orders", "upkeep", "warm-up"}
    )

    def __init__(self, config: AgentConfig, origins: Origins, *, path: Path) -> None:
        """`path` is the configuration file, to be read again."""
        super().__init__(config, origins, path=path)
        self._ring = load_ring(config, origins)
        self._classifier = rules(config)
        self._connect_times = ConnectTimes()

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Recover the spool, then deliver, then take mail in."""
        config = self._config
        await self._open()
        self._resolver = Resolver(config.dns)
        self._tls = TlsPolicies(config, self._resolver, self._spawn)
        self._router = Router(config, self._resolver, discovery=self._tls)
        self._limits = LimitTable(config, self._origins.find)
        self._control = Control(config, ledger=Ledger(self._spool, self.recheck, self._end_rests), effects=self)
        self._state = await self._control.load()
        attempts = Settler(config, self._spool.tag, self._counters, self._dsn, self._classifier)
        self._connecting = Connecting(
            config,
            self._router,
            self._tls,
            tap=lambda queue: self._tracing.outbound(queue),
            times=self._connect_times,
            paces=attempts.paces,
        )
        self._scheduler = Scheduler(
            config,
            spool=self._spool,
            router=self._router,
            policy=self._state,
            attempts=attempts,
            limits=self._path_limits,
            connect=self._connecting.connect,
            spawn=self._spawn,
            removed=self._removed,
        )
        self._settler = attempts
        await self._suppress(self._counters.outcomes)
        attempts.suppression = self._book
        self._book.changed = self._use_suppressions
        self.failed.add_done_callback(lambda _: self._scheduler.halt())
        self._signing = Signing(config.dkim, self._ring, config.state_dir / "dkim")
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
            attempts.deferrals,
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
        self._watch_reputation(self._resolver, lambda: self._signing.ring, lambda: self._snapshots.expire())
        self._overview.standing, self._overview.pool_faults = self._reputation.of, self._reputation.of_pool
        self._warming = Warming(
            config,
            leaves=self._counters.leaves,
            unfit=self._reputation.unfit,
            note=lambda verb, words: self.note(verb, AGENT, words),
            room_again=self._scheduler.room_again,
            service=lambda vmta: self._state.service(vmta),
            origin=self._origins.find,
        )
        self._scheduler.use_ceilings(self._warming.ceilings)
        self._overview.warm_up = self._warming.views
        self._feedback.heard = self._warming.heard
        attempts.observers += (
            self._automation.observe,
            self._scheduler.leave_address,
            self._look_at_lists,
            self._warming.observe,
        )
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
        archive = await self._keep_history(self._each_minute)
        self._overview.last_sent = self._last_sent.at
        why = Why(
            self._spool,
            self._scheduler,
            config=lambda: self._config,
            state=lambda: self._state,
            origin=lambda key: self._origins.find(key),
            trouble=lambda: host_trouble(self.failed, self._spool.stuck),
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
        self._scraping = Scraping(
            config,
            snapshot=self.snapshot,
            history=self._history,
            waiting=lambda: self._census.by_stream,
            suppressed=lambda: len(self._book),
            events=self._events.events,
            checks=guard.checks,
        )
        self._reads = {
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
            **self._scraping.reads,
            **self._reputation.reads,
            **self._warming.reads,
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
        self._spawn(self._scraping.run(), "metrics")
        self._spawn(self._reputation.run(), "reputation")
        self._spawn(self._warming.run(), "warm-up")
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
        await self._end_tasks()
        await self._tls.close()
        await self._reporting.save()
        await self._warming.save()
        await self._resolver.close()
        self._signing.close()
        await self._close()

    def _each_minute(self) -> None:
        self._settler.paces.tick()
        self._store_uses()
        self._spawn(self._suppressing.upkeep(), "suppressions")

    def _store_uses(self) -> None:
        if uses := self._users.take_uses():
            self._spool.credentials_used(uses)

    def _look_at_lists(self, verdict: Verdict, _reply: SmtpReply, queue: ReadyQueue, _item: Item | None) -> None:
        if verdict.category in (Category.IP_BLOCKLIST, Category.IP_REPUTATION):
            self._reputation.block_lists.look_soon(queue.vmta)

    # -- suppression ---------------------------------------------------------------------------------------------

    def _use_suppressions(self) -> None:
        """The list has its first entry, or none any more, or another configuration."""
        self._scheduler.suppressed = self._book.of if len(self._book) else None
        self._admission.recipient_refusal = self._book.refusal if self._book.refuses else None

    # -- delivery ------------------------------------------------------------------------------------------------

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
        ring = self._signing.ring
        self._signing.choose(chosen(state))
        if self._signing.ring is not ring:
            self._reputation.identity.look_again()
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

    def snapshot(self) -> views.Snapshot:
        """The state now, a moment old at most."""
        return self._snapshots.now(self._acceptor.waiting, self._state, failed=self.failed.done())

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
        self._connecting.configure(config, self._router, self._tls)
        self._automation.configure(config)
        self._warming.configure(config)
        self._scheduler.use_ceilings(self._warming.ceilings)
        self._control.reconfigure(config, author)
        await self._taken_over(changed, author)
        return changed

    def _dsn(self, action: Action, row: Waiting, body: bytes | None, reply: SmtpReply, peer: str) -> NewMessage | None:
        return self._acceptor.dsn(action, row, body, reply, peer)
