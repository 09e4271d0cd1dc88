"""The host's file by rpc, in front of a real Postfix: it follows in the same step, or nothing changes at all."""

import asyncio
from pathlib import Path

import pytest

from mailagent.api.errors import Refused
from mailagent.api.ids import OpId
from mailagent.api.operations import Result
from mailagent.api.requests import Reload
from mailagent.api.rollout import ConfigApply, ConfigPlan, ConfigQuery, ConfigUndo, FileState, How, pack
from tests.integration.processes import until
from tests.postfix.instances import OwnPostfix
from tests.postfix.test_installing import Failing, files
from tests.postfix.test_standing import DAVE, MKT1, MKT2, Rig, rig

pytestmark = [pytest.mark.needs("postfix", "root"), pytest.mark.timeout(120)]

MKT4 = "127.0.1.4"
ADDED = ("  mkt-3:", "  mkt-4: {address: 127.0.1.4}\n  mkt-3:")
ACTIVE = ("{active: [mkt-1, mkt-2], standby: [mkt-3]}", "{active: [mkt-4], standby: [mkt-1, mkt-2, mkt-3]}")


def edited(text: str, *edits: tuple[str, str]) -> str:
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text


async def plan(one: Rig, text: str) -> ConfigPlan:
    found = await one.host.reads["config_plan"](ConfigQuery(packed=pack(text)))
    assert isinstance(found, ConfigPlan)
    return found


async def apply(one: Rig, text: str, op_id: str, *, dry_run: bool = False) -> tuple[Result, str]:
    request = ConfigApply(op_id=OpId(op_id), reason="new address", packed=pack(text), dry_run=dry_run)
    done = await one.host.verbs["config_apply"](request, DAVE)
    return done.result, done.detail


async def sources(one: Rig, name: str) -> set[str]:
    recipients = [f"{name}{n}@far.example" for n in range(20)]
    await one.send(*recipients)
    return await one.delivered(*recipients)


async def test_a_file_takes_effect_in_postfix_whole_or_not_at_all_and_is_taken_back(
    own: OwnPostfix, tmp_path: Path
) -> None:
    path = tmp_path / "agent.yaml"
    async with rig(own, tmp_path) as one:
        first, before = path.read_text(encoding="utf-8"), texts(own)
        assert (await plan(one, first)).same
        text = edited(first, ADDED, ACTIVE)
        found = await plan(one, text)
        assert (found.same, found.state, found.ceilings) == (False, FileState.IN_EFFECT, ())
        assert {(row.section, row.name): row.how for row in found.changes}.items() >= {
            ("pool", "marketing"): How.CHANGED,
            ("virtual MTA", "mkt-4"): How.ADDED,
            ("master.cf", "vmta-mkt-4/unix"): How.ADDED,
        }.items()
        assert (await apply(one, text, "dry", dry_run=True))[0] is Result.PLANNED

        programs, one.host._agreement._programs = one.host._agreement._programs, failing(one)
        with pytest.raises(Refused, match="no space left on device; everything is put back as it was"):
            await apply(one, text, "failing")
        assert (path.read_text(encoding="utf-8"), texts(own)) == (first, before)
        assert kept(tmp_path) == []
        assert "mkt-4" not in one.host.config.virtual_mtas
        one.host._agreement._programs = programs

        result, detail = await apply(one, text, "good")
        assert (result, "vmta-mkt-4/unix" in detail) == (Result.APPLIED, True)
        assert await sources(one, "after") == {MKT4}
        assert (await plan(one, text)).same
        assert (await apply(one, text, "again"))[0] is Result.NOTHING_TO_DO
        undo = ConfigUndo(op_id=OpId("back"), undoes=OpId("good"), reason="no reverse name")
        await one.host.verbs["config_undo"](undo, DAVE)
        assert path.read_text(encoding="utf-8") == first
        assert texts(own) == before
        assert await sources(one, "back") <= {MKT1, MKT2}


async def test_a_reload_leaves_postfix_alone_and_an_apply_of_the_same_file_brings_it_there(
    own: OwnPostfix, tmp_path: Path
) -> None:
    path = tmp_path / "agent.yaml"
    async with rig(own, tmp_path) as one:
        before = texts(own)
        text = edited(
            path.read_text(encoding="utf-8"), ("  mkt-1: {address: 127.0.1.1}\n", ""), ("[mkt-1, mkt-2]", "[mkt-2]")
        )
        path.write_text(text, encoding="utf-8")
        done = await one.host.verbs["reload"](Reload(op_id=OpId("reload"), reason="mkt-1 goes"), DAVE)
        assert done.detail == "changed pools, virtual_mtas"
        assert await one.host._maps.settled() == ""
        assert await sources(one, "reloaded") == {MKT2}, "its slots are gone"
        assert texts(own).keys() == before.keys()
        assert texts(own)["master.cf"] == before["master.cf"]

        async def told() -> bool:
            one.host._snapshots.expire()
            return "(vmta-mkt-1/unix" in one.host.snapshot().host.notice

        await until(told, "the host says that Postfix has a service too many")
        assert next((row.name, row.how) for row in (await plan(one, text)).changes) == ("vmta-mkt-1/unix", How.REMOVED)
        assert (await apply(one, text, "same"))[0] is Result.APPLIED
        assert b"vmta-mkt-1" not in texts(own)["master.cf"]
        assert (await plan(one, text)).same
        assert path.read_text(encoding="utf-8") == text
        await asyncio.to_thread(own.run, "postfix", "status")


def texts(own: OwnPostfix) -> dict[str, bytes]:
    """main.cf, master.cf and maps, without their indices: these never have the same bytes again."""
    return {name: body for name, body in files(own).items() if not name.endswith((".db", ".lmdb", ".cdb"))}


def kept(directory: Path) -> list[Path]:
    """Files that applies have replaced."""
    return list(directory.glob("agent.yaml.before-*"))


def failing(one: Rig) -> Failing:
    """Its programs, of which `postfix check` finds a full disk."""
    programs = Failing(one.host.config.postfix, str(one.own.config_dir))
    programs.fails = "postfix check"
    return programs
