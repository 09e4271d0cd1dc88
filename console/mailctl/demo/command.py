"""`mailctl demo`: a living fleet on this machine, and the console in front of it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

import click

from mailctl.demo.incidents import NAMES

if TYPE_CHECKING:
    from mailctl.demo.blueprint import Claim

SOCKETS_S = 10.0
"""How long the console waits for the agents before it opens all the same."""
POLL_S = 0.05
END_S = 12.0
"""How long the world may take to end before it is killed."""
LAST_S = 20
"""After a signal the kernel ends us at the latest then, even if the console hangs on a dead terminal."""
_INTERRUPTED = 130
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo_command(open_console: Callable[[Path], int]) -> click.Command:
    """The command; `open_console` takes the fleet file, runs the console and returns its exit code."""

    @click.command("demo")
    @click.option("--no-console", is_flag=True, help="Run in the foreground and print one JSON line when ready.")
    @click.option("--incident", type=click.Choice(tuple(NAMES)), help="Start with this incident, without the timeline.")
    @click.option(
        "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), help="Keep all data in this directory."
    )
    @click.option("--rate", type=click.FloatRange(0.1, 5000), default=60, show_default=True, help="Messages a second.")
    @click.option(
        "--postfix/--no-postfix",
        "with_postfix",
        default=None,
        help="A fourth host that is a Postfix. [default: with it, where one is installed and this is root]",
    )
    def demo(
        no_console: bool, incident: str | None, directory: Path | None, rate: float, with_postfix: bool | None
    ) -> None:
        """Start a loopback fleet and open the console on it.

        Three agents, simulated providers (Gmail, Outlook, Yahoo, iCloud and a long tail), DNS, traffic, and incidents
        on a timeline. Needs no root; nothing leaves this machine, and nothing remains when it ends. Where Postfix 3.7
        or newer is installed, and root runs the demo, a fourth host is a Postfix with an agent in front of it.

        \b
        Examples:
          mailctl demo
          mailctl demo --incident throttle
          mailctl demo --no-console --dir ./demo
        """
        from mailctl.demo.errors import DemoError

        try:
            with (
                _signals_raise(),
                _world(directory, rate, incident or "", with_postfix=with_postfix, foreground=no_console) as (
                    fleet,
                    world,
                ),
            ):
                if no_console:
                    code = world.wait()
                else:
                    _await_sockets(fleet, world)
                    code = open_console(fleet)
        except DemoError as exc:
            raise click.ClickException(str(exc)) from exc
        except _Stopped as stopped:
            # not sys.exit: a console cut off from its terminal leaves threads that would be waited for
            os._exit(_INTERRUPTED if stopped.number == signal.SIGINT else 0)
        sys.exit(code)

    return demo


def _await_sockets(fleet: Path, world: subprocess.Popen[bytes]) -> None:
    """Wait until each agent has its socket: a console that is there before would begin with hosts that are lost."""
    wanted = [config.with_name("rpc.sock") for config in fleet.parent.glob("*/agent.yaml")]
    until = time.monotonic() + SOCKETS_S
    while time.monotonic() < until and world.poll() is None and not all(socket.exists() for socket in wanted):
        time.sleep(POLL_S)


class _Stopped(SystemExit):
    """A signal asked us to end. A SystemExit, because an event loop lets only that through."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn the signals that end a terminal program into `_Stopped`, once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        _ignore_signals()  # what follows is the clean end
        signal.alarm(LAST_S)
        raise _Stopped(number)

    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if number != signal.SIGHUP or handler != signal.SIG_IGN:  # nohup is meant
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _world(
    directory: Path | None, rate: float, incident: str, *, with_postfix: bool | None, foreground: bool
) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """The fleet file and the process of a running world; it ends with the block, and its directory with it.

    Raises:
        DemoError: no free network, or a directory that cannot be used.
    """
    from mailctl.demo.blueprint import claim
    from mailctl.demo.errors import NoPostfix
    from mailctl.demo.postfix import found

    root = Path(tempfile.mkdtemp(prefix="mailctl-demo-")) if directory is None else directory.resolve()
    try:
        claimed = claim()
        program = ""
        if with_postfix is not False:
            try:
                program = found(root, claimed.network)
            except NoPostfix:
                if with_postfix:
                    raise
        fleet = _prepare(root, claimed, rate, incident, program, temporary=directory is None)
        with _errors(root, foreground=foreground) as errors:
            world = subprocess.Popen(
                [sys.executable, "-P", "-m", "mailctl.demo", str(root)],
                stdin=subprocess.PIPE,  # the world ends when this end closes, even by our sudden death
                stdout=None if foreground else subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # the terminal's signals are for us
                pass_fds=[claimed.holder.fileno()],
            )
        claimed.holder.close()
        try:
            yield fleet, world
        finally:
            _ignore_signals()
            _end(world, root)
    finally:
        if directory is None:
            shutil.rmtree(root, ignore_errors=True)


def _prepare(root: Path, claimed: "Claim", rate: float, incident: str, postfix: str, *, temporary: bool) -> Path:
    """Write all files of the run: the fleet file among them.

    Raises:
        DemoError: the directory cannot be used.
    """
    from mailctl.demo.blueprint import Blueprint
    from mailctl.demo.errors import NotWritable
    from mailctl.demo.fleet import write_files
    from mailctl.demo.ssh import write_keys

    blueprint = Blueprint(
        directory=root,
        network=claimed.network,
        port=claimed.port,
        rate=rate,
        incident=incident,
        temporary=temporary,
        postfix=postfix,
    )
    blueprint.check()
    try:
        write_files(blueprint)
        write_keys(blueprint)
        blueprint.save()
    except OSError as exc:
        raise NotWritable(str(exc.filename or root), exc.strerror or str(exc)) from exc
    return blueprint.fleet_file


@contextmanager
def _errors(root: Path, *, foreground: bool) -> Iterator[IO[bytes] | None]:
    """Where the world's standard error goes: here, or beside the fleet file while the console has the terminal."""
    if foreground:
        yield None
    else:
        with (root / "world.log").open("ab") as file:
            yield file


def _end(world: subprocess.Popen[bytes], root: Path) -> None:
    """End the world, and say why if it ended by itself."""
    log = root / "world.log"
    if world.poll() and log.exists():
        lines = log.read_text("utf-8", "backslashreplace").splitlines()[-10:]
        click.echo("\n".join(["mailctl: error: the simulated world ended by itself:", *lines]), err=True)
    if world.stdin is not None:
        world.stdin.close()
    try:
        world.wait(END_S)
    except subprocess.TimeoutExpired:
        os.killpg(world.pid, signal.SIGKILL)
        world.wait()
