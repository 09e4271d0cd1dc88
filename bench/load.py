"""Load from Debian's postfix package: smtp-source hands in, smtp-sink takes."""

import subprocess
import sys
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
    subprocess.run(command, check=True, timeout=LONGEST_S, stderr=subprocess.DEVNULL)


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
