"""Checkpoints: when the database takes over what stands in its write-ahead log."""

import logging
import time

import apsw

from mailagent.spool import crash
from mailagent.spool.schema import PAGE_SIZE

log = logging.getLogger(__name__)

CHECKPOINT_PAGES = 16 * 1024 * 1024 // PAGE_SIZE
FORCED_CHECKPOINT_PAGES = 16 * CHECKPOINT_PAGES
"""From here on a checkpoint waits for readers, so that the log starts again from its beginning."""
AGAIN_S = 1.0
"""Pause after a checkpoint that found no room, or a reader in its way."""
SAY_AGAIN_S = 60.0


class Checkpoints:
    """Those of one writing connection, in its thread."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._wal_pages = 0  # written since the last checkpoint
        self._log_pages = 0  # length of the log then
        self._next_at = 0.0
        self._say_again_at = 0.0

    def after_commit(self) -> None:
        """Make one when enough was written since the last.

        Raises:
            apsw.Error: the database, or its disk, is broken.
        """
        # not by a hook of the commit: that would have to wait for the interpreter in the middle of it
        self._wal_pages += self._db.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, True)[0]
        if self._wal_pages >= CHECKPOINT_PAGES and time.monotonic() >= self._next_at:
            self._make(self._log_pages + self._wal_pages >= FORCED_CHECKPOINT_PAGES)

    def _make(self, forced: bool) -> None:
        crash.at("before_checkpoint")
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if forced else apsw.SQLITE_CHECKPOINT_PASSIVE
        try:
            pages, copied = self._db.wal_checkpoint(mode=mode)
            self._wal_pages = 0
            self._log_pages = pages if pages > copied else 0  # all copied: the next commit starts it again
        except apsw.FullError as exc:
            self._put_off(str(exc))
        except apsw.BusyError:
            self._put_off(f"a reader holds an old snapshot wal_pages={self._wal_pages}")
        crash.at("after_checkpoint")

    def _put_off(self, why: str) -> None:
        """None for a while: not at each commit, and with a line in the log now and then."""
        now = time.monotonic()
        self._next_at = now + AGAIN_S
        if now >= self._say_again_at:
            self._say_again_at = now + SAY_AGAIN_S
            log.warning("checkpoint put off: %s", why)
