"""`mailctl alerts` at the command line."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.console import records
from tests.console.cli.conftest import Mailctl, Ran, edit
from tests.console.loopback import LoopbackAgent

Agents = dict[str, LoopbackAgent]
CALM = "thresholds: {oldest: {}, events: {}, unreachable: {warning: 1, critical: 3}}"
ALERTS = """\
alerts:
  receivers:
    pager: {{command: {{run: [/bin/sh, -c, "cat >> {heard}; echo >> {heard}"]}}}}
    broken: {{command: {{run: [/bin/sh, -c, "exit {code}"]}}}}
  routes:
    - {{to: [], kinds: [drift, throttled, blocked, slow, bouncing, source, failing, dns, unreachable, mailboxes]}}
    - {{to: [{to}], after: {after}, repeat: }}
  away: 1ms
pools:"""


@pytest.fixture
def heard(tmp_path: Path) -> Path:
    return tmp_path / "heard"


def alerting(path: Path, heard: Path, *, to: str = "pager", after: str = "1ms", code: int = 7) -> None:
    """A fleet that is well, and two receivers."""
    edit(path, "pools:", f"{CALM}\n{ALERTS.format(heard=heard, to=to, after=after, code=code)}")


def notices(heard: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in heard.read_text().splitlines()] if heard.exists() else []


async def test_a_round_tells_what_is_new_and_then_what_is_over(
    agents: Agents, mailctl: Mailctl, path: Path, heard: Path
) -> None:
    alerting(path, heard)
    ran = await mailctl("alerts", "run")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    agents["mx2"].sums = records.sums(deferred=1500)
    early = await mailctl("alerts", "run", "--dry-run", "--json")
    assert {(row["receiver"], row["result"], row["kind"]) for row in early.document["rows"]} == {
        ("pager", "later", "deferrals")
    }
    first = await mailctl("alerts", "run")  # it has just begun
    assert (first.code, first.out, notices(heard)) == (0, "", [])
    planned = await mailctl("alerts", "run", "--dry-run", "--json")
    assert {(row["result"], row["event"], row["kind"]) for row in planned.document["rows"]} == {
        ("planned", "new", "deferrals")
    }
    assert notices(heard) == []
    ran = await mailctl("alerts", "run", "--json")
    assert ran.code == 0
    assert ran.document["schema"] == "mailctl.alerts-run/1"
    assert {(row["receiver"], row["result"], row["event"]) for row in ran.document["rows"]} == {
        ("pager", "sent", "new")
    }
    assert (await mailctl("alerts", "run")).out == ""
    (told,) = notices(heard)  # one for all three
    assert (told["schema"], told["receiver"], told["test"]) == ("mailctl.alert/1", "pager", False)
    assert told["summary"].startswith("critical: deferrals 34% of ")
    assert told["summary"].endswith(" (and 2 more alerts)")
    by_subject = {one["text"].split()[3]: one for one in told["alerts"]}
    pool = by_subject["pool"]
    assert (pool["kind"], pool["severity"], pool["pools"]) == ("deferrals", "critical", ["marketing"])
    assert by_subject["stream"]["streams"] == ["news"]
    assert by_subject["provider"]["command"] == "mailctl deferred provider:gmail"
    agents["mx2"].sums = records.sums()
    await mailctl("alerts", "run")
    people = await mailctl("alerts", "run")
    assert "resolved" in people.out
    assert {one["event"] for one in notices(heard)[1]["alerts"]} == {"resolved"}
    listed = await mailctl("alerts", "list", "--json")
    assert {row["kind"] for row in listed.document["rows"]} == {"drift"}  # which its route tells nobody


async def test_a_receiver_that_fails_is_told_in_the_next_round_and_others_now(
    agents: Agents, mailctl: Mailctl, path: Path, heard: Path
) -> None:
    alerting(path, heard, to="pager, broken")
    agents["mx2"].sums = records.sums(deferred=1500)
    await mailctl("alerts", "run")
    ran = await mailctl("alerts", "run")
    assert ran.code == 1
    assert ran.err == "mailctl: error: receiver broken: /bin/sh ended with 7\n"
    assert len(notices(heard)) == 1
    again = await mailctl("alerts", "run", "--json")
    assert again.code == 1
    assert {row["receiver"] for row in again.document["rows"]} == {"broken"}
    assert again.document["errors"] == ["receiver broken: /bin/sh ended with 7"]
    edit(path, "exit 7", "exit 0")
    assert (await mailctl("alerts", "run")).code == 0
    assert len(notices(heard)) == 1


async def test_a_silent_host_is_told_and_what_else_is_about_it_is_kept(
    agents: Agents, mailctl: Mailctl, path: Path, heard: Path
) -> None:
    alerting(path, heard)
    edit(path, "unreachable:", "disk_free: {warning_bytes: 1000G}, unreachable:")
    for _ in range(2):
        await mailctl("alerts", "run")
    edit(path, str(agents["mx2"].socket), "/nowhere/rpc.sock")
    for _ in range(3):
        ran = await mailctl("alerts", "run")
        assert ran.code == 0  # that is told, and no gap
    (disk, lost) = notices(heard)
    assert len(disk["alerts"]) == 3
    (alert,) = lost["alerts"]
    assert (alert["kind"], alert["text"], alert["severity"]) == ("lost", "mx2 does not answer", "warning")
    assert (alert["hosts"], alert["kept"]) == (["mx2"], 1)
    listed = await mailctl("alerts", "list", "--json")
    states = {row["text"].split(":")[0][-20:]: (row["state"], row["hidden_by"]) for row in listed.document["rows"]}
    assert sorted(states.values()).count(("not known", ["mx2"])) == 1
    assert "not known: no answer of mx2" in (await mailctl("alerts", "list")).out
    for name in ("mx1", "mx3"):
        edit(path, str(agents[name].socket), "/nowhere/rpc.sock")
    assert (await mailctl("alerts", "run")).code == 3


async def test_an_acknowledged_alert_is_not_repeated(agents: Agents, mailctl: Mailctl, path: Path, heard: Path) -> None:
    alerting(path, heard)
    edit(path, "repeat: }", "repeat: 1ms}")
    agents["mx2"].sums = records.sums(deferred=1500)
    for _ in range(3):
        await mailctl("alerts", "run")
    assert [one["alerts"][0]["event"] for one in notices(heard)] == ["new", "reminder"]
    ran = await mailctl("alerts", "list", "--within", "1h", "--json")
    assert ran.code == 0
    listed = ran.document
    assert [row["severity"] for row in listed["rows"]] == sorted(row["severity"] for row in listed["rows"])
    assert listed["schema"] == "mailctl.alerts-list/1"
    ids = [row["id"] for row in listed["rows"]]
    ran = await mailctl("alerts", "ack", *ids, "--reason", "waiting for Gmail", "--for", "2h", "--json")
    assert ran.code == 0
    notes = [row["acknowledged"] for row in ran.document["rows"]]
    assert {note["reason"] for note in notes} == {"waiting for Gmail"}
    assert all(note["until"] for note in notes)
    assert (await mailctl("alerts", "run")).out == ""
    assert len(notices(heard)) == 2
    ran = await mailctl("alerts", "ack", "zzz")
    assert ran.code == 2
    assert "0 open alerts have an id that begins with zzz" in ran.err


async def test_the_test_goes_through_each_receiver(mailctl: Mailctl, path: Path, heard: Path) -> None:
    alerting(path, heard)
    ran = await mailctl("alerts", "test", "--json")
    assert ran.code == 1
    assert {row["receiver"]: (row["result"], row["error"]) for row in ran.document["rows"]} == {
        "pager": ("sent", ""),
        "broken": ("failed", "/bin/sh ended with 7"),
    }
    (told,) = notices(heard)
    assert (told["test"], told["alerts"]) == (True, [])
    assert told["summary"] == "test of the receiver pager: nothing is wrong"
    assert (await mailctl("alerts", "test", "pager")).code == 0
    ran = await mailctl("alerts", "test", "nobody")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "mailctl: error: no receiver nobody; there is pager, broken")


async def test_without_receivers_there_is_nothing_to_run(mailctl: Mailctl) -> None:
    for words in (["run"], ["test"]):
        ran = await mailctl("alerts", *words)
        assert ran.code == 2
        assert "has no alerts.receivers: nobody would be told" in ran.err
    ran = await mailctl("alerts", "list")
    assert (ran.code, ran.out, ran.err) == (0, "", "mailctl: there was no round yet\n")
    assert (await mailctl("alerts", "list", "--within", "10m")).code == 1


def _appears(path: Path) -> None:
    while not path.exists():
        time.sleep(0.02)


async def test_one_round_at_a_time(agents: Agents, mailctl: Mailctl, path: Path, heard: Path) -> None:
    slow = f"while [ ! -e {heard}.go ]; do sleep 0.05; done; cat >> {heard}"
    alerting(path, heard)
    edit(path, f"cat >> {heard}; echo >> {heard}", f"touch {heard}.begun; {slow}")
    agents["mx2"].sums = records.sums(deferred=1500)
    await mailctl("alerts", "run")

    async def blocked() -> Ran:
        return await mailctl("alerts", "run")

    async with asyncio.TaskGroup() as group:
        first = group.create_task(blocked(), name="first")
        await asyncio.to_thread(_appears, heard.with_suffix(".begun"))
        ran = await mailctl("alerts", "run")
        assert (ran.code, ran.out) == (4, "")
        assert ran.err == "mailctl: error: another round of `mailctl alerts run` is at work on this fleet file\n"
        assert (await mailctl("alerts", "list")).code == 0
        heard.with_suffix(".go").touch()
    assert first.result().code == 0


async def test_a_watch_makes_rounds_until_it_is_ended(agents: Agents, path: Path, heard: Path, tmp_path: Path) -> None:
    alerting(path, heard)
    agents["mx2"].sums = records.sums(deferred=1500)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from mailctl.cli import main; main()", "alerts", "run", "--watch", "--every", "1s", "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env={"PATH": os.defpath, "HOME": str(tmp_path), "MAILCTL_FLEET": str(path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        told = [json.loads(await process.stdout.readline()) for _ in range(3)]
        agents["mx2"].sums = records.sums()
        over = [json.loads(await process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        await process.wait()
    assert {(row["event"], row["result"]) for row in told} == {("new", "sent")}
    assert {(row["event"], row["result"]) for row in over} == {("resolved", "sent")}
    assert process.returncode == 130


async def test_what_could_not_be_noted_comes_again(
    agents: Agents, mailctl: Mailctl, path: Path, heard: Path, tmp_path: Path
) -> None:
    alerting(path, heard)
    agents["mx2"].sums = records.sums(deferred=1500)
    await mailctl("alerts", "run")
    part = next((tmp_path / ".local/state/mailctl").glob("alerts-*.json")).with_suffix(".part")
    edit(path, f"cat >> {heard}", f"mkdir {part}; cat >> {heard}")
    ran = await mailctl("alerts", "run")
    assert ran.code == 1
    assert f"receiver pager: comes again, it could not be noted: {part}: Is a directory" in ran.err
    part.rmdir()
    edit(path, f"mkdir {part}; ", "")
    assert (await mailctl("alerts", "run")).code == 0
    assert [one["alerts"][0]["event"] for one in notices(heard)] == ["new", "new"]


async def test_a_book_that_is_old_or_damaged_is_told(mailctl: Mailctl, path: Path, heard: Path, tmp_path: Path) -> None:
    alerting(path, heard)
    assert (await mailctl("alerts", "run")).code == 0
    (book,) = (tmp_path / ".local/state/mailctl").glob("alerts-*.json")
    assert (await mailctl("alerts", "list", "--within", "1h")).code == 0
    book.write_text('{"looked_at": "2026-01-01T00:00:00Z"}')
    assert (await mailctl("alerts", "list", "--within", "1h")).code == 1
    book.write_text("{")
    ran = await mailctl("alerts", "run")
    assert ran.code == 2
    assert "when it is removed, what is open is told again" in ran.err
