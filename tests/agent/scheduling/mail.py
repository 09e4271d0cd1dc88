"""Mail and a home for the tests of scheduling."""

from mailagent.scheduling.item import Item
from mailagent.spool.ids import recipient_id
from mailagent.spool.records import Waiting


def waiting(n: int, *, queue: int = 1, priority: str = "normal") -> Waiting:
    """The first recipient of message `n`."""
    return Waiting(
        id=recipient_id(n, 0),
        queue=queue,
        due=n,
        address=b"anna@a.example",
        attempts=0,
        vmta="",
        site="",
        message=n,
        sender=b"",
        size=10,
        eightbit=False,
        added=b"",
        received_at=n,
        expires_at=2**50,
        stream=priority,
        pool="default",
        job="",
    )


def item(n: int, priority: str = "normal") -> Item:
    """A message of its own."""
    return Item([waiting(n, priority=priority)], priority, b"body")
