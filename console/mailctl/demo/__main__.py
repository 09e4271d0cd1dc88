"""The process of the simulated world: `python -m mailctl.demo DIRECTORY`, started by `mailctl demo`.

It lives as long as its standard input is open: the kernel closes that however the starter ends.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
from pathlib import Path

import msgspec

from mailctl.demo.blueprint import Blueprint
from mailctl.demo.errors import DemoError
from mailctl.demo.run import Demo, Ready

log = logging.getLogger("mailctl.demo")


def main(directory: Path) -> int:
    """Run the demo of `directory` to its end; the exit code."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="mailctl: demo: %(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    blueprint = Blueprint.load(directory)
    try:
        failures: list[BaseException] = []
        try:
            asyncio.run(_run(blueprint))
        except* (DemoError, OSError) as group:
            failures = _leaves(group)
        for failure in failures:
            log.error("error: %s", failure)
    finally:
        if blueprint.temporary:
            shutil.rmtree(directory, ignore_errors=True)
    return 1 if failures else 0


async def _run(blueprint: Blueprint) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopped.set)

    def input_readable() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            stopped.set()

    loop.add_reader(sys.stdin.fileno(), input_readable)
    await Demo(blueprint).run(stopped, _announce)


def _announce(ready: Ready) -> None:
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for member in group.exceptions
        for leaf in (_leaves(member) if isinstance(member, BaseExceptionGroup) else [member])
    ]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
