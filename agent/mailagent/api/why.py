"""Why a queue's mail waits: everything that holds it, the limits that it runs under, and what peers said last."""

from datetime import datetime

import msgspec

from mailagent.api.ids import PoolName, ProviderName, QueueKey, SiteName, VmtaName
from mailagent.api.reasons import WaitReason
from mailagent.api.views import DeferredGroup


class WhyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One ready queue by its key, `gmail/mkt-1`; it may have nothing in memory."""

    queue: str


class EffectiveLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of a path and where it comes from."""

    name: str  # `connections`, `rate`, `provider_rate` …
    value: str
    origin: str  # file and line, `built-in default`, or who lowered it


class QueueWhy(msgspec.Struct, frozen=True, kw_only=True):
    """One ready queue, and the deferred mail that will come back to it."""

    key: QueueKey
    site: SiteName
    vmta: VmtaName
    pool: PoolName  # empty: the virtual MTA is in none
    provider: ProviderName  # empty: nothing is known of the site
    ready: int  # recipients in the queue
    connections: int
    deferred: int  # recipients whose last attempt went this way; at least so many
    next_try_at: datetime | None  # the earliest of them
    reasons: tuple[WaitReason, ...]  # what binds first comes first; empty: nothing waits
    limits: tuple[EffectiveLimit, ...]
    groups: tuple[DeferredGroup, ...]  # the replies behind most of the deferred mail
