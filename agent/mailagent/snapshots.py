"""Snapshots: the host as others see it, put together at most a few times a second."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from mailagent.admission import Admission
from mailagent.api import requests, views
from mailagent.census import Census
from mailagent.config import config_hash
from mailagent.config.structs import AgentConfig
from mailagent.control.generations import Generations
from mailagent.control.state import HostState
from mailagent.intake.listener import Intake
from mailagent.intake.pressure import rss_bytes
from mailagent.overview import Overview
from mailagent.scheduling.scheduler import Scheduler
from mailagent.spool.store import Spool
from mailagent.telemetry.history import History
from mailagent.version import __version__

SNAPSHOT_S = 0.2
"""Age up to which one snapshot serves every caller."""


class Keeper:
    """Makes a snapshot when somebody asks, and keeps it for a moment."""

    def __init__(self, config: AgentConfig) -> None:
        self._started_at = datetime.now(UTC)
        self._seq = 0
        self._last: views.Snapshot | None = None
        self._made_at = 0.0
        self.configure(config)

    def configure(self, config: AgentConfig) -> None:
        """Describe another configuration from now on."""
        self._config = config
        self._config_hash = config_hash(config)
        self.expire()

    def expire(self) -> None:
        """Make the next one anew, so that whoever looks after a verb sees its effect."""
        self._last = None

    def _kept(self, make: Callable[[], views.Snapshot]) -> views.Snapshot:
        """What `make` gives, or gave at most SNAPSHOT_S ago."""
        now = time.monotonic()
        if self._last is None or now - self._made_at >= SNAPSHOT_S:
            self._seq += 1
            self._last, self._made_at = make(), now
        return self._last


class Snapshots(Keeper):
    """Those of our own engine."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        spool: Spool,
        scheduler: Scheduler,
        admission: Admission,
        intake: Intake,
        census: Census,
        history: History,
        overview: Overview,
        generations: Generations,
    ) -> None:
        super().__init__(config)
        self._spool = spool
        self._scheduler = scheduler
        self._admission = admission
        self._intake = intake
        self._census = census
        self._history = history
        self._overview = overview
        self._generations = generations

    def now(self, waiting: int, state: HostState, *, failed: bool) -> views.Snapshot:
        """The state, at most SNAPSHOT_S old; `waiting` recipients wait, `failed`: storage has."""
        return self._kept(lambda: self._make(waiting, state, failed))

    def _make(self, waiting: int, state: HostState, failed: bool) -> views.Snapshot:
        overview = self._overview
        return views.Snapshot(
            seq=self._seq,
            at=datetime.now(UTC),
            host=self._host(waiting, state, failed),
            pools=overview.pools(state),
            vmtas=overview.vmtas(state),
            providers=overview.providers(state),
            destinations=overview.destinations(state),
            directives=overview.directives(state, waiting),
            streams=tuple(self._config.streams),
        )

    def _host(self, waiting: int, state: HostState, failed: bool) -> views.HostView:
        scheduler, spool, config = self._scheduler, self._spool, self._config
        why_not = self._admission.why_not_ready()
        queues = scheduler.ready.values()
        oldest = self._census.oldest
        return views.HostView(
            host=config.host,
            region=config.region,
            version=__version__,
            engine="mailagent",
            state=self._engine_state(state, failed),
            accepting=not why_not,
            intake_reason=why_not,
            started_at=self._started_at,
            waiting=waiting,
            deferred=min(waiting, sum(total.count for total in self._census.deferred)),  # counted a moment ago
            ready=sum(len(queue.items) + len(queue.busy) for queue in queues),
            window=scheduler.window.used,
            window_limit=scheduler.window.limit,
            oldest_at=datetime.fromtimestamp(oldest / 1000, UTC) if oldest is not None else None,
            connections_in=self._intake.connections,
            connections_out=sum(queue.connections for queue in queues),
            in_doubt=spool.open_marks,
            in_doubt_listed=spool.recovered.in_doubt,
            flow=self._history.flow(requests.HistoryScope.HOST),
            disk_free_bytes=spool.free.free_bytes,
            rss_bytes=rss_bytes(),
            history_bytes=self._history.memory_bytes,
            generation=self._generations.host,
            config_hash=self._config_hash,
            stuck=spool.stuck,
            deferring=self._overview.deferring(),
        )

    def _engine_state(self, state: HostState, failed: bool) -> views.EngineState:
        if failed:
            return views.EngineState.FAILED
        if self._admission.stopping:
            return views.EngineState.STOPPING
        return views.EngineState.RUNNING if state.host_drain is None else views.EngineState.DRAINING
