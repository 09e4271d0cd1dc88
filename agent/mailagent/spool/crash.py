"""Failpoints: named places where a crash test stops the process dead.

A test starts a process with MAILAGENT_CRASH_AT="name:count"; the process kills itself (SIGKILL, so that no handler and
no buffer helps) when it comes to that place for the count-th time. Otherwise `at` does nothing.
"""

import os
import signal

ENVIRONMENT = "MAILAGENT_CRASH_AT"

POINTS = (
    "accept",  # an accept was handed in, nothing is written
    "before_statements",  # a batch begins
    "before_journal",  # its accounting lines are written
    "after_journal",  # it is durable, nobody was told
    "after_statements",  # the rows of several batches are written, the last one's accounting lines are not
    "before_commit",  # its accounting lines are written
    "after_commit",  # all is in the database, nobody was told of the last one
    "acknowledged",  # everybody was told
    "before_mark",  # the final dot of a transaction comes next
    "after_mark",
    "compacting_marks",  # the new side file is written, the old one still stands
    "before_checkpoint",
    "after_checkpoint",
    "recovering",  # recovery has changed rows, not committed
)
PARCEL_POINTS = (
    "parcel_packed",  # each of these: the step is written, not committed
    "parcel_stored",
    "parcel_given",
    "parcel_returned",
    "parcel_settled",
)
"""Places that only an evacuation comes to."""
ORDER_POINTS = (
    "order_taken",  # each of these: one step of an order on mail is written, not committed
    "order_freed",
    "order_rebound",
    "order_given_up",  # some of its mail has got its outcome, durable
)
"""Places that only orders on mail come to."""


def _armed() -> tuple[str, int]:
    name, _, count = os.environ.get(ENVIRONMENT, "").partition(":")
    return name, int(count or 1)


_name, _left = _armed()


def at(name: str) -> None:
    """Die here when the environment says so."""
    global _left
    if name == _name:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
