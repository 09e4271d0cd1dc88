"""Peers whose TLS is known to be broken."""

import time
from collections import OrderedDict
from collections.abc import Callable

from mailagent.routing.rollup import Hop

MAX_BROKEN = 10_000
"""Peers remembered."""


class BrokenTls:
    """Peer addresses whose last handshake failed; opportunistic mail goes there in clear for a while.

    Kept in memory only: after a restart each is tried once more.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, hop: Hop) -> bool:
        until = self._until.get(_peer(hop))
        return until is not None and until > self._clock()

    def add(self, hop: Hop, seconds: float) -> None:
        """Do not try TLS with `hop` for so long, unless it must be."""
        self._until[_peer(hop)] = self._clock() + seconds
        self._until.move_to_end(_peer(hop))
        if len(self._until) > MAX_BROKEN:
            self._until.popitem(last=False)


def _peer(hop: Hop) -> str:
    return f"{hop.address} {hop.port}"
