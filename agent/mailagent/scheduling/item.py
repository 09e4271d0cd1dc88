"""One message on its way to one site: recipients of one scheduled queue that go in one transaction."""

from collections.abc import Sequence

from mailagent.scheduling.allowance import Allowance
from mailagent.spool.records import Waiting


class Item:
    """A message in the active window, with the recipients that travel together.

    `body` is None while it is on disk only; `plain` says that it comes from intake, checked, and goes over the wire as
    it is; `spared` that a connection ended under it once without counting as an attempt; `allowance` counts it while
    the virtual MTA that it is placed with is warming. Made per message, so it is a slotted object and no struct.
    """

    __slots__ = ("allowance", "body", "first", "plain", "priority", "queue", "recipients", "spared")

    def __init__(
        self, recipients: Sequence[Waiting], priority: str, body: bytes | None = None, plain: bool = False
    ) -> None:
        self.recipients = recipients
        self.first = first = recipients[0]
        self.queue = first.queue
        """Scheduled queue that the recipients belong to."""
        self.priority = priority
        self.body = body
        self.plain = plain
        self.spared = False
        self.allowance: Allowance | None = None

    def split(self, count: int) -> tuple["Item", "Item"]:
        """The first `count` recipients, with the body, and the rest without."""
        first = Item(self.recipients[:count], self.priority, self.body, self.plain)
        rest = Item(self.recipients[count:], self.priority)
        first.allowance = rest.allowance = self.allowance
        return first, rest

    def unplace(self) -> None:
        """It leaves its place without an attempt."""
        if self.allowance is not None:
            self.allowance.give_back(len(self.recipients))
            self.allowance = None


def grouped(rows: Sequence[Waiting], priority: str, limit: int) -> list[Item]:
    """Rows of one scheduled queue as items: neighbours of one message together, at most `limit` recipients each."""
    items: list[Item] = []
    group: list[Waiting] = []
    for row in rows:
        if group and (row.message != group[0].message or len(group) >= limit or row.vmta != group[0].vmta):
            items.append(Item(group, priority))
            group = []
        group.append(row)
    if group:
        items.append(Item(group, priority))
    return items
