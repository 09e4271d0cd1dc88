"""The `thresholds` section of the fleet file: from where on `mailctl check` warns, and from where on it alarms.

Counts cross a limit from that number on, shares and ages above it, free space below it. A block in the file stands for
itself: a level that it leaves out is off. Shipped numbers name their source in docs/cron.md.
"""

from datetime import timedelta

import msgspec

from mailagent.api.ids import PoolName, ProviderName, StreamName


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all pairs of limits."""


class CountLimits(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From so many on."""

    warning: int | None = None
    critical: int | None = None


class ShareLimits(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Above such a share, 0 to 1."""

    warning: float | None = None
    critical: float | None = None


class AgeLimits(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Above such an age."""

    warning: timedelta | None = None
    critical: timedelta | None = None


class SpaceLimits(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Below so many bytes."""

    warning_bytes: int | None = None
    critical_bytes: int | None = None


class RateLimits(ShareLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of mail, and what is other for one provider, stream or pool."""

    providers: dict[ProviderName, ShareLimits] = {}
    streams: dict[StreamName, ShareLimits] = {}
    pools: dict[PoolName, ShareLimits] = {}


class WaitLimits(AgeLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ages of waiting mail, and what is other for one stream."""

    streams: dict[StreamName, AgeLimits] = {}


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is well, and what is not."""

    period: timedelta = timedelta(hours=1)  # that shares and growth are measured over
    least: int = 100  # events above which a share says something
    unreachable: CountLimits = CountLimits(warning=1, critical=2)  # hosts that give no answer
    refusing: CountLimits = CountLimits(warning=1, critical=2)  # hosts whose intake refuses mail
    stopped: ShareLimits = ShareLimits(warning=0.01, critical=0.99)  # of a pool's hosts: those that it is not active on
    waiting: CountLimits = CountLimits(warning=50_000, critical=500_000)  # recipients on one host
    window: ShareLimits = ShareLimits(warning=0.8)  # of one host's active window
    growth: CountLimits = CountLimits(warning=10_000, critical=100_000)  # of what waits, per pool in a period
    oldest: WaitLimits = WaitLimits(warning=timedelta(hours=4), critical=timedelta(days=1))  # per provider and stream
    deferrals: RateLimits = RateLimits(warning=0.05, critical=0.15)  # t / (t + d)
    bounces: RateLimits = RateLimits(warning=0.02, critical=0.05)  # b / (b + d)
    complaints: ShareLimits = ShareLimits(warning=0.001, critical=0.003)  # of delivered mail in a day
    listed: CountLimits = CountLimits(warning=1)  # block lists that one virtual MTA is on, but for weight info
    identity: CountLimits = CountLimits(warning=1)  # what is bad about who one virtual MTA, or one pool, says it is
    warm_up: CountLimits = CountLimits(warning=1)  # providers at which the warm-up of one virtual MTA is paused
    silent: AgeLimits = AgeLimits(warning=timedelta(days=25))  # since a standby last sent anything
    disk_free: SpaceLimits = SpaceLimits(warning_bytes=4 << 30, critical_bytes=2 << 30)  # under one host's spool
    orders: AgeLimits = AgeLimits(warning=timedelta(days=1), critical=timedelta(days=7))  # directives by people
    in_doubt: CountLimits = CountLimits(warning=1, critical=100)  # possible duplicates of a day, still open
    events: AgeLimits = AgeLimits(warning=timedelta(minutes=5), critical=timedelta(hours=1))  # not acknowledged
    undecided: CountLimits = CountLimits(warning=1)  # addresses that a freeze keeps for a person to decide about
