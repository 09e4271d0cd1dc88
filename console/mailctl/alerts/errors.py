"""Errors of alerts.

OpsError
└── StoreError    what is open cannot be read or written: mend the directory
    └── Busy      another round is at work: leave it
NotTaken          a receiver did not take a notice: it is tried again in the next round
"""

from mailctl.ops.errors import OpsError


class StoreError(OpsError):
    """The book of alerts is not to be had."""


class Busy(StoreError):
    """Another round is at work."""

    def __init__(self) -> None:
        super().__init__("another round of `mailctl alerts run` is at work on this fleet file")


class NotTaken(Exception):
    """A receiver did not take a notice; the message says why, without a secret."""
