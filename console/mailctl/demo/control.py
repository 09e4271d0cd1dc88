"""The demo's control socket, beside the fleet file: one JSON line in, one out.

`{"action": "list"}`, and `start`, `stop` or `toggle` with `"incident": NAME`. The answer is `{"ok": true, "incidents":
[{"name", "description", "running"}]}`, or `{"ok": false, "error": "…"}`. The console's palette uses it, and so can
`nc -U`.
"""

import asyncio
import contextlib
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from mailctl.demo.errors import NoSuchIncident
from mailctl.demo.incidents import Incidents, IncidentView

IDLE_S = 600.0
MAX_LINE_BYTES = 4096


class Action(StrEnum):
    """What to do with an incident."""

    LIST = "list"
    START = "start"
    STOP = "stop"
    TOGGLE = "toggle"


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One line in."""

    action: Action
    incident: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line out."""

    ok: bool
    incidents: tuple[IncidentView, ...] = ()
    error: str = ""


class Control:
    """Serves the socket."""

    def __init__(self, path: Path, incidents: Incidents) -> None:
        self._path = path
        self._incidents = incidents
        self._clients: set[asyncio.StreamWriter] = set()
        self._decode = msgspec.json.Decoder(Command).decode

    async def __aenter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_LINE_BYTES)
        self._path.chmod(0o600)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for client in self._clients:
            client.close()
        self._path.unlink(missing_ok=True)

    def answer(self, line: bytes) -> Answer:
        """Do what `line` says."""
        try:
            command = self._decode(line)
            match command.action:
                case Action.LIST:
                    pass
                case Action.START:
                    self._incidents.start(command.incident)
                case Action.STOP:
                    self._incidents.stop(command.incident)
                case Action.TOGGLE:
                    self._incidents.toggle(command.incident)
        except (msgspec.DecodeError, UnicodeDecodeError, NoSuchIncident) as exc:
            return Answer(ok=False, error=str(exc))
        return Answer(ok=True, incidents=self._incidents.views())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        # ValueError: a line over the limit
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            while True:
                async with asyncio.timeout(IDLE_S):
                    line = await reader.readline()
                if not line.endswith(b"\n"):
                    break
                writer.write(msgspec.json.encode(self.answer(line)) + b"\n")
                await writer.drain()
        self._clients.discard(writer)
        writer.close()
