"""Completion in a shell: verbs, options, and names of the fleet file."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.console.cli.conftest import Mailctl
from tests.console.loopback import fleet_file, three_agents

MAILCTL = Path(sys.executable).with_name("mailctl")
TRY = """\
eval "$({mailctl} completion bash)"
COMP_LINE='mailctl {typed}'; COMP_POINT=${{#COMP_LINE}}
compopt() {{ :; }}
_mailctl_completion {mailctl}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


async def completed(typed: str, home: Path, fleet: Path) -> list[str]:
    """What bash offers, with no agent running."""
    bash = shutil.which("bash")
    assert bash is not None
    process = await asyncio.create_subprocess_exec(
        *(bash, "--norc", "-c", TRY.format(mailctl=MAILCTL, typed=typed)),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "HOME": str(home), "MAILCTL_FLEET": str(fleet)},
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    return out.decode().split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("dra", {"drain"}),
        ("drain pool:m", {"marketing"}),  # bash has the word up to the colon already
        ("drain host:", {"mx1", "mx2", "mx3"}),
        ("drain vm", {"vmta:mkt-1", "vmta:mkt-3", "vmta:mkt-5"}),
        ("drain queue:gmail/", {"gmail/mkt-1", "gmail/mkt-3", "gmail/mkt-5"}),
        ("config mx", {"mx1", "mx2", "mx3"}),
        ("status --js", {"--json"}),
        ("why queue:gmail/mkt-1", {"gmail/mkt-1"}),
        ("trace provider:gmail", {"gmail"}),
        ("trace provider:gmail --host mx", {"mx1", "mx2", "mx3"}),
        ("evacuate mx1 --to mx2", {"mx2"}),
        ("rebind pool:cold --to mark", {"marketing"}),
        ("rotate vmta:mkt-1 --standby mkt-3", {"mkt-3"}),
        ("drain pool:nothing", set()),
    ],
)
async def test_bash_offers_what_fits(tmp_path: Path, typed: str, offered: set[str]) -> None:
    fleet = fleet_file(three_agents(tmp_path), tmp_path / "fleet.yaml")
    assert set(await completed(typed, tmp_path, fleet)) == offered


async def test_without_a_fleet_file_verbs_are_completed_all_the_same(tmp_path: Path) -> None:
    assert await completed("drain pool:m", tmp_path, tmp_path / "none.yaml") == []
    assert "drain" in await completed("d", tmp_path, tmp_path / "none.yaml")


async def test_other_shells_have_theirs(mailctl: Mailctl) -> None:
    assert "#compdef mailctl" in (await mailctl("completion", "zsh")).out
    assert "complete --no-files --command mailctl" in (await mailctl("completion", "fish")).out
    assert (await mailctl("completion", "tcsh")).code == 2
