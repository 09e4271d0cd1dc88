"""Errors of the spool.

StorageError
├── SpoolLocked     another process owns the directory: stop it first
├── SpoolUnusable   the file or the SQLite library cannot be used: read the message
├── ItemRefused     one item could not be stored; everything else goes on
├── StorageFull     no space left for one item: answer 452, delivery goes on
├── ReadTooLong     a read was cut after its time: ask for less
├── SpoolClosed     the spool was closed
└── StorageFailed   I/O or sync failed: nothing is stored any more, stop for good
"""

from pathlib import Path


class StorageError(Exception):
    """The spool could not do what was asked."""


class SpoolLocked(StorageError, BlockingIOError):
    """Another process has the spool open for writing."""

    def __init__(self, state_dir: Path, owner: str) -> None:
        super().__init__(f"{state_dir}: the spool belongs to {owner}; stop that process first")
        self.state_dir = state_dir
        self.owner = owner


class SpoolUnusable(StorageError):
    """The database cannot be used as it is."""


class ItemRefused(StorageError, ValueError):
    """The database refused this one item."""


class StorageFull(StorageError, OSError):
    """The file system or the database has no room left."""


class ReadTooLong(StorageError, TimeoutError):
    """A read would have held its snapshot longer than a second, or did not get its turn in time."""


class SpoolClosed(StorageError):
    """The spool was closed before this could be done."""

    def __init__(self) -> None:
        super().__init__("the spool is closed")


class StorageFailed(StorageError, OSError):
    """The disk failed under the spool: after a failed write or sync nothing that it says can be believed.

    The caller stops intake and delivery for good; what was acknowledged is on disk, what was not is not.
    """

    def __init__(self, what: str, cause: BaseException) -> None:
        super().__init__(f"spool: {what} failed: {cause}; stopped for good, check the disk and start again")
        self.what = what
