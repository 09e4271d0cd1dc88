"""Monotonic totals of what happened to recipients: the hot half of telemetry.

An outcome touches exactly one tally, that of its (pool, virtual MTA, provider). The sums per pool, virtual MTA,
provider, cell and host are made once a second by `mailagent.telemetry.history`, not once per message. Tallies are never
dropped, so totals never fall; their number is bounded by the configuration (members × providers), at about 150 bytes.
"""

from collections.abc import Iterator
from typing import NamedTuple


class Tally:
    """Four totals since the agent started."""

    __slots__ = ("bounced", "deferred", "delivered", "received")

    def __init__(self) -> None:
        self.received = 0
        self.delivered = 0
        self.deferred = 0
        self.bounced = 0


class Leaf(NamedTuple):
    """A tally with what it belongs to; names that are not known (no provider before DNS answered) are empty."""

    pool: str
    vmta: str
    provider: str
    tally: Tally


class Counters:
    """All tallies of a host. Methods cost one look-up and one addition; `n` counts recipients."""

    def __init__(self) -> None:
        self._leaves: dict[str, dict[str, dict[str, Tally]]] = {}

    def received(self, pool: str, n: int = 1) -> None:
        """`n` recipients were accepted for `pool`."""
        self.tally(pool, "", "").received += n

    def delivered(self, pool: str, vmta: str, provider: str, n: int = 1) -> None:
        """`n` recipients were delivered."""
        self.tally(pool, vmta, provider).delivered += n

    def deferred(self, pool: str, vmta: str, provider: str, n: int = 1) -> None:
        """`n` attempts failed for now."""
        self.tally(pool, vmta, provider).deferred += n

    def bounced(self, pool: str, vmta: str, provider: str, n: int = 1) -> None:
        """`n` recipients failed for good."""
        self.tally(pool, vmta, provider).bounced += n

    def tally(self, pool: str, vmta: str, provider: str) -> Tally:
        """The tally to add to; a ready queue may keep it, it stays valid for the life of the agent."""
        try:
            return self._leaves[pool][vmta][provider]
        except KeyError:
            return self._leaves.setdefault(pool, {}).setdefault(vmta, {}).setdefault(provider, Tally())

    def attempts(self, vmta: str, provider: str) -> int:
        """Recipients whose delivery from `vmta` to `provider` was tried."""
        tried = 0
        for members in self._leaves.values():
            tally = members.get(vmta, {}).get(provider)
            if tally is not None:
                tried += tally.delivered + tally.deferred + tally.bounced
        return tried

    def leaves(self) -> Iterator[Leaf]:
        """Every tally with its names."""
        for pool, members in self._leaves.items():
            for vmta, providers in members.items():
                for provider, tally in providers.items():
                    yield Leaf(pool, vmta, provider, tally)
