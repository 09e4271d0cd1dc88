"""`mailctl record` and `mailctl replay` as processes."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import click
import pytest

from mailctl.cli.replay import begin_at
from mailctl.replay import Player, Recording
from tests.console.cli.conftest import Mailctl
from tests.console.loopback import LoopbackAgent
from tests.console.replay.conftest import SECONDS, Night, at


async def test_an_interrupted_recording_is_whole(agents: dict[str, LoopbackAgent], path: Path, tmp_path: Path) -> None:
    file = tmp_path / "night.jsonl"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from mailctl.cli import main; main()"),
        *("--fleet", str(path), "record", str(file)),
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "HOME": str(tmp_path)},
    )
    async with asyncio.timeout(30):
        while not file.exists() or file.read_bytes().count(b'"method":"operations"') < len(agents):  # noqa: ASYNC110 -- a file
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 0
    assert b"recording 3 hosts" in err
    assert b"1 file" in err
    player = Player(Recording.open(file))
    player.seek(player.recording.ended_at)
    player.work(slice_s=None)
    assert player.state.coverage.fresh == 3
    assert player.state.totals.waiting == 300


async def test_files_that_do_not_fit_are_refused(mailctl: Mailctl, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    ran = await mailctl("record", str(other))
    assert ran.code == 2
    assert "nothing is overwritten" in ran.err
    assert "needs a terminal" in (await mailctl("replay", str(other))).err


async def test_a_selection_that_is_wrong_leaves_no_file(
    agents: dict[str, LoopbackAgent], mailctl: Mailctl, tmp_path: Path
) -> None:
    file = tmp_path / "night.jsonl"
    for term, said in (("host:nope", "no host nope in the fleet file"), ("pool:cold", "record cannot be narrowed by")):
        ran = await mailctl("record", str(file), term)
        assert (ran.code, file.exists()) == (2, False)
        assert ran.err.startswith(f"mailctl: error: {said}"), ran.err
    agents["mx3"].faults.mute.add("hello")
    ran = await mailctl("--timeout", "1", "record", str(file), "--for", "2s")
    assert (ran.code, "mailctl: mx3: no answer within 1s\n" in ran.err) == (1, True), ran.err


@pytest.mark.parametrize("seconds", [-1, SECONDS + 1])
def test_a_moment_outside_the_recording_is_told_with_its_ends(tmp_path: Path, seconds: int) -> None:
    path = tmp_path / "night.jsonl"
    Night(path).through()
    player = Player(Recording.open(path))
    with pytest.raises(click.UsageError, match="is not in the recording, which goes from 2026-"):
        begin_at(player, at(seconds))
    for inside in (0, SECONDS):
        begin_at(player, at(inside))
        player.work(slice_s=None)
        assert player.position == at(inside)
