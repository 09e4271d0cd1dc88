"""Metrics for whoever asks: over HTTP where the configuration says so, and over rpc."""

import asyncio
import logging
import resource
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from mailagent.api.events import EventSinks
from mailagent.api.exposition import CLASSIC, END, OPENMETRICS, Part, exposition, is_openmetrics_wanted
from mailagent.api.intake import CheckCounts
from mailagent.api.metrics import Metrics
from mailagent.api.reputation import Weight
from mailagent.api.requests import Empty, HistoryScope
from mailagent.api.views import Snapshot
from mailagent.config.block_lists import zone_name, zones
from mailagent.config.structs import AgentConfig
from mailagent.host import Read
from mailagent.http import HttpListener, Response
from mailagent.metrics import Facts, Process, metrics_of
from mailagent.spool.space import stored_bytes
from mailagent.telemetry.history import History

log = logging.getLogger(__name__)

KEPT_S: Final = 1.0
"""Age up to which one collection serves every caller."""
RETRY_S: Final = 30.0
"""After an address that could not be bound."""
MAX_CONNECTIONS: Final = 16
SLICE_S: Final = 0.005
"""Time of the event loop that is taken at once for writing text."""


class Scraping:
    """Collects when somebody asks. `run` listens; mail does not depend on that it can."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        snapshot: Callable[[], Snapshot],
        history: History,
        waiting: Callable[[], Mapping[str, int]],
        suppressed: Callable[[], int],
        events: Callable[[Empty], Awaitable[EventSinks]],
        checks: Callable[[Empty], Awaitable[CheckCounts]] | None = None,
        retry_s: float = RETRY_S,
    ) -> None:
        """`waiting`: recipients by stream; `checks`: of an engine that has some before queueing."""
        self._config = config
        self._snapshot = snapshot
        self._history = history
        self._waiting = waiting
        self._retry_s = retry_s
        self._suppressed = suppressed
        self._events = events
        self._checks = checks
        self._metrics: Metrics | None = None
        self._made_at = 0.0
        self._took_s = 0.0
        self._texts: dict[bool, str] = {}  # of `_metrics`, in OpenMetrics or not
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._http = HttpListener("/metrics", self._answer, most=MAX_CONNECTIONS)

    @property
    def reads(self) -> Mapping[str, Read]:
        """By wire name."""
        return {"metrics": self.metrics}

    @property
    def port(self) -> int:
        """Where it listens; 0: nowhere."""
        return self._http.port

    def configure(self, config: AgentConfig) -> None:
        """Describe another configuration, and listen where it says."""
        before, self._config = self._config.metrics, config
        self._metrics = None
        if config.metrics != before:
            self._http.stop()
            self._changed.set()

    async def metrics(self, _request: Empty) -> Metrics:
        """All figures, a second old at most."""
        async with self._turn:
            return await self._collected()

    async def run(self) -> None:
        """Listen where the configuration says, for as long as the agent runs."""
        try:
            while True:
                self._changed.clear()
                wait_s = await self._listen()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
                except TimeoutError:
                    pass
        finally:
            self._http.stop()

    async def _listen(self) -> float | None:
        """Seconds after which to try again; None: there is nothing to try."""
        where = self._config.metrics
        if where is None:
            return None
        try:
            await self._http.start(str(where.address), where.port)
        except OSError as exc:
            log.error("no metrics at %s port %d: %s; trying again", where.address, where.port, exc.strerror or exc)
            return self._retry_s
        log.info("metrics at %s port %d path=/metrics", where.address, self._http.port)
        return None

    async def _answer(self, accept: str) -> Response:
        openmetrics = is_openmetrics_wanted(accept)
        async with self._turn:
            text = await self._text(openmetrics=openmetrics)
        return Response(text, kind=OPENMETRICS if openmetrics else CLASSIC)

    async def _text(self, *, openmetrics: bool) -> str:
        metrics = await self._collected()
        text = self._texts.get(openmetrics)
        if text is None:
            blocks = []
            began, used = time.perf_counter(), time.thread_time()
            for block in exposition([Part("", metrics)], openmetrics=openmetrics):
                blocks.append(block)
                if time.perf_counter() - began > SLICE_S:
                    self._took_s += time.thread_time() - used
                    await asyncio.sleep(0)  # mail goes first
                    began, used = time.perf_counter(), time.thread_time()
            text = self._texts[openmetrics] = "".join(blocks) + (END if openmetrics else "")
            self._took_s += time.thread_time() - used
        return text

    async def _collected(self) -> Metrics:
        if self._metrics is not None and time.monotonic() - self._made_at < KEPT_S:
            return self._metrics
        config = self._config
        process = await asyncio.to_thread(_process, config.state_dir)
        sinks = (await self._events(Empty())).rows
        checks = None if self._checks is None else (await self._checks(Empty())).rows
        before, used = self._took_s, time.thread_time()
        snapshot = self._snapshot()
        self._took_s = time.thread_time() - used
        await asyncio.sleep(0)  # mail goes first
        used = time.thread_time()
        waiting = self._waiting()
        streams = {
            str(name): (self._history.flow(HistoryScope.STREAM, name), waiting.get(name, 0)) for name in config.streams
        }
        made = metrics_of(
            snapshot,
            Facts(
                process=process,
                streams=streams,
                suppressed=self._suppressed(),
                lists=_lists(config),
                checks=checks,
                sinks=sinks,
                took_s=round(before, 6),
            ),
        )
        self._took_s += time.thread_time() - used
        self._metrics, self._made_at, self._texts = made, time.monotonic(), {}
        return made


def _lists(config: AgentConfig) -> dict[str, tuple[str, Weight]]:
    own = config.reputation.block_lists
    names = {zone_name(name): zone_name(said.like or name) for name, said in own.items()}
    return {zone.name: (names[zone.name], zone.weight) for zone in zones(own)}


def _process(state_dir: Path) -> Process:
    """Of this process, and of what it keeps on disk. Reads files: not for the event loop."""
    database, journal = stored_bytes(state_dir)
    fds = Path("/proc/self/fd")
    return Process(
        cpu_s=round(time.process_time(), 3),
        open_fds=fds.stat().st_size or sum(1 for _ in fds.iterdir()),  # before Linux 6.2 the size is 0
        max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        database_bytes=database,
        journal_bytes=journal,
    )
