"""The spool as control sees it."""

from collections.abc import Callable

from mailagent.api.targets import MessageFilter
from mailagent.spool.records import LedgerEntry
from mailagent.spool.store import Spool


class Ledger:
    """Implements `mailagent.control.effects.Ledger`; after a change of due times the scheduler looks again."""

    def __init__(
        self, spool: Spool, recheck: Callable[[], None], end_rests: Callable[[MessageFilter], None] = lambda _: None
    ) -> None:
        self._recheck = recheck
        self._end_rests = end_rests
        self._spool = spool
        self.stored_operation = spool.stored_operation
        self.operations = spool.operations
        self.directives = spool.directives

    async def record(self, entry: LedgerEntry) -> int:
        """Write an operation with its effects; the recipients that it made due."""
        count = await self._spool.record(entry, made_due=self._recheck)
        if entry.due is not None:
            self._end_rests(entry.due.filter)
        return count
