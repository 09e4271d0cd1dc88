"""Another file for a host with Postfix: what Postfix is to follow, who has it follow, and what it will not do."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from mailagent.api.errors import Refused
from mailagent.api.rollout import How
from mailagent.config import load_agent
from mailagent.config.structs import AgentConfig
from mailagent.postfix.agreement import Agreement
from mailagent.postfix.maps import Maps
from mailagent.postfix.record import RECORD, home, installed
from mailagent.postfix.writers import OwnWriter
from tests.postfix.instances import OwnPostfix
from tests.postfix.test_installing import Failing, files, host, installing

pytestmark = pytest.mark.needs("postfix", "root")

NEW_POOL = ("active: [mkt-1, mkt-2], standby: [mkt-3]", "active: [mkt-1, mkt-3], retired: [mkt-2]")
NEW_ADDRESS = (
    ("mkt-2: {address: 127.0.1.2}", "mkt-2: {address: 127.0.1.22}\n  mkt-4: {address: 127.0.1.4}"),
    ("standby: [mkt-3]", "standby: [mkt-3, mkt-4]"),
)


class Pair(Agreement):
    """An agreement about the instance that is configured and does not run."""

    def __init__(self, config: AgentConfig, own: OwnPostfix) -> None:
        self.programs = Failing(config.postfix, str(own.config_dir))
        self.programs.fails, self.programs.runs = "nothing", False
        self.own = own
        self.maps = Maps(config, OwnWriter(self.programs), tuple, own.config_dir)
        super().__init__(self.programs, self.maps, tuple)

    async def make(self, config: AgentConfig) -> str:
        said = await super().make(config)
        self.own.age()
        return said


def edited(directory: Path, *edits: tuple[str, str]) -> AgentConfig:
    """The host's file with other words in it."""
    path = directory / "agent.yaml"
    text = path.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return load_agent(path)


async def set_up(directory: Path, own: OwnPostfix) -> AgentConfig:
    config = host(directory, own, own.nowhere)
    await installing(config, own).apply(await installing(config, own).plan())
    own.age()
    return config


async def test_what_another_file_changes_in_postfix_is_told_and_made_and_made_back(
    tmp_path: Path, still: OwnPostfix
) -> None:
    old = await set_up(tmp_path, still)
    before = files(still)
    pair = Pair(old, still)
    assert not (await pair.need(old, old)).changes
    stream = ('tx: {pool: tx, senders: ["*@tx.example"]}', 'tx: {pool: tx, senders: ["*@tx.example", "*@b.example"]}')
    limit = ("default_stream", "providers: {default: {connections: 3}, gmail: {connections: 2}}\ndefault_stream")
    new = edited(tmp_path, *NEW_ADDRESS, stream, limit)
    need = await pair.need(old, new)
    found = {(row.section, row.name): row.how for row in need.changes}
    assert (
        found.items()
        >= {
            ("master.cf", "vmta-mkt-2/unix"): How.CHANGED,
            ("master.cf", "vmta-mkt-4/unix"): How.ADDED,
            ("main.cf", "vmta-mkt-1_destination_concurrency_limit"): How.CHANGED,
            ("main.cf", "vmta-mkt-4_destination_concurrency_limit"): How.ADDED,
            ("map", "tx.senders"): How.CHANGED,
        }.items()
    )
    assert need.does
    assert any(note.startswith("provider gmail: connections: not kept here") for note in need.notes)
    assert pair.ceilings(old, new) == []
    assert files(still) == before, "to ask changes nothing"
    await pair.make(new)
    assert "smtp_bind_address=127.0.1.22" in still.run("postconf", "-M", "vmta-mkt-2/unix")
    assert not (await pair.need(new, new)).changes
    await pair.make(old)
    assert {name: text for name, text in files(still).items() if name.endswith(".cf")} == {
        name: text for name, text in before.items() if name.endswith(".cf")
    }


async def test_a_change_that_slots_carry_touches_no_file_of_postfix(tmp_path: Path, still: OwnPostfix) -> None:
    old = await set_up(tmp_path, still)
    before = files(still)
    pair = Pair(old, still)
    new = edited(tmp_path, NEW_POOL)
    assert not (await pair.need(old, new)).changes
    assert await pair.make(new) == ""
    assert files(still) == before, "the maps of standing orders do that"


async def test_nothing_is_put_into_a_postfix_that_nobody_has_set_up(tmp_path: Path, still: OwnPostfix) -> None:
    old = host(tmp_path, still, still.nowhere)
    before = files(still)
    pair = Pair(old, still)
    new = edited(tmp_path, *NEW_ADDRESS)
    need = await pair.need(old, new)
    assert (need.changes, need.problems) == ((), ())
    assert need.notes == (
        "Postfix is not set up: virtual_mtas, pools mean nothing to it before mailagent postfix apply on mx1",
    )
    assert await pair.make(new) == ""
    await pair.look(new)
    assert pair.notices("mx1") == []
    assert files(still) == before
    assert installed(still.config_dir, new) is None


async def test_an_agent_that_may_not_write_says_what_to_run(
    tmp_path: Path, still: OwnPostfix, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await set_up(tmp_path, still)
    before = files(still)
    pair = Pair(old, still)
    new = edited(tmp_path, *NEW_ADDRESS)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    need = await pair.need(old, new)
    assert not need.does
    hint = next(note for note in need.notes if note.startswith("this agent may not write main.cf: vmta-mkt-2/unix"))
    assert hint.endswith(" only after mailagent postfix apply on mx1")
    assert await pair.make(new) == ""
    assert files(still) == before
    await pair.look(new)
    (notice,) = pair.notices("mx1")
    assert notice.startswith("Postfix is not set up as the file says (vmta-mkt-2/unix, vmta-mkt-4/unix")
    assert notice.endswith("run mailagent postfix apply on mx1")
    await installing(new, still).apply(await installing(new, still).plan())
    await pair.look(new)
    assert pair.notices("mx1") == [], "somebody has run it"


@pytest.mark.parametrize("step", ["postmap hash:", "postfix check", "postfix reload"])
async def test_a_step_that_fails_leaves_postfix_as_it_was(tmp_path: Path, still: OwnPostfix, step: str) -> None:
    old = await set_up(tmp_path, still)
    before = files(still)
    pair = Pair(old, still)
    pair.programs.fails, pair.programs.runs = step, step == "postfix reload"
    stream = ("default_stream", '  more: {pool: tx, senders: ["*@more.example"]}\ndefault_stream')
    with pytest.raises(Refused, match=r"no space left on device; .* put back"):
        await pair.make(edited(tmp_path, *NEW_ADDRESS, stream))
    assert files(still) == before


async def test_what_somebody_takes_out_is_seen_and_put_in_again(tmp_path: Path, still: OwnPostfix) -> None:
    config = await set_up(tmp_path, still)
    pair = Pair(config, still)
    await pair.look(config)
    assert pair.notices("mx1") == []
    still.run("postconf", "-M", "-X", "vmta-tx-1/unix")
    os.utime(still.config_dir / "master.cf", (9, 9))
    await pair.look(config)
    assert "(vmta-tx-1/unix): run mailagent postfix apply" in pair.notices("mx1")[0]
    assert (await pair.need(config, config)).changes[0].how is How.ADDED
    await pair.make(config)
    await pair.look(config)
    assert pair.notices("mx1") == []


async def test_what_stands_in_the_way_refuses_a_file_about_it_and_no_other(tmp_path: Path, still: OwnPostfix) -> None:
    old = await set_up(tmp_path, still)
    pair = Pair(old, still)
    still.run("postconf", "-e", "default_transport=relay")
    still.age()
    need = await pair.need(old, edited(tmp_path, ("default_stream", "retry: {waits: [5m]}\ndefault_stream")))
    assert need.problems == ()
    assert "default_transport = relay" in need.notes[0]
    need = await pair.need(old, edited(tmp_path, *NEW_ADDRESS))
    assert "default_transport = relay" in need.problems[0]
    await pair.look(old)
    assert "cannot be set up as the file says" in pair.notices("mx1")[0]


@pytest.mark.parametrize("asked", [True, False])
async def test_an_apply_that_was_interrupted_is_put_back_by_the_next_look_or_apply(
    tmp_path: Path, still: OwnPostfix, asked: bool
) -> None:
    old = await set_up(tmp_path, still)
    before = files(still)
    record = installed(still.config_dir, old)
    assert record is not None
    for name in ("main.cf", "master.cf"):
        (home(still.config_dir) / f"{name}.undo").write_bytes((still.config_dir / name).read_bytes())
    (home(still.config_dir) / f"{RECORD}.undo").write_bytes(msgspec.json.encode(record))
    (home(still.config_dir) / RECORD).write_bytes(msgspec.json.encode(msgspec.structs.replace(record, begun=True)))
    still.run("postconf", "-M", "-X", "vmta-tx-1/unix")
    still.age()
    pair = Pair(old, still)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pair.maps.run(), name="maps")
        if asked:
            new = edited(tmp_path, *NEW_ADDRESS)
            await pair.make(new)
            assert not (await pair.need(new, new)).changes
        else:
            await pair.look(old)
            assert files(still)["master.cf"] == before["master.cf"]
            assert pair.notices("mx1") == []
        task.cancel()
    found = installed(still.config_dir, old)
    assert found is not None
    assert not found.begun
