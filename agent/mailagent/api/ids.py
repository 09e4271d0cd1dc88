"""Identifiers, each a type of its own so that they are not mixed up."""

from typing import NewType

HostName = NewType("HostName", str)
PoolName = NewType("PoolName", str)
VmtaName = NewType("VmtaName", str)
StreamName = NewType("StreamName", str)
ProviderName = NewType("ProviderName", str)
SiteName = NewType("SiteName", str)
QueueKey = NewType("QueueKey", str)
"""Visible key of a ready queue: `site/vmta`, as PowerMTA operators know it (`gmail/mkt-1`)."""
MessageId = NewType("MessageId", str)
"""Queue id of one message, time-ordered and unique over the fleet (17 characters, see `mailagent.spool.ids`)."""
DirectiveId = NewType("DirectiveId", str)
OpId = NewType("OpId", str)
"""Idempotency key of one operation; the same on every host that the operation touches."""


def queue_key(site: SiteName, vmta: VmtaName) -> QueueKey:
    """The visible key of the ready queue of `site` and `vmta`."""
    return QueueKey(f"{site}/{vmta}")
