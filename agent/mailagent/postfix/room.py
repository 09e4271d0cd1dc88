"""Room on the disks of a Postfix: its smtpd refuses mail when that of the queue is nearly full."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mailagent.postfix.commands import Programs, run
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.instance import Instance

LOG_BYTES: Final = 64 * 1024
"""With less, lines of the log are cut or missing."""
_ROW: Final = re.compile(r"\s\d+\s+\d+\s+(?P<kib>\d+)\s+\d+%\s")
"""Of `df -P -k`: blocks, used, available, capacity."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that are free for unprivileged processes; None: not known, or there is no such disk."""

    queue: int | None = None
    log: int | None = None

    def refusal(self, instance: Instance) -> str:
        """Why smtpd of `instance` answers 452 4.3.1; empty while it takes mail."""
        if self.queue is None or self.queue > instance.kept_free:
            return ""
        return f"disk full: {self.queue / 2**20:.0f} MiB free, {instance.kept_free / 2**20:.0f} MiB are kept free"

    @property
    def log_is_full(self) -> bool:
        """Whether Postfix cannot write down what it does."""
        return self.log is not None and self.log < LOG_BYTES


async def read_room(programs: Programs, instance: Instance, log_file: str) -> Room:
    """Room now, where Postfix is. `log_file` is empty where the log is no file; it may be missing.

    Raises:
        PostfixError: df cannot be run, or does not say.
    """
    places: Sequence[str] = (instance.queue_dir, *([log_file.rpartition("/")[0] or "/"] if log_file else []))
    said = await run(programs.other("df", "-P", "-k", *places), timeout_s=programs.timeout_s)
    rows = [int(match["kib"]) * 1024 for match in _ROW.finditer(said.decode("utf-8", "replace"))]
    if len(rows) != len(places):
        raise PostfixError(f"df does not say how much room there is in {' and '.join(places)}")
    return Room(rows[0], rows[1] if log_file else None)
