"""One change of the fleet file rolls through a host of our own engine and a Postfix host, and back."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailagent.config import load_agent
from mailagent.control.state import host_state
from mailagent.postfix.commands import Programs
from mailagent.postfix.installing import Installing
from mailctl.cli.exits import Exit
from tests.integration.processes import agent
from tests.integration.rig import SOON, Rig, rig
from tests.postfix.instances import OwnPostfix
from tests.postfix.test_mixed_pool import BEHIND, POOL

pytestmark = [pytest.mark.needs("postfix", "root"), pytest.mark.timeout(120)]

OF_A_HOST = ("state_dir", "rpc", "intake", "virtual_mtas", "engine", "postfix")


class Mixed:
    """A fleet file that says what its two hosts run, and can be edited."""

    def __init__(self, directory: Path, *agents: Path) -> None:
        self.path = directory / "fleet.yaml"
        hosts: dict[str, Any] = {}
        shared: dict[str, Any] = {}
        active: list[str] = []
        standby: list[str] = []
        for file in agents:
            said = yaml.safe_load(file.read_text(encoding="utf-8"))
            name = said.pop("host")
            hosts[name] = {"transport": "local", **{key: said.pop(key) for key in OF_A_HOST if key in said}}
            hosts[name]["state_dir"] = str(file.parent / "state")
            hosts[name]["rpc"] = {"socket": str(file.parent / "state" / "rpc.sock")}
            active += said["pools"]["marketing"]["active"]
            standby += said["pools"]["marketing"]["standby"]
            shared |= said
        shared["pools"] = {"marketing": {"active": active, "standby": standby}}
        self.said: dict[str, Any] = {"hosts": hosts, **shared}
        self.write()

    def write(self) -> None:
        self.path.write_text(yaml.safe_dump(self.said, sort_keys=False), encoding="utf-8")

    async def run(self, *words: str, code: Exit = Exit.DONE) -> Any:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from mailctl.cli import main; main()", "--fleet", str(self.path), *words, "--json",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == code, (out + err).decode()
        return json.loads(out)

    async def apply(self, *words: str, code: Exit = Exit.DONE) -> dict[str, Any]:
        """Roll out, without a pause between batches: what was said, by host."""
        done = (await self.run("apply", "--all", "--yes", "--pause", "0", "--batch", "1", *words, code=code))[
            "operation"
        ]
        return {"op_id": done["op_id"], **{one["host"]: one for one in done["results"]}}


async def sources(one: Rig, own: OwnPostfix, name: str) -> set[str]:
    """Send a message through each host: the addresses that the receiver saw."""
    await one.accepted(f"{name}-own@far.example")
    await asyncio.to_thread(own.send, "news@shop.example", [f"{name}-pf@far.example"])
    await one.delivered(f"{name}-own@far.example", f"{name}-pf@far.example")
    return one.sink.sources_of(f"{name}-own@far.example", f"{name}-pf@far.example")


async def test_one_change_of_the_fleet_file_rolls_through_both_and_back(own: OwnPostfix, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with rig(tmp_path / "one", POOL.format(name="own", net=3) + SOON) as one:
        behind = tmp_path / "two" / "agent.yaml"
        text = BEHIND.format(instance=own.config_dir, dns=one.dns.port) + POOL.format(name="pf", net=4)
        text += f'routes: [{{match: "*", to: "127.0.0.1:{one.sink.port}"}}]\n'
        behind.write_text(text, encoding="utf-8")
        (tmp_path / "two" / "state").mkdir()
        config = load_agent(behind)
        installing = Installing(config, Programs(config.postfix, str(own.config_dir)), host_state(config, ()))
        await installing.apply(await installing.plan())
        with agent(tmp_path / "two", text, 0):
            fleet = Mixed(tmp_path, one.agent.config, behind)
            assert {line["result"] for host, line in (await fleet.apply()).items() if host != "op_id"} == {"applied"}
            assert await sources(one, own, "before") == {"127.0.3.1", "127.0.4.1"}

            hosts = fleet.said["hosts"]
            hosts["mx1"]["virtual_mtas"]["own-3"] = {"address": "127.0.3.3"}
            hosts["mx2"]["virtual_mtas"]["pf-3"] = {"address": "127.0.4.3"}
            fleet.said["pools"] = {
                "marketing": {"active": ["own-3", "pf-3"], "standby": ["own-1", "own-2", "pf-1", "pf-2"]}
            }
            fleet.said["providers"] = {"gmail": {"connections": 2}}
            fleet.write()
            rows = {row["host"]: row for row in (await fleet.run("plan", code=Exit.CROSSED))["rows"]}
            assert {row["section"] for row in rows["mx1"]["changes"]} == {"pool", "virtual MTA", "provider"}
            assert ("master.cf", "vmta-pf-3/unix") in {(row["section"], row["name"]) for row in rows["mx2"]["changes"]}
            assert any("gmail: connections: not kept here" in note for note in rows["mx2"]["notes"])
            done = await fleet.apply("--reason", "new addresses")
            assert (done["mx1"]["result"], done["mx2"]["result"]) == ("applied", "applied")
            assert await sources(one, own, "after") == {"127.0.3.3", "127.0.4.3"}
            assert all(row["same"] for row in (await fleet.run("plan"))["rows"])

            back = (await fleet.run("apply", "--undo", done["op_id"], "--yes", "--pause", "0"))["operation"]["results"]
            assert {line["host"] for line in back if line["result"] == "applied"} == {"mx1", "mx2"}
            assert await sources(one, own, "back") == {"127.0.3.1", "127.0.4.1"}

            own.run("postconf", "-e", "default_transport=relay")  # somebody's, and in the way of another setup
            partly = await fleet.apply(code=Exit.INCOMPLETE)
            assert (partly["mx1"]["result"], partly["mx2"]["result"]) == ("applied", "refused")
            assert "default_transport = relay" in partly["mx2"]["detail"]
            assert "pf-3" not in behind.read_text(encoding="utf-8")
            assert await sources(one, own, "partly") == {"127.0.3.3", "127.0.4.1"}
