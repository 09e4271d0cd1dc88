"""One thread per sink: read on from the cursor, hand over, save the cursor. Mail never waits for any of this.

What a sink holds is bounded: one block of the accounting files, and the lags of the last 1,000 events. A sink that does
not take its events is tried again, from 1 s to 5 min apart, until it does; what it has not got stays in the accounting
files as long as those are kept.
"""

import asyncio
import logging
import random
import threading
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from mailagent.api.accounting import LETTERS, EventType
from mailagent.api.events import EventSinks, EventSinkView, SinkState
from mailagent.api.requests import Empty
from mailagent.config.events import EventSink
from mailagent.outcome.accounting import AccountingLog, finished_files
from mailagent.outcome.events import cursor as cursors
from mailagent.outcome.events.cursor import Cursor
from mailagent.outcome.events.delivery import Delivery, NotTaken, delivery_of

POLL_S = 0.2
"""Pause of a sink that has everything."""
RETRY_S = 1.0
RETRY_MAX_S = 300.0
LAGS = 1000
STOP_S = 2.0
"""Wait for a thread to end; one that hangs in a request is left, and what it does then is done again."""

log = logging.getLogger(__name__)


class _Facts(msgspec.Struct):
    """What of a line decides about it."""

    type: EventType
    time: datetime
    stream: str = ""


class _Event(NamedTuple):
    line: bytes
    at: float
    after: Cursor


_decoder = msgspec.json.Decoder(_Facts)


class Sink:
    """One sink and its thread."""

    def __init__(self, config: EventSink, host: str, accounting: AccountingLog, directory: Path) -> None:
        self.config = config
        self._host = host
        self._accounting = accounting
        self._path = directory / f"{config.name}.json"
        self._types = frozenset(LETTERS[letter] for letter in config.types)
        self._streams = frozenset(config.streams)
        self._stop = threading.Event()
        self._lock = threading.Lock()  # over what the view shows
        self._cursor = Cursor(0, 0)
        self._lags: deque[float] = deque(maxlen=LAGS)
        self._acknowledged = 0
        self._failures = 0
        self._lost = 0
        self._error = ""
        self._last_at: float | None = None
        self._oldest_at: float | None = None
        self._next_try: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"events:{config.name}", daemon=True)

    def start(self) -> None:
        """Begin where it stopped; a new sink begins with what comes from now on. Raises OSError."""
        found = cursors.load(self._path, self._accounting)
        if found is None:
            found = Cursor(*self._accounting.position())
            cursors.save(self._path, found)
        self._cursor = found
        self._thread.start()

    def end(self) -> None:
        """Begin no other request."""
        self._stop.set()

    def stop(self) -> None:
        """End the thread."""
        self.end()
        self._thread.join(STOP_S)

    def view(self) -> EventSinkView:
        """How it is doing; reads the sizes of files."""
        behind = self._behind()
        with self._lock:
            lags = sorted(self._lags)
            if self._error:
                state = SinkState.FAILING
            else:
                state = SinkState.BEHIND if self._oldest_at is not None or behind else SinkState.CURRENT
            return EventSinkView(
                name=self.config.name,
                target=self.config.url.partition("?")[0] or str(self.config.file),
                state=state,
                acknowledged=self._acknowledged,
                failures=self._failures,
                lag_p50_s=round(lags[len(lags) // 2], 3) if lags else None,
                lag_p95_s=round(lags[len(lags) * 95 // 100], 3) if lags else None,
                behind_bytes=behind,
                oldest_at=_when(self._oldest_at),
                lost_files=self._lost,
                last_acknowledged_at=_when(self._last_at),
                last_error=self._error,
                next_try_at=_when(self._next_try),
            )

    def _behind(self) -> int:
        cursor = self._cursor
        number, readable = self._accounting.position()
        if cursor.number >= number:
            return max(0, readable - cursor.offset)
        total = readable - cursor.offset
        for file in finished_files(self._accounting.directory):
            if file.number >= cursor.number:
                try:
                    total += file.path.stat().st_size
                except FileNotFoundError:
                    continue
        return max(0, total)

    # -- the thread

    def _run(self) -> None:
        delivery: Delivery | None = None
        retry_s = RETRY_S
        while not self._stop.is_set():
            try:
                if delivery is None:
                    delivery = delivery_of(self.config, self._host)
                moved = self._step(delivery)
            except Exception as exc:
                if not isinstance(exc, NotTaken | OSError):
                    log.error("sink=%s broken by an internal error", self.config.name, exc_info=exc)
                self._failed(str(exc) or type(exc).__name__, retry_s)
                self._stop.wait(retry_s)
                retry_s = min(retry_s * 2 * random.uniform(0.85, 1.15), RETRY_MAX_S)
            else:
                retry_s = RETRY_S
                if self._error:
                    self._recovered()
                if not moved:
                    self._stop.wait(POLL_S)
        if delivery is not None:
            delivery.close()

    def _step(self, delivery: Delivery) -> bool:
        """Hand over what stands after the cursor; whether there was something.

        Raises:
            NotTaken: the application did not take a batch; those before it are acknowledged.
            OSError: files cannot be read or written.
        """
        chunk = cursors.read(self._accounting, self._cursor)
        if chunk.lost:
            log.error("events lost: accounting files deleted before sink=%s read them files=%d", self.config.name,
                      chunk.lost)  # fmt: skip
            with self._lock:
                self._lost += chunk.lost
        events = [event for line, after in chunk.lines if (event := self._event(line, after)) is not None]
        for first in range(0, len(events), self.config.batch):
            batch = events[first : first + self.config.batch]
            with self._lock:
                self._oldest_at = batch[0].at
            delivery.deliver([event.line for event in batch], batch[-1].after)
            self._took(batch)
            if self._stop.is_set():
                return True
        if chunk.after == self._cursor:
            return False
        self._move(chunk.after)
        return True

    def _event(self, line: bytes, after: Cursor) -> _Event | None:
        try:
            facts = _decoder.decode(line)
        except msgspec.DecodeError:
            return None
        if facts.type not in self._types or (self._streams and facts.stream not in self._streams):
            return None
        return _Event(line, facts.time.timestamp(), after)

    def _took(self, batch: list[_Event]) -> None:
        now = time.time()
        with self._lock:
            self._lags.extend(max(0.0, now - event.at) for event in batch)
            self._acknowledged += len(batch)
            self._last_at = now
            self._oldest_at = None
        self._move(batch[-1].after)

    def _move(self, after: Cursor) -> None:
        cursors.save(self._path, after)
        self._cursor = after

    def _recovered(self) -> None:
        log.info("events go on sink=%s", self.config.name)
        with self._lock:
            self._error = ""
            self._next_try = None

    def _failed(self, error: str, retry_s: float) -> None:
        if not self._error:
            log.warning("events not taken sink=%s error=%s", self.config.name, error)
        with self._lock:
            self._failures += 1
            self._error = error
            self._next_try = time.time() + retry_s


class Events:
    """All sinks of one host."""

    def __init__(self, host: str, accounting: AccountingLog, directory: Path) -> None:
        self._host = host
        self._accounting = accounting
        self._directory = directory
        self._sinks: dict[str, Sink] = {}

    def configure(self, sinks: tuple[EventSink, ...]) -> None:
        """Run these from now on; those that did not change go on undisturbed. Blocks; raises OSError."""
        wanted = {sink.name: sink for sink in sinks}
        if wanted:
            self._directory.mkdir(parents=True, exist_ok=True)
        for name, sink in list(self._sinks.items()):
            if wanted.get(name) != sink.config:
                sink.stop()
                del self._sinks[name]
        for name, config in wanted.items():
            if name not in self._sinks:
                sink = Sink(config, self._host, self._accounting, self._directory)
                sink.start()
                self._sinks[name] = sink
        self._sinks = {name: self._sinks[name] for name in wanted}

    def stop(self) -> None:
        """End all threads; the cursors say where the next start goes on. Blocks."""
        for sink in self._sinks.values():
            sink.end()
        for sink in self._sinks.values():
            sink.stop()

    async def events(self, _request: Empty) -> EventSinks:
        """How they are doing."""
        sinks = tuple(self._sinks.values())
        return EventSinks(rows=await asyncio.to_thread(lambda: tuple(sink.view() for sink in sinks)))


def _when(at: float | None) -> datetime | None:
    return datetime.fromtimestamp(at, UTC) if at is not None else None
