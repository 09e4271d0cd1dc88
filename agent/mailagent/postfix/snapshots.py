"""Snapshots of a Postfix host: the same rows as of our own engine, and by name what Postfix does not tell."""

from datetime import UTC, datetime
from typing import Final

from mailagent.api import requests, views
from mailagent.census import Census
from mailagent.config.structs import AgentConfig
from mailagent.control.generations import Generations
from mailagent.control.state import HostState
from mailagent.intake.pressure import rss_bytes
from mailagent.overview import Overview
from mailagent.postfix.agreement import Agreement
from mailagent.postfix.log.keeper import LogKeeper
from mailagent.postfix.maps import Maps
from mailagent.postfix.mirror import Mirror
from mailagent.snapshots import Keeper
from mailagent.spool.store import Spool
from mailagent.telemetry.history import History
from mailagent.version import __version__

UNKNOWN: Final = ("connections_in", "connections_out", "in_doubt", "in_doubt_listed", "ready_queues")
"""Of a host: Postfix does not tell. What it tells of ready mail is that of the whole host."""


class Snapshots(Keeper):
    """Those of a Postfix."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        spool: Spool,
        mirror: Mirror,
        log: LogKeeper,
        maps: Maps,
        agreement: Agreement,
        census: Census,
        history: History,
        overview: Overview,
        generations: Generations,
    ) -> None:
        super().__init__(config)
        self._spool = spool
        self._mirror = mirror
        self._log = log
        self._maps = maps
        self._agreement = agreement
        self._census = census
        self._history = history
        self._overview = overview
        self._generations = generations

    @property
    def waiting(self) -> int:
        """Recipients that wait; messages, until the first listing was read."""
        counted = sum(total.count for total in self._census.waiting)
        return counted if self._mirror.complete else max(counted, sum(self._mirror.folders.values()))

    def now(self, state: HostState, *, state_of: views.EngineState) -> views.Snapshot:
        """The state, at most SNAPSHOT_S old."""
        return self._kept(lambda: self._make(state, state_of))

    def _make(self, state: HostState, state_of: views.EngineState) -> views.Snapshot:
        overview = self._overview
        return views.Snapshot(
            seq=self._seq,
            at=datetime.now(UTC),
            host=self._host(state_of),
            pools=overview.pools(state),
            vmtas=overview.vmtas(state),
            providers=overview.providers(state),
            destinations=overview.destinations(state),
            directives=overview.directives(state, self.waiting),
            streams=tuple(self._config.streams),
        )

    def _host(self, state_of: views.EngineState) -> views.HostView:
        mirror, waiting = self._mirror, self.waiting
        folders = mirror.folders
        deferred = sum(total.count for total in self._census.deferred)
        why_not = mirror.room.refusal(mirror.instance) if mirror.running else "Postfix is not running"
        free, room = self._spool.free.free_bytes, mirror.room.queue
        return views.HostView(
            host=self._config.host,
            region=self._config.region,
            version=__version__,
            engine=f"postfix {mirror.instance.version_text}",
            state=state_of,
            accepting=not why_not,
            intake_reason=why_not,
            started_at=self._started_at,
            waiting=waiting,
            deferred=min(waiting, deferred if mirror.complete else max(deferred, folders["deferred"])),
            ready=folders["active"] + folders["incoming"],
            window=folders["active"],
            window_limit=mirror.instance.active_limit,
            oldest_at=self._oldest(),
            connections_in=0,
            connections_out=0,
            in_doubt=0,
            in_doubt_listed=0,
            flow=self._history.flow(requests.HistoryScope.HOST),
            disk_free_bytes=free if room is None else min(free, room),
            rss_bytes=rss_bytes(),
            history_bytes=self._history.memory_bytes,
            generation=self._generations.host,
            config_hash=self._config_hash,
            notice="; ".join(self._notices()),
            stuck=self._spool.stuck,
            deferring=self._overview.deferring(),
            unknown=UNKNOWN,
        )

    def _notices(self) -> list[str]:
        agreed = self._agreement.notices(self._config.host)
        return [*notices(self._mirror), *self._log.notices(), *agreed, *self._maps.notices()]

    def _oldest(self) -> datetime | None:
        oldest_ms = self._census.oldest
        if oldest_ms is None and not self._mirror.complete and self._mirror.oldest_us is not None:
            oldest_ms = self._mirror.oldest_us // 1000
        return datetime.fromtimestamp(oldest_ms / 1000, UTC) if oldest_ms is not None else None


def notices(mirror: Mirror) -> list[str]:
    """What an operator must know about the queue before reading its figures."""
    found = []
    if mirror.trouble:
        found.append(f"the queue could not be read, these figures are old: {mirror.trouble}")
    elif not mirror.complete:
        found.append(f"first figures, by the names of the queue files; {mirror.read:,} messages read so far")
    active, alarm = mirror.folders["active"], mirror.instance.active_alarm
    if active >= alarm:
        found.append(
            f"the active queue holds {active:,} messages, the alarm stands at {alarm:,} (limit"
            f" {mirror.instance.active_limit:,}): when it is full, mail for every destination waits in `incoming`"
        )
    if mirror.room.log_is_full:
        found.append("the disk of the log is full: what Postfix does now is not written down, and stays unknown")
    if mirror.names_trouble:
        found.append(f"next tries are unknown: {mirror.names_trouble}")
    return found
