"""Back-pressure: whether the host has what it takes to accept mail, and what it is short of. Delivery goes on."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.config.structs import QueueLimits
from mailagent.spool.space import SpaceView

LOOK_S = 1.0
"""Age up to which one look serves."""


class Pressure:
    """Looks at disk and memory, at most once in LOOK_S."""

    def __init__(
        self,
        limits: QueueLimits,
        *,
        free: Callable[[], SpaceView],
        rss_bytes: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._free = free
        self._rss_bytes = rss_bytes
        self._clock = clock
        self._refusal: SmtpReply | None = None
        self.configure(limits)

    def configure(self, limits: QueueLimits) -> None:
        """Use these limits from now on."""
        self._limits = limits
        self._look_at = float("-inf")

    def refusal(self) -> SmtpReply | None:
        """What MAIL hears while disk or memory is short; None: go on."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            reason = self._reason()
            self._refusal = _short(Verb.MAIL, reason) if reason else None
        return self._refusal

    def _reason(self) -> str:
        space = self._free()
        if not space.ok:
            return space.reason
        most = self._limits.memory_bytes
        if most is not None and (used := self._rss_bytes()) > most:
            return f"memory short: the agent has {used / 2**20:.0f} MiB, {most / 2**20:.0f} MiB are allowed"
        return ""

    def queue_refusal(self, waiting: int) -> SmtpReply | None:
        """What a message hears that would wait behind too many others; None: go on. High priority is not asked."""
        most = self._limits.waiting
        if most is None or waiting < most:
            return None
        return _short(Verb.DOT, f"queue full: {waiting} recipients wait, {most} are allowed")


def _short(verb: Verb, reason: str) -> SmtpReply:
    return SmtpReply(code=452, enhanced="4.3.1", text=reason, verb=verb, local=True)


def rss_bytes() -> int:
    """Memory of this process that is resident now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
