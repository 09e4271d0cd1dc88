"""Incidents as switches, for the palette of the console in front of the demo."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from mailctl.demo.blueprint import CONTROL_SOCKET
from mailctl.demo.control import Action, Answer, Command
from mailctl.demo.incidents import NAMES

ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Switch:
    """One incident: pressing begins it, or ends it when it runs, and gives a sentence that says which."""

    title: str
    description: str
    press: Callable[[], Awaitable[str]]


def switches(fleet_file: Path) -> tuple[Switch, ...]:
    """A switch for each incident of the demo that `fleet_file` belongs to."""
    control = fleet_file.with_name(CONTROL_SOCKET)
    return tuple(Switch(f"Incident {name}", what, partial(_toggle, control, name)) for name, what in NAMES.items())


async def _toggle(control: Path, name: str) -> str:
    try:
        answer = await ask(control, Command(action=Action.TOGGLE, incident=name))
    except (OSError, TimeoutError, EOFError, msgspec.DecodeError):
        return f"{name}: the simulated world does not answer"
    for incident in answer.incidents:
        if incident.name == name:
            return f"{name} started: {incident.description}" if incident.running else f"{name} ended"
    return answer.error


async def ask(control: Path, command: Command) -> Answer:
    """What the demo answers to one command.

    Raises:
        OSError, EOFError: nobody is at the socket.
        TimeoutError: no answer within ANSWER_S.
    """
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_unix_connection(control)
        try:
            writer.write(msgspec.json.encode(command) + b"\n")
            line = await reader.readline()
        finally:
            writer.close()
    if not line:
        raise EOFError(f"{control}: closed without an answer")
    return msgspec.json.decode(line, type=Answer)
