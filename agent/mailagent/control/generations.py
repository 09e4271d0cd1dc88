"""Generations: how often an object was changed by configuration or directives, so that a stale plan is recognised."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from mailagent.api.ids import PoolName, ProviderName, QueueKey, VmtaName
from mailagent.api.targets import Target, TargetKind


class Deed(NamedTuple):
    """What changed an object, in words and with its author."""

    what: str  # `drain of pool:cold`, `configuration reloaded`
    author: str
    at: datetime
    why: str = ""

    def __str__(self) -> str:
        told = f"{self.what} by {self.author} at {self.at:%H:%M:%S} UTC"
        return f"{told}: {self.why}" if self.why else told


class Generations:
    """One number per object, all starting at `start`.

    Numbers only grow, and are not stored: `start` is the Unix time of the agent's start, so that a plan made before a
    restart does not fit by chance.
    """

    def __init__(self, start: int, host: str) -> None:
        self._base = start
        self._host = Target(kind=TargetKind.HOST, name=host)
        self._raised: dict[Target, int] = {}
        self._last: dict[Target, Deed] = {}
        self._reload: Deed | None = None

    def of(self, target: Target) -> int:
        """The generation of `target`."""
        return self._base + self._raised.get(target, 0)

    def last_deed(self, target: Target) -> Deed | None:
        """What changed it last; None when nothing has since the start."""
        return self._last.get(target, self._reload)

    def raise_all(self, deed: Deed) -> None:
        """The configuration has changed: every plan is stale."""
        self._base += 1
        self._last.clear()
        self._reload = deed

    def raise_each(self, targets: Iterable[Target], deed: Deed) -> None:
        """These objects have changed."""
        for target in targets:
            self._raised[target] = self._raised.get(target, 0) + 1
            self._last[target] = deed

    @property
    def host(self) -> int:
        """The generation of the host itself."""
        return self.of(self._host)

    def pool(self, name: PoolName) -> int:
        """The generation of a pool."""
        return self.of(Target(kind=TargetKind.POOL, name=name))

    def vmta(self, name: VmtaName) -> int:
        """The generation of a virtual MTA."""
        return self.of(Target(kind=TargetKind.VMTA, name=name))

    def provider(self, name: ProviderName) -> int:
        """The generation of a provider."""
        return self.of(Target(kind=TargetKind.PROVIDER, name=name))

    def queue(self, key: QueueKey) -> int:
        """The generation of a ready queue."""
        return self.of(Target(kind=TargetKind.QUEUE, name=key))
