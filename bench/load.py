"""Load from Debian's postfix package: smtp-source hands in, smtp-sink takes."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import program as installed
from tests.integration.processes import accepts, smtp_sink, wait_until

LONGEST_S = 900


@dataclass(frozen=True)
class Load:
    """What smtp-source hands in."""

    messages: int = 20_000
    sessions: int = 20
    size: int = 10_240
    recipients: int = 1
    keep_open: bool = True  # one connection per session, else one per message


def hand_in(port: int, load: Load) -> None:
    """Run smtp-source to its end: every message has its 250."""
    command = [
        str(installed("smtp-source")), "-N", *(["-d"] if load.keep_open else []), "-s", str(load.sessions),
        "-l", str(load.size), "-m", str(load.messages), "-r", str(load.recipients), "-f", "a@sender.example",
        "-t", "b@recipient.example", f"127.0.0.1:{port}",
    ]  # fmt: skip
    finish(subprocess.Popen(command, stderr=subprocess.DEVNULL))


def finish(process: "subprocess.Popen[bytes]") -> None:
    """Wait for the end of a program; after LONGEST_S it is killed.

    `Popen.wait` with a time-out looks only every 50 ms, which is 6 % of a run of 0.8 s: here a timer ends the wait.

    Raises:
        CalledProcessError: it failed, or was killed.
    """
    timer = threading.Timer(LONGEST_S, process.kill)
    timer.start()
    try:
        code = process.wait()
    finally:
        timer.cancel()
        process.kill()  # when the wait was interrupted; else it has ended
    if code:
        raise subprocess.CalledProcessError(code, process.args)


@contextmanager
def sink(port: int, messages: int | None = None, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """smtp-sink, which ends after `messages`; with arguments, `bench.sink` with these."""
    if arguments:
        limit = ("--messages", str(messages)) if messages is not None else ()
        command = [sys.executable, "-m", "bench.sink", str(port), *limit, *arguments]
    else:
        limit = ("-M", str(messages)) if messages is not None else ()
        command = smtp_sink(*limit, f"127.0.0.1:{port}", "1000")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1])
    try:
        wait_until(lambda: accepts(port), "the receiver greets")
        yield process
    finally:
        process.kill()
        process.wait()
