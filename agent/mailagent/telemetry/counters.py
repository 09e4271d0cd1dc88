"""Monotonic totals of what happened to recipients: the hot half of telemetry.

An outcome touches exactly one tally, that of its (pool, stream, virtual MTA, provider), and that of its job if it has
one. The sums per scope are made once a second by `mailagent.telemetry.history`, not once per message. Tallies are never
dropped, so totals never fall; their number is bounded by the configuration (streams × members × providers), at about
150 bytes. Only jobs come and go.
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
    stream: str
    vmta: str
    provider: str
    tally: Tally


MAX_JOBS = 127
"""Jobs with a tally of their own at one time; what does not fit is counted as OTHER."""
OTHER = "other"
MAX_JOB_CHARS = 64


class Counters:
    """All tallies of a host. Methods cost one look-up and one addition; `n` counts recipients."""

    def __init__(self) -> None:
        self._leaves: dict[str, dict[str, dict[str, dict[str, Tally]]]] = {}
        self.jobs: dict[str, Tally] = {}

    def received(self, pool: str, stream: str, n: int = 1) -> None:
        """`n` recipients were accepted for `pool`."""
        self.tally(pool, stream, "", "").received += n

    def delivered(self, pool: str, stream: str, vmta: str, provider: str, n: int = 1) -> None:
        """`n` recipients were delivered."""
        self.tally(pool, stream, vmta, provider).delivered += n

    def deferred(self, pool: str, stream: str, vmta: str, provider: str, n: int = 1) -> None:
        """`n` attempts failed for now."""
        self.tally(pool, stream, vmta, provider).deferred += n

    def bounced(self, pool: str, stream: str, vmta: str, provider: str, n: int = 1) -> None:
        """`n` recipients failed for good."""
        self.tally(pool, stream, vmta, provider).bounced += n

    def tally(self, pool: str, stream: str, vmta: str, provider: str) -> Tally:
        """The tally to add to; a ready queue may keep it, it stays valid for the life of the agent."""
        try:
            return self._leaves[pool][stream][vmta][provider]
        except KeyError:
            members = self._leaves.setdefault(pool, {}).setdefault(stream, {}).setdefault(vmta, {})
            return members.setdefault(provider, Tally())

    def job(self, name: str) -> Tally:
        """The tally of a job, for now: it may be dropped when the job rests."""
        tally = self.jobs.get(name)
        if tally is None:
            name = name[:MAX_JOB_CHARS]
            if name not in self.jobs and len(self.jobs) >= MAX_JOBS:
                name = OTHER
            tally = self.jobs.setdefault(name, Tally())
        return tally

    def drop_job(self, name: str) -> Tally | None:
        """The job rests: its place is free. The tally that it had."""
        return self.jobs.pop(name, None)

    def attempts(self, vmta: str, provider: str) -> int:
        """Recipients whose delivery from `vmta` to `provider` was tried."""
        tried = 0
        for streams in self._leaves.values():
            for members in streams.values():
                tally = members.get(vmta, {}).get(provider)
                if tally is not None:
                    tried += tally.delivered + tally.deferred + tally.bounced
        return tried

    def outcomes(self, provider: str) -> int:
        """The same from all of this host's virtual MTAs."""
        tallies = (leaf.tally for leaf in self.leaves() if leaf.provider == provider)
        return sum(tally.delivered + tally.deferred + tally.bounced for tally in tallies)

    def leaves(self) -> Iterator[Leaf]:
        """Every tally with its names, jobs apart."""
        for pool, streams in self._leaves.items():
            for stream, members in streams.items():
                for vmta, providers in members.items():
                    for provider, tally in providers.items():
                        yield Leaf(pool, stream, vmta, provider, tally)
