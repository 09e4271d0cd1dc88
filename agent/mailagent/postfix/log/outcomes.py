"""Lines joined by queue id to what became of messages. Pure, in bounded memory.

Several processes write about a message: who handed it in, its Message-ID, its sender and size each time that it
becomes active, then one line per recipient and try. What is forgotten here is said again by qmgr at the next try; what
nobody says again (who handed it in) stays empty.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import msgspec

from mailagent.postfix.log.filters import Filters
from mailagent.postfix.log.lines import Activated, Arrived, Expired, Identified, Line, Ordered, Removed, Tried
from mailagent.postfix.log.replies import Said, said
from mailagent.postfix.tables import PREFIX

MAX_OPEN = 20_000
"""Messages that are remembered, those that came last: as many as the active queue holds, about 10 MB."""

SENT = "sent"
DEFERRED = "deferred"
BOUNCED = "bounced"
SOFT_BOUNCED = "SOFTBOUNCE"
"""Refused for good, and kept in the queue all the same, since `soft_bounce` is on."""


class Message(msgspec.Struct):
    """What is known of one message so far."""

    fresh: bool = False  # its arrival was seen: what was not seen did not happen
    arrived_at: float = 0.0  # seconds since 1970; 0: not seen
    announced: bool = False
    requeued_from: str = ""
    is_back: bool = False  # from a content filter: it was received as another message
    was_filtered: bool = False  # a content filter has handed it back
    client: str = ""
    user: str = ""
    message_id: str = ""
    sender: str = ""
    size: int = 0
    recipients: int = 0


class Received(msgspec.Struct, frozen=True):
    """A new message is in the queue. Whatever had its queue id is gone."""

    at: float
    id: str
    message: Message


class Requeued(msgspec.Struct, frozen=True):
    """By `postsuper -r`: a message has another queue id, and only the recipients that were left."""

    at: float
    id: str
    before: str
    message: Message


class Outcome(msgspec.Struct, frozen=True):
    """One try for one recipient, ended by `sent`, `deferred`, `bounced` or `SOFTBOUNCE`."""

    at: float
    id: str
    message: Message
    tried: Tried
    said: Said
    vmta: str  # empty: none of ours
    filtered: bool = False  # by a content filter, from which it comes back

    @property
    def duration_s(self) -> float:
        """Connecting and transmitting."""
        return round(self.tried.delays[2] + self.tried.delays[3], 3)


class GivenUp(msgspec.Struct, frozen=True):
    """Recipients that are left are bounced: for their age, or forced by `postsuper`."""

    at: float
    id: str
    message: Message
    forced: bool


class Gone(msgspec.Struct, frozen=True):
    """The message has left the queue."""

    at: float
    id: str
    deleted: bool  # by `postsuper -d`: the recipients that are left hear nothing


class Held(msgspec.Struct, frozen=True):
    """By `postsuper -h` or `-H`, whoever called it."""

    at: float
    id: str
    held: bool


Event = Received | Requeued | Outcome | GivenUp | Gone | Held


class Outcomes:
    """Joins the lines of one instance."""

    def __init__(
        self,
        syslog_name: str,
        vmta_of: Callable[[str], str],
        *,
        log_names: Callable[[], Collection[str]] = frozenset,
        filters: Callable[[], Sequence[str]] = tuple,
        max_open: int = MAX_OPEN,
    ) -> None:
        """`syslog_name` is the instance's, `log_names` are its services'; `vmta_of` has the virtual MTA for that
        of a service, empty for none. `filters` has the content filters.
        """
        self.syslog_name = syslog_name
        self._vmta_of = vmta_of
        self._log_names = log_names
        self._filters_of = filters
        self._filter_values: Sequence[str] = ()
        self._filters = Filters(())
        self._max_open = max_open
        self._open: dict[str, Message] = {}
        self.foreign = 0
        """Lines of other instances."""

    def __len__(self) -> int:
        return len(self._open)

    def events(self, lines: Iterable[Line]) -> Iterator[Event]:
        """What `lines` say; each is joined as it is asked for."""
        if (values := self._filters_of()) != self._filter_values:
            self._filter_values, self._filters = values, Filters(values)
        for line in lines:
            if line.name != self.syslog_name and not self._is_ours(line):
                self.foreign += 1
                continue
            event = self._event(line)
            if event is not None:
                yield event

    def context(self, lines: Iterable[Line]) -> None:
        """Lines whose events are known already."""
        for _ in self.events(lines):
            pass

    def _is_ours(self, line: Line) -> bool:
        """Whether a service of the instance logs under a name that is not the instance's.

        Another instance may have a service of the same name: what it tries is ours when the message is. Services that
        the agent makes bear the instance's name: another name is another instance, whose agent may have virtual MTAs
        of the same name.
        """
        name = line.name
        if name.startswith(f"{self.syslog_name}/"):
            return True
        if name in self._log_names() and (isinstance(line, Arrived) or line.id in self._open):
            return True
        return f"/{PREFIX}" not in name and self._vmta_of(name) != ""

    def _event(self, line: Line) -> Event | None:
        if isinstance(line, Tried):
            return self._outcome(line)
        if isinstance(line, Activated):
            return self._activated(line)
        if isinstance(line, Arrived):
            self._arrived(line)
            return None
        if isinstance(line, Identified):  # the first line of what Postfix sends itself
            message = self._message(line.id)
            if message.announced:
                del self._open[line.id]
                message = self._message(line.id)
            if not message.fresh:
                message.fresh, message.arrived_at = True, line.at
            message.message_id = line.message_id
            return None
        if isinstance(line, Removed):
            self._open.pop(line.id, None)
            return Gone(line.at, line.id, line.deleted)
        if isinstance(line, Expired):
            return GivenUp(line.at, line.id, self._message(line.id), line.forced)
        return self._ordered(line)

    def _arrived(self, line: Arrived) -> None:
        self._open.pop(line.id, None)
        message = self._message(line.id)
        message.fresh, message.arrived_at, message.client, message.user = True, line.at, line.client, line.user
        before = self._open.get(line.original)
        if line.service == "pickup":
            message.requeued_from = line.original
        elif before is not None:
            before.was_filtered = message.is_back = True
            message.client, message.user = before.client or line.client, before.user or line.user

    def _activated(self, line: Activated) -> Event | None:
        message = self._message(line.id)
        message.sender, message.size, message.recipients = line.sender, line.size, line.recipients
        if message.announced or not message.fresh:
            message.announced = True
            return None
        message.announced = True
        if message.requeued_from:
            return Requeued(line.at, line.id, message.requeued_from, message)
        return Received(line.at, line.id, message)

    def _outcome(self, line: Tried) -> Outcome | None:
        if line.status not in (SENT, DEFERRED, BOUNCED, SOFT_BOUNCED):
            return None  # address probes: `deliverable`, `undeliverable`
        reply = said(line.dsn, line.status, line.text)
        message = self._message(line.id)
        filtered = message.was_filtered or self._filters.met(line, reply)
        return Outcome(line.at, line.id, message, line, reply, self._vmta_of(line.name), filtered)

    def _ordered(self, line: Ordered) -> Event | None:
        if line.act == "placed on hold":
            return Held(line.at, line.id, held=True)
        if line.act == "released from hold":
            return Held(line.at, line.id, held=False)
        return None

    def _message(self, id: str) -> Message:
        message = self._open.get(id)
        if message is None:
            if len(self._open) >= self._max_open:
                del self._open[next(iter(self._open))]
            message = self._open[id] = Message()
        return message
