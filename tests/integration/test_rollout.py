"""The fleet file on its way to a host and back."""

import json
import os
import stat
from pathlib import Path

import yaml

from mailagent.api.ids import VmtaName
from mailctl.cli.exits import Exit
from tests.integration.rig import LATE, POOLS, Rig, rig
from tests.integration.shell import Shell

OWN = ("state_dir", "rpc", "intake", "virtual_mtas")


class FleetShell(Shell):
    """`mailctl` with a fleet file that says what the one host runs, and can be edited."""

    def __init__(self, one: Rig, folder: Path) -> None:
        super().__init__(one, folder)
        said = yaml.safe_load(one.agent.config.read_text())
        del said["host"]
        host = {"transport": "local", **{key: said.pop(key) for key in OWN}}
        self.write(yaml.safe_dump({"hosts": {"mx1": host}, **said}, sort_keys=False))

    def write(self, text: str) -> None:
        self._fleet.write_text(text)

    def edit(self, old: str, new: str) -> None:
        text = self._fleet.read_text()
        assert old in text, text
        self.write(text.replace(old, new))


def kept(folder: Path) -> list[str]:
    """Files that applies have replaced."""
    return [path.read_text() for path in folder.glob("agent.yaml.before-*")]


async def test_a_change_is_planned_applied_and_taken_back(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        shell = FleetShell(one, tmp_path)
        first = one.agent.config.read_text()
        one.agent.config.chmod(0o640)
        code, out, err = await shell.run("plan")
        assert (code, out.strip()) == (Exit.DONE, "mx1: as the fleet file says"), err

        one.sink.refuse = lambda mail, recipient: b"451 4.7.1 slow down\r\n"
        await one.accepted("a@a.example")
        await one.deferred(1)
        await one.do("drain", "vmta:mkt-2")
        await one.do("limit", "provider:default", limit="connections", value="5")
        shell.edit("\nstop_grace_s", "\nproviders: {default: {connections: 3}}\nstop_grace_s")
        shell.edit("active:\n    - mkt-1\n    - mkt-2", "active:\n    - mkt-1\n    retired:\n    - mkt-2")
        (row,) = (await shell.json("plan", code=Exit.CROSSED))["rows"]
        assert [(part["section"], part["name"], part["detail"]) for part in row["changes"]] == [
            ("pool", "marketing", "active: -mkt-2; retired: +mkt-2"),
            ("provider", "default", "connections: 10 -> 3"),
        ]
        assert {"provider": "default", "limit": "connections", "before": "10", "after": "3", "lower": True}.items() <= (
            row["ceilings"][0].items()
        )
        assert row["waiting"] == 1
        assert [(part["directive"]["kind"], part["adopted"]) for part in row["misfits"]] == [
            ("drain", True),
            ("limit", False),
        ]

        code, _, err = await shell.run("apply", "--all")
        assert (code, "--yes" in err) == (Exit.USAGE, True)
        code, _, err = await shell.run("apply", "--yes")
        assert (code, "nothing is selected" in err) == (Exit.USAGE, True)
        done = (await shell.json("apply", "--all", "--yes", "--pause", "0", "--reason", "narrower"))["operation"]
        assert done["results"][0]["result"] == "applied"
        snapshot = await one.snapshot()
        assert [view.directive.kind for view in snapshot.directives] == ["limit"]
        assert stat.S_IMODE(one.agent.config.stat().st_mode) == 0o640
        assert (await shell.run("plan"))[0] == Exit.DONE
        again = (await shell.json("apply", "--all", "--yes"))["operation"]
        assert (again["results"][0]["result"], again["undo"]) == ("nothing-to-do", "")

        back = (await shell.json("apply", "--undo", done["op_id"], "--yes", "--pause", "0"))["operation"]
        assert back["results"][0]["result"] == "applied"
        assert one.agent.config.read_text() == first
        assert (await shell.run("plan"))[0] == Exit.CROSSED
        code, _, err = await shell.run("apply", "--undo", "nonsense", "--yes")
        assert (code, "no host was changed by an apply nonsense" in err) == (Exit.USAGE, True)
        audit = [json.loads(line) for line in (tmp_path / "state/audit.jsonl").read_text().splitlines()]
        assert [line["event"] for line in audit if line["verb"] == "config_apply"] == ["asked", "done", "asked", "done"]


async def test_an_edit_by_hand_is_shown_and_not_lost(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        shell = FleetShell(one, tmp_path)
        shell.edit("stop_grace_s: 5", "stop_grace_s: 7")
        await shell.json("apply", "--all", "--yes", "--pause", "0")
        with one.agent.config.open("a") as file:
            file.write("postmaster: night@mx1.example\n")
        shell.edit("stop_grace_s: 7", "stop_grace_s: 9")
        code, out, _ = await shell.run("plan")
        assert (code, "edited by hand" in out) == (Exit.CROSSED, True)
        assert "+postmaster: night@mx1.example" in out
        code, out, err = await shell.run("apply", "--all", "--yes")
        assert code == Exit.REFUSED
        assert "was edited by hand" in out + err
        assert "night@mx1.example" in one.agent.config.read_text()
        await shell.json("apply", "--all", "--yes", "--force", "--reason", "said at the handover", "--pause", "0")
        assert "night@mx1.example" not in one.agent.config.read_text()
        assert any("night@" in text for text in kept(tmp_path))


async def test_what_the_host_cannot_use_is_refused_whole(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        shell = FleetShell(one, tmp_path)
        first = one.agent.config.read_text()
        shell.edit("stop_grace_s: 5", "stop_grace_s: 7\nclassification: {rules: /nonexistent/rules.yaml}")
        code, out, err = await shell.run("apply", "--all", "--yes")
        assert code != Exit.DONE, err
        assert "/nonexistent/rules.yaml" in out, err
        assert one.agent.config.read_text() == first
        assert not kept(tmp_path)

        shell.edit("classification: {rules: /nonexistent/rules.yaml}", "")
        shell.edit("    transport: local\n", "    transport: local\n    log: {level: DEBUG}\n")
        code, out, _ = await shell.run("apply", "--all", "--yes")
        assert "log can only change with a restart" in out
        done = await shell.json("apply", "--all", "--yes", "--restart-later", "--pause", "0")
        assert "after a restart of the agent, because of log" in done["operation"]["results"][0]["detail"]
        (row,) = (await shell.json("plan", code=Exit.CROSSED))["rows"]
        assert (row["state"], row["restart"]) == ("pending", ["log"])
        again = await shell.json("apply", "--all", "--yes", "--restart-later", "--pause", "0")
        assert again["operation"]["results"][0]["detail"].startswith("written already")
        await one.restart()
        assert (await shell.run("plan"))[0] == Exit.DONE


async def test_only_an_admin_applies(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        shell = FleetShell(one, tmp_path)
        shell.edit("stop_grace_s: 5", "stop_grace_s: 7")
        code, out, _ = await shell.run("--as", "operator", "apply", "--all", "--yes")
        assert code == Exit.REFUSED
        assert "wants the role admin" in out
        assert (await shell.run("--as", "operator", "plan"))[0] == Exit.CROSSED
        assert os.access(one.agent.config, os.R_OK)


async def test_a_rotation_of_the_night_is_adopted_and_ends_with_the_apply(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        shell = FleetShell(one, tmp_path)
        await one.do("rotate", "vmta:mkt-1", op_id="night")
        code, out, err = await shell.run("adopt", "--all")
        assert (code, "is not written" in err) == (Exit.DONE, True)
        assert "+    quarantined: [mkt-1]" in out
        assert (await shell.run("plan"))[0] == Exit.DONE
        (row,) = (await shell.json("adopt", "--all", "--write"))["rows"]
        assert (row["directive"]["op_id"], row["result"]) == ("night", "fits")
        (row,) = (await shell.json("plan", code=Exit.CROSSED))["rows"]
        assert [part["adopted"] for part in row["misfits"]] == [True]
        done = await shell.json("apply", "--all", "--yes", "--pause", "0")
        assert "ended, since the file says the same" in done["operation"]["results"][0]["detail"]
        snapshot = await one.snapshot()
        assert snapshot.directives == ()
        states = {view.name: view.state for view in snapshot.vmtas}
        assert (states[VmtaName("mkt-1")], states[VmtaName("mkt-3")]) == ("quarantined", "active")
