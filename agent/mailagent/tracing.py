"""Live SMTP traces of this host: who follows what, within which bounds.

Off, a trace costs connections one look at an attribute. On, lines go to a bounded buffer; what finds no room is counted
and not made, so that a trace of a busy path does not slow it much.
"""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from mailagent.api.errors import InvalidRequest, NotFound, Refused
from mailagent.api.targets import Target, TargetKind
from mailagent.api.trace import MOST_TRACE_S, Side, TraceKind, TraceLine, TraceLines, TraceRequest, TraceStarted
from mailagent.config.structs import AgentConfig
from mailagent.control.targets import require
from mailagent.host import Read
from mailagent.intake.listener import Intake
from mailagent.intake.protocol import Connection as Client
from mailagent.scheduling.ready import ReadyQueue
from mailagent.telemetry.tap import Tap

log = logging.getLogger(__name__)

MOST_TRACES: Final = 8
"""Traces of one host at a time."""
MOST_LINES: Final = 2000
"""Lines of one trace that wait for their reader."""
BATCH: Final = 250
"""Lines of one notification: below 0.8 MB whatever they hold."""


class Trace:
    """One trace of one caller, a `Sink`."""

    def __init__(self, request: TraceRequest, ended: Callable[["Trace"], None], now: datetime) -> None:
        self.request = request
        self.ends_at = now + timedelta(seconds=request.seconds)
        self.started = TraceStarted(ends_at=self.ends_at, connections=0)
        self._ended = ended
        self._lines: deque[TraceLine] = deque()
        self._dropped = 0
        self._why = ""

    @property
    def is_full(self) -> bool:
        """Whether a line would find no room."""
        return len(self._lines) >= MOST_LINES

    def drop(self, lines: int) -> None:
        """Count lines that were not made."""
        self._dropped += lines

    def take(self, tap: Tap, side: Side, text: str) -> None:
        """Keep a line for the caller."""
        if len(self._lines) >= MOST_LINES:
            self._dropped += 1
            return
        self._lines.append(
            TraceLine(
                at=datetime.now(UTC),
                session=tap.session,
                queue=tap.queue,
                peer=tap.peer,
                side=side,
                text=text if self.request.addresses else tap.hidden(text),
            )
        )

    def batch(self) -> TraceLines | None:
        """What came since the last call; None: nothing."""
        if not self._why and datetime.now(UTC) >= self.ends_at:
            self._why = f"its {self.request.seconds} s are over"
            self._ended(self)
        lines = tuple(self._lines.popleft() for _ in range(min(BATCH, len(self._lines))))
        ended = self._why if not self._lines else ""
        if not (lines or self._dropped or ended):
            return None
        dropped, self._dropped = self._dropped, 0
        return TraceLines(lines=lines, dropped=dropped, ended=ended)

    def close(self) -> None:
        """The caller has gone, or wants no more."""
        self._ended(self)


class Tracing:
    """The traces of one host, and the taps on its sessions."""

    def __init__(
        self, intake: Intake, queues: Callable[[], Iterable[ReadyQueue]], config: Callable[[], AgentConfig]
    ) -> None:
        self._intake = intake
        self._queues = queues
        self._config = config
        self._traces: list[Trace] = []
        self._sessions = itertools.count(1)

    @property
    def reads(self) -> Mapping[str, Read]:
        """By wire name."""
        return {"trace": self.trace}

    async def trace(self, request: TraceRequest) -> Trace:
        """Follow sessions from now on, those that stand too.

        Raises:
            InvalidRequest, NotFound: what it names is not here.
            Refused: too many traces.
        """
        if not 1 <= request.seconds <= MOST_TRACE_S:
            raise InvalidRequest(f"a trace takes 1 to {MOST_TRACE_S} seconds, not {request.seconds}")
        if request.kind is TraceKind.LISTENER:
            known = [f"{host}:{port}" for host, port in self._intake.addresses]
            if request.name not in known:
                raise NotFound(f"{self._config().host} has no listener {request.name}; it has {', '.join(known)}")
        elif request.kind is TraceKind.HOST:
            if request.name != self._config().host:
                raise NotFound(f"this is {self._config().host}, not {request.name}")
        else:
            kind = TargetKind(request.kind.value)
            require(self._config(), Target(kind=kind, name=request.name), (kind,), "trace")
        if len(self._traces) >= MOST_TRACES:
            raise Refused(f"{self._config().host} has {MOST_TRACES} traces already; end one")
        made = Trace(request, self._end, datetime.now(UTC))
        self._traces.append(made)
        followed = self._rewire(made)
        made.started = TraceStarted(ends_at=made.ends_at, connections=followed)
        log.info("trace begins kind=%s name=%s seconds=%d", request.kind, request.name, request.seconds)
        return made

    def outbound(self, queue: ReadyQueue) -> Tap | None:
        """The tap for a connection that `queue` is about to open, if anybody follows it."""
        if not self._traces:
            return None
        sinks = self._of_queue(queue)
        return Tap(sinks, session=self._name(), queue=queue.key, peer="", ours=True) if sinks else None

    def inbound(self, client: Client) -> Tap | None:
        """The tap for a client that has just connected."""
        sinks = self._of_listener(client.listener)
        if not sinks:
            return None
        return Tap(sinks, session=self._name(), queue=client.listener, peer=client.client, ours=False)

    def _end(self, trace: Trace) -> None:
        if trace in self._traces:
            self._traces.remove(trace)
            self._rewire(trace)
            log.info("trace ends kind=%s name=%s", trace.request.kind, trace.request.name)

    def _rewire(self, trace: Trace) -> int:
        """Give sessions that stand the taps that they now need; how many `trace` follows."""
        followed = 0
        if trace.request.kind is TraceKind.LISTENER:
            listens = any(one.request.kind is TraceKind.LISTENER for one in self._traces)
            self._intake.tapped = self.inbound if listens else None
            for client in self._intake.clients:
                sinks = self._of_listener(client.listener)
                followed += trace in sinks
                client.follow(sinks, self.inbound)
            return followed
        for queue in self._queues():
            sinks = self._of_queue(queue)
            for connection in queue.standing:
                followed += trace in sinks
                if connection.tap is not None:
                    connection.tap.sinks = sinks
                    connection.tap = connection.tap if sinks else None
                elif sinks:
                    tap = Tap(sinks, session=self._name(), queue=queue.key, peer=connection.remote, ours=True)
                    connection.tap = tap
                    tap.event("followed from here on")
        return followed

    def _of_queue(self, queue: ReadyQueue) -> tuple[Trace, ...]:
        names = {
            TraceKind.QUEUE: str(queue.key),
            TraceKind.PROVIDER: str(queue.site.provider),
            TraceKind.VMTA: str(queue.vmta),
            TraceKind.CELL: f"{queue.site.provider}/{queue.vmta}",
            TraceKind.HOST: str(self._config().host),
        }
        return tuple(one for one in self._traces if names.get(one.request.kind) == one.request.name)

    def _of_listener(self, name: str) -> tuple[Trace, ...]:
        return tuple(one for one in self._traces if one.request.kind is TraceKind.LISTENER and one.request.name == name)

    def _name(self) -> str:
        return f"{next(self._sessions):x}"
