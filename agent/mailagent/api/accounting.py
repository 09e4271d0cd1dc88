"""Types of accounting records: the words of our JSON lines, and PowerMTA's letters for them."""

from enum import StrEnum


class EventType(StrEnum):
    """What happened to a recipient, or to a whole ready queue."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    EXPIRED = "expired"  # the retry schedule is over
    DELETED = "deleted"  # by an operator: nobody was told
    DEFERRED = "deferred"  # one attempt for one recipient
    QUEUE_DEFERRED = "queue-deferred"  # no connection for a whole ready queue: one record, no recipient
    RECEIVED = "received"
    REMOTE_BOUNCED = "remote-bounced"  # a later DSN says that it failed
    REMOTE_STATUS = "remote-status"  # a later DSN says something else
    FEEDBACK = "feedback"  # a report of a feedback loop
    MOVED_OUT = "moved-out"  # evacuated: another host has it
    MOVED_IN = "moved-in"  # evacuated: from another host


LETTERS: dict[str, EventType] = {
    "d": EventType.DELIVERED,
    "b": EventType.BOUNCED,
    "x": EventType.EXPIRED,  # ours; PowerMTA's files have it among `b`
    "k": EventType.DELETED,  # ours
    "t": EventType.DEFERRED,
    "tq": EventType.QUEUE_DEFERRED,
    "r": EventType.RECEIVED,
    "rb": EventType.REMOTE_BOUNCED,
    "rs": EventType.REMOTE_STATUS,
    "f": EventType.FEEDBACK,
    "mo": EventType.MOVED_OUT,
    "mi": EventType.MOVED_IN,
}
"""The letters of configuration and command line."""
