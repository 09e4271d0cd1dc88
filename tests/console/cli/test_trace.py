"""`mailctl trace`, against three agents."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.console.cli.conftest import Mailctl, edit
from tests.console.loopback import LoopbackAgent, summary

Agents = dict[str, LoopbackAgent]


async def test_lines_of_one_host_are_printed_harmless_until_the_end(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("trace", "provider:gmail", "--host", "mx2")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "mx2 12:00:00.000   1 gmail/mkt-1 * connects from 127.0.1.1 as mkt-1",
        "mx2 12:00:00.000   1 gmail/mkt-1 < 220 mx  [31mred",
        "mx2 12:00:00.000   1 gmail/mkt-1 > EHLO m1",
    ]
    assert ran.err.splitlines() == ["mailctl: mx2: 3 lines found no room", "mailctl: mx2: its 300 s are over"]


async def test_json_is_an_object_a_line_and_words_narrow(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("trace", "provider:gmail", "--match", "ehlo", "--json")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert {row["host"] for row in rows} == {"mx1", "mx2", "mx3"}
    assert {row["line"]["text"] for row in rows} == {"EHLO m1"}


async def test_what_cannot_be_traced_is_refused(agents: Agents, mailctl: Mailctl) -> None:
    assert (await mailctl("trace", "pool:marketing")).code == 2
    assert (await mailctl("trace", "gmail")).code == 2
    for unpaired in ("queue:gmail", "cell:gmail/", "cell:/mkt-1"):
        kind = unpaired.partition(":")[0]
        assert f"{unpaired} names no {kind}; write {kind}:" in (await mailctl("trace", unpaired)).err
    ran = await mailctl("trace", "provider:absent")
    assert (ran.code, ran.out) == (2, "")
    assert sorted(ran.err.splitlines()) == [f"mailctl: mx{n} has no provider absent" for n in (1, 2, 3)]


async def test_a_listener_is_followed_on_the_host_that_has_it(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    socket = f"{{socket: {agents['mx2'].socket}}}"
    edit(path, socket, f"{socket}\n    intake: {{listeners: [{{address: 127.0.0.2, port: 25}}]}}")
    ran = await mailctl("trace", "listener:127.0.0.2:25")
    assert (ran.code, {line.split()[0] for line in ran.out.splitlines()}) == (0, {"mx2"}), ran.err
    assert (await mailctl("trace", "listener:127.0.0.3:25")).code == 1  # the file knows of none: all are asked


@pytest.mark.parametrize("what", ["vmta:mkt-3", "queue:gmail/mkt-3", "cell:gmail/mkt-3"])
async def test_an_address_is_followed_on_the_host_that_has_it(agents: Agents, mailctl: Mailctl, what: str) -> None:
    ran = await mailctl("trace", what)
    assert (ran.code, {line.split()[0] for line in ran.out.splitlines()}) == (0, {"mx2"}), ran.err
    elsewhere = await mailctl("trace", what, "--host", "mx1")
    assert (elsewhere.code, elsewhere.out) == (2, "")
    assert elsewhere.err == f"mailctl: mx1 has no virtual MTA {what.partition(':')[2]}\n"
    nowhere = await mailctl("trace", "vmta:absent")
    assert (nowhere.code, nowhere.err.count("has no virtual MTA absent")) == (2, len(agents))


async def test_a_name_is_wrong_usage_only_when_every_host_was_asked(
    agents: Agents, mailctl: Mailctl, path: Path
) -> None:
    edit(path, str(agents["mx3"].socket), "/nowhere/rpc.sock")
    assert (await mailctl("trace", "provider:absent")).code == 4


@pytest.mark.parametrize(
    ("redirect", "code", "said"),
    [
        ("| head -1", 0, ""),
        ("> /dev/full", 1, "mailctl: error: the result could not be written: No space left on device\n"),
    ],
)
async def test_a_trace_whose_lines_nobody_takes_ends(
    agents: Agents, path: Path, redirect: str, code: int, said: str
) -> None:
    """Its hosts are followed by a task each, whose group of errors was a traceback."""
    command = f'set -o pipefail; "{sys.executable}" -c "from mailctl.cli import main; main()" trace provider:gmail'
    process = await asyncio.create_subprocess_exec(
        "/bin/bash",
        "-c",
        f"{command} {redirect}",
        env={"PATH": os.defpath, "HOME": str(path.parent), "MAILCTL_FLEET": str(path), "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert (process.returncode, "Traceback" in err.decode()) == (code, False), err.decode()
    assert said in err.decode()


async def test_parts_are_listed_and_one_is_printed_harmless(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx2"].messages = (summary(1),)
    listed = await mailctl("message", summary(1).message_id, "--parts")
    assert [line.split()[:2] for line in listed.out.splitlines()[1:]] == [["0", "text/plain"], ["1", "text/html"]]
    one = await mailctl("message", summary(1).message_id, "--part", "1")
    assert one.out == "hello  [31m1\nworld\n"
