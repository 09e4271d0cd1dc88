"""When each virtual MTA last had an outcome, to the minute: receivers forget an address that is silent for a month."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from mailagent.api.ids import VmtaName
from mailagent.api.requests import HistoryScope
from mailagent.telemetry.archive import Archive
from mailagent.telemetry.history import Counts, Key, Minute

FORGOTTEN: Final = timedelta(days=30)
"""Silence after which most receivers know an address no more (handbook/deliverability 6.1)."""


class LastSent:
    """What the archive knows of it, and what was sent since."""

    def __init__(self, archive: Archive) -> None:
        """Blocks on the disk."""
        self._since = archive.since
        self._at = archive.last(HistoryScope.VMTA)

    def take(self, minute: Minute) -> None:
        """A minute is over."""
        if self._since is None:
            self._since = minute.start
        self._at.update(dict.fromkeys(_sent(minute.counts), minute.start))

    def at(self, vmta: VmtaName) -> datetime | None:
        """None: never, as far as is known."""
        last = self._at.get(vmta)
        return datetime.fromtimestamp(last, UTC) if last is not None else None

    def doubt(self, vmta: VmtaName, now: datetime) -> str:
        """What speaks against mail from it now; empty: nothing, or too little is known."""
        last = self._at.get(vmta, self._since)
        if last is None or (silent := now - datetime.fromtimestamp(last, UTC)) < FORGOTTEN:
            return ""
        days = f"for {silent.days} days" if vmta in self._at else f"in the {silent.days} days that are known"
        return f"has sent nothing {days}: receivers will take it for new"


def _sent(counts: Mapping[Key, Counts]) -> list[str]:
    """Virtual MTAs with outcomes."""
    return [name for (scope, name), one in counts.items() if scope is HistoryScope.VMTA and any(one[1:])]
