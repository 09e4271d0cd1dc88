"""Subscriptions: a snapshot, then the rows that differ from what the subscriber has. A slow one gets fewer."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from mailagent.api import codec
from mailagent.api.directives import DirectiveView
from mailagent.api.methods import CHANGES
from mailagent.api.views import Changes, DestinationView, PoolView, ProviderView, Snapshot, VmtaView

MIN_INTERVAL_S: Final = 0.25
MAX_INTERVAL_S: Final = 60.0

Row = TypeVar("Row", PoolView, VmtaView, ProviderView, DestinationView, DirectiveView)


@dataclass(slots=True)
class Subscription:
    """What one subscriber has, and when it gets more."""

    interval_s: float
    snapshot: Snapshot
    due_at: float  # on the loop's clock


@dataclass(slots=True)
class Differ:
    """Lines of `changes`, each made once for all subscribers that have the same snapshot."""

    _lines: dict[int, bytes] = field(default_factory=dict)
    _seq: int = -1

    def line(self, base: Snapshot, new: Snapshot) -> bytes:
        """The notification that leads from `base` to `new`."""
        if new.seq != self._seq:
            self._lines.clear()
            self._seq = new.seq
        line = self._lines.get(base.seq)
        if line is None:
            line = self._lines[base.seq] = codec.notification(CHANGES, difference(base, new))
        return line


def clamped(interval_s: float) -> float:
    """The interval that a subscriber gets who asks for `interval_s`."""
    return min(MAX_INTERVAL_S, max(MIN_INTERVAL_S, interval_s))


def difference(base: Snapshot, new: Snapshot) -> Changes:
    """The rows of `new` that `base` does not have as they are, and the keys that are gone."""
    gone: list[str] = []

    def rows(section: str, old: Sequence[Row], now: Sequence[Row], key: Callable[[Row], str]) -> tuple[Row, ...]:
        if old is now:
            return ()
        before = _keyed(old, key)
        changed = tuple(row for row in now if before.pop(key(row), None) != row)
        gone.extend(f"{section}:{name}" for name in before)
        return changed

    return Changes(
        seq=new.seq,
        at=new.at,
        host=new.host if new.host != base.host else None,
        pools=rows("pools", base.pools, new.pools, lambda row: row.name),
        vmtas=rows("vmtas", base.vmtas, new.vmtas, lambda row: row.name),
        providers=rows("providers", base.providers, new.providers, lambda row: row.name),
        destinations=rows(
            "destinations", base.destinations, new.destinations, lambda row: f"{row.provider}/{row.vmta}"
        ),
        directives=rows("directives", base.directives, new.directives, lambda row: row.directive.id),
        streams=new.streams if new.streams != base.streams else None,
        gone=tuple(gone),
    )


def _keyed(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, Row]:
    return {key(row): row for row in rows}
