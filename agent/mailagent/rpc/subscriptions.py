"""What a subscriber has and what it lacks: a snapshot first, then only rows that differ."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from mailagent.api.views import Changes, Snapshot

_KEYS: dict[str, Callable[[Any], str]] = {
    "pools": lambda row: str(row.name),
    "vmtas": lambda row: str(row.name),
    "providers": lambda row: str(row.name),
    "destinations": lambda row: f"{row.provider}/{row.vmta}",
    "directives": lambda row: str(row.directive.id),
}


class Subscriber:
    """The rows that one connection got last; a slow one gets fewer changes, never a queue that grows."""

    def __init__(self, snapshot: Snapshot, interval_s: float, now: float) -> None:
        self.interval_s = interval_s
        self.due = now + interval_s
        self.progress_at = now  # when its buffer was last seen empty
        self._last = snapshot
        self._rows = {table: _by_key(table, getattr(snapshot, table)) for table in _KEYS}

    def changes(self, snapshot: Snapshot) -> Changes | None:
        """What differs from the last time; None when nothing does."""
        if snapshot.seq == self._last.seq:
            return None
        fresh: dict[str, tuple[msgspec.Struct, ...]] = {}
        gone: list[str] = []
        for table in _KEYS:
            before, rows = self._rows[table], _by_key(table, getattr(snapshot, table))
            fresh[table] = tuple(row for key, row in rows.items() if before.get(key) != row)
            gone += [f"{table}:{key}" for key in before.keys() - rows.keys()]
            self._rows[table] = rows
        host = snapshot.host if snapshot.host != self._last.host else None
        streams = snapshot.streams if snapshot.streams != self._last.streams else None
        self._last = snapshot
        # an empty change says that the host is alive: its `at` is what the console takes the age from
        return Changes(seq=snapshot.seq, at=snapshot.at, host=host, streams=streams, gone=tuple(gone), **fresh)  # type: ignore[arg-type]


def _by_key(table: str, rows: Iterable[Any]) -> dict[str, Any]:
    key = _KEYS[table]
    return {key(row): row for row in rows}
