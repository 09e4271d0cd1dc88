"""The fourth host's own Postfix: configuration, queue and log in one directory, processes that end with the world.

Its SMTP clients run in its queue's directory (chroot), where a resolv.conf names the simulated DNS: Postfix asks no
other port than 53. Its virtual MTAs and pools are put in by `mailagent postfix apply`, as an operator would.
"""

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from mailctl.demo.blueprint import DNS_HOST, Blueprint, HostPlan
from mailctl.demo.errors import NoPostfix
from mailctl.demo.instance import main_cf, master_cf
from mailctl.demo.tether import tethered

log = logging.getLogger(__name__)

DNS_PORT = 53
OLDEST = (3, 7)
"""smtp_bind_address_enforce, without which mail of a virtual MTA may leave from another address."""
CHECK_S = 30.0
STOP_S = 4.0
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def found(directory: Path, network: str) -> str:
    """The program `postfix`, for a run in `directory` on `network`.

    Raises:
        NoPostfix: why there can be none.
    """
    program, ask = shutil.which("postfix", path=_PATH), shutil.which("postconf", path=_PATH)
    if program is None or ask is None:
        raise NoPostfix("postfix", "is not installed")
    if os.geteuid() != 0:
        raise NoPostfix(program, "only root can start it")
    closed = next((parent for parent in directory.parents if not parent.stat().st_mode & 0o001), None)
    if closed is not None:
        raise NoPostfix(program, f"its processes, which run as user postfix, may not enter {closed}")
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((f"{network}.{DNS_HOST}", DNS_PORT))
            except OSError as exc:
                raise NoPostfix(program, f"it needs a DNS on port {DNS_PORT} of loopback: {exc.strerror}") from exc
    said = ""
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        command = [ask, "-dh", "mail_version"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_S, check=True).stdout.strip()
        if tuple(int(part) for part in re.split(r"[.-]", said)[:2]) >= OLDEST:
            return program
    raise NoPostfix(program, f"is {said or 'of no known version'}, and 3.7 or newer is needed")


def write_files(blueprint: Blueprint, host: HostPlan) -> None:
    """Configuration and maps; directories that its processes, which run as other users, may enter."""
    directory = blueprint.postfix_directory(host.name)
    for name in ("etc", "queue/etc", "data", "log"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for parent in (directory, directory.parent, blueprint.directory):
        parent.chmod(parent.stat().st_mode | 0o011)
    shutil.chown(directory / "data", "postfix")
    etc = directory / "etc"
    (etc / "main.cf").write_text(_main_cf(directory, host, blueprint.world_port), "utf-8")
    (etc / "master.cf").write_text(master_cf(f"127.0.0.1:{host.smtp_port}", runs_s=5, chroot=True), "utf-8")
    (etc / "transport").write_text("acme.example discard:\n.acme.example discard:\n", "utf-8")  # reports to ourselves
    (directory / "queue" / "etc" / "resolv.conf").write_text(f"nameserver {blueprint.network}.{DNS_HOST}\n", "ascii")


def _main_cf(directory: Path, host: HostPlan, provider_port: int) -> str:
    settings = {
        "myhostname": f"{host.name}.acme.example",
        "smtp_tcp_port": provider_port,
        "transport_maps": f"texthash:{directory / 'etc' / 'transport'}",
        "enable_long_queue_ids": "yes",
        "minimal_backoff_time": "15s",
        "maximal_backoff_time": "60s",
        "queue_run_delay": "5s",
        "maximal_queue_lifetime": "30m",
        "bounce_queue_lifetime": "30m",
        "smtp_destination_concurrency_failed_cohort_limit": "100",
    }
    return main_cf(directory, settings)


class Postfix:
    """Its processes. `start`, then `stop`; they end with this process, however that ends."""

    def __init__(self, program: str, directory: Path, agent_file: Path) -> None:
        """`agent_file` says which virtual MTAs and pools it is to have."""
        self._program = program
        self._agent_file = agent_file
        self._etc = str(directory / "etc")
        self._log_file = directory / "log" / "start.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and put in its virtual MTAs; whether it takes mail is seen by who asks.

        Its master is started directly: `postfix start-fg` leaves a shell between, and the master would outlive us.

        Raises:
            NoPostfix: it cannot be started.
        """
        await self._say(self._program, "-c", self._etc, "check")  # makes the directories of its queue
        place = await self._say(
            shutil.which("postconf", path=_PATH) or "postconf", "-c", self._etc, "-h", "daemon_directory"
        )
        with self._log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *tethered([f"{place}/master", "-c", self._etc, "-s"], stays=True),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"PATH": _PATH},
                start_new_session=True,  # its master signals its whole group when it ends
            )

        command = (
            sys.executable,
            "-P",
            "-m",
            "mailagent",
            "postfix",
            "apply",
            "--yes",
            "--config",
            str(self._agent_file),
        )
        await self._say(*command)

    async def _say(self, *command: str) -> str:
        """What a program says that ends by itself."""
        try:
            async with asyncio.timeout(CHECK_S):
                process = await asyncio.create_subprocess_exec(
                    *tethered(command),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    env={"PATH": _PATH},
                )
                said = (await process.communicate())[0].decode("utf-8", "backslashreplace").strip()
        except (OSError, TimeoutError) as exc:
            raise NoPostfix(command[0], str(exc) or f"does not end within {CHECK_S:g} s") from exc
        if process.returncode:
            raise NoPostfix(command[0], said)
        return said

    async def stop(self) -> None:
        """End it: its master ends all others."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await process.wait()
                    return
