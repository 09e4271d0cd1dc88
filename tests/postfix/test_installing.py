"""A setup in a real Postfix: shown, written, working, put back when a step fails, and gone without a trace."""

import asyncio
import shutil
from pathlib import Path

import pytest

from mailagent.cli import main
from mailagent.config import load_agent
from mailagent.config.structs import AgentConfig
from mailagent.control.state import host_state
from mailagent.postfix.commands import Programs
from mailagent.postfix.errors import ProgramFailed
from mailagent.postfix.files import MapFolder
from mailagent.postfix.installing import Installing, SetupFailed
from mailagent.postfix.record import home, installed
from mailagent.postfix.setup import SetupRefused
from tests.integration.sink import Sink
from tests.postfix.instances import STOPPED, OwnPostfix

pytestmark = [pytest.mark.needs("postfix", "root"), pytest.mark.timeout(120)]

HOST = """\
host: mx1
engine: postfix
state_dir: {state}
postfix: {{instance: {instance}}}
virtual_mtas:
  mkt-1: {{address: 127.0.1.1, ehlo: m1.example.test, weight: 3}}
  mkt-2: {{address: 127.0.1.2}}
  mkt-3: {{address: 127.0.1.3}}
  tx-1: {{address: 127.0.2.1}}
pools:
  marketing: {{active: [mkt-1, mkt-2], standby: [mkt-3]}}
  tx: {{active: [tx-1]}}
streams:
  marketing: {{pool: marketing}}
  tx: {{pool: tx, senders: ["*@tx.example"]}}
default_stream: marketing
routes: [{{match: "*", to: "127.0.0.1:{port}"}}]
"""


def host(directory: Path, own: OwnPostfix, port: int) -> AgentConfig:
    """An agent's file in `directory` for the instance, whose mail all goes to `port`."""
    (directory / "state").mkdir(exist_ok=True)
    text = HOST.format(state=directory / "state", instance=own.config_dir, port=port)
    (directory / "agent.yaml").write_text(text, encoding="utf-8")
    return load_agent(directory / "agent.yaml")


class Failing(Programs):
    """Postfix's programs, of which one does not do it."""

    fails = ""
    runs: bool | None = None

    async def run(self, program: str, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> bytes:
        if f"{program} {' '.join(arguments)}".startswith(self.fails):
            raise ProgramFailed((program, *arguments), 1, "no space left on device")
        if self.runs is not None and program == "postfix":  # each of these takes Postfix a second
            if arguments == ("status",) and not self.runs:
                raise ProgramFailed((program, *arguments), 1, "")
            return b""
        return await super().run(program, *arguments, stdin=stdin, timeout_s=timeout_s)


def installing(config: AgentConfig, own: OwnPostfix, *, fails: str = "nothing") -> Installing:
    programs = Failing(config.postfix, str(own.config_dir))
    programs.fails = fails
    if own.port == STOPPED:
        programs.runs = fails == "postfix reload"
    return Installing(config, programs, host_state(config, ()))


def files(own: OwnPostfix) -> dict[str, bytes]:
    """Everything in the configuration directory."""
    there = (path for path in own.config_dir.rglob("*") if path.is_file())
    return {str(path.relative_to(own.config_dir)): path.read_bytes() for path in there}


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def test_mail_leaves_by_stream_and_weight_until_every_trace_is_gone(tmp_path: Path, own: OwnPostfix) -> None:
    own.set(transport_maps="inline:{{theirs.example=smtp:[127.0.0.1]:9}, {hop.example=:[127.0.0.1]:9}}")
    before = files(own)
    async with Sink() as sink:
        config = host(tmp_path, own, sink.port)
        plan = await installing(config, own).plan()
        assert files(own) == before, "a plan changes nothing"
        assert "held, inline:{{theirs.example" in plan.diff
        assert any("rows with a next hop and no transport (hop.example)" in note for note in plan.notes)
        assert await installing(config, own).apply(plan) == "Postfix has reloaded"
        assert (await installing(config, own).plan()).is_nothing
        news = [f"n{n}@far.example" for n in range(60)]
        bills = [f"b{n}@far.example" for n in range(10)]
        for recipient in news:
            await asyncio.to_thread(own.send, "a@news.example", [recipient])
        for recipient in bills:
            await asyncio.to_thread(own.send, "a@tx.example", [recipient])
        await asyncio.to_thread(own.settle, "deferred", 0)
        assert sink.sources_of(*bills) == {"127.0.2.1"}
        sources = [mail.source for mail in sink.mails if mail.recipients[0] in news]
        assert set(sources) == {"127.0.1.1", "127.0.1.2"}
        assert sources.count("127.0.1.1") > sources.count("127.0.1.2")
        assert {mail.helo for mail in sink.mails if mail.source == "127.0.1.1"} == {"m1.example.test"}
        assert "postfix/vmta-mkt-1/smtp[" in own.log.read_text(encoding="utf-8")
        removal = installing(config, own)
        await removal.apply(await removal.plan_removal())
        assert files(own) == before
        assert not home(own.config_dir).exists()
        assert (await removal.plan_removal()).is_nothing
        await asyncio.to_thread(own.send, "a@news.example", ["late@far.example"])
        await asyncio.to_thread(own.settle, "deferred", 1)  # at the next hop of before: nobody listens there


async def test_what_others_change_in_the_meantime_stays(tmp_path: Path, still: OwnPostfix) -> None:
    config = host(tmp_path, still, still.nowhere)
    plan = await installing(config, still).plan()
    still.run("postconf", "-e", "delay_warning_time=4h")
    with pytest.raises(SetupRefused, match="has changed since the plan"):
        await installing(config, still).apply(plan)
    await installing(config, still).apply(await installing(config, still).plan())
    maps = still.run("postconf", "-h", "transport_maps").strip()
    still.run("postconf", "-e", "message_size_limit=123456", f"transport_maps={maps}, inline:{{x.example=smtp:}}")
    assert (await installing(config, still).plan()).is_nothing
    await installing(config, still).apply(await installing(config, still).plan_removal())
    said = still.run("postconf", "-n")
    for line in ("delay_warning_time = 4h", "message_size_limit = 123456", "transport_maps = inline:{x.example=smtp:}"):
        assert line in said.splitlines()
    assert "mailagent" not in said
    assert "vmta" not in still.run("postconf", "-M")


@pytest.mark.parametrize("step", ["postmap hash:", "postfix check", "postfix reload"])
async def test_a_step_that_fails_puts_everything_back(tmp_path: Path, still: OwnPostfix, step: str) -> None:
    config = host(tmp_path, still, still.nowhere)
    before = files(still)
    failing = installing(config, still, fails=step)
    with pytest.raises(SetupFailed, match="no space left on device"):
        await failing.apply(await failing.plan())
    assert files(still) == before
    assert installed(still.config_dir, config) is None


async def test_maps_are_read_back_from_tables_that_cannot_be_listed(tmp_path: Path, still: OwnPostfix) -> None:
    config = host(tmp_path, still, still.nowhere)
    one = installing(config, still, fails="postmap -s")  # as of cdb: "sequence operation is not supported"
    await one.apply(await one.plan())
    assert (await one.plan()).is_nothing


async def test_an_apply_that_was_killed_is_put_back_by_the_next(
    tmp_path: Path, still: OwnPostfix, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = host(tmp_path, still, still.nowhere)
    before = files(still)
    killed = installing(config, still, fails="postfix check")
    with monkeypatch.context() as patch:
        patch.setattr(killed, "_put_back", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await killed.apply(await killed.plan())
    record = installed(still.config_dir, config)
    assert record is not None
    assert record.begun
    assert files(still) != before
    assert await installing(config, still).recover() == "an apply that was interrupted was put back"
    assert files(still) == before


async def test_an_apply_that_was_killed_within_the_maps_leaves_nothing_behind(
    tmp_path: Path, still: OwnPostfix, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = host(tmp_path, still, still.nowhere)
    before = files(still)
    killed = installing(config, still)
    with monkeypatch.context() as patch:
        patch.setattr(MapFolder, "_put_in_place", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await killed.apply(await killed.plan())
    assert "mailagent/held.new.db" in files(still)
    for name in ("main.cf", "master.cf"):
        (still.config_dir / f"{name}.mailagent-new").write_bytes(b"half")
    assert await installing(config, still).recover() == "an apply that was interrupted was put back"
    assert files(still) == before
    assert not (still.config_dir / "mailagent").exists()


@pytest.mark.parametrize(("one", "other"), [("hash", "texthash"), ("texthash", "hash")])
async def test_another_type_of_table_that_fails_leaves_no_index_behind(
    tmp_path: Path, still: OwnPostfix, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    config = host(tmp_path, still, still.nowhere)
    before = files(still)
    monkeypatch.setattr("mailagent.postfix.installing.map_type", lambda *_: one)
    await installing(config, still).apply(await installing(config, still).plan())
    stood = files(still).keys()
    failing = installing(config, still, fails="postfix check")
    monkeypatch.setattr("mailagent.postfix.installing.map_type", lambda *_: other)
    with pytest.raises(SetupFailed, match="everything is put back as it was"):
        await failing.apply(await failing.plan())
    assert files(still).keys() == stood
    await installing(config, still).apply(await installing(config, still).plan_removal())
    assert files(still) == before


async def test_files_that_are_links_stay_links(tmp_path: Path, still: OwnPostfix) -> None:
    config = host(tmp_path, still, still.nowhere)
    for name in ("main.cf", "master.cf"):
        (still.config_dir / name).rename(tmp_path / name)
        (still.config_dir / name).symlink_to(tmp_path / name)
    before = files(still)
    await installing(config, still).apply(await installing(config, still).plan())
    for name in ("main.cf", "master.cf"):
        assert (still.config_dir / name).readlink() == tmp_path / name
        assert "vmta-mkt-1" in (tmp_path / name).read_text(encoding="utf-8")
    await installing(config, still).apply(await installing(config, still).plan_removal())
    assert files(still) == before
    assert (still.config_dir / "main.cf").is_symlink()
    assert names(tmp_path) == {"agent.yaml", "main.cf", "master.cf", "postfix", "state"}


def test_the_command_shows_asks_writes_and_takes_away(
    tmp_path: Path, still: OwnPostfix, capsys: pytest.CaptureFixture[str]
) -> None:
    host(tmp_path, still, still.nowhere)
    place = ("--config", str(tmp_path / "agent.yaml"))
    main(["postfix", "plan", *place])
    said = capsys.readouterr()
    assert "virtual MTA mkt-1: leaves from 127.0.1.1, or not at all" in said.out
    assert "not per provider" in said.err
    main(["postfix", "apply", "--yes", *place])
    main(["postfix", "plan", *place])
    assert capsys.readouterr().out.endswith(
        "done: Postfix is not running; it takes effect when it starts\nnothing to do\n"
    )
    still.run("postconf", "-e", "sender_dependent_default_transport_maps=inline:{@a.example=smtp:}")
    with pytest.raises(SystemExit) as refused:
        main(["postfix", "apply", "--yes", *place])
    assert refused.value.code == 4
    assert "it chooses transports by sender as streams do" in capsys.readouterr().err


async def test_a_setup_that_nobody_knows_of_is_no_way_back(tmp_path: Path, still: OwnPostfix) -> None:
    config = host(tmp_path, still, still.nowhere)
    await installing(config, still).apply(await installing(config, still).plan())
    shutil.rmtree(home(still.config_dir))
    await installing(config, still).apply(await installing(config, still).plan())
    await installing(config, still).apply(await installing(config, still).plan_removal())
    assert "mailagent" not in still.run("postconf", "-n")
    assert "vmta" not in still.run("postconf", "-M")
    assert not (still.config_dir / "mailagent").exists()
