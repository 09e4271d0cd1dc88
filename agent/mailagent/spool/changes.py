"""What the writer can be asked for. Each change is staged in the writer's thread and finished on the event loop."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from mailagent.spool.errors import StorageError
from mailagent.spool.records import InDoubtMark, NewMessage, Settlement
from mailagent.spool.transaction import Transaction

log = logging.getLogger(__name__)


class Change(Protocol):
    """One thing to do in a group commit. `stage` may run more than once, each time after a rollback."""

    @property
    def size_bytes(self) -> int:
        """What it adds to a batch, roughly."""

    def stage(self, transaction: Transaction) -> None:
        """Put it in the transaction."""

    def finish(self, error: StorageError | None) -> None:
        """Tell who asked: durable, or why not."""


class Accept(msgspec.Struct):
    """Store a new message."""

    message: NewMessage
    finish: Callable[[StorageError | None], None]
    size_bytes: int

    def stage(self, transaction: Transaction) -> None:
        """Put it in the transaction."""
        transaction.accept(self.message)


class Settle(msgspec.Struct):
    """Store outcomes; afterwards close their marks."""

    settlements: Sequence[Settlement]
    at: int
    doubts: Sequence[InDoubtMark]
    close_marks: Callable[[Sequence[Settlement]], None]
    done: Callable[[], None] | None
    size_bytes: int  # of bounces' reports; the rest is small

    def stage(self, transaction: Transaction) -> None:
        """Put it in the transaction."""
        transaction.settle(self.settlements, self.at, self.doubts)

    def finish(self, error: StorageError | None) -> None:
        """Close the marks; after an error they stay open, so that the next start lists them as in doubt."""
        if error is None:
            self.close_marks(self.settlements)
            if self.done is not None:
                self.done()
        else:
            log.error("outcomes not stored recipients=%s: %s", [s.recipient for s in self.settlements], error)


class QueueState(msgspec.Struct):
    """Change the state of a queue: `staging` is the method of the transaction."""

    staging: Callable[..., None]
    arguments: tuple[Any, ...]
    size_bytes: int = 0

    def stage(self, transaction: Transaction) -> None:
        """Put it in the transaction."""
        self.staging(transaction, *self.arguments)

    def finish(self, error: StorageError | None) -> None:
        """Nobody waits for it."""
        if error is not None:
            log.error("queue state not stored change=%s%s: %s", self.staging.__name__, self.arguments, error)


class Lines(msgspec.Struct):
    """Accounting lines alone."""

    lines: Sequence[bytes]
    size_bytes: int = 0

    def stage(self, transaction: Transaction) -> None:
        """Put them in the transaction."""
        transaction.lines += self.lines

    def finish(self, error: StorageError | None) -> None:
        """Nobody waits for it."""
        if error is not None:
            log.error("accounting lines not written count=%d: %s", len(self.lines), error)


class Job(msgspec.Struct):
    """Anything else: `work` sees all earlier changes; its result goes to `done` after the commit."""

    work: Callable[[Transaction], Any]
    done: Callable[[Any, StorageError | None], None]
    result: Any = None
    size_bytes: int = 0

    def stage(self, transaction: Transaction) -> None:
        """Write what is staged, then do the work."""
        transaction.flush()
        self.result = self.work(transaction)

    def finish(self, error: StorageError | None) -> None:
        """Pass on the result."""
        self.done(self.result, error)
