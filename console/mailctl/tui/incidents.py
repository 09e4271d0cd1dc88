"""Incidents of the demo: what its control socket beside the fleet file offers. Absent on a real fleet."""

import asyncio
from pathlib import Path

import msgspec

from mailctl.tui.text import clean

DEADLINE_S = 2.0
_LINE_BYTES = 65_536


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the demo can let go wrong."""

    name: str
    description: str = ""
    running: bool = False


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    incidents: tuple[Incident, ...] = ()
    error: str = ""


class IncidentError(Exception):
    """The demo did not do it, with its sentence."""


class Incidents:
    """Client of the demo's control socket: one JSON line out, one in."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "demo.sock"

    @property
    def exist(self) -> bool:
        """Whether this fleet is a demo."""
        return self._socket.is_socket()

    async def list(self) -> tuple[Incident, ...]:
        """All incidents.

        Raises:
            IncidentError: the demo does not answer.
        """
        return await self._ask({"action": "list"})

    async def toggle(self, name: str) -> Incident:
        """Start a resting incident or stop a running one; its new state.

        Raises:
            IncidentError: the demo does not answer, or has no such incident.
        """
        for incident in await self._ask({"action": "toggle", "incident": name}):
            if incident.name == name:
                return incident
        raise IncidentError(f"the demo has no incident {name}")

    async def told(self, which: str | int) -> str:
        """Toggle an incident by its name or its place among all; what became of it.

        Raises:
            IncidentError: the demo does not answer, or has no such incident.
        """
        if isinstance(which, int):
            known = await self.list()
            if which >= len(known):
                raise IncidentError(f"the demo has {len(known)} incidents")
            which = known[which].name
        incident = await self.toggle(which)
        return f"incident {'begins' if incident.running else 'ends'}: {clean(incident.description)}"

    async def _ask(self, command: dict[str, str]) -> tuple[Incident, ...]:
        try:
            async with asyncio.timeout(DEADLINE_S):
                reader, writer = await asyncio.open_unix_connection(self._socket, limit=_LINE_BYTES)
                try:
                    writer.write(msgspec.json.encode(command) + b"\n")
                    answer = msgspec.json.decode(await reader.readline(), type=_Answer)
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError, msgspec.DecodeError) as exc:
            raise IncidentError(f"the demo does not answer at {self._socket}: {exc or 'too slow'}") from exc
        if not answer.ok:
            raise IncidentError(clean(answer.error))
        return answer.incidents
