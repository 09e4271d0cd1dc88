"""Results of the methods that are not views themselves."""

from datetime import datetime

import msgspec

from mailagent.api.operations import OperationRecord
from mailagent.api.requests import Role
from mailagent.api.views import DeferredGroup, InDoubt, MessageSummary, QueueView, Snapshot


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, and what it can do."""

    protocol: int
    version: str
    host: str
    spool_id: str
    boot_id: str  # new at each start of the agent
    features: tuple[str, ...]  # names of the methods it serves
    user: str  # the caller as the kernel names it
    role: Role
    server_time: datetime
    emulated: dict[str, str] = {}  # methods that this host does by other means, each with a sentence about the gap


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Start of a subscription: the snapshot that later changes build on."""

    snapshot: Snapshot
    interval_s: float


class DeferredGroups(msgspec.Struct, frozen=True, kw_only=True):
    """Groups by size, largest first."""

    groups: tuple[DeferredGroup, ...]
    truncated: bool = False


class MessagePage(msgspec.Struct, frozen=True, kw_only=True):
    """Rows in order of arrival; `cursor` is empty on the last page."""

    rows: tuple[MessageSummary, ...]
    cursor: str = ""


class QueuePage(msgspec.Struct, frozen=True, kw_only=True):
    """Ready queues in order of their key."""

    rows: tuple[QueueView, ...]
    cursor: str = ""


class OperationPage(msgspec.Struct, frozen=True, kw_only=True):
    """Operations, newest first."""

    rows: tuple[OperationRecord, ...]
    cursor: str = ""


class InDoubtPage(msgspec.Struct, frozen=True, kw_only=True):
    """Possible duplicates, newest first."""

    rows: tuple[InDoubt, ...]
    cursor: str = ""
