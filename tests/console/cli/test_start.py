"""What commands load, and how errors of files and usage end."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mailagent.version import __version__
from mailctl.cli.main import _LOOK, SECTIONS, cli
from tests.console.cli.conftest import Mailctl, edit
from tests.console.loopback import LoopbackAgent

HEAVY = ("textual", "asyncssh", "plotext")
PROBE = """
import sys
from mailctl.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
loaded = sorted({{name.partition(".")[0] for name in sys.modules}} & {{{heavy}}})
print("LOADED", *loaded, file=sys.stderr)
"""


def loaded(*arguments: str, cwd: Path) -> list[str]:
    """Which of the heavy libraries a command has loaded when it ends."""
    probe = PROBE.format(arguments=list(arguments), heavy=", ".join(map(repr, HEAVY)))
    env = {name: value for name, value in os.environ.items() if name != "MAILCTL_FLEET"}  # the fleet is that of `cwd`
    ran = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    return ran.stderr.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["drain", "--help"], ["version"], ["validate"], ["config", "mx1"], ["status"], ["demo", "--help"]],
    ids=" ".join,
)
async def test_headless_commands_load_no_screen_and_no_ssh(path: Path, arguments: list[str]) -> None:
    # The agents of `path` run in this loop, so the probe may not block it.
    assert await asyncio.to_thread(loaded, *arguments, cwd=path.parent) == []


async def test_the_fleet_file_is_found_by_option_environment_and_place(
    mailctl: Mailctl, path: Path, agents: dict[str, LoopbackAgent]
) -> None:
    assert (await mailctl("--fleet", str(path), "validate", env={})).code == 0
    assert (await mailctl("validate")).code == 0
    assert (await mailctl("validate", env={})).code == 0  # ./fleet.yaml
    away = await mailctl("status", env={}, cwd=Path("/"))
    assert away.code == 2
    assert "no fleet file; looked for $MAILCTL_FLEET, ./fleet.yaml" in away.err
    assert not away.out


async def test_a_bad_fleet_file_says_every_mistake_with_its_place(mailctl: Mailctl, path: Path) -> None:
    edit(path, "pools:", "colour: blue\npools:")
    edit(path, "active:", "activ:")
    for command in (["validate"], ["status"], ["drain", "pool:marketing", "--yes"], ["config", "mx1"]):
        ran = await mailctl(*command)
        assert ran.code == 2
        assert not ran.out
        lines = [line for line in ran.err.splitlines() if line.startswith("mailctl: error: ")]
        assert len(lines) >= 2
        assert all(f"{path}:" in line for line in lines)


async def test_config_prints_a_hosts_part_and_knows_its_names(mailctl: Mailctl) -> None:
    ran = await mailctl("config", "mx2")
    assert ran.code == 0
    assert ran.out.startswith("host: mx2")
    missing = await mailctl("config", "mx9")
    assert missing.code == 2
    assert "no host mx9" in missing.err


async def test_usage_errors_are_two(mailctl: Mailctl) -> None:
    for arguments in (
        ["nonsense"],
        ["status", "--nonsense"],
        ["status", "marketing"],
        ["status", "pool:x"],
        ["hosts", "host:mx9"],
        ["drain", "pool:marketing", "--for", "30", "--yes"],
        ["drain", "--yes"],
        ["drain", "pool:marketin", "--yes"],
        ["drain", "pool:marketing", "--override", "--yes"],
        ["limit", "vmta:mkt-1", "--yes"],
        ["drain", "pool:marketing"],
        ["retry", "pool:marketing", "--yes"],
    ):
        ran = await mailctl(*arguments)
        assert ran.code == 2, arguments
        assert ran.err.startswith("mailctl: error: "), arguments
        assert not ran.out
        assert "Traceback" not in ran.err


async def test_the_console_wants_a_terminal(mailctl: Mailctl) -> None:
    ran = await mailctl()
    assert ran.code == 2
    assert "needs a terminal" in ran.err


async def test_version_is_one(mailctl: Mailctl) -> None:
    assert (await mailctl("version")).out == f"mailctl {__version__}\n"
    assert (await mailctl("--version")).out == f"mailctl {__version__}\n"


def _leaves(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from _leaves(one, (*words, name))
    else:
        yield " ".join(words), command


@pytest.mark.parametrize(("words", "command"), list(_leaves(cli)))
def test_every_command_has_an_example_and_a_line_in_the_list_that_is_whole(words: str, command: click.Command) -> None:
    if words not in ("version", "demo"):  # the demo's help is behind its own door
        assert f"mailctl {words}" in (command.help or "").partition("Example")[2]
    assert not command.get_short_help_str(100).endswith("...")


@pytest.mark.parametrize("command", SECTIONS["Look"], ids=lambda one: one.name)
def test_every_read_has_a_document_for_machines(command: click.Command) -> None:
    assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_reads_are_listed_in_the_order_of_the_screens() -> None:
    assert tuple(command.name for command in SECTIONS["Look"]) == _LOOK
