import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from mailctl.demo.blueprint import Blueprint
from mailctl.demo.control import Control
from mailctl.demo.errors import NoSuchIncident
from mailctl.demo.incidents import NAMES, Act, Incident, Incidents
from mailctl.demo.run import Demo
from mailctl.demo.ssh import write_keys
from tests.console.demo.conftest import until


def make(events: list[str]) -> Incidents:
    def incident(name: str) -> Incident:
        return Incident(name, f"{name} happens", lambda: events.append(f"+{name}"), lambda: events.append(f"-{name}"))

    return Incidents([incident("throttle"), incident("slow")])


def test_an_incident_begins_and_ends_once() -> None:
    events: list[str] = []
    incidents = make(events)
    incidents.start("throttle")
    incidents.start("throttle")
    assert [view.running for view in incidents.views()] == [True, False]
    incidents.stop("throttle")
    incidents.stop("throttle")
    incidents.toggle("slow")
    incidents.toggle("slow")
    assert events == ["+throttle", "-throttle", "+slow", "-slow"]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NoSuchIncident, match="'fire'; there are throttle, slow"):
        make([]).start("fire")


async def test_the_timeline_goes_round() -> None:
    events: list[str] = []
    timeline = (Act(0.01, "throttle", 0.03), Act(0.02, "slow", 0.01))
    task = asyncio.create_task(make(events).play(timeline, round_s=0.05), name="timeline")
    await until(lambda: len(events) >= 8)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert events[:4] == ["+throttle", "+slow", "-slow", "-throttle"]
    assert events[4:8] == events[:4]


async def test_the_socket_lists_and_toggles(tmp_path: Path) -> None:
    events: list[str] = []
    path = tmp_path / "demo.sock"
    async with Control(path, make(events)):
        assert path.stat().st_mode & 0o077 == 0
        reader, writer = await asyncio.open_unix_connection(str(path))

        async def ask(line: str) -> dict[str, object]:
            writer.write(line.encode() + b"\n")
            async with asyncio.timeout(5):
                answer: dict[str, object] = json.loads(await reader.readline())
            return answer

        listed = await ask('{"action": "list"}')
        assert listed["ok"] is True
        assert listed["incidents"] == [
            {"name": "throttle", "description": "throttle happens", "running": False},
            {"name": "slow", "description": "slow happens", "running": False},
        ]
        assert (await ask('{"action": "toggle", "incident": "slow"}'))["ok"] is True
        assert (await ask('{"action": "start", "incident": "fire"}'))["ok"] is False
        assert (await ask('{"action": "explode"}'))["ok"] is False
        assert (await ask("no json"))["ok"] is False
        writer.close()
    assert events == ["+slow"]
    assert not path.exists()


def test_the_demo_has_every_incident_that_it_names(tmp_path: Path) -> None:
    blueprint = Blueprint(directory=tmp_path, network="127.64.7", port=21000)
    write_keys(blueprint)
    assert [view.name for view in Demo(blueprint).incidents.views()] == list(NAMES)
