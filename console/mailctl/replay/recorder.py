"""Writes a recording while it happens: a tap on the links, a new section each minute, a new file by size."""

import gzip
import io
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from mailagent.api import codec, replies
from mailagent.api.ids import HostName
from mailagent.api.views import Snapshot
from mailagent.version import __version__
from mailctl.fleet.state import FleetState, HostState, LinkState
from mailctl.replay.lines import FORMAT, Answered, AnyLine, Changed, Connected, Lost, Start, encoder

SECTION_S = 60.0
"""A seek reads at most so much that it does not show."""
MAX_BYTES = 256 * 1024 * 1024
KEEP = 8
"""Files of one recording: the current one and seven older."""

logger = logging.getLogger(__name__)


class Recorder:
    """A tap that writes to `path`; `.gz` compresses.

    A file of more than `max_bytes` becomes `path.1`, that one `path.2`, and so on; `keep` files stay. Sections of a
    compressed file are members of their own, so that a reader need not begin at its start.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = MAX_BYTES,
        keep: int = KEEP,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises FileExistsError: there is a recording already, or something else; nothing is overwritten."""
        self.path = path
        self.lines = 0
        self.bytes = 0  # of all files, as on disk
        self.files = 1
        self._max_bytes = max_bytes
        self._keep = keep
        self._now = now
        self._state: Callable[[], FleetState] = FleetState
        self._file: io.BufferedWriter = path.open("xb")
        self._out: io.BufferedWriter | gzip.GzipFile = self._file
        self._answers: dict[tuple[HostName, str], msgspec.Raw] = {}
        self._section_at: datetime | None = None  # None: nobody has begun

    def begin(self, state: Callable[[], FleetState]) -> None:
        """Write from now on; `state` says where each host stands when a section begins."""
        self._state = state
        self._section()

    def tick(self) -> None:
        """Called about once a second: makes sections and files, and hands all to the system."""
        if self._section_at is None:
            return
        if self._file.tell() >= self._max_bytes:
            self._rotate()
        elif self._now() - self._section_at >= timedelta(seconds=SECTION_S):
            self._section()
        self._out.flush()
        self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._end_member()
        self.bytes += self._file.tell()
        self._file.close()

    # what comes

    def connected(self, host: HostName, hello: replies.Hello, snapshot: Snapshot) -> None:
        """A subscription begins."""
        self._write(Connected(at=self._now(), host=host, hello=hello, snapshot=msgspec.Raw(codec.encode(snapshot))))

    def changed(self, host: HostName, changes: msgspec.Raw) -> None:
        """Changes came."""
        self._write(Changed(at=self._now(), host=host, changes=changes))

    def lost(self, host: HostName, state: LinkState, reason: str) -> None:
        """A connection ended."""
        self._write(Lost(at=self._now(), host=host, state=state, error=reason))

    def answered(self, host: HostName, method: str, result: msgspec.Struct) -> None:
        """A list that was asked for; the same as before is not written again."""
        raw = msgspec.Raw(codec.encode(result))
        if bytes(self._answers.get((host, method), b"")) != bytes(raw):
            self._answers[host, method] = raw
            self._write(Answered(at=self._now(), host=host, method=method, result=raw))

    # files

    def _write(self, line: AnyLine) -> None:
        if self._section_at is not None:
            self.lines += 1
            self._out.write(encoder.encode(line) + b"\n")

    def _section(self) -> None:
        """Where everything stands."""
        self._end_member()
        if self.path.suffix == ".gz":
            self._out = gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=6, mtime=0)
        state, now = self._state(), self._now()
        self._section_at = now
        self._write(
            Start(
                at=now,
                format=FORMAT,
                mailctl=__version__,
                hosts={host.name: host.region for host in state.hosts},
                pools=dict(state.pool_hosts),
            )
        )
        for host in state.hosts:
            self._stand(host, now)
        for (name, method), raw in self._answers.items():
            self._write(Answered(at=now, host=name, method=method, result=raw))

    def _stand(self, host: HostState, now: datetime) -> None:
        if host.hello is not None and host.snapshot is not None:
            self._write(
                Connected(
                    at=now,
                    host=host.name,
                    hello=host.hello,
                    snapshot=msgspec.Raw(codec.encode(host.snapshot)),
                    heard_at=now - timedelta(seconds=host.age_s or 0),
                )
            )
        if not host.state.is_fresh and host.state is not LinkState.CONNECTING:
            self._write(Lost(at=now, host=host.name, state=host.state, error=host.error))

    def _end_member(self) -> None:
        if isinstance(self._out, gzip.GzipFile):
            self._out.close()  # writes its trailer; the file stays open
            self._out = self._file

    def _rotate(self) -> None:
        self._end_member()
        self.bytes += self._file.tell()
        self._file.close()
        for number in range(self._keep - 1, 0, -1):
            older = part(self.path, number - 1)
            if older.exists():
                older.replace(part(self.path, number))
        self.files += 1
        self._file = self.path.open("xb")
        self._out = self._file
        self._section()
        logger.info("recording=%s a new file begins", self.path)


def part(path: Path, number: int) -> Path:
    """File `number` of a recording: 0 is the newest, `path` itself."""
    return path if number == 0 else path.with_name(f"{path.name}.{number}")
