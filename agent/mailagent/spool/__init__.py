from mailagent.spool.errors import (
    ItemRefused,
    ReadTooLong,
    SpoolClosed,
    SpoolLocked,
    SpoolUnusable,
    StorageError,
    StorageFailed,
    StorageFull,
)
from mailagent.spool.inspection import StoredMessage
from mailagent.spool.offline import live_directives, spool_check, spool_list
from mailagent.spool.recovery import Recovery
from mailagent.spool.space import SpaceView
from mailagent.spool.store import Spool

__all__ = [
    "ItemRefused",
    "ReadTooLong",
    "Recovery",
    "SpaceView",
    "Spool",
    "SpoolClosed",
    "SpoolLocked",
    "SpoolUnusable",
    "StorageError",
    "StorageFailed",
    "StorageFull",
    "StoredMessage",
    "live_directives",
    "spool_check",
    "spool_list",
]
