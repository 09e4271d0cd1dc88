"""Record what the console receives, and play it again."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailctl.cli.completion import complete_selection
from mailctl.cli.exits import Exit
from mailctl.cli.options import Decimal, Duration, Moment, Number
from mailctl.cli.setup import Setup, complain, leave, narrate, pass_setup, run

if TYPE_CHECKING:
    from datetime import datetime

    from mailctl.fleet import Fleet, FleetState
    from mailctl.replay import Player, Recorder

MIB = 1024 * 1024
LISTS_S = 10
"""Lists that agents do not send by themselves are asked for so often."""
LISTS = ("deferred", "operations", "jobs")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("selection", nargs=-1, metavar="[HOST]...", shell_complete=complete_selection)
@click.option("--for", "length_s", type=Duration(), metavar="DURATION", help="End after this time. [default: ctrl+c]")
@click.option(
    "--max-size",
    type=Number(1, 100_000),
    default=256,
    show_default=True,
    metavar="MIB",
    help="A file of this size becomes FILE.1, and a new one begins.",
)
@click.option(
    "--keep", type=Number(1, 1000), default=8, show_default=True, metavar="N", help="Files of FILE that stay."
)
@pass_setup
def record(setup: Setup, file: Path, selection: Sequence[str], length_s: int | None, max_size: int, keep: int) -> None:
    """Record what the console receives from all hosts, or from those of host:… selectors.

    JSON lines; a FILE that ends in .gz is compressed. Figures, states, standing orders, replies, operations and jobs
    are in it; messages are not. `mailctl replay FILE` opens the console on it.

    \b
    Examples:
      mailctl record night.jsonl.gz --for 8h
      mailctl record mx1.jsonl host:mx1 --max-size 64 --keep 4
    """  # fmt: skip
    from mailctl.cli.exits import of_read
    from mailctl.cli.narrow import check_kinds
    from mailctl.cli.show import why
    from mailctl.ops import parse
    from mailctl.output.human import duration, plural, size
    from mailctl.replay import Recorder

    if str(file).startswith("host:"):
        raise click.UsageError(f"{file} names no file; write the file first, or ./{file} for one of that name")
    chosen = parse(selection)
    check_kinds(chosen, (), view="record")
    hosts = chosen.hosts
    setup.check_hosts(hosts)  # mistakes come before a file is made
    try:
        recorder = Recorder(file, max_bytes=max_size * MIB, keep=keep)
    except FileExistsError as exc:
        raise click.UsageError(f"{file} exists; nothing is overwritten") from exc
    except OSError as exc:
        raise click.UsageError(f"{file}: {exc.strerror}") from exc
    failed = ""
    try:
        state, took_s = run(_record(setup, recorder, hosts, length_s))
    except OSError as exc:
        failed = f"{file}: {exc.strerror or exc}; what was written by then can be replayed"
    finally:
        recorder.close()
    if failed:
        complain(failed)
        leave(Exit.INCOMPLETE)
    written = f"{plural(recorder.lines, 'line')}, {size(recorder.bytes)} in {plural(recorder.files, 'file')}"
    narrate(f"{file}: {written}, {duration(took_s)}")
    for host in state.hosts:
        if not host.state.is_fresh:
            narrate(f"{host.name}: {why(host, setup.timeout_s)}")
    leave(of_read(state))


async def _record(
    setup: Setup, recorder: "Recorder", hosts: tuple[str, ...], length_s: int | None
) -> "tuple[FleetState, float]":
    """The state at the end, and the seconds that it took."""
    import asyncio
    import signal
    from contextlib import suppress
    from time import monotonic

    from mailctl.output.human import plural

    stop = asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    began, asked = monotonic(), -float(LISTS_S)
    async with setup.fleet(hosts, tap=recorder) as fleet:
        recorder.begin(fleet.refreshed)
        narrate(f"recording {plural(len(fleet.state.hosts), 'host')} to {recorder.path}; ctrl+c ends it")
        while not stop.is_set():
            left_s = 1.0 if length_s is None else min(1.0, began + length_s - monotonic())
            if left_s <= 0:
                break
            if monotonic() - asked >= LISTS_S and fleet.refreshed().coverage.fresh:
                asked = monotonic()
                await _lists(fleet, recorder)
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await stop.wait()
            recorder.tick()
        return fleet.refreshed(), monotonic() - began


async def _lists(fleet: "Fleet", recorder: "Recorder") -> None:
    """What the screens ask for, as far as it may be kept."""
    import msgspec

    from mailagent.api.methods import METHODS

    for method in LISTS:
        answers = await fleet.ask_all(method, METHODS[method].params(), deadline_s=LISTS_S / 2)
        for host, answer in answers.items():
            if isinstance(answer, msgspec.Struct):
                recorder.answered(host, method, answer)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--at", "moment", type=Moment(), metavar="TIME", help="Begin there. [default: its beginning]")
@click.option("--speed", type=Decimal(0.25, 60), default=1.0, show_default=True, help="Times as fast.")
@click.option("--paused", is_flag=True, help="Stand still until p is pressed.")
@click.pass_context
def replay(context: click.Context, file: Path, moment: "datetime | None", speed: float, paused: bool) -> None:
    """Open the console on a recording: the same screens, at any moment of it.

    [ and ] go 30 seconds back and on, { and } ten minutes, p pauses, , and . change the speed. Verbs are refused.

    \b
    Examples:
      mailctl replay night.jsonl.gz --at 2026-07-01T03:10:00Z --speed 10
    """
    import sys

    from mailctl.replay import Player, Recording, RecordingError

    if not sys.stdout.isatty():
        raise click.UsageError("the console needs a terminal")
    try:
        player = Player(Recording.open(file), speed=speed)
    except RecordingError as exc:
        raise click.UsageError(str(exc)) from exc
    except OSError as exc:
        raise click.UsageError(f"{file}: {exc.strerror}") from exc
    if moment is not None:
        begin_at(player, moment)
    if paused:
        player.pause()
    from mailctl.tui.replay import run as open_console

    context.exit(open_console(player, file))


def begin_at(player: "Player", moment: "datetime") -> None:
    """Go to a moment of the recording.

    Raises:
        click.UsageError: it is not one of its moments.
    """
    recording = player.recording
    if not recording.began_at <= moment <= recording.ended_at:
        form = "%Y-%m-%dT%H:%M:%SZ"
        raise click.UsageError(
            f"--at {moment:{form}} is not in the recording, which goes from {recording.began_at:{form}} to "
            f"{recording.ended_at:{form}}"
        )
    player.seek(moment)


COMMANDS = (record, replay)
