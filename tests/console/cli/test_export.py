"""`mailctl export`: screens as files, without a terminal."""

import asyncio
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.console.cli.conftest import Mailctl
from tests.console.loopback import LoopbackAgent


async def test_a_screen_is_drawn_as_a_picture_and_as_text(
    agents: dict[str, LoopbackAgent], mailctl: Mailctl, tmp_path: Path
) -> None:
    ran = await mailctl("export", "destinations", "--svg", "d.svg", "--text", "d.txt", "--filter", "host:mx2")
    assert (ran.code, ran.out) == (0, ""), ran.err
    text = (tmp_path / "d.txt").read_text()
    assert "mx2" in text
    assert "mx3" not in text
    assert "/host:mx2" in text
    assert ET.fromstring((tmp_path / "d.svg").read_text()).tag.endswith("svg")
    again = await mailctl("export", "destinations", "--svg", "d.svg")
    assert again.code == 2
    assert "d.svg exists already" in again.err
    assert len(agents) == 3


async def test_a_dash_is_standard_output(agents: dict[str, LoopbackAgent], mailctl: Mailctl, tmp_path: Path) -> None:
    ran = await mailctl("export", "destinations", "--text", "-")
    assert (ran.code, ran.err, all(name in ran.out for name in agents)) == (0, "", True)
    assert not (tmp_path / "-").exists()


async def test_ctrl_c_ends_a_drawing(agents: dict[str, LoopbackAgent], path: Path, tmp_path: Path) -> None:
    """Textual took the cancelling of its task for no reason to end: it hung."""
    agents["mx1"].faults.mute.add("operations")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from mailctl.cli import main; main()",
        "--fleet",
        str(path),
        *("--timeout", "60", "export", "operations", "--text", str(tmp_path / "o.txt")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
    )
    async with asyncio.timeout(20):
        while not agents["mx1"]._subscribers:  # noqa: ASYNC110 - the console is up then; a host has no event for it
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err.strip()) == (130, b"", b"")
    assert not (tmp_path / "o.txt").exists()


@pytest.mark.parametrize("name", ["host:nope", "pool:nope"])
async def test_a_filter_by_a_name_that_nobody_has_draws_nothing(
    agents: dict[str, LoopbackAgent], mailctl: Mailctl, tmp_path: Path, name: str
) -> None:
    ran = await mailctl("export", "fleet", "--text", "f.txt", "--filter", name)
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert ran.err.startswith(f"mailctl: error: no {name.replace(':', ' ')}")
    assert not (tmp_path / "f.txt").exists()


async def test_a_saved_view_is_drawn_and_a_lost_host_told(
    agents: dict[str, LoopbackAgent], mailctl: Mailctl, tmp_path: Path
) -> None:
    own = tmp_path / ".config" / "mailctl"
    own.mkdir(parents=True)
    (own / "views.yaml").write_text("views: {two: {screen: Fleet, filter: 'host:mx2', columns: {fleet: [HOST]}}}\n")
    agents["mx1"].faults.mute.add("hello")
    ran = await mailctl("--timeout", "2", "export", "fleet", "--view", "two", "--text", "two.txt", "--size", "80x24")
    assert ran.code == 1, ran.err
    assert "mailctl: mx1: " in ran.err
    text = (tmp_path / "two.txt").read_text()
    assert "mx2" in text
    assert "WAITING" not in text


async def test_a_screen_that_asks_for_itself_is_drawn_with_the_answers(
    agents: dict[str, LoopbackAgent], mailctl: Mailctl, tmp_path: Path
) -> None:
    assert (await mailctl("drain", "pool:cold", "--yes")).code == 0
    agents["mx1"].faults.mute.add("operations")
    for screen in ("timeline", "operations"):
        ran = await mailctl("--timeout", "1", "export", screen, "--text", f"{screen}.txt")
        assert ran.code == 1, ran.err
        assert "mailctl: mx1: no answer to operations within 1 s\n" in ran.err
        assert ran.err.count("no answer") == 1, ran.err
        text = (tmp_path / f"{screen}.txt").read_text()
        assert "2 hosts" in text, text  # the third one's answer was waited for as long as --timeout says, and no longer
        assert "asking the hosts" not in text


async def test_what_an_engine_has_nothing_of_is_no_gap_in_a_picture(
    agents: dict[str, LoopbackAgent], mailctl: Mailctl
) -> None:
    agents["mx3"].engine, agents["mx3"].lacks = "postfix 3.7.11", ("dkim", "feedback")
    ran = await mailctl("export", "pools", "--text", "p.txt")
    assert (ran.code, ran.err) == (0, "mailctl: pools written to p.txt\n")
    agents["mx3"].engine = "mailagent"
    ran = await mailctl("export", "pools", "--text", "q.txt")
    assert (ran.code, "mx3: its agent, " in ran.err, ran.err.count("upgrade it")) == (1, True, 2), ran.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("fleet",), "nothing to write"),
        (("message", "--svg", "a.svg"), "no screen 'message'"),
        (("fleet", "--svg", "a.svg", "--size", "9x9"), "--size 9x9"),
        (("fleet", "--svg", "none/a.svg"), "there is no directory none"),
        (("fleet", "--svg", "a.svg", "--view", "x"), "no saved view 'x' of fleet"),
        (("fleet", "--svg", "a.svg", "--filter", "pol:x"), "no kind 'pol'"),
    ],
)
async def test_what_cannot_be_drawn_is_told(
    mailctl: Mailctl, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    ran = await mailctl("export", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert why in ran.err
    assert not any(one.suffix == ".svg" for one in tmp_path.iterdir())  # noqa: ASYNC240  a look into a directory
