"""A notice on the standard input of a program."""

import asyncio
import contextlib
import os
import signal
import tempfile

from mailagent.config.alerts import AlertCommand
from mailctl.alerts.errors import NotTaken


async def feed(command: AlertCommand, body: bytes) -> None:
    """Run it; exit 0 acknowledges. Its stderr is ours. One that is given up is killed, with its own.

    Raises:
        NotTaken: another exit code.
        OSError: it cannot be started.
    """
    with tempfile.TemporaryFile() as given:  # no pipe: a program need not read
        given.write(body)
        given.seek(0)
        process = await asyncio.create_subprocess_exec(
            *command.run, stdin=given, stdout=asyncio.subprocess.DEVNULL, start_new_session=True
        )
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if code:
        raise NotTaken(f"{command.run[0]} ended with {code}")
